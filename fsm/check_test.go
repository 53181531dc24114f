package fsm

import (
	"bytes"
	"testing"

	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// TestCheckFindsEveryLostOrSpoiledKey takes away, spoils and doubles each record of a small state in turn. Only records
// on which nothing rests may go unnoticed.
func TestCheckFindsEveryLostOrSpoiledKey(t *testing.T) {
	b := newBench(t)
	b.entry(keyed("k", "q", audited(1001, "m", create(10, nil, "a *"))), create(11, nil), createKey(20, nil))
	b.entry(delegate(50, 10, 11, nil, "a read"), delegate(51, 10, 11, nil, "a write"), rotate(10, "x", hour), revokeDelegation(51))
	b.entry(everyCommand()["register_node"], settings(&raftv1.Settings{TokenExpiry: hour}), appendBlock(7, 1, "n1", start, start+1))
	var all []pair
	b.read(func(r *Reader) {
		if bad := Check(r.r); len(bad) > 0 {
			t.Fatal(bad)
		}
		err := r.r.Scan(nil, nil, false, func(key, value []byte) (bool, error) {
			all = append(all, pair{bytes.Clone(key), bytes.Clone(value)})
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	free := func(table byte) bool { // single records that no other one refers to
		return table == storage.TableSettings || table == storage.TableNode || table == storage.TableChange
	}
	tables := map[byte]bool{}
	for _, p := range all {
		tables[p.key[0]] = true
		found := func(spoil func(tx *storage.Tx) error) bool {
			tx := b.store.Begin()
			defer func() {
				if err := tx.Abort(); err != nil {
					t.Error(err)
				}
			}()
			if err := spoil(tx); err != nil {
				t.Fatal(err)
			}
			return len(Check(tx)) > 0
		}
		if !found(func(tx *storage.Tx) error { return tx.Delete(p.key) }) && !free(p.key[0]) {
			t.Errorf("%s is gone, and Check finds nothing", storage.PrintKey(p.key))
		}
		if !found(func(tx *storage.Tx) error { return tx.Set(p.key, append(bytes.Clone(p.value), 0xf8, 0x07)) }) {
			t.Errorf("%s is spoiled, and Check finds nothing", storage.PrintKey(p.key))
		}
		if primary(p.key[0]) {
			continue
		}
		stray := bytes.Clone(p.key)
		stray[len(stray)-1] ^= 0x55
		if !found(func(tx *storage.Tx) error { return tx.Set(stray, p.value) }) {
			t.Errorf("%s is a stray, and Check finds nothing", storage.PrintKey(stray))
		}
	}
	if len(tables) != len(storage.Tables()) {
		t.Errorf("the state has records in %d of %d tables", len(tables), len(storage.Tables()))
	}
}
