package fsm

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/kavachd/kavachd/authz/state"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// script draws commands over few names, so that they meet: agents 10 to 16, delegations from 100, keys 20 to 22.
type script struct {
	t       *rapid.T
	wall    int64
	secrets int
	dlg     int
	journal [2]uint64 // the next number of two nodes' journals
	acts    int
	// long histories have steps in which agents and delegations are purged, in parts. The model does not follow there.
	long bool
}

func (s *script) pick(label string, n int) int { return rapid.IntRange(0, n-1).Draw(s.t, label) }

func (s *script) agent() int { return 10 + s.pick("agent", 7) }

func (s *script) oneOf(list ...string) string { return rapid.SampledFrom(list).Draw(s.t, "of") }

// secret is mostly a new one, sometimes one that is or was in use.
func (s *script) secret() string {
	if s.secrets > 0 && s.pick("old secret", 12) == 0 {
		return fmt.Sprintf("s%d", s.pick("secret", s.secrets))
	}
	s.secrets++
	return fmt.Sprintf("s%d", s.secrets-1)
}

func (s *script) list() []*raftv1.Permission {
	var list []string
	for range 1 + s.pick("permissions", 2) {
		list = append(list, s.oneOf("a *", "a read", "a:* read", "a:b read", "b *", "b write", "* read", "* *"))
	}
	return perms(list...)
}

func (s *script) expiry() *raftv1.Expiry {
	return []*raftv1.Expiry{nil, never(), ttl(hour), ttl(30 * hour), at(s.wall + 1), at(s.wall), ttl(-1)}[s.pick("expiry", 7)]
}

// maybeRevision is none, or one that is seldom right.
func (s *script) maybeRevision() uint64 {
	if s.pick("revision", 8) == 0 {
		return uint64(1 + s.pick("revision", 12))
	}
	return 0
}

func (s *script) command() *raftv1.Command {
	var c *raftv1.Command
	switch s.pick("kind", 20) {
	case 0, 1, 2, 3:
		c = create(s.agent(), func(c *raftv1.CreateAgent) {
			c.Owner, c.Tenant, c.Permissions, c.Expiry = s.oneOf("alice", "bob"), s.oneOf("default", "default", "blue"), s.list(), s.expiry()
			c.TokenHash = testHash(s.secret())
		})
	case 4, 5:
		c = update(s.agent(), func(c *raftv1.UpdateAgent) {
			c.ExpectedRevision = s.maybeRevision()
			if s.pick("list", 2) == 0 {
				c.Permissions = &raftv1.PermissionList{Permissions: s.list()}
			} else {
				c.Expiry = s.expiry()
			}
		})
	case 6, 7:
		c = rotate(s.agent(), s.secret(), []int64{0, 0, hour, 100 * hour}[s.pick("grace", 4)])
		c.GetRotateToken().ExpectedRevision = s.maybeRevision()
	case 8:
		c = revoke(s.agent())
		c.GetRevokeAgent().ExpectedRevision = s.maybeRevision()
	case 9, 10, 11, 12:
		s.dlg++
		n := s.dlg
		if s.pick("old id", 10) == 0 {
			n = 1 + s.pick("id", s.dlg)
		}
		c = delegate(100+n, s.agent(), s.agent(), func(c *raftv1.CreateDelegation) {
			c.Permissions, c.Expiry, c.MaxDepth = s.list(), s.expiry(), uint32(1+s.pick("max_depth", 4))
		})
	case 13:
		c = revokeDelegation(100 + 1 + s.pick("delegation", s.dlg+1))
	case 14:
		c = settings(&raftv1.Settings{MaxAgentsPerOwner: uint32(1 + s.pick("limit", 4))})
	case 15:
		c = createKey(20+s.pick("key", 3), func(c *raftv1.CreateKey) {
			c.Tenant, c.Hash, c.Expiry = s.oneOf("", "blue"), testHash(s.secret()), s.expiry()
		})
	case 16:
		c = revokeKey(20 + s.pick("key", 3))
	case 17:
		return s.block()
	case 18:
		return &raftv1.Command{Command: &raftv1.Command_RegisterNode{RegisterNode: &raftv1.RegisterNode{
			Node: &raftv1.NodeRecord{NodeId: s.oneOf("n1", "n2"), ApiAddress: s.oneOf("a", "b")}, Remove: s.pick("remove", 3) == 0,
		}}}
	default:
		return purgeCommand(uint32(1 + s.pick("limit", 5)))
	}
	caller := 2
	if s.pick("caller", 5) == 0 {
		caller = 20 + s.pick("key", 3)
	}
	by(caller, s.oneOf("", "", "", "blue", "default"), c)
	if s.pick("repeatable", 3) == 0 {
		keyed(s.oneOf("k1", "k2"), s.oneOf("q1", "q1", "q2"), c)
	}
	if s.pick("audited", 2) == 0 {
		s.acts++
		audited(1000+s.acts, fmt.Sprintf("%T", c.GetCommand()), c)
	}
	return c
}

