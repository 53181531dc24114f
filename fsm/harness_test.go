package fsm

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	second = int64(1e9)
	hour   = 3600 * second
	day    = 24 * hour
	// start is the wall clock at which a bench begins.
	start = int64(1_700_000_000) * second
)

// bench is a state machine over a store in memory, with an admin key, and a clock that the test moves.
type bench struct {
	t     testing.TB
	store *storage.Store
	m     *Machine
	index uint64
	term  uint64
	wall  int64
	key   []byte // the admin key's id
	acts  int    // audit entries asked for
	last  *Applied
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := bareBench(t)
	b.ok(&raftv1.Command{Command: &raftv1.Command_InitCluster{InitCluster: &raftv1.InitCluster{ClusterId: testID(1)}}})
	b.ok(&raftv1.Command{Command: &raftv1.Command_BootstrapKey{BootstrapKey: &raftv1.BootstrapKey{Id: b.key, Hash: testHash("admin")}}})
	return b
}

// bareBench has neither a cluster nor a key.
func bareBench(t testing.TB) *bench {
	t.Helper()
	store, err := storage.Open(vfs.NewMem(), "state", storage.Small())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, store: store, m: New(), term: 1, wall: start, key: testID(2)}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// testID is an id that tells itself apart by n.
func testID(n int) []byte {
	id := ids.ID{0: 0x01, 6: 0x70, 8: 0x80, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}
	return id[:]
}

func testHash(secret string) []byte {
	h := sha256.Sum256([]byte(secret))
	return h[:]
}

// entry applies commands as one entry. What has no caller gets the admin key, unless its kind needs none.
func (b *bench) entry(cmds ...*raftv1.Command) []Outcome {
	b.t.Helper()
	for _, c := range cmds {
		if c.GetCaller() == nil && !nodesOwn(c) {
			c.Caller = &raftv1.Caller{KeyId: b.key, NodeId: "n1"}
		}
		if c.GetAudit() != nil {
			b.acts++
		}
	}
	payload, err := EncodeEntry(&raftv1.Entry{Format: Format, Wall: b.wall, Commands: cmds})
	if err != nil {
		b.t.Fatal(err)
	}
	a, err := b.apply(payload)
	if err != nil {
		b.t.Fatal(err)
	}
	b.last = a
	return a.Outcomes
}

// apply applies a payload and commits; after a fault nothing is committed.
func (b *bench) apply(payload []byte) (*Applied, error) {
	b.t.Helper()
	tx := b.store.Begin()
	a, err := b.m.Apply(tx, b.index+1, b.term, payload)
	if err != nil {
		if err := tx.Abort(); err != nil {
			b.t.Fatal(err)
		}
		return nil, err
	}
	b.index++
	if err := tx.Commit(storage.Position{Index: b.index, Term: b.term}, nil); err != nil {
		b.t.Fatal(err)
	}
	return a.(*Applied), nil
}

// do applies one command.
func (b *bench) do(c *raftv1.Command) Outcome {
	b.t.Helper()
	return b.entry(c)[0]
}

// ok applies one command that must succeed, and returns its result.
func (b *bench) ok(c *raftv1.Command) *raftv1.Result {
	b.t.Helper()
	o := b.do(c)
	if o.Refused != nil {
		b.t.Fatalf("%T is refused: %v", c.GetCommand(), o.Refused)
	}
	return o.Result
}

// refused applies one command that must be refused so, and must leave the state as it was but for clock and trail.
func (b *bench) refused(want status.Reason, c *raftv1.Command) *status.Error {
	b.t.Helper()
	before := b.digests()
	o := b.do(c)
	if o.Refused == nil || o.Refused.Reason != want || o.Result != nil {
		b.t.Fatalf("%T gives %v and %v, want %s", c.GetCommand(), o.Result, o.Refused, want)
	}
	after := b.digests()
	for _, t := range storage.Tables() {
		if !bookkeeping(t.Letter) && before[t.Letter] != after[t.Letter] {
			b.t.Fatalf("%T was refused and changed the table %s", c.GetCommand(), t.Name)
		}
	}
	return o.Refused
}

// bookkeeping tells the tables that a refused command may change: the clock, and its audit entry.
func bookkeeping(table byte) bool {
	switch table {
	case storage.TableCluster, storage.TableAuditBlock, storage.TableAuditBody, storage.TableAuditTerm, storage.TableJournal:
		return true
	default:
		return false
	}
}

