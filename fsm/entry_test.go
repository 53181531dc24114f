package fsm

import (
	"errors"
	"math"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/kavachd/kavachd/audit/block"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// everyCommand has one command of each kind, by the name of its field. A test sees that none is missing.
func everyCommand() map[string]*raftv1.Command {
	return map[string]*raftv1.Command{
		"create_agent":       create(900, nil),
		"update_agent":       update(900, func(*raftv1.UpdateAgent) {}),
		"revoke_agent":       revoke(900),
		"rotate_token":       rotate(900, "x", 0),
		"create_delegation":  delegate(901, 900, 902, nil, "a read"),
		"revoke_delegation":  revokeDelegation(901),
		"update_settings":    settings(&raftv1.Settings{}),
		"create_key":         createKey(903, nil),
		"revoke_key":         revokeKey(903),
		"bootstrap_key":      {Command: &raftv1.Command_BootstrapKey{BootstrapKey: &raftv1.BootstrapKey{Id: testID(904), Hash: testHash("b")}}},
		"append_audit_block": appendBlock(1, 1, "n1", start),
		"init_cluster":       {Command: &raftv1.Command_InitCluster{InitCluster: &raftv1.InitCluster{ClusterId: testID(1)}}},
		"leader_epoch":       {Command: &raftv1.Command_LeaderEpoch{LeaderEpoch: &raftv1.LeaderEpoch{NodeId: "n1", Term: 1}}},
		"register_node":      {Command: &raftv1.Command_RegisterNode{RegisterNode: &raftv1.RegisterNode{Node: &raftv1.NodeRecord{NodeId: "n1"}}}},
		"purge_expired":      purgeCommand(10),
	}
}

// appendBlock is a block of one decision in the journal n, whose first number is seq.
func appendBlock(n int, seq uint64, node string, times ...int64) *raftv1.Command {
	entries := make([]*raftv1.AuditEntry, 0, len(times))
	for i, at := range times {
		entries = append(entries, &raftv1.AuditEntry{
			Id: testID(n<<8 | int(seq) + i), Time: at, NodeId: node, Kind: 1, AgentId: agentText(testID(10)), Owner: "alice", Tenant: "default", Result: 1,
		})
	}
	b, err := block.EncodeUncompressed(entries)
	if err != nil {
		panic(err)
	}
	return &raftv1.Command{Command: &raftv1.Command_AppendAuditBlock{AppendAuditBlock: b.Command([16]byte(testID(n)), seq, node)}}
}

// TestEveryKindIsExecuted: each kind of the protocol has a command here, and one that Apply knows.
func TestEveryKindIsExecuted(t *testing.T) {
	all := everyCommand()
	fields := (&raftv1.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("command").Fields()
	if fields.Len() != len(all) {
		t.Errorf("%d kinds, %d commands here", fields.Len(), len(all))
	}
	b := newBench(t)
	for i := range fields.Len() {
		c := all[string(fields.Get(i).Name())]
		if c == nil || c.ProtoReflect().WhichOneof(fields.Get(i).ContainingOneof()) != fields.Get(i) {
			t.Errorf("no command for %s", fields.Get(i).Name())
			continue
		}
		if o := b.do(c); (o.Result == nil) == (o.Refused == nil) {
			t.Errorf("%s gives %v and %v", fields.Get(i).Name(), o.Result, o.Refused)
		}
	}
	b.check()
}

func TestFaults(t *testing.T) {
	b := newBench(t)
	encode := func(e *raftv1.Entry) []byte {
		payload, err := EncodeEntry(e)
		if err != nil {
			t.Fatal(err)
		}
		return payload
	}
	unknownField := create(10, nil)
	unknownField.GetCreateAgent().ProtoReflect().SetUnknown(protoreflect.RawFields{0xf8, 0x07, 1}) // field 127
	deep := create(10, nil, "a read")
	deep.GetCreateAgent().GetPermissions()[0].ProtoReflect().SetUnknown(protoreflect.RawFields{0xf8, 0x07, 1})
	unknownKind := &raftv1.Command{}
	unknownKind.ProtoReflect().SetUnknown(protoreflect.RawFields{0xfa, 0x07, 0})
	epoch := everyCommand()["leader_epoch"]
	for _, tc := range []struct {
		name     string
		payload  []byte
		cause    Cause
		position int
	}{
		{"garbage", []byte{0xff, 0xff, 0xff}, CauseMalformed, -1},
		{"empty", nil, CauseFormat, -1},
		{"no command", encode(&raftv1.Entry{Format: Format}), CauseMalformed, -1},
		{"format 2", encode(&raftv1.Entry{Format: 2, Commands: []*raftv1.Command{create(10, nil)}}), CauseFormat, -1},
		{"format 0", encode(&raftv1.Entry{Commands: []*raftv1.Command{create(10, nil)}}), CauseFormat, -1},
		{"an empty command", encode(&raftv1.Entry{Format: Format, Commands: []*raftv1.Command{{}}}), CauseCommand, -1},
		{"a command of another version", encode(&raftv1.Entry{Format: Format, Commands: []*raftv1.Command{unknownKind}}), CauseCommand, -1},
		{"a field of another version", encode(&raftv1.Entry{Format: Format, Commands: []*raftv1.Command{unknownField}}), CauseCommand, -1},
		{"one deep inside", encode(&raftv1.Entry{Format: Format, Commands: []*raftv1.Command{deep}}), CauseCommand, -1},
		{"an epoch in company", encode(&raftv1.Entry{Format: Format, Commands: []*raftv1.Command{epoch, create(10, nil)}}), CauseMalformed, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := b.digests()
			_, err := b.apply(tc.payload)
			f, ok := errors.AsType[*Fault](err)
			if !ok || f.Cause != tc.cause || f.Position != tc.position || f.Index != b.index+1 || f.Term != b.term {
				t.Fatalf("%v, want %s", err, tc.cause)
			}
			if !b.digests().Equal(before) {
				t.Error("a fault has left something")
			}
		})
	}
}

// TestCorruptStateIsAFault: what can't be read is never a refusal.
func TestCorruptStateIsAFault(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(tx *storage.Tx) error
	}{
		{"a record that does not decode", func(tx *storage.Tx) error {
			return tx.Set(storage.AgentKey("default", [16]byte(testID(10))), []byte{0xff})
		}},
		{"an index that leads nowhere", func(tx *storage.Tx) error {
			return tx.Delete(storage.AgentKey("default", [16]byte(testID(10))))
		}},
		{"a record with a field of another version", func(tx *storage.Tx) error {
			return tx.Set(storage.AgentKey("default", [16]byte(testID(10))), []byte{0xf8, 0x07, 1})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.ok(create(10, nil))
			b.spoil(tc.spoil)
			c := revoke(10)
			c.Caller = &raftv1.Caller{KeyId: b.key}
			payload, err := EncodeEntry(&raftv1.Entry{Format: Format, Wall: b.wall, Commands: []*raftv1.Command{purgeCommand(1), c}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = b.apply(payload)
			if f, ok := errors.AsType[*Fault](err); !ok || f.Cause != CauseCorrupt || f.Position != 1 {
				t.Fatalf("%v, want %s", err, CauseCorrupt)
			}
			b.read(func(r *Reader) {
				if len(Check(r.r)) == 0 {
					t.Error("Check finds nothing")
				}
			})
		})
	}
}

// spoil writes behind the state machine's back.
func (b *bench) spoil(fn func(tx *storage.Tx) error) {
	b.t.Helper()
	tx := b.store.Begin()
	if err := fn(tx); err != nil {
		b.t.Fatal(err)
	}
	b.index++
	if err := tx.Commit(storage.Position{Index: b.index, Term: b.term}, nil); err != nil {
		b.t.Fatal(err)
	}
}

func TestCausesAreListed(t *testing.T) {
	seen := map[Cause]bool{}
	for _, c := range Causes() {
		seen[c] = true
	}
	if len(seen) != 6 {
		t.Errorf("%v", Causes())
	}
	if c := asFault(errors.New("disk"), 1, 1, 0).Cause; c != CauseStorage || !seen[c] {
		t.Errorf("what has no cause is %s", c)
	}
}

// TestRefusedAfterAWriteIsAFault: the overlay has no savepoint, so this must never pass in silence.
func TestRefusedAfterAWriteIsAFault(t *testing.T) {
	b := newBench(t)
	tx := b.store.Begin()
	defer func() {
		if err := tx.Abort(); err != nil {
			t.Error(err)
		}
	}()
	x := &command{Reader: NewReader(tx), writer: &writer{tx: tx, index: b.index + 1, wall: b.wall}}
	_, refusal := x.agentIn("", "agent_id", testID(999))
	if o, err := x.settle(x.writes, revoke(999), Outcome{}, refusal); err != nil || o.Refused == nil {
		t.Fatalf("a refusal before any write: %v, %v", o, err)
	}
	before := x.writes
	if err := x.set([]byte("a"), nil); err != nil {
		t.Fatal(err)
	}
	_, err := x.settle(before, revoke(999), Outcome{}, refusal)
	if err == nil || asFault(err, 1, 1, 0).Cause != CauseInvariant {
		t.Errorf("%v, want %s", err, CauseInvariant)
	}
}

// TestWallNeverGoesBack: what is judged by the wall clock is judged by the newest stamp seen.
func TestWallNeverGoesBack(t *testing.T) {
	b := newBench(t)
	b.wall += hour
	b.ok(create(10, func(c *raftv1.CreateAgent) { c.Expiry = ttl(1) }))
	b.wall -= 2 * hour
	b.ok(create(11, nil))
	if got := b.agent(11).GetCreatedAt(); got != start+hour || b.last.Wall != got {
		t.Errorf("created %d after the start", got-start)
	}
	b.wall = math.MinInt64
	b.ok(create(12, nil))
	if b.last.Wall != start+hour {
		t.Errorf("the wall clock is %d", b.last.Wall-start)
	}
	b.check()
}

// TestDecodeEntryRoundTrip: what is encoded decodes to the same.
func TestDecodeEntryRoundTrip(t *testing.T) {
	for name, c := range everyCommand() {
		e := &raftv1.Entry{Format: Format, Wall: start, Commands: []*raftv1.Command{c}}
		payload, err := EncodeEntry(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeEntry(payload)
		if err != nil || !proto.Equal(e, got) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