// block is mostly the next of a journal, sometimes a repeat or behind a gap.
func (s *script) block() *raftv1.Command {
	j := s.pick("journal", 2)
	seq := s.journal[j] + 1
	switch s.pick("sequence", 5) {
	case 0:
		seq = 1
	case 1:
		return appendBlock(200+j, seq+1, "n1", s.wall)
	}
	if seq == s.journal[j]+1 {
		s.journal[j] += 2
	}
	return appendBlock(200+j, seq, "n1", s.wall, s.wall+1)
}

// entries draws a whole history: the founding, then entries of one to five commands while the clock moves, back too.
func (s *script) entries(n int) []*raftv1.Entry {
	s.wall = start
	list := []*raftv1.Entry{{Format: Format, Wall: start, Commands: []*raftv1.Command{
		everyCommand()["init_cluster"],
		{Command: &raftv1.Command_BootstrapKey{BootstrapKey: &raftv1.BootstrapKey{Id: testID(2), Hash: testHash("admin")}}},
	}}}
	steps := []int64{0, 0, 1, second, hour, 13 * hour, -hour}
	if s.long {
		steps = append(steps, 95*day)
	}
	for range n {
		s.wall += rapid.SampledFrom(steps).Draw(s.t, "wall")
		e := &raftv1.Entry{Format: Format, Wall: s.wall}
		list = append(list, e)
		if s.pick("epoch", 12) == 0 { // travels alone
			e.Commands = []*raftv1.Command{everyCommand()["leader_epoch"]}
			continue
		}
		for range 1 + s.pick("commands", 5) {
			e.Commands = append(e.Commands, s.command())
		}
	}
	return list
}

// replica is a state machine that applies a history in its own way.
type replica struct {
	t       *rapid.T
	fs      vfs.FS
	store   *storage.Store
	state   *state.State
	applied []*Applied // by index - 1; nil for what came by a snapshot
}

func newReplica(t *rapid.T) *replica {
	r := &replica{t: t, fs: vfs.NewMem(), state: state.New()}
	r.open()
	return r
}

func (r *replica) open() {
	store, err := storage.Open(r.fs, "state", storage.Small())
	r.must(err)
	r.store = store
}

func (r *replica) must(err error) {
	if err != nil {
		r.t.Helper()
		r.t.Fatal(err)
	}
}

func (r *replica) view(fn func(v *storage.View)) {
	v := r.store.View()
	defer func() { r.must(v.Close()) }()
	fn(v)
}

// batch applies the next n payloads in one transaction, as one Raft batch.
func (r *replica) batch(payloads [][]byte, n int) {
	tx := r.store.Begin()
	var touched Touched
	for range n {
		index := uint64(len(r.applied) + 1)
		a, err := New().Apply(tx, index, 1, payloads[index-1])
		r.must(err)
		r.applied = append(r.applied, a.(*Applied))
		touched.Merge(a.(*Applied).Touched)
	}
	r.must(tx.Commit(storage.Position{Index: uint64(len(r.applied)), Term: 1}, nil))
	r.view(func(v *storage.View) { r.must(Refresh(v, r.state, touched)) })
}

