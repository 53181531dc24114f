package authz_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/authz/state"
	"github.com/kavachd/kavachd/ids"
)

var benchTime = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// benchList is n permissions that share segments, so that an index has work; the middle one is asked for.
func benchList(n int) []authz.Permission {
	out := make([]authz.Permission, n)
	for i := range out {
		out[i] = authz.Permission{Resource: fmt.Sprintf("mcp:server%d:tool%d:*", i%100, i), Actions: []string{"read", "write"}}
	}
	return out
}

func benchRequest(id ids.ID, n int) *authz.Request {
	i := n / 2
	return &authz.Request{
		AgentID: id.Text(ids.PrefixAgent), Action: "write", Resource: fmt.Sprintf("mcp:server%d:tool%d:issues", i%100, i), At: benchTime,
	}
}

func numbered(i int) (id ids.ID) {
	binary.BigEndian.PutUint64(id[:8], 0x0190_0000_0000_7000+uint64(i)<<20)
	binary.BigEndian.PutUint64(id[8:], uint64(i)*0x9e3779b97f4a7c15)
	return id
}

func tokenOf(i int) (h ids.Hash) {
	binary.BigEndian.PutUint64(h[:8], uint64(i+1)*0xbf58476d1ce4e5b9)
	binary.BigEndian.PutUint64(h[8:], uint64(i))
	return h
}

func mustCompile(tb testing.TB, spec authz.AgentSpec) *authz.Agent {
	tb.Helper()
	a, err := authz.Compile(spec)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func mustDelegate(tb testing.TB, spec authz.DelegationSpec) *authz.Delegation {
	tb.Helper()
	d, err := authz.CompileDelegation(spec)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// stateOf holds one agent.
func stateOf(tb testing.TB, perms []authz.Permission) (*state.State, ids.ID) {
	s := state.New()
	txn := s.Begin()
	txn.PutAgent(mustCompile(tb, authz.AgentSpec{ID: numbered(1), Token: tokenOf(1), Name: "bench", Tenant: "default", Permissions: perms}))
	txn.Commit()
	return s, numbered(1)
}

func decideLoop(b *testing.B, s *state.State, q *authz.Request) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		v, err := authz.Decide(s.View(), q)
		if err != nil || !v.Allowed() {
			b.Fatalf("%v %v", v.Reason(), err)
		}
	}
}

// BenchmarkDecidePermissions shows that the first match costs the same in a list of any length.
func BenchmarkDecidePermissions(b *testing.B) {
	for _, n := range []int{1, 10, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, id := stateOf(b, benchList(n))
			decideLoop(b, s, benchRequest(id, n))
		})
	}
}

// BenchmarkDecideConstraints shows what constraints add to a list of ten.
func BenchmarkDecideConstraints(b *testing.B) {
	for name, c := range benchConstraints() {
		b.Run(name, func(b *testing.B) {
			perms := benchList(10)
			perms[5].Constraints = c
			s, id := stateOf(b, perms)
			q := benchRequest(id, 10)
			q.IP = "10.1.2.3"
			q.Args = []authz.Arg{{Name: "path", Value: "src/main.go", IsString: true}}
			decideLoop(b, s, q)
		})
	}
}

func benchConstraints() map[string]authz.Constraints {
	window := &authz.TimeWindow{Start: "09:00", End: "18:00", Zone: "Europe/Berlin"}
	return map[string]authz.Constraints{
		"none":   {},
		"window": {TimeWindow: window},
		"ip":     {IPAllowlist: []string{"192.168.0.0/16", "10.0.0.0/8"}},
		"args":   {ArgPatterns: []authz.ArgPattern{{Pattern: `^src/.*\.go$`}}},
		"all":    {TimeWindow: window, IPAllowlist: []string{"192.168.0.0/16", "10.0.0.0/8"}, ArgPatterns: []authz.ArgPattern{{Pattern: `^src/.*\.go$`}}},
	}
}

// chainOf is a chain of delegations of the given depth; it returns the last receiver.
func chainOf(tb testing.TB, depth int) (*state.State, ids.ID) {
	s := state.New()
	txn := s.Begin()
	for i := range depth + 1 {
		spec := authz.AgentSpec{ID: numbered(i), Token: tokenOf(i), Name: fmt.Sprint("agent", i), Tenant: "default"}
		if i == 0 {
			spec.Permissions = benchList(10)
		} else {
			txn.PutDelegation(mustDelegate(tb, authz.DelegationSpec{
				ID: numbered(1000 + i), From: numbered(i - 1), To: numbered(i), MaxDepth: 16, Created: uint64(i), Permissions: benchList(10),
			}))
		}
		txn.PutAgent(mustCompile(tb, spec))
	}
	txn.Commit()
	return s, numbered(depth)
}

// BenchmarkDecideChain shows what each giver adds.
func BenchmarkDecideChain(b *testing.B) {
	for _, depth := range []int{1, 2, 3} {
		b.Run(fmt.Sprint(depth), func(b *testing.B) {
			s, id := chainOf(b, depth)
			decideLoop(b, s, benchRequest(id, 10))
		})
	}
}

// BenchmarkDecideDenied is the way of a call that nothing matches.
func BenchmarkDecideDenied(b *testing.B) {
	s, id := stateOf(b, benchList(10))
	q := benchRequest(id, 10)
	q.Action = "delete"
	b.ReportAllocs()
	for b.Loop() {
		if v, err := authz.Decide(s.View(), q); err != nil || v.Allowed() {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecideBatch is a hundred checks against one version.
func BenchmarkDecideBatch(b *testing.B) {
	s, id := stateOf(b, benchList(10))
	q := benchRequest(id, 10)
	b.ReportAllocs()
	for b.Loop() {
		view := s.View()
		for range 100 {
			if v, err := authz.Decide(view, q); err != nil || !v.Allowed() {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "decisions/s")
}

// BenchmarkDecideAgents asks random agents by token, among ten and a million: a miss of every cache is part of it.
func BenchmarkDecideAgents(b *testing.B) {
	for _, n := range []int{10, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := populate(b, n)
			q := &authz.Request{ByToken: true, TokenOK: true, Action: "write", Resource: "mcp:server5:tool5:issues", At: benchTime}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				i = (i + 514_229) % n
				q.Token = tokenOf(i)
				if v, err := authz.Decide(s.View(), q); err != nil || !v.Allowed() {
					b.Fatal(err)
				}
			}
		})
	}
}

// populate makes n agents of ten permissions.
func populate(tb testing.TB, n int) *state.State {
	s := state.New()
	perms := benchList(10)
	txn := s.Begin()
	for i := range n {
		txn.PutAgent(mustCompile(tb, authz.AgentSpec{
			ID: numbered(i), Token: tokenOf(i), Name: fmt.Sprintf("agent-%d", i), Owner: fmt.Sprintf("user-%d", i%5000), Tenant: "default",
			ExpiresAt: benchTime.Add(time.Hour).UnixNano(), Permissions: perms,
		}))
	}
	txn.Commit()
	return s
}