func (b *bench) digests() storage.Sums {
	b.t.Helper()
	v := b.store.View()
	defer b.close(v)
	d, err := v.Digests()
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

func (b *bench) close(v *storage.View) {
	if err := v.Close(); err != nil {
		b.t.Error(err)
	}
}

// read runs fn over a view.
func (b *bench) read(fn func(r *Reader)) {
	b.t.Helper()
	v := b.store.View()
	defer b.close(v)
	fn(NewReader(v))
}

// check runs Check and the store's own, and fails for what they find.
func (b *bench) check() {
	b.t.Helper()
	v := b.store.View()
	defer b.close(v)
	for _, i := range Check(v) {
		b.t.Error(i)
	}
	if err := v.Check(); err != nil {
		b.t.Error(err)
	}
	if b.t.Failed() {
		b.t.FailNow()
	}
}

func (b *bench) agent(n int) (a *raftv1.Agent) {
	b.t.Helper()
	b.read(func(r *Reader) {
		var err error
		if a, err = r.Agent(ids.ID(testID(n))); err != nil {
			b.t.Fatal(err)
		}
	})
	return a
}

func (b *bench) delegation(n int) (d *raftv1.Delegation) {
	b.t.Helper()
	b.read(func(r *Reader) {
		var err error
		if d, err = r.Delegation(ids.ID(testID(n))); err != nil {
			b.t.Fatal(err)
		}
	})
	return d
}

// byToken is the number of the agent that a token leads to; 0: none.
func (b *bench) byToken(secret string) (n int) {
	b.t.Helper()
	b.read(func(r *Reader) {
		a, err := r.AgentByToken(ids.Hash(testHash(secret)))
		if err != nil {
			b.t.Fatal(err)
		}
		if a != nil {
			n = int(a.GetId()[14])<<8 | int(a.GetId()[15])
		}
	})
	return n
}

// perms makes permissions of "resource action action…" texts.
func perms(texts ...string) []*raftv1.Permission {
	var list []*raftv1.Permission
	for _, text := range texts {
		var p raftv1.Permission
		var actions [3]string
		n, _ := fmt.Sscan(text, &p.Resource, &actions[0], &actions[1], &actions[2])
		p.Actions = actions[:max(n-1, 0)]
		list = append(list, &p)
	}
	return list
}

func ttl(d int64) *raftv1.Expiry { return &raftv1.Expiry{Expiry: &raftv1.Expiry_Ttl{Ttl: d}} }
func at(t int64) *raftv1.Expiry  { return &raftv1.Expiry{Expiry: &raftv1.Expiry_At{At: t}} }
func never() *raftv1.Expiry      { return &raftv1.Expiry{Expiry: &raftv1.Expiry_Never{Never: true}} }

// create is a CreateAgent of the agent n of the owner alice, whose token is "t<n>". edit may change it.
func create(n int, edit func(*raftv1.CreateAgent), list ...string) *raftv1.Command {
	c := &raftv1.CreateAgent{
		Id: testID(n), Owner: "alice", Name: fmt.Sprintf("agent %d", n), Type: 1, Permissions: perms(list...),
		TokenHash: testHash(fmt.Sprintf("t%d", n)),
	}
	if edit != nil {
		edit(c)
	}
	return &raftv1.Command{Command: &raftv1.Command_CreateAgent{CreateAgent: c}}
}

func update(n int, edit func(*raftv1.UpdateAgent)) *raftv1.Command {
	c := &raftv1.UpdateAgent{Id: testID(n)}
	edit(c)
	return &raftv1.Command{Command: &raftv1.Command_UpdateAgent{UpdateAgent: c}}
}

func rotate(n int, secret string, grace int64) *raftv1.Command {
	return &raftv1.Command{Command: &raftv1.Command_RotateToken{RotateToken: &raftv1.RotateToken{
		Id: testID(n), TokenHash: testHash(secret), Grace: grace,
	}}}
}

func revoke(n int) *raftv1.Command {
	return &raftv1.Command{Command: &raftv1.Command_RevokeAgent{RevokeAgent: &raftv1.RevokeAgent{Id: testID(n)}}}
}

func delegate(n, from, to int, edit func(*raftv1.CreateDelegation), list ...string) *raftv1.Command {
	c := &raftv1.CreateDelegation{Id: testID(n), From: testID(from), To: testID(to), Permissions: perms(list...), MaxDepth: 3}
	if edit != nil {
		edit(c)
	}
	return &raftv1.Command{Command: &raftv1.Command_CreateDelegation{CreateDelegation: c}}
}

func revokeDelegation(n int) *raftv1.Command {
	return &raftv1.Command{Command: &raftv1.Command_RevokeDelegation{RevokeDelegation: &raftv1.RevokeDelegation{Id: testID(n)}}}
}

func settings(s *raftv1.Settings) *raftv1.Command {
	return &raftv1.Command{Command: &raftv1.Command_UpdateSettings{UpdateSettings: &raftv1.UpdateSettings{Settings: s}}}
}

func createKey(n int, edit func(*raftv1.CreateKey)) *raftv1.Command {
	c := &raftv1.CreateKey{Id: testID(n), Name: fmt.Sprintf("key %d", n), Role: RoleAdmin, Hash: testHash(fmt.Sprintf("k%d", n))}
	if edit != nil {
		edit(c)
	}
	return &raftv1.Command{Command: &raftv1.Command_CreateKey{CreateKey: c}}
}

func revokeKey(n int) *raftv1.Command {
	return &raftv1.Command{Command: &raftv1.Command_RevokeKey{RevokeKey: &raftv1.RevokeKey{Id: testID(n)}}}
}

func purgeCommand(limit uint32) *raftv1.Command {
	return &raftv1.Command{Command: &raftv1.Command_PurgeExpired{PurgeExpired: &raftv1.PurgeExpired{Limit: limit}}}
}

// by gives the command another caller.
func by(key int, tenant string, c *raftv1.Command) *raftv1.Command {
	c.Caller = &raftv1.Caller{KeyId: testID(key), NodeId: "n1", Tenant: tenant}
	return c
}

// keyed makes the command repeatable: its hash is that of request.
func keyed(key, request string, c *raftv1.Command) *raftv1.Command {
	c.Idempotency = &raftv1.IdempotencyKey{Key: key, Method: fmt.Sprintf("%T", c.GetCommand()), RequestHash: testHash(request)}
	return c
}

// audited asks for an audit entry with the id n.
func audited(n int, method string, c *raftv1.Command) *raftv1.Command {
	c.Audit = &raftv1.AuditInfo{Id: testID(n), Method: method, Ip: "10.0.0.1", UserAgent: "test", Trace: "trace"}
	return c
}

func clone(c *raftv1.Command) *raftv1.Command { return proto.CloneOf(c) }
