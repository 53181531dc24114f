package rpc

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"connectrpc.com/connect"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/cluster"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/gen/kavach/v1/kavachv1connect"
	"github.com/kavachd/kavachd/ids"
)

// null answers as Authorize does, and does nothing: what is left is connect, net/http and the codec.
type null struct {
	kavachv1connect.UnimplementedAuthorizationServiceHandler
	answer *kavachv1.AuthorizeResponse
}

func (n null) Authorize(context.Context, *kavachv1.AuthorizeRequest) (*kavachv1.AuthorizeResponse, error) {
	return n.answer, nil
}

// instant is a node that has decided before it is asked: what is left is this package.
type instant struct {
	Node
	answer cluster.Decided
}

func (i *instant) Decide(context.Context, cluster.Level, ids.Hash, []cluster.Check) (cluster.Decided, error) {
	return i.answer, nil
}

// decidedOnce is a real answer of w's node.
func decidedOnce(b *testing.B, w *world, req *kavachv1.AuthorizeRequest) cluster.Decided {
	b.Helper()
	hash, _ := ids.HashKey(w.key)
	d, err := w.node.Decide(b.Context(), cluster.Level{}, hash, []cluster.Check{{
		Request: authz.Request{AgentID: req.GetAgentId(), Action: req.GetAction(), Resource: req.GetResource()},
	}})
	if err != nil {
		b.Fatal(err)
	}
	return d
}

// transports are the ways in that are measured.
var transports = []struct {
	name string
	h2   bool
	json bool
}{{"connect-h1", false, false}, {"connect-h2c", true, false}, {"json-h1", false, true}}

// BenchmarkAuthorize measures a unary Authorize through the whole handler on a cluster of one node, and a null Connect
// handler of the same messages, in one run, client and server in one process, as many callers as processors. The ratio
// is of throughputs: null's time by ours. Run it with -count and compare medians; -benchtime 2s at least.
func BenchmarkAuthorize(b *testing.B) {
	for _, policy := range []kavachv1.AuditPolicy{kavachv1.AuditPolicy_AUDIT_POLICY_ALL, kavachv1.AuditPolicy_AUDIT_POLICY_OFF} {
		w := newWorld(b, nil)
		c := w.clients("connect", w.key)
		if _, err := c.cluster.UpdateSettings(b.Context(), &kavachv1.UpdateSettingsRequest{Settings: &kavachv1.Settings{AuditPolicy: policy}}); err != nil {
			b.Fatal(err)
		}
		res, err := c.agents.CreateAgent(b.Context(), &kavachv1.CreateAgentRequest{OwnerId: "o", Name: "n", Permissions: []*kavachv1.Permission{
			perm("mcp:github:*", "read", "write"), perm("mcp:slack:*", "read"), perm("mcp:jira:*", "read"), perm("db:orders", "select"),
			perm("db:customers", "select"), perm("s3:reports:*", "get"), perm("s3:logs:*", "get", "list"), perm("k8s:staging:*", "deploy"),
			perm("mail:*", "send"), perm("calendar:*", "read"),
		}})
		if err != nil {
			b.Fatal(err)
		}
		req := &kavachv1.AuthorizeRequest{AgentId: res.GetAgent().GetAgentId(), Action: "read", Resource: "mcp:github:issues"}
		answer, err := c.authz.Authorize(b.Context(), req)
		if err != nil || !answer.GetDecision().GetAllowed() {
			b.Fatal(answer, err)
		}
		url := serveNull(b, answer)
		alone := &instant{}
		bare := newWorld(b, func(n Node) Node { alone.Node = n; return alone })
		alone.answer = decidedOnce(b, w, req)
		for _, tr := range transports {
			h := w.h1
			if tr.h2 {
				h = w.h2c
			}
			var options []connect.ClientOption
			if tr.json {
				options = append(options, connect.WithProtoJSON())
			}
			name := tr.name + "/audit=" + policy.String()[len("AUDIT_POLICY_"):]
			var nullTime float64
			ours := func(url, key string) func(*testing.B) {
				return func(b *testing.B) {
					b.Helper()
					t := callers(b, kavachv1connect.NewAuthorizationServiceClient(h, url, append(slices.Clip(options), withKey(key))...), req)
					if nullTime > 0 {
						b.ReportMetric(nullTime/t, "of-null")
					}
				}
			}
			b.Run(name+"/null", func(b *testing.B) {
				nullTime = callers(b, kavachv1connect.NewAuthorizationServiceClient(h, url, append(slices.Clip(options), withKey(w.key))...), req)
			})
			b.Run(name+"/kavachd", ours(w.url, w.key))
			b.Run(name+"/rpc-alone", ours(bare.url, bare.key))
		}
	}
}

// callers returns the nanoseconds of one call.
func callers(b *testing.B, c kavachv1connect.AuthorizationServiceClient, req *kavachv1.AuthorizeRequest) float64 {
	b.Helper()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			res, err := c.Authorize(context.Background(), req)
			if err != nil || !res.GetDecision().GetAllowed() {
				b.Error(res, err)
				return
			}
		}
	})
	return float64(b.Elapsed().Nanoseconds()) / float64(b.N)
}

// serveNull serves the null handler as NewServer serves ours.
func serveNull(b *testing.B, answer *kavachv1.AuthorizeResponse) string {
	b.Helper()
	l := listen(b)
	mux := http.NewServeMux()
	mux.Handle(kavachv1connect.NewAuthorizationServiceHandler(null{answer: answer}, connect.WithCompressMinBytes(compressMinBytes)))
	server := NewServer(mux)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	b.Cleanup(func() {
		if err := server.Close(); err != nil {
			b.Error(err)
		}
		<-served
	})
	return "http://" + l.Addr().String()
}
