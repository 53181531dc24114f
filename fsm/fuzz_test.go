package fsm

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// storedKinds makes an empty message of every kind that is stored.
func storedKinds() []func() proto.Message {
	return []func() proto.Message{
		func() proto.Message { return &raftv1.Agent{} },
		func() proto.Message { return &raftv1.Delegation{} },
		func() proto.Message { return &raftv1.ApiKey{} },
		func() proto.Message { return &raftv1.Settings{} },
		func() proto.Message { return &raftv1.Cluster{} },
		func() proto.Message { return &raftv1.NodeRecord{} },
		func() proto.Message { return &raftv1.IdempotencyRecord{} },
		func() proto.Message { return &raftv1.AuditBlock{} },
		func() proto.Message { return &raftv1.Change{} },
	}
}

// stored is one record of each kind, as a small history leaves them.
func stored(f *testing.F) (values [][]byte) {
	f.Helper()
	b := newBench(f)
	b.entry(keyed("k", "q", audited(1001, "m", create(10, nil, "a *"))), create(11, nil), settings(&raftv1.Settings{TokenExpiry: hour}))
	b.entry(delegate(50, 10, 11, nil, "a read"), everyCommand()["register_node"], rotate(10, "x", hour))
	v := b.store.View()
	defer b.close(v)
	err := v.Scan(nil, nil, false, func(key, value []byte) (bool, error) {
		if primary(key[0]) && key[0] != storage.TableAuditBody {
			values = append(values, append([]byte(nil), value...))
		}
		return true, nil
	})
	if err != nil {
		f.Fatal(err)
	}
	return values
}

// FuzzUnmarshal: any bytes decode or are corruption; what decodes is encoded to a form that decodes to the same and is
// a fixed point, so that equal records are equal bytes.
func FuzzUnmarshal(f *testing.F) {
	for _, v := range stored(f) {
		f.Add(v)
	}
	f.Add([]byte{0xf8, 0x07, 1})
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, kind := range storedKinds() {
			m, again := kind(), kind()
			if err := unmarshal(value, m); err != nil {
				if e, ok := errors.AsType[*causeError](err); !ok || e.cause != CauseCorrupt {
					t.Fatalf("%T: %v is no corruption", m, err)
				}
				continue
			}
			first, err := marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if err := unmarshal(first, again); err != nil || !proto.Equal(m, again) {
				t.Fatalf("%T: %v becomes %v, %v", m, m, again, err)
			}
			if second, err := marshal(again); err != nil || !bytes.Equal(second, first) {
				t.Fatalf("%T: %x, then %x, %v", m, first, second, err)
			}
		}
	})
}

// FuzzApply: any payload is applied or is a fault of a known cause; whatever is applied leaves a state that Check
// passes. Nothing panics: a node that did would do it at every start.
func FuzzApply(f *testing.F) {
	for _, c := range everyCommand() {
		c.Caller = &raftv1.Caller{KeyId: testID(2), NodeId: "n1"}
		payload, err := EncodeEntry(&raftv1.Entry{Format: Format, Wall: start, Commands: []*raftv1.Command{audited(1000, "m", keyed("k", "q", c))}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	store, err := storage.Open(vfs.NewMem(), "state", storage.Small())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := store.Close(); err != nil {
			f.Error(err)
		}
	})
	b := &bench{t: f, store: store, m: New(), term: 1, wall: start, key: testID(2)}
	b.entry(&raftv1.Command{Command: &raftv1.Command_BootstrapKey{BootstrapKey: &raftv1.BootstrapKey{Id: b.key, Hash: testHash("admin")}}})
	b.entry(create(900, nil, "a *"), create(902, nil), createKey(903, nil), delegate(901, 900, 902, nil, "a read"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		tx := store.Begin()
		defer func() {
			if err := tx.Abort(); err != nil {
				t.Error(err)
			}
		}()
		a, err := New().Apply(tx, b.index+1, 1, payload)
		if err != nil {
			if f, ok := errors.AsType[*Fault](err); !ok || f.Cause != CauseMalformed && f.Cause != CauseFormat && f.Cause != CauseCommand {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, o := range a.(*Applied).Outcomes {
			if (o.Result == nil) == (o.Refused == nil) {
				t.Fatalf("%v", o)
			}
		}
		for _, bad := range Check(tx) {
			t.Error(bad)
		}
	})
}
