package promises

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"github.com/kavachd/kavachd/cluster"
	"github.com/kavachd/kavachd/cluster/clustertest"
	"github.com/kavachd/kavachd/rpc"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/gen/kavach/v1/kavachv1connect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a cluster with the API on every node.
type world struct {
	*clustertest.Cluster
	http  *http.Client
	admin string // an admin key
}

// node is one node as a caller with one key sees it.
type node struct {
	agents kavachv1connect.AgentServiceClient
	authz  kavachv1connect.AuthorizationServiceClient
	access kavachv1connect.AccessServiceClient
	audit  kavachv1connect.AuditServiceClient
	ops    kavachv1connect.ClusterServiceClient
}

func start(t *testing.T) *world {
	t.Helper()
	w := &world{http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	t.Cleanup(w.http.CloseIdleConnections)
	w.Cluster = clustertest.Start(t, clustertest.Options{Mount: func(_ int, n *cluster.Node, mux *http.ServeMux) func() {
		h, err := rpc.New(rpc.Config{Node: n, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Error(err)
			return nil
		}
		mux.Handle("/", h)
		return h.Close
	}})
	res, err := w.as(0, "").access.Bootstrap(t.Context(), &kavachv1.BootstrapRequest{})
	if err != nil {
		t.Fatal(err)
	}
	w.admin = res.GetSecret()
	return w
}

// as returns node i for a caller with a key.
func (w *world) as(i int, key string) node {
	url := "http://" + w.Nodes[i].Config.Address.API
	auth := connect.WithInterceptors(connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			if key != "" {
				req.Header().Set("Authorization", "Bearer "+key)
			}
			return next(ctx, req)
		}
	}))
	return node{
		agents: kavachv1connect.NewAgentServiceClient(w.http, url, auth),
		authz:  kavachv1connect.NewAuthorizationServiceClient(w.http, url, auth),
		access: kavachv1connect.NewAccessServiceClient(w.http, url, auth),
		audit:  kavachv1connect.NewAuditServiceClient(w.http, url, auth),
		ops:    kavachv1connect.NewClusterServiceClient(w.http, url, auth),
	}
}

// at returns node i for the admin.
func (w *world) at(i int) node { return w.as(i, w.admin) }

// newAgent makes an agent that may read anything below x.
func (w *world) newAgent(t *testing.T, owner string) (id, token string) {
	t.Helper()
	res, err := w.at(0).agents.CreateAgent(t.Context(), &kavachv1.CreateAgentRequest{
		OwnerId: owner, Name: "reader", Permissions: []*kavachv1.Permission{{Resource: "x:*", Actions: []string{"read"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return res.GetAgent().GetAgentId(), res.GetToken()
}

// byToken asks node i whether the bearer of a token may read.
func (w *world) byToken(ctx context.Context, i int, token string) (*kavachv1.Decision, error) {
	res, err := w.at(i).authz.AuthorizeByToken(ctx, &kavachv1.AuthorizeByTokenRequest{Token: token, Action: "read", Resource: "x:1"})
	return res.GetDecision(), err
}

// reasonOf is the stable reason in an error's details, "" if there is none.
func reasonOf(err error) string {
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return ""
	}
	for _, d := range ce.Details() {
		if v, err := d.Value(); err == nil {
			if e, ok := v.(*kavachv1.ErrorDetail); ok {
				return e.GetReason()
			}
		}
	}
	return ""
}
