package state

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"sort"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/ids"
)

func id(n int) (i ids.ID) {
	binary.BigEndian.PutUint64(i[:8], 0x0190_0000_0000_7000+uint64(n)<<20)
	binary.BigEndian.PutUint64(i[8:], uint64(n)*0x9e3779b97f4a7c15)
	return i
}

// hash spreads like a SHA-256; hashes of n and n+1<<32 share their first eight bytes, so that tags collide.
func hash(n int) (h ids.Hash) {
	binary.BigEndian.PutUint64(h[:8], uint64(n%(1<<32)+1)*0xbf58476d1ce4e5b9)
	binary.BigEndian.PutUint64(h[8:], uint64(n))
	return h
}

func agent(tb testing.TB, spec authz.AgentSpec) *authz.Agent {
	tb.Helper()
	a, err := authz.Compile(spec)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// check is every invariant of a version: each record is found by each of its keys, counts are right, lists are in order.
func (v View) check() error {
	agents, tokens := 0, 0
	var fault error
	v.r.agents.each(func(a *authz.Agent) bool {
		agents++
		if v.Agent(a.ID) != a || v.AgentByToken(a.Token) != a {
			fault = fmt.Errorf("agent %x is not found by id or token", a.ID)
		}
		if p, until := a.Previous(); until != 0 {
			tokens++
			if v.AgentByToken(p) != a {
				fault = fmt.Errorf("agent %x is not found by its previous token", a.ID)
			}
		}
		return fault == nil
	})
	found := 0
	v.r.tokens.each(func(a *authz.Agent) bool { found++; return true })
	if fault == nil && (agents != v.r.counts.Agents || found != agents+tokens) {
		fault = fmt.Errorf("%d agents with %d previous tokens, %d token entries, count %d", agents, tokens, found, v.r.counts.Agents)
	}
	listed, all := 0, 0
	v.r.delegations.each(func(*authz.Delegation) bool { all++; return true })
	v.r.received.each(func(r *received) bool {
		listed += len(r.list)
		for i, d := range r.list {
			if d.To != r.to || v.Delegation(d.ID) != d || i > 0 && r.list[i-1].Created > d.Created {
				fault = fmt.Errorf("delegations to %x are wrong at %d", r.to, i)
			}
		}
		return fault == nil
	})
	if fault == nil && (all != listed || all != v.r.counts.Delegations) {
		fault = fmt.Errorf("%d delegations, %d in lists, count %d", all, listed, v.r.counts.Delegations)
	}
	keys := 0
	v.r.keys.each(func(k *authz.KeySpec) bool {
		keys++
		if v.Key(k.ID) != k || v.KeyByHash(k.Hash) != k {
			fault = fmt.Errorf("key %x is not found by id or hash", k.ID)
		}
		return fault == nil
	})
	if fault == nil && keys != v.r.counts.Keys {
		fault = fmt.Errorf("%d keys, count %d", keys, v.r.counts.Keys)
	}
	return fault
}

// TestModel compares the state with plain maps under random transactions, and holds that an old View never changes.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		agents := map[int]*authz.Agent{}
		delegations := map[int]*authz.Delegation{}
		keys := map[int]authz.KeySpec{}
		serial := 0
		for range rapid.IntRange(1, 12).Draw(t, "transactions") {
			before, beforeCounts := s.View(), s.View().Counts()
			txn := s.Begin()
			discard := rapid.IntRange(0, 9).Draw(t, "discard") == 9
			for range rapid.IntRange(0, 120).Draw(t, "changes") {
				serial++
				n := rapid.IntRange(0, 150).Draw(t, "n")
				switch op := rapid.SampledFrom([]string{"agent", "agent", "agent", "no agent", "delegation", "delegation", "no delegation", "key", "no key"}).Draw(t, "op"); {
				case discard:
					txn.PutAgent(mustAgent(t, n, serial, serial%2 == 0))
				case op == "agent":
					agents[n] = mustAgent(t, n, serial, serial%2 == 0)
					txn.PutAgent(agents[n])
				case op == "no agent":
					delete(agents, n)
					txn.DeleteAgent(id(n))
				case op == "delegation":
					d, err := authz.CompileDelegation(authz.DelegationSpec{ID: id(1000 + n), To: id(serial % 5), From: id(n), Created: uint64(serial*7%50)<<16 | uint64(n)})
					if err != nil {
						t.Fatal(err)
					}
					delegations[n] = d
					txn.PutDelegation(d)
				case op == "no delegation":
					delete(delegations, n)
					txn.DeleteDelegation(id(1000 + n))
				case op == "key":
					keys[n] = authz.KeySpec{ID: id(n), Hash: hash(serial), Name: fmt.Sprint(serial)}
					txn.PutKey(keys[n])
				case op == "no key":
					delete(keys, n)
					txn.DeleteKey(id(n))
				}
			}
			if discard {
				txn.Discard()
			} else {
				txn.Commit()
			}
			if before.Counts() != beforeCounts {
				t.Fatal("an old view changed")
			}
			if err := before.check(); err != nil {
				t.Fatalf("an old view: %v", err)
			}
			compareModel(t, s.View(), agents, delegations, keys)
		}
	})
}

