package authz_test

import (
	"testing"
	"time"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/authz/state"
	"github.com/kavachd/kavachd/ids"
)

// TestAncestorIsAskedAnew changes an ancestor, and nothing else, between two requests of the same unchanged agent: the
// second one must see it (SPEC 5). testdata/mutants/authz/effective-cache.yaml is caught here.
func TestAncestorIsAskedAnew(t *testing.T) {
	all := []authz.Permission{{Resource: "mcp:*", Actions: []string{"*"}}}
	for _, c := range []struct {
		name   string
		change func(*authz.AgentSpec)
	}{
		{"revoked", func(a *authz.AgentSpec) { a.Revoked = true }},
		{"expired", func(a *authz.AgentSpec) { a.ExpiresAt = benchTime.UnixNano() }},
		{"narrowed", func(a *authz.AgentSpec) {
			a.Permissions = []authz.Permission{{Resource: "mcp:other", Actions: []string{"*"}}}
		}},
		{"bound by a constraint", func(a *authz.AgentSpec) {
			a.Permissions = []authz.Permission{{Resource: "mcp:*", Actions: []string{"*"}, Constraints: authz.Constraints{RequireApproval: true}}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := state.New()
			root := authz.AgentSpec{ID: numbered(0), Token: tokenOf(0), Name: "root", Permissions: all, Revision: 1}
			txn := s.Begin()
			txn.PutAgent(mustCompile(t, root))
			for i := 1; i <= 3; i++ {
				txn.PutAgent(mustCompile(t, authz.AgentSpec{ID: numbered(i), Token: tokenOf(i), Name: "sub", Revision: 1}))
				txn.PutDelegation(mustDelegate(t, authz.DelegationSpec{
					ID: numbered(100 + i), From: numbered(i - 1), To: numbered(i), Permissions: all, MaxDepth: 3, Created: uint64(i), Revision: 1,
				}))
			}
			txn.Commit()
			q := &authz.Request{AgentID: numbered(3).Text(ids.PrefixAgent), Action: "read", Resource: "mcp:github", At: benchTime}
			ask := func() authz.Verdict {
				v, err := authz.Decide(s.View(), q)
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			if v := ask(); !v.Allowed() || len(v.Path()) != 3 {
				t.Fatalf("before: %s, path %v", v.Code, v.PathIDs())
			}
			c.change(&root)
			root.Revision++
			txn = s.Begin()
			txn.PutAgent(mustCompile(t, root))
			txn.Commit()
			if v := ask(); v.Allowed() {
				t.Fatal("still allowed after its root was " + c.name)
			}
		})
	}
}

// TestInheritedQuotaIsDrawnByAll holds that two receivers together get no more than their giver has, and that a draw is
// all or none along the path.
func TestInheritedQuotaIsDrawnByAll(t *testing.T) {
	s := state.New()
	limited := func(n int64) []authz.Permission {
		return []authz.Permission{{Resource: "d:*", Actions: []string{"run"}, Constraints: authz.Constraints{MaxCallsPerHour: n}}}
	}
	txn := s.Begin()
	txn.PutAgent(mustCompile(t, authz.AgentSpec{ID: numbered(0), Token: tokenOf(0), Name: "root", Permissions: limited(3)}))
	for i := 1; i <= 2; i++ {
		txn.PutAgent(mustCompile(t, authz.AgentSpec{ID: numbered(i), Token: tokenOf(i), Name: "sub"}))
		txn.PutDelegation(mustDelegate(t, authz.DelegationSpec{
			ID: numbered(100 + i), From: numbered(0), To: numbered(i), Permissions: limited(2), MaxDepth: 3, Created: uint64(i),
		}))
	}
	txn.Commit()
	quotas := newExactQuotas()
	quotas.now = benchTime
	ask := func(agent int) authz.Verdict {
		v, err := authz.Decide(s.View(), &authz.Request{
			AgentID: numbered(agent).Text(ids.PrefixAgent), Action: "run", Resource: "d:x", At: benchTime, Quotas: quotas,
		})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for i, step := range []struct {
		agent  int
		code   authz.Code
		reason string
	}{
		{1, authz.Allowed, ""},
		{1, authz.Allowed, ""},
		{1, authz.RateLimited, `Rate limit exceeded: 2/2 calls per hour for resource "d:x"`}, // its own part; the root keeps its third
		{2, authz.Allowed, ""},
		{2, authz.RateLimited, `Rate limit exceeded: 3/3 calls per hour for resource "d:x"`}, // the root's
		{0, authz.RateLimited, `Rate limit exceeded: 3/3 calls per hour for resource "d:x"`},
	} {
		if v := ask(step.agent); v.Code != step.code || v.Reason() != step.reason {
			t.Fatalf("step %d: %s %q", i, v.Code, v.Reason())
		} else if v.Code == authz.RateLimited && v.RetryAfter != time.Minute {
			t.Fatalf("step %d: retry after %v", i, v.RetryAfter)
		}
	}
}

// TestQuotaUnavailable holds that a quota which nobody can draw is an error: neither allowed nor denied.
func TestQuotaUnavailable(t *testing.T) {
	s, id := stateOf(t, []authz.Permission{{Resource: "d", Actions: []string{"run"}, Constraints: authz.Constraints{MaxCallsPerHour: 1, IPAllowlist: []string{"10.0.0.0/8"}}}})
	q := &authz.Request{AgentID: id.Text(ids.PrefixAgent), Action: "run", Resource: "d", At: benchTime, IP: "10.0.0.1"}
	if v, err := authz.Decide(s.View(), q); err != authz.ErrQuotaUnavailable { //nolint:errorlint // returned as it is
		t.Fatalf("%s %v", v.Code, err)
	}
	rows, _, err := authz.Explain(s.View(), q)
	if err != authz.ErrQuotaUnavailable || len(rows) != 1 { //nolint:errorlint // returned as it is
		t.Fatalf("Explain: %v %v", rows, err)
	}
	q.IP = "11.0.0.1" // a call that is denied anyway needs no quota
	if v, err := authz.Decide(s.View(), q); err != nil || v.Code != authz.IPNotAllowed {
		t.Fatalf("%s %v", v.Code, err)
	}
}

// TestSearchLimit holds that a search through too many delegations is an error, not a denial.
func TestSearchLimit(t *testing.T) {
	src := &floodSource{agents: map[ids.ID]*authz.Agent{}}
	for layer := range 4 {
		for i := range 300 {
			id := numbered(layer*1000 + i)
			src.agents[id] = mustCompile(t, authz.AgentSpec{ID: id, Name: "flood"})
		}
	}
	perms := []authz.Permission{{Resource: "*", Actions: []string{"*"}}}
	src.received = func(to ids.ID) (out []*authz.Delegation) {
		for layer := range 3 {
			for i := range 300 {
				if numbered(layer*1000+i) != to {
					continue
				}
				for j := range 300 {
					out = append(out, mustDelegate(t, authz.DelegationSpec{ID: numbered(j), From: numbered((layer+1)*1000 + j), To: to, MaxDepth: 16, Permissions: perms}))
				}
			}
		}
		return out
	}
	q := &authz.Request{AgentID: numbered(0).Text(ids.PrefixAgent), Action: "read", Resource: "x", At: benchTime}
	v, err := authz.Decide(src, q)
	if err != nil || v.Code != authz.NoMatchingPermission { // 180,000 looks: memoised, within the limit
		t.Fatalf("%s %v", v.Code, err)
	}
	src.received = func(to ids.ID) []*authz.Delegation { // more than the limit in one list
		return make300k(t, to, perms)
	}
	if v, err = authz.Decide(src, q); err != authz.ErrTooComplex { //nolint:errorlint // returned as it is
		t.Fatalf("%s %v", v.Code, err)
	}
}

func make300k(t *testing.T, to ids.ID, perms []authz.Permission) []*authz.Delegation {
	d := mustDelegate(t, authz.DelegationSpec{ID: numbered(7), From: numbered(99), To: to, MaxDepth: 16, Permissions: perms, Revoked: true})
	out := make([]*authz.Delegation, 300_000)
	for i := range out {
		out[i] = d
	}
	return out
}

type floodSource struct {
	agents   map[ids.ID]*authz.Agent
	received func(ids.ID) []*authz.Delegation
}

func (f *floodSource) Agent(id ids.ID) *authz.Agent           { return f.agents[id] }
func (f *floodSource) AgentByToken(ids.Hash) *authz.Agent     { return nil }
func (f *floodSource) Received(id ids.ID) []*authz.Delegation { return f.received(id) }
