package client_test

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"

	"github.com/kavachd/kavachd/client"
	"github.com/kavachd/kavachd/cluster"
	"github.com/kavachd/kavachd/cluster/clustertest"
	"github.com/kavachd/kavachd/rpc"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// world is a cluster of three with the API on every node, and an admin key.
type world struct {
	*clustertest.Cluster
	admin string
	hangs []*hang // by node
}

// hang holds back every request of a node, as a process that is stopped by a signal does: connections are accepted, and
// nothing comes.
type hang struct {
	mu   sync.Mutex
	free chan struct{} // closed: the node runs
}

func newHang() *hang {
	h := &hang{free: make(chan struct{})}
	close(h.free)
	return h
}

func (h *hang) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.free = make(chan struct{})
}

func (h *hang) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.free:
	default:
		close(h.free)
	}
}

func (h *hang) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		free := h.free
		h.mu.Unlock()
		<-free
		next.ServeHTTP(w, r)
	})
}

func start(tb testing.TB) *world {
	tb.Helper()
	w := &world{hangs: []*hang{newHang(), newHang(), newHang()}}
	w.Cluster = clustertest.Start(tb, clustertest.Options{Mount: func(i int, n *cluster.Node, mux *http.ServeMux) func() {
		h, err := rpc.New(rpc.Config{Node: n, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			tb.Error(err)
			return nil
		}
		mux.Handle("/", w.hangs[i].wrap(h))
		return h.Close
	}})
	c := w.client(tb, client.Config{})
	res, err := c.Access.Bootstrap(tb.Context(), &kavachv1.BootstrapRequest{})
	if err != nil {
		tb.Fatal(err)
	}
	w.admin = res.GetSecret()
	return w
}

// client makes a client of all three nodes, unless cfg names others.
func (w *world) client(tb testing.TB, cfg client.Config) *client.Client {
	tb.Helper()
	if cfg.Endpoints == nil {
		for _, n := range w.Nodes {
			cfg.Endpoints = append(cfg.Endpoints, n.Config.Address.API)
		}
	}
	if cfg.Key == "" && cfg.KeyFile == "" {
		cfg.Key = w.admin
	}
	c, err := client.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// newAgent makes an agent that may read anything below x.
func newAgent(ctx context.Context, tb testing.TB, c *client.Client, owner string) string {
	tb.Helper()
	res, err := c.Agents.CreateAgent(ctx, &kavachv1.CreateAgentRequest{
		OwnerId: owner, Name: "reader", Permissions: []*kavachv1.Permission{{Resource: "x:*", Actions: []string{"read"}}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return res.GetAgent().GetAgentId()
}

// ask asks whether the agent may read.
func ask(ctx context.Context, c *client.Client, agent string) (*kavachv1.Decision, error) {
	res, err := c.Authorization.Authorize(ctx, &kavachv1.AuthorizeRequest{AgentId: agent, Action: "read", Resource: "x:1"})
	return res.GetDecision(), err
}
