package cluster

import (
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/fsm"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/storage"
)

// TestUnreadableChangeIsNotPublished: what an entry changed can't be taken into memory. Its index must stay unpublished,
// or reads would rest on a state that misses it; and nothing is applied any more.
func TestUnreadableChangeIsNotPublished(t *testing.T) {
	var failed error
	r, err := openReplica(t.TempDir(), raft.NewInmemStore(), func(err error) { failed = err })
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.store.Close(); err != nil {
			t.Error(err)
		}
	}()
	register := func(index uint64, id string) *raft.Log {
		payload, err := fsm.EncodeEntry(&raftv1.Entry{Format: fsm.Format, Wall: int64(index), Commands: []*raftv1.Command{{
			Caller: &raftv1.Caller{NodeId: "n"},
			Command: &raftv1.Command_RegisterNode{RegisterNode: &raftv1.RegisterNode{
				Node: &raftv1.NodeRecord{NodeId: id, ApiAddress: "a:1", RaftAddress: "a:2"},
			}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: r.store.Frame(payload)}
	}
	r.store.ApplyBatch([]*raft.Log{register(1, "one")})
	if r.applyIndex() != 1 || len(r.registered()) != 1 {
		t.Fatalf("applied %d, %d nodes", r.applyIndex(), len(r.registered()))
	}
	tx := r.store.Storage().Begin()
	if err := tx.Set(storage.NodeKey("damaged"), []byte{0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(storage.Position{Index: 1, Term: 1}, nil); err != nil {
		t.Fatal(err)
	}
	for index := uint64(2); index <= 3; index++ {
		if res := r.store.ApplyBatch([]*raft.Log{register(index, "more")}); failed == nil || r.applyIndex() != 1 {
			t.Errorf("after entry %d (%v): failed %v, published %d", index, res, failed, r.applyIndex())
		}
	}
}