// restart closes and opens again: the decision state is rebuilt from what is stored.
func (r *replica) restart() {
	r.must(r.store.Close())
	r.open()
	r.state = state.New()
	r.view(func(v *storage.View) { r.must(Load(v, r.state)) })
}

// install takes another replica's state, as a snapshot travels: streamed, built beside, checked and swapped.
func (r *replica) install(from *replica) {
	at := storage.Position{Index: uint64(len(from.applied)), Term: 1}
	b, err := r.store.NewBuilder()
	r.must(err)
	from.view(func(v *storage.View) {
		st, err := v.Stream(at)
		r.must(err)
		_, err = io.Copy(b, st)
		r.must(err)
		r.must(st.Close())
	})
	r.must(b.Finish(storage.Stamp{Position: at, Configuration: storage.Configuration{Index: 1, Data: []byte{1}}}))
	_, err = r.store.Flip(b)
	r.must(err)
	for len(r.applied) < len(from.applied) {
		r.applied = append(r.applied, nil)
	}
	r.view(func(v *storage.View) { r.must(Load(v, r.state)) })
}

func (r *replica) sums() (s storage.Sums) {
	r.view(func(v *storage.View) {
		var err error
		s, err = v.Digests()
		r.must(err)
	})
	return s
}

// TestReplicasAgree: random histories, cut into different Raft batches, with restarts and snapshots at random points,
// give the same outcomes and the same digest on every replica; every index is what its records say; the decision state
// kept step by step is the one that is loaded; and every command is refused, or not, as the model says.
// KAVACH_FSM_SEQUENCES says how many histories.
func TestReplicasAgree(t *testing.T) {
	sequences(t)
	rapid.Check(t, func(t *rapid.T) {
		s := &script{t: t, long: rapid.IntRange(0, 3).Draw(t, "long") == 0}
		entries := s.entries(rapid.IntRange(1, 25).Draw(t, "entries"))
		payloads := make([][]byte, len(entries))
		for i, e := range entries {
			var err error
			if payloads[i], err = EncodeEntry(e); err != nil {
				t.Fatal(err)
			}
		}
		replicas := []*replica{newReplica(t), newReplica(t), newReplica(t)}
		defer func() {
			for _, r := range replicas {
				r.must(r.store.Close())
			}
		}()
		first := replicas[0] // one entry at a time
		for range payloads {
			first.batch(payloads, 1)
		}
		for _, r := range replicas[1:] {
			r.wander(payloads, replicas)
		}
		if !s.long {
			first.compareWithModel(entries)
		}
		want := first.sums()
		for i, r := range replicas {
			if got := r.sums(); !got.Equal(want) {
				t.Fatalf("replica %d: digests %v, want %v", i, got, want)
			}
			for j, a := range r.applied {
				if a == nil {
					continue // came by a snapshot
				}
				if d := cmp.Diff(first.applied[j], a, protocmp.Transform()); d != "" {
					t.Fatalf("replica %d, entry %d: %s", i, j+1, d)
				}
			}
			r.view(func(v *storage.View) {
				for _, bad := range Check(v) {
					t.Error(bad)
				}
				r.must(v.Check())
				compareStates(t, v, r.state, first.applied[len(first.applied)-1].Wall)
			})
		}
	})
}

// wander applies the history by batches of random size; between them it may restart, or jump ahead by a snapshot of a
// replica that is further.
func (r *replica) wander(payloads [][]byte, others []*replica) {
	for len(r.applied) < len(payloads) {
		r.batch(payloads, rapid.IntRange(1, min(6, len(payloads)-len(r.applied))).Draw(r.t, "batch"))
		switch rapid.IntRange(0, 9).Draw(r.t, "then") {
		case 0:
			r.restart()
		case 1:
			for _, o := range others[1:] {
				if len(o.applied) > len(r.applied) {
					r.install(o)
					break
				}
			}
		case 2: // a snapshot of itself at this point, onto an empty disk
			old := r.store
			fresh := newReplica(r.t)
			fresh.install(r)
			r.must(old.Close())
			r.fs, r.store, r.state = fresh.fs, fresh.store, fresh.state
		}
	}
}

