package rpc

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/kavachd/kavachd/cluster"
	"github.com/kavachd/kavachd/cluster/raftstore"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/gen/kavach/v1/kavachv1connect"
)

const testSecret = "a join secret for tests"

// world is one real node behind one real server, and what a test needs to call it.
type world struct {
	node *cluster.Node
	// handler is closed by the end of the world; closing it before is harmless.
	handler *Handler
	url     string
	key     string // an admin key
	log     *syncBuffer
	h1      *http.Client
	h2c     *http.Client

	stopped sync.Once
}

// syncBuffer is a log that many goroutines write.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newWorld starts a node, serves it, and makes the first key. wrap may put something between the API and the node.
func newWorld(tb testing.TB, wrap func(Node) Node, options ...func(*Config)) *world {
	tb.Helper()
	listener, raftListener := listen(tb), listen(tb)
	w := &world{url: "http://" + listener.Addr().String(), log: &syncBuffer{}}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	node, err := cluster.Start(tb.Context(), cluster.Config{
		DataDir:    tb.TempDir(),
		Address:    cluster.Addresses{API: listener.Addr().String(), Raft: raftListener.Addr().String()},
		Peers:      []string{listener.Addr().String()},
		JoinSecret: []byte(testSecret),
		Timing:     raftstore.FastProfile(),
		Version:    "test",
	}, cluster.Deps{RaftListener: raftListener, Log: log, Fatal: func(err error) { tb.Errorf("fatal: %v", err) }})
	if err != nil {
		tb.Fatal(err)
	}
	w.node = node
	var seen Node = node
	if wrap != nil {
		seen = wrap(node)
	}
	cfg := Config{Node: seen, Log: log, JoinSecret: []byte(testSecret)}
	for _, o := range options {
		o(&cfg)
	}
	handler, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	w.handler = handler
	mux := http.NewServeMux()
	mux.Handle(node.NodeHandler())
	mux.Handle("/", handler)
	server := NewServer(mux)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	w.h1 = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	w.h2c = &http.Client{Transport: &http.Transport{Protocols: &h2c}}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the node's log:\n%s", w.log)
		}
		w.h1.CloseIdleConnections()
		w.h2c.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			tb.Errorf("shutdown: %v", err)
		}
		<-served
		handler.Close()
		w.stop(ctx, tb)
	})
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	if err := node.Ready(ctx); err != nil {
		tb.Fatalf("not ready: %v\n%s", err, w.log)
	}
	res, err := kavachv1connect.NewAccessServiceClient(w.h1, w.url).Bootstrap(ctx, &kavachv1.BootstrapRequest{})
	if err != nil {
		tb.Fatalf("bootstrap: %v\n%s", err, w.log)
	}
	w.key = res.GetSecret()
	return w
}

// stop stops the node, once.
func (w *world) stop(ctx context.Context, tb testing.TB) {
	tb.Helper()
	w.stopped.Do(func() {
		if err := w.node.Stop(ctx); err != nil {
			tb.Errorf("stop: %v", err)
		}
	})
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// withKey sends a key with every call.
func withKey(key string) connect.ClientOption {
	return connect.WithInterceptors(&keyInterceptor{key})
}

type keyInterceptor struct{ key string }

func (k *keyInterceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		req.Header().Set("Authorization", "Bearer "+k.key)
		return next(ctx, req)
	}
}

func (k *keyInterceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set("Authorization", "Bearer "+k.key)
		return conn
	}
}

func (k *keyInterceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// clients of all services, in one protocol.
type clients struct {
	agents      kavachv1connect.AgentServiceClient
	authz       kavachv1connect.AuthorizationServiceClient
	delegations kavachv1connect.DelegationServiceClient
	audit       kavachv1connect.AuditServiceClient
	access      kavachv1connect.AccessServiceClient
	cluster     kavachv1connect.ClusterServiceClient
}

// protocols are the four of the port, with the connection that each needs.
var protocols = []struct {
	name    string
	h2      bool
	options []connect.ClientOption
}{
	{"connect", false, nil},
	{"json", false, []connect.ClientOption{connect.WithProtoJSON()}},
	{"grpc", true, []connect.ClientOption{connect.WithGRPC()}},
	{"grpc-web", false, []connect.ClientOption{connect.WithGRPCWeb()}},
}

func (w *world) clients(protocol, key string) clients {
	for _, p := range protocols {
		if p.name != protocol {
			continue
		}
		h := w.h1
		if p.h2 {
			h = w.h2c
		}
		o := append([]connect.ClientOption{withKey(key)}, p.options...)
		return clients{
			agents:      kavachv1connect.NewAgentServiceClient(h, w.url, o...),
			authz:       kavachv1connect.NewAuthorizationServiceClient(h, w.url, o...),
			delegations: kavachv1connect.NewDelegationServiceClient(h, w.url, o...),
			audit:       kavachv1connect.NewAuditServiceClient(h, w.url, o...),
			access:      kavachv1connect.NewAccessServiceClient(h, w.url, o...),
			cluster:     kavachv1connect.NewClusterServiceClient(h, w.url, o...),
		}
	}
	panic("no protocol " + protocol)
}

// rest calls a REST path with the admin key and returns status and body.
func (w *world) rest(tb testing.TB, method, path, body string) (int, string) {
	tb.Helper()
	return w.restAs(tb, w.key, method, path, body)
}

func (w *world) restAs(tb testing.TB, key, method, path, body string) (int, string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := w.h1.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(res.Body); err != nil {
		tb.Fatal(err)
	}
	return res.StatusCode, buf.String()
}