// mustAgent makes agent n with a token of the serial; its previous token collides with the current one's tag.
func mustAgent(t *rapid.T, n, serial int, grace bool) *authz.Agent {
	spec := authz.AgentSpec{ID: id(n), Token: hash(serial), Revision: uint64(serial)}
	if grace {
		spec.PrevToken, spec.PrevUntil = hash(serial+1<<20), 1
	}
	a, err := authz.Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func compareModel(t *rapid.T, v View, agents map[int]*authz.Agent, delegations map[int]*authz.Delegation, keys map[int]authz.KeySpec) {
	if err := v.check(); err != nil {
		t.Fatal(err)
	}
	if got := v.Counts(); got != (Counts{Agents: len(agents), Delegations: len(delegations), Keys: len(keys)}) {
		t.Fatalf("counts %+v, want %d %d %d", got, len(agents), len(delegations), len(keys))
	}
	for n := range 151 {
		if v.Agent(id(n)) != agents[n] {
			t.Fatalf("agent %d differs", n)
		}
		if k := v.Key(id(n)); (k == nil) != (keys[n] == authz.KeySpec{}) || k != nil && *k != keys[n] {
			t.Fatalf("key %d differs", n)
		}
	}
	for to := range 5 {
		var want []*authz.Delegation
		for _, d := range delegations {
			if d.To == id(to) {
				want = append(want, d)
			}
		}
		sort.Slice(want, func(i, j int) bool { return want[i].Created < want[j].Created })
		got := v.Received(id(to))
		for i := range max(len(want), len(got)) {
			if len(want) != len(got) || want[i].Created != got[i].Created {
				t.Fatalf("received by %d: %d, want %d", to, len(got), len(want))
			}
		}
	}
}

// TestDeepTags fills one leaf beyond its size with entries that differ in their last bits only.
func TestDeepTags(t *testing.T) {
	var root trie[int]
	values := make([]int, 200)
	for i := range values {
		values[i] = i
		tag := uint64(i%4) << 60 // four tags, 50 values each
		root.put(1, tag, &values[i], func(o *int) bool { return *o == i })
	}
	for i := range values {
		found := false
		for _, e := range root.leaf(uint64(i%4) << 60) {
			found = found || *e.value == i
		}
		if !found {
			t.Fatalf("%d is lost", i)
		}
	}
	for i := range values {
		root.remove(2, uint64(i%4)<<60, func(o *int) bool { return *o == i })
	}
	if root.dir != nil || root.entries != nil {
		t.Fatal("an empty trie keeps nodes")
	}
}

// TestClear drops everything in one version.
func TestClear(t *testing.T) {
	s := New()
	txn := s.Begin()
	txn.PutAgent(agent(t, authz.AgentSpec{ID: id(1), Token: hash(1)}))
	txn.Commit()
	old := s.View()
	txn = s.Begin()
	txn.Clear()
	txn.PutAgent(agent(t, authz.AgentSpec{ID: id(2), Token: hash(2)}))
	txn.Commit()
	v := s.View()
	if v.Agent(id(1)) != nil || v.AgentByToken(hash(1)) != nil || v.Agent(id(2)) == nil || v.Version() != 2 || old.Agent(id(1)) == nil {
		t.Fatal("Clear kept something, or changed an old view")
	}
	s.Begin().Commit()
	if s.Version() != 2 {
		t.Fatal("a commit without changes made a version")
	}
}

// TestReadersSeeOneVersion lets a writer move a token between agents in pairs while readers look: in every view exactly
// one of the two holds it, the pair's revisions are equal, and versions never go back.
func TestReadersSeeOneVersion(t *testing.T) {
	s := New()
	const pairs = 64
	write := func(round int) {
		txn := s.Begin()
		for p := range pairs {
			holder, other := 2*p+round%2, 2*p+1-round%2
			txn.PutAgent(agent(t, authz.AgentSpec{ID: id(other), Token: hash(1000 + other + 1000*round), Revision: uint64(round)}))
			txn.PutAgent(agent(t, authz.AgentSpec{ID: id(holder), Token: hash(p), Revision: uint64(round)}))
		}
		txn.Commit()
	}
	write(0)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			last := uint64(0)
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				v := s.View()
				p := n % pairs
				a, b, holder := v.Agent(id(2*p)), v.Agent(id(2*p+1)), v.AgentByToken(hash(p))
				if a == nil || b == nil || a.Revision != b.Revision || holder != a && holder != b || v.Version() < last {
					t.Error("a view is not one version")
					return
				}
				last = v.Version()
			}
		})
	}
	for round := 1; round < 100; round++ {
		write(round)
	}
	close(stop)
	wg.Wait()
	if err := s.View().check(); err != nil {
		t.Fatal(err)
	}
}

