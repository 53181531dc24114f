package rpc

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/kavachd/kavachd/cluster"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// TestTraceHeaderIsHexadecimal: a trace id goes into commands and entries, which take UTF-8 only.
func TestTraceHeaderIsHexadecimal(t *testing.T) {
	good := strings.Repeat("0af7651916cd43dd", 2)
	for header, want := range map[string]string{
		"00-" + good + "-b7ad6b7169203331-01":                           good,
		"00-" + strings.ToUpper(good) + "-b7ad6b7169203331-01":          "",
		"00-\xff\xfe" + good[2:] + "-b7ad6b7169203331-01":               "",
		"00-" + good[1:] + "-b7ad6b7169203331-01":                       "",
		"00-" + strings.Repeat("\xc3\x28", 16) + "-b7ad6b7169203331-01": "",
		good: "",
	} {
		c := &caller{header: http.Header{"Traceparent": {header}}}
		if got := c.trace(); got != want {
			t.Errorf("%q gives %q, want %q", header, got, want)
		}
	}
}

// TestHostileTraceHurtsNobody: a header that is no UTF-8 neither fails the caller's own write nor those that share its entry.
func TestHostileTraceHurtsNobody(t *testing.T) {
	w := newWorld(t, nil)
	c := w.clients("connect", w.key)
	done := make(chan error)
	for i := range 8 {
		go func() {
			for n := range 10 {
				ctx, info := connect.NewClientContext(t.Context())
				if i == 0 {
					info.RequestHeader().Set("Traceparent", "00-\xff\xfe6cd43dd80af7651916cd43dd8448eb-b7ad6b7169203331-01")
				}
				_, err := c.agents.CreateAgent(ctx, &kavachv1.CreateAgentRequest{OwnerId: fmt.Sprintf("o%d-%d", i, n), Name: "n"})
				if err != nil {
					done <- fmt.Errorf("caller %d: %w", i, err)
					return
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestListOfLargeAgents: the size limit of a page may fall on the first record of a chunk. 40 agents of 90 KB make a
// page of 32 and one of 8.
func TestListOfLargeAgents(t *testing.T) {
	w := newWorld(t, nil)
	c := w.clients("connect", w.key)
	perms := make([]*kavachv1.Permission, 105)
	for i := range perms {
		perms[i] = perm(fmt.Sprintf("x:%d:", i)+strings.Repeat("y", 900), "read")
	}
	const agents = 40
	for i := range agents {
		newAgent(t, c, fmt.Sprintf("big-%d", i), perms...)
	}
	seen, pages := map[string]bool{}, 0
	req := &kavachv1.ListAgentsRequest{PageSize: 100}
	for {
		res, err := c.agents.ListAgents(t.Context(), req)
		if err != nil {
			t.Fatalf("page %d: %v", pages, err)
		}
		for _, a := range res.GetAgents() {
			if seen[a.GetAgentId()] {
				t.Errorf("%s stands twice", a.GetAgentId())
			}
			seen[a.GetAgentId()] = true
		}
		pages++
		if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	if len(seen) != agents || pages < 2 {
		t.Fatalf("%d agents on %d pages, want %d on several", len(seen), pages, agents)
	}
}

// TestDenialOfALongArgument: the sentence quotes the argument, the trail does not, so that the largest arguments still
// have their entry.
func TestDenialOfALongArgument(t *testing.T) {
	w := newWorld(t, nil)
	c := w.clients("connect", w.key)
	p := perm("x", "read")
	p.Constraints = &kavachv1.Constraints{AllowedArgPatterns: []*kavachv1.ArgumentPattern{{Pattern: "^short$"}}}
	agent, token := newAgent(t, c, "alice", p)
	long := strings.Repeat("s3cr3t", 10_000)
	args, err := structpb.NewStruct(map[string]any{"p": long, "q": token})
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.authz.Authorize(t.Context(), &kavachv1.AuthorizeRequest{
		AgentId: agent.GetAgentId(), Action: "read", Resource: "x", Args: &kavachv1.AuthorizeRequest_Arguments{Arguments: args},
	})
	if err != nil {
		t.Fatal(err)
	}
	d := res.GetDecision()
	if d.GetReasonCode() != kavachv1.ReasonCode_REASON_CODE_ARGUMENT_NOT_ALLOWED || !strings.Contains(d.GetReason(), long) {
		t.Errorf("the answer: %v", d.GetReasonCode())
	}
	entry, err := c.audit.GetAuditEntry(t.Context(), &kavachv1.GetAuditEntryRequest{AuditId: d.GetAuditId()})
	if err != nil {
		t.Fatal(err)
	}
	if r := entry.GetEntry().GetReason(); r != `Argument "p" value "[redacted]" does not match pattern "^short$"` {
		t.Errorf("the entry's reason has %d bytes: %.100s", len(r), r)
	}
	if text := entry.GetEntry().GetParametersJson(); strings.Contains(text, token) || !strings.Contains(text, "[masked]") {
		t.Error("a token stands in the trail")
	}
}

// TestBootstrapFlood: callers without a key write nothing once the first key is made.
func TestBootstrapFlood(t *testing.T) {
	w := newWorld(t, nil)
	applied := func() uint64 {
		s, err := w.node.Status()
		if err != nil {
			t.Fatal(err)
		}
		return s.Applied
	}
	before := applied()
	for range 20 {
		_, err := w.clients("connect", "").access.Bootstrap(t.Context(), &kavachv1.BootstrapRequest{})
		if connect.CodeOf(err) != connect.CodeFailedPrecondition {
			t.Fatalf("bootstrap again: %v", err)
		}
	}
	if after := applied(); after > before+2 { // the shipper may have taken a block meanwhile
		t.Errorf("20 refused calls moved the log from %d to %d", before, after)
	}
}

// panicking panics in the middle of a read, once it is armed.
type panicking struct {
	Node
	armed atomic.Bool
}

func (p *panicking) Read(ctx context.Context, l cluster.Level, eval func(*cluster.View) error) (cluster.Served, error) {
	return p.Node.Read(ctx, l, func(v *cluster.View) error {
		if p.armed.Load() {
			if _, err := v.Records.Cluster(); err != nil { // opens the view of the store
				return err
			}
			panic("in the middle of a read")
		}
		return eval(v)
	})
}

// TestPanicLetsTheStateGo: a panic in a handler's read is answered as internal and holds no version of the state, so that
// the node stops with the test.
func TestPanicLetsTheStateGo(t *testing.T) {
	node := &panicking{}
	w := newWorld(t, func(n Node) Node {
		node.Node = n
		return node
	})
	node.armed.Store(true)
	_, err := w.clients("connect", w.key).agents.GetAgent(t.Context(), &kavachv1.GetAgentRequest{AgentId: "agt_01h2xcejqtf2nbrexx3vqjhp41"})
	if connect.CodeOf(err) != connect.CodeInternal {
		t.Fatalf("a panic is answered with %v", err)
	}
}

// TestReflectionNeedsAKey: no anonymous call but health (spec 8), and the shape of an API is told to its users only.
func TestReflectionNeedsAKey(t *testing.T) {
	w := newWorld(t, nil)
	for _, tc := range []struct {
		key  string
		want connect.Code
	}{{"", connect.CodeUnauthenticated}, {w.key, 0}} {
		var o []connect.ClientOption
		if tc.key != "" {
			o = append(o, withKey(tc.key))
		}
		stream := grpcreflect.NewClient(w.h2c, w.url, append(o, connect.WithGRPC())...).NewStream(t.Context())
		names, err := stream.ListServices()
		_, closed := stream.Close()
		if tc.want != 0 && connect.CodeOf(err) != tc.want || tc.want == 0 && (err != nil || closed != nil || len(names) < len(serviceNames)) {
			t.Errorf("with %d characters of a key: %v, %v, %v", len(tc.key), names, err, closed)
		}
	}
}