// compareWithModel judges the whole history by the model too.
func (r *replica) compareWithModel(entries []*raftv1.Entry) {
	m := newModel()
	m.keys[string(testID(2))] = &modelKey{hash: string(testHash("admin"))}
	for i, e := range entries {
		m.index, m.wall = uint64(i+1), max(m.wall, e.GetWall())
		for j, c := range e.GetCommands() {
			if c.GetAppendAuditBlock() != nil || c.GetPurgeExpired() != nil || c.GetInitCluster() != nil || c.GetBootstrapKey() != nil {
				continue
			}
			want, got := m.apply(c), status.Reason("")
			if refused := r.applied[i].Outcomes[j].Refused; refused != nil {
				got = refused.Reason
			}
			if got != want {
				r.t.Fatalf("entry %d, command %d: refused %q, the model says %q\n%v", i+1, j, got, want, c)
			}
		}
	}
	r.view(func(v *storage.View) { m.compare(r.t, NewReader(v)) })
}

// compare looks at every agent, delegation and key of the model.
func (m *model) compare(t *rapid.T, r *Reader) {
	for id, want := range m.agents {
		a, err := r.Agent(ids.ID([]byte(id)))
		if err != nil {
			t.Fatal(err)
		}
		got := &modelAgent{
			tenant: a.GetTenant(), owner: a.GetOwner(), perms: a.GetPermissions(), token: string(a.GetTokenHash()),
			prev: string(a.GetPrevTokenHash()), until: a.GetPrevTokenUntil(), expires: a.GetExpiresAt(),
			revoked: a.GetRevokedAt() != 0, revision: a.GetRevision(),
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(modelAgent{}), protocmp.Transform()); d != "" {
			t.Fatalf("agent %s: %s", agentText([]byte(id)), d)
		}
	}
	for _, want := range m.delegations {
		d, err := r.Delegation(ids.ID([]byte(want.id)))
		if err != nil {
			t.Fatal(err)
		}
		if (d.GetRevokedAt() != 0) != want.revoked || d.GetDepth() != want.depth || d.GetExpiresAt() != want.expires {
			t.Fatalf("delegation %v, the model has %+v", d, want)
		}
	}
	for id, want := range m.keys {
		k, err := r.Key(ids.ID([]byte(id)))
		if err != nil {
			t.Fatal(err)
		}
		if (k.GetRevokedAt() != 0) != want.revoked || string(k.GetHash()) != want.hash && len(want.hash) > 0 {
			t.Fatalf("key %v, the model has %+v", k, want)
		}
	}
}

// sequences sets how many histories rapid draws: KAVACH_FSM_SEQUENCES, or a share.
func sequences(t *testing.T) {
	n := os.Getenv("KAVACH_FSM_SEQUENCES")
	if n == "" {
		n = "150"
	}
	f := flag.Lookup("rapid.checks")
	old := f.Value.String()
	if err := f.Value.Set(n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Value.Set(old); err != nil {
			t.Error(err)
		}
	})
}

// TestApplyTwiceSameBytes: the same entries on two stores leave the same records, byte for byte.
func TestApplyTwiceSameBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &script{t: t, long: true}
		var dumps [2][]byte
		entries := s.entries(rapid.IntRange(1, 10).Draw(t, "entries"))
		for i := range dumps {
			r := newReplica(t)
			var payloads [][]byte
			for _, e := range entries {
				payload, err := EncodeEntry(e)
				r.must(err)
				payloads = append(payloads, payload)
			}
			r.batch(payloads, len(payloads))
			r.view(func(v *storage.View) {
				r.must(v.Scan(nil, nil, false, func(key, value []byte) (bool, error) {
					dumps[i] = fmt.Appendf(dumps[i], "%s %x %x\n", storage.PrintKey(key), key, value)
					return true, nil
				}))
			})
			r.must(r.store.Close())
		}
		if !bytes.Equal(dumps[0], dumps[1]) {
			t.Fatalf("two stores differ:\n%s\n%s", dumps[0], dumps[1])
		}
	})
}