// million fills a state with n agents of ten permissions.
func million(tb testing.TB, n int) *State {
	var perms []authz.Permission
	for i := range 10 {
		perms = append(perms, authz.Permission{Resource: fmt.Sprintf("mcp:server%d:tool%d:*", i, i), Actions: []string{"read", "write"}})
	}
	s := New()
	txn := s.Begin()
	for i := range n {
		txn.PutAgent(agent(tb, authz.AgentSpec{
			ID: id(i), Token: hash(i), Name: fmt.Sprintf("agent-%d", i), Owner: fmt.Sprintf("user-%d", i%5000), Tenant: "default", Permissions: perms,
		}))
	}
	txn.Commit()
	return s
}

// BenchmarkMillionAgents measures what a million agents of ten permissions take, and what they cost the collector. It
// measures memory, not time: one round is enough (-benchtime 1x).
func BenchmarkMillionAgents(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var s *State
	for b.Loop() {
		s = million(b, 1_000_000)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(after.HeapObjects-before.HeapObjects)/1e6, "Mobjects")
	start := time.Now()
	runtime.GC()
	b.ReportMetric(time.Since(start).Seconds(), "gc-s")
	runtime.KeepAlive(s)
}

// TestUpdatesAreReclaimed holds that replacing records over and over doesn't grow the heap. KAVACH_STATE_UPDATES sets
// how often (default 100,000; 10,000,000 once).
func TestUpdatesAreReclaimed(t *testing.T) {
	updates := 100_000
	if raceEnabled {
		updates = 2000
	}
	if text := os.Getenv("KAVACH_STATE_UPDATES"); text != "" {
		if _, err := fmt.Sscan(text, &updates); err != nil {
			t.Fatal(err)
		}
	}
	const agents = 2000
	s := million(t, agents)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	start := time.Now()
	for i := range updates {
		n := i * 7919 % agents
		old := s.View().Agent(id(n))
		txn := s.Begin()
		txn.PutAgent(agent(t, authz.AgentSpec{
			ID: id(n), Token: hash(agents + i), PrevToken: old.Token, PrevUntil: 1, Name: old.Name, Owner: old.Owner, Tenant: old.Tenant, Permissions: old.Permissions(),
		}))
		txn.Commit()
	}
	took := time.Since(start)
	after := heap()
	t.Logf("%d updates in %v, heap %d KiB before, %d KiB after", updates, took, before>>10, after>>10)
	if err := s.View().check(); err != nil {
		t.Fatal(err)
	}
	if after > before+before/2+(1<<20) { // every agent has a previous token by now
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	runtime.KeepAlive(s)
}

// BenchmarkPutAgent is one replacement in one commit, as a write does it.
func BenchmarkPutAgent(b *testing.B) {
	s := million(b, 100_000)
	a := agent(b, authz.AgentSpec{ID: id(77), Token: hash(77)})
	b.ReportAllocs()
	for b.Loop() {
		txn := s.Begin()
		txn.PutAgent(a)
		txn.Commit()
	}
}
