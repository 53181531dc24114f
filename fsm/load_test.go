package fsm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/authz/state"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// seen is what a decision state shows of an agent.
type seen struct {
	Agent       authz.AgentSpec
	Received    []ids.ID
	Token       bool
	Permissions int
}

// look reads a state by every agent of r, so that two states can be compared. Delegations that are over are left out:
// when they go is a matter of memory.
func look(t rapid.TB, r storage.Reader, s *state.State, wall int64) map[string]seen {
	t.Helper()
	v := s.View()
	out := map[string]seen{}
	v.EachAgent(func(a *authz.Agent) bool {
		prev, until := a.Previous()
		w := seen{
			Agent: authz.AgentSpec{
				ID: a.ID, Tenant: a.Tenant, Owner: a.Owner, Name: a.Name, Type: a.Type, Revoked: a.Revoked, ExpiresAt: a.ExpiresAt,
				Token: a.Token, PrevToken: prev, PrevUntil: until, Revision: a.Revision,
			},
			Token: v.AgentByToken(a.Token) == a, Permissions: a.Len(),
		}
		for _, d := range v.Received(a.ID) {
			if d.ExpiresAt == 0 || d.ExpiresAt > wall {
				w.Received = append(w.Received, d.ID)
			}
		}
		out[a.ID.Text(ids.PrefixAgent)] = w
		return true
	})
	lower, upper := storage.Range(storage.TableKeyHash)
	err := r.Scan(lower, upper, false, func(key, _ []byte) (bool, error) {
		h, err := storage.ParseKeyHashKey(key)
		if k := v.KeyByHash(h); err == nil && k != nil {
			out[k.ID.Text(ids.PrefixKey)] = seen{Agent: authz.AgentSpec{ID: k.ID, Tenant: k.Tenant, Revoked: k.Revoked, Revision: k.Revision}}
		}
		return true, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// compareStates fails unless kept, which Refresh kept step by step, shows what a fresh Load does.
func compareStates(t rapid.TB, r storage.Reader, kept *state.State, wall int64) {
	t.Helper()
	fresh := state.New()
	if err := Load(r, fresh); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(look(t, r, fresh, wall), look(t, r, kept, wall)); d != "" {
		t.Fatal("the state that was refreshed differs from the one that was loaded:", d)
	}
}

func TestRefresh(t *testing.T) {
	b := newBench(t)
	s := state.New()
	step := func(cmds ...*raftv1.Command) {
		t.Helper()
		b.entry(cmds...)
		v := b.store.View()
		defer b.close(v)
		if err := Refresh(v, s, b.last.Touched); err != nil {
			t.Fatal(err)
		}
		compareStates(t, v, s, b.wall)
	}
	b.read(func(r *Reader) {
		if err := Load(r.r, s); err != nil {
			t.Fatal(err)
		}
	})
	short := func(c *raftv1.CreateDelegation) { c.Expiry = ttl(second) }
	step(create(10, nil, "a *"), create(11, nil), create(12, func(c *raftv1.CreateAgent) { c.Expiry = never() }))
	step(delegate(50, 10, 11, nil, "a read"), delegate(51, 10, 11, short, "a write"))
	step(rotate(10, "x", hour), createKey(20, nil))
	step(revokeDelegation(50))
	version := s.Version()
	step(appendBlock(7, 1, "n1", start), settings(&raftv1.Settings{MaxClockSkew: second}))
	b.wall += 2 * hour
	step(appendBlock(7, 2, "n1", start))
	if got := len(s.View().Received(ids.ID(testID(11)))); got != 1 {
		t.Errorf("%d received", got)
	}
	step(delegate(52, 10, 11, nil, "a write")) // lets go of 51, which is long over
	if got := s.View().Received(ids.ID(testID(11))); len(got) != 1 || got[0].ID != ids.ID(testID(52)) {
		t.Errorf("%d received", len(got))
	}
	step(revokeKey(20), revoke(10))
	b.wall += 100 * day
	step(purgeCommand(100))
	if s.View().Agent(ids.ID(testID(10))) != nil {
		t.Error("a purged agent is still there")
	}
	if s.Version() == version {
		t.Error("the version stands still")
	}
}

// TestRefreshIsOneVersion: the state moves once for all that a Raft batch touched, and not at all for audit blocks.
func TestRefreshIsOneVersion(t *testing.T) {
	b := newBench(t)
	s := state.New()
	refresh := func(touched Touched) {
		v := b.store.View()
		defer b.close(v)
		if err := Refresh(v, s, touched); err != nil {
			t.Fatal(err)
		}
	}
	b.entry(create(10, nil), create(11, nil), rotate(10, "x", 0))
	touched := b.last.Touched
	b.entry(revoke(10))
	touched.Merge(b.last.Touched)
	if len(touched.Agents) != 2 {
		t.Errorf("touched %v", touched.Agents)
	}
	refresh(touched)
	if s.Version() != 1 {
		t.Errorf("version %d", s.Version())
	}
	b.entry(appendBlock(7, 1, "n1", start))
	refresh(b.last.Touched)
	if s.Version() != 1 {
		t.Errorf("an audit block moved the version to %d", s.Version())
	}
}

// TestLoadFailsWhole: a record that can't be read leaves the state as it was.
func TestLoadFailsWhole(t *testing.T) {
	b := newBench(t)
	b.ok(create(10, nil))
	s := state.New()
	b.read(func(r *Reader) {
		if err := Load(r.r, s); err != nil {
			t.Fatal(err)
		}
	})
	b.spoil(func(tx *storage.Tx) error {
		return tx.Set(storage.AgentKey("default", [16]byte(testID(11))), []byte{0xff})
	})
	b.read(func(r *Reader) {
		if err := Load(r.r, s); err == nil {
			t.Error("Load succeeds")
		}
		if err := Refresh(r.r, s, Touched{Agents: []TouchedAgent{{"default", [16]byte(testID(11))}}}); err == nil {
			t.Error("Refresh succeeds")
		}
	})
	if s.Version() != 1 || s.View().Counts().Agents != 1 {
		t.Errorf("version %d, %+v", s.Version(), s.View().Counts())
	}
}
