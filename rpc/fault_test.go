package rpc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/kavachd/kavachd/audit"
	"github.com/kavachd/kavachd/cluster"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
)

// faulty makes a node fail as a broken disk or a broken network would, with texts that callers must not see.
type faulty struct {
	Node
	err   error
	panic bool
}

const internalText = "open /var/lib/kavachd/raft.db: connect 10.9.8.7:7401"

func (f *faulty) fail() error {
	if f.panic {
		panic(internalText)
	}
	return f.err
}

func (f *faulty) Read(ctx context.Context, l cluster.Level, eval func(*cluster.View) error) (cluster.Served, error) {
	if f.err == nil && !f.panic {
		return f.Node.Read(ctx, l, eval)
	}
	return cluster.Served{}, f.fail()
}

func (f *faulty) Propose(ctx context.Context, cmd *raftv1.Command) (*raftv1.Result, uint64, error) {
	if f.err == nil && !f.panic {
		return f.Node.Propose(ctx, cmd)
	}
	return nil, 0, f.fail()
}

func (f *faulty) Decide(context.Context, cluster.Level, ids.Hash, []cluster.Check) (cluster.Decided, error) {
	return cluster.Decided{}, f.fail()
}

func (f *faulty) QueryAudit(context.Context, cluster.Level, audit.Query) (*audit.Page, cluster.Served, error) {
	return nil, cluster.Served{}, f.fail()
}

func (f *faulty) AuditEntry(context.Context, cluster.Level, ids.ID) (*audit.Found, cluster.Served, error) {
	return nil, cluster.Served{}, f.fail()
}

func (f *faulty) Status() (cluster.Status, error)          { return cluster.Status{}, f.fail() }
func (f *faulty) Members() ([]cluster.Member, error)       { return nil, f.fail() }
func (f *faulty) Transfer(context.Context, string) error   { return f.fail() }
func (f *faulty) Remove(_ context.Context, _ string) error { return f.fail() }

// TestNothingInternalLeaks walks every RPC in every protocol over a node that fails: callers see an incident id, by which
// the log has the cause, and nothing of the cause itself.
func TestNothingInternalLeaks(t *testing.T) {
	f := &faulty{}
	w := newWorld(t, func(n Node) Node { f.Node = n; return f })
	for name, fault := range map[string]struct {
		err   error
		panic bool
	}{
		"an error":             {err: errors.New(internalText)},
		"a status of INTERNAL": {err: status.New(status.Internal, "%s", internalText)},
		"another node's":       {err: fmt.Errorf("forward: %w", connect.NewError(connect.CodeUnavailable, errors.New(internalText)))},
		"a panic":              {panic: true},
	} {
		f.err, f.panic = fault.err, fault.panic
		for _, m := range methods(t) {
			req := complete(m)
			for _, p := range protocols {
				err := w.call(t.Context(), p.name, "Bearer "+w.key, m, req)
				if connect.CodeOf(err) != connect.CodeInternal || detailOf(t, err).GetReason() != "INTERNAL" {
					t.Errorf("%s: %s by %s: %v", name, m.Name(), p.name, err)
					continue
				}
				_, incident, found := strings.Cut(err.Error(), "under incident ")
				if !found || !strings.Contains(w.log.String(), "incident="+incident) {
					t.Errorf("%s: %s by %s: the log has no %q", name, m.Name(), p.name, incident)
				}
				if strings.Contains(err.Error(), "/var") || strings.Contains(err.Error(), "10.9") {
					t.Errorf("%s: %s by %s leaks: %v", name, m.Name(), p.name, err)
				}
			}
			if rule, ok := restOf(m); ok && rule.method == http.MethodGet && !strings.Contains(rule.path, "x") && m.Name() != "ListDelegations" {
				if code, text := w.rest(t, rule.method, rule.path, ""); code != 500 || strings.Contains(text, "/var") {
					t.Errorf("%s: %s: %d %s", name, rule.path, code, text)
				}
			}
		}
	}
	if !strings.Contains(w.log.String(), internalText) {
		t.Error("the log has nothing of the cause")
	}
	f.err, f.panic = nil, false // the world's end needs the node
}

// complete is a request that passes the schema, so that it gets to the node.
func complete(m protoreflect.MethodDescriptor) proto.Message {
	text := map[protoreflect.Name]string{
		"CreateAgent": `{"ownerId":"o","name":"n"}`, "CreateApiKey": `{"name":"n"}`,
		"UpdateAgent": `{"agentId":"ID","name":"x"}`, "UpdateSettings": `{"settings":{"maxAgentsPerOwner":3}}`,
		"GetAgent": `{"agentId":"ID"}`, "RevokeAgent": `{"agentId":"ID"}`, "RotateAgentToken": `{"agentId":"ID"}`,
		"Authorize":            `{"agentId":"ID","action":"a","resource":"r"}`,
		"AuthorizeByToken":     `{"token":"kv_x","action":"a","resource":"r"}`,
		"BatchAuthorize":       `{"checks":[{"agentId":"ID","action":"a","resource":"r"}]}`,
		"ExplainAuthorization": `{"check":{"agentId":"ID","action":"a","resource":"r"}}`,
		"CreateDelegation":     `{"fromAgentId":"ID","toAgentId":"ID","permissions":[{"resource":"r","actions":["a"]}]}`,
		"GetDelegation":        `{"delegationId":"dlg_01h2xcejqtf2nbrexx3vqjhp41"}`, "RevokeDelegation": `{"delegationId":"dlg_01h2xcejqtf2nbrexx3vqjhp41"}`,
		"ListDelegations": `{"agentId":"ID"}`, "GetEffectivePermissions": `{"agentId":"ID"}`,
		"GetAuditEntry": `{"auditId":"aud_01h2xcejqtf2nbrexx3vqjhp41"}`, "RevokeApiKey": `{"keyId":"key_01h2xcejqtf2nbrexx3vqjhp41"}`,
		"RemoveMember": `{"nodeId":"n"}`,
	}[m.Name()]
	req := dynamicpb.NewMessage(m.Input())
	if text != "" {
		if err := unmarshalJSON.Unmarshal([]byte(strings.ReplaceAll(text, "ID", unknownAgent)), req); err != nil {
			panic(err) // a test's own literal
		}
	}
	return req
}
