package raftstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/cluster/raftstore/raftstoretest"
	"github.com/kavachd/kavachd/storage"
)

// rig is a Store without a library: the test calls what the library would.
type rig struct {
	*raftstore.Store
	t     testing.TB
	fs    vfs.FS
	disk  *raftstoretest.Disk
	fatal error // the last one
}

func newRig(t testing.TB, fs vfs.FS, disk *raftstoretest.Disk, h raftstore.Hooks) *rig {
	t.Helper()
	r := &rig{t: t, fs: fs, disk: disk}
	h.Fatal = func(err error) { r.fatal = err }
	s, err := raftstore.Open(fs, "state", disk, raftstoretest.Machine{}, h, raftstore.WithStorage(storage.Small()))
	if err != nil {
		t.Fatal(err)
	}
	r.Store = s
	t.Cleanup(func() { r.close() })
	return r
}

func (r *rig) close() {
	if err := r.Close(); err != nil {
		r.t.Error(err)
	}
}

// waitApplied waits for what should be there at once.
func (r *rig) waitApplied(index uint64) error {
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	return r.WaitApplied(ctx, index)
}

// command is an entry that sets key to value.
func command(s *raftstore.Store, index, term uint64, key, value string) *raft.Log {
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: s.Frame(raftstoretest.Command(key, value))}
}

// receive sends a state to the rig at p, as the library does, and returns what Restore says.
func (r *rig) receive(state []byte, p storage.Position) error {
	r.t.Helper()
	k, err := r.Create(1, p.Index, p.Term, raftstoretest.Servers("f", "l", "x"), 1, nil)
	if err != nil {
		return err
	}
	if _, err := io.Copy(k, bytes.NewReader(state)); err != nil {
		return errors.Join(err, k.Cancel())
	}
	if err := k.Close(); err != nil {
		return err
	}
	_, rc, err := r.Store.Open(k.ID())
	if err != nil {
		return err
	}
	return errors.Join(r.Restore(rc), rc.Close())
}

func (r *rig) value(key string) string {
	r.t.Helper()
	v := r.Storage().View()
	b, err := v.Get([]byte("k/" + key))
	if err := errors.Join(err, v.Close()); err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// The index is published last: after the batch is visible and the hooks have run.
func TestAppliedIsPublishedLast(t *testing.T) {
	var (
		r      *rig
		told   []uint64
		config []uint64
	)
	r = newRig(t, vfs.NewMem(), raftstoretest.NewDisk(), raftstore.Hooks{
		Applied: func(results []raftstore.Applied) error {
			last := results[len(results)-1]
			if i, _ := r.Applied(); i >= last.Index {
				t.Errorf("index %d was published before the hook of %d ran", i, last.Index)
			}
			if got := r.value("a"); got != last.Result.(raftstoretest.Result).Value {
				t.Errorf("the hook of %d finds %q", last.Index, got)
			}
			for _, a := range results {
				told = append(told, a.Index)
			}
			return nil
		},
		Configuration: func(index uint64, c raft.Configuration) {
			if len(c.Servers) == 3 {
				config = append(config, index)
			}
		},
	})
	res := r.ApplyBatch([]*raft.Log{command(r.Store, 2, 1, "a", "x"), command(r.Store, 3, 1, "a", "y")})
	if diff := cmp.Diff([]any{raftstoretest.Result{Index: 2, Key: "a", Value: "x"}, raftstoretest.Result{Index: 3, Key: "a", Value: "y"}}, res); diff != "" {
		t.Error(diff)
	}
	members := raft.EncodeConfiguration(raftstoretest.Servers("f", "l", "x"))
	r.ApplyBatch([]*raft.Log{{Index: 5, Term: 2, Type: raft.LogConfiguration, Data: members}})
	r.ApplyBatch([]*raft.Log{command(r.Store, 3, 1, "a", "again"), command(r.Store, 7, 2, "a", "z")})
	if diff := cmp.Diff([]uint64{2, 3, 7}, told); diff != "" {
		t.Error(diff)
	}
	if i, term := r.Applied(); i != 7 || term != 2 || r.Skipped() != 1 || r.value("a") != "z" || len(config) != 1 || config[0] != 5 {
		t.Errorf("applied %d@%d, skipped %d, a=%q, configurations %v", i, term, r.Skipped(), r.value("a"), config)
	}
	if err := r.waitApplied(7); err != nil {
		t.Error(err)
	}
}

// A fault stops the node: nothing of its batch is applied, nothing afterwards, and no snapshot may say otherwise.
func TestFaultAppliesNothingOfItsBatch(t *testing.T) {
	for name, bad := range map[string]func(s *raftstore.Store) *raft.Log{
		"machine": func(s *raftstore.Store) *raft.Log {
			return &raft.Log{Index: 4, Term: 1, Type: raft.LogCommand, Data: s.Frame(raftstoretest.FaultyCommand())}
		},
		"another history": func(s *raftstore.Store) *raft.Log {
			l := command(s, 4, 1, "a", "z")
			l.Data[8]++
			return l
		},
		"unknown format": func(s *raftstore.Store) *raft.Log {
			l := command(s, 4, 1, "a", "z")
			l.Data[0]++
			return l
		},
		"too short": func(*raftstore.Store) *raft.Log {
			return &raft.Log{Index: 4, Term: 1, Type: raft.LogCommand, Data: []byte{1}}
		},
		"older term": func(s *raftstore.Store) *raft.Log { return command(s, 4, 0, "a", "z") },
		"barrier":    func(*raftstore.Store) *raft.Log { return &raft.Log{Index: 4, Term: 1, Type: raft.LogBarrier} },
	} {
		t.Run(name, func(t *testing.T) {
			hook := 0
			r := newRig(t, vfs.NewMem(), raftstoretest.NewDisk(), raftstore.Hooks{Applied: func([]raftstore.Applied) error { hook++; return nil }})
			r.ApplyBatch([]*raft.Log{command(r.Store, 2, 1, "a", "x")})
			res := r.ApplyBatch([]*raft.Log{command(r.Store, 3, 1, "a", "y"), bad(r.Store), command(r.Store, 5, 1, "a", "w")})
			for i := range res {
				if err, ok := res[i].(error); !ok || !errors.Is(err, raftstore.ErrHalted) {
					t.Errorf("result %d is %v", i, res[i])
				}
			}
			after := r.ApplyBatch([]*raft.Log{command(r.Store, 6, 1, "a", "v")})
			if i, _ := r.Applied(); i != 2 || r.value("a") != "x" || hook != 1 || len(after) != 1 {
				t.Errorf("applied %d, a=%q, %d hooks", i, r.value("a"), hook)
			}
			if r.fatal == nil || !errors.Is(r.Err(), raftstore.ErrHalted) {
				t.Errorf("fatal %v, Err %v", r.fatal, r.Err())
			}
			if n, err := r.Snapshot(); !errors.Is(err, raftstore.ErrHalted) {
				t.Errorf("a snapshot of a halted machine: %v; its index counts entries that it didn't take", err)
				n.Release()
			}
			if err := r.waitApplied(3); !errors.Is(err, raftstore.ErrHalted) {
				t.Errorf("wait: %v", err)
			}
			if err := r.Restore(io.NopCloser(strings.NewReader("gen-000002"))); !errors.Is(err, raftstore.ErrHalted) {
				t.Errorf("restore: %v", err)
			}
		})
	}
}

// A state that arrives late must not take the node back behind what its log has compacted.
func TestOlderStateIsRefused(t *testing.T) {
	disk := raftstoretest.NewDisk()
	r := newRig(t, vfs.NewMem(), disk, raftstore.Hooks{})
	old := donor(t, storage.Position{Index: 10, Term: 4})
	if err := r.receive(old, storage.Position{Index: 10, Term: 4}); err != nil {
		t.Fatal(err)
	}
	for i := uint64(11); i <= 20; i++ {
		storeLog(t, disk, command(r.Store, i, 4, "k", "new"))
		r.ApplyBatch([]*raft.Log{command(r.Store, i, 4, "k", "new")})
	}
	if err := r.receive(old, storage.Position{Index: 10, Term: 4}); err == nil || r.fatal != nil {
		t.Errorf("a state of 10@4 at 20@4: %v, fatal %v", err, r.fatal)
	}
	if i, _ := r.Applied(); i != 20 || r.value("k") != "new" || r.Installs() != 1 {
		t.Errorf("applied %d, k=%q, installs %d", i, r.value("k"), r.Installs())
	}
	// A leader that took an operator's restore alone has no log, and may hold an index above the cluster's: the term decides.
	if err := disk.DeleteRange(11, 20); err != nil {
		t.Fatal(err)
	}
	if err := r.receive(old, storage.Position{Index: 12, Term: 5}); err != nil {
		t.Errorf("a state of 12@5 at 20@4: %v", err)
	}
	if i, term := r.Applied(); i != 12 || term != 5 {
		t.Errorf("applied %d@%d", i, term)
	}
}

// A state that came whole, but whose Restore was overtaken by applied entries, is refused too.
func TestOvertakenStateIsRefused(t *testing.T) {
	r := newRig(t, vfs.NewMem(), raftstoretest.NewDisk(), raftstore.Hooks{})
	k, err := r.Create(1, 10, 4, raftstoretest.Servers("f", "l", "x"), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Write(donor(t, storage.Position{Index: 10, Term: 4})); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	for i := uint64(2); i <= 11; i++ {
		r.ApplyBatch([]*raft.Log{command(r.Store, i, 4, "k", "new")})
	}
	if err := r.Restore(io.NopCloser(strings.NewReader(k.ID()))); err == nil || r.fatal != nil {
		t.Errorf("restore: %v, fatal %v", err, r.fatal)
	}
	if i, _ := r.Applied(); i != 11 {
		t.Errorf("applied %d", i)
	}
}

// Up to the flip an error leaves everything as it was; behind it there is no way back.
func TestRestoreErrors(t *testing.T) {
	state, p := donor(t, storage.Position{Index: 10, Term: 4}), storage.Position{Index: 10, Term: 4}
	t.Run("damaged stream", func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), raftstoretest.NewDisk(), raftstore.Hooks{})
		bad := bytes.Clone(state)
		bad[len(bad)-40] ^= 1
		for _, b := range [][]byte{bad, state[:len(state)-1], append(bytes.Clone(state), 0)} {
			if err := r.receive(b, p); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("%d bytes: %v", len(b), err)
			}
		}
		if err := r.receive(state, p); err != nil || r.fatal != nil {
			t.Errorf("a good one after them: %v, fatal %v", err, r.fatal)
		}
	})
	t.Run("unknown name", func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), raftstoretest.NewDisk(), raftstore.Hooks{})
		if err := r.Restore(io.NopCloser(strings.NewReader("gen-000009"))); err == nil || r.fatal != nil {
			t.Errorf("%v, fatal %v", err, r.fatal)
		}
		if _, _, err := r.Store.Open("gen-000009"); err == nil {
			t.Error("opened")
		}
		if _, _, err := r.Store.Open("state"); err == nil {
			t.Error("a snapshot before the first stamp")
		}
		k, err := r.Create(1, 3, 1, raftstoretest.Servers("f"), 1, nil)
		if err != nil || k.Close() == nil {
			t.Errorf("a sink without state was closed: %v", err)
		}
	})
	t.Run("hook", func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), raftstoretest.NewDisk(), raftstore.Hooks{Restored: func(storage.Reader) error { return errPower }})
		if err := r.receive(state, p); !errors.Is(err, errPower) || !errors.Is(r.fatal, errPower) {
			t.Errorf("%v, fatal %v", err, r.fatal)
		}
		if i, _ := r.Applied(); i != 0 {
			t.Errorf("published %d", i)
		}
	})
	t.Run("log", func(t *testing.T) {
		disk := raftstoretest.NewDisk()
		storeLog(t, disk, &raft.Log{Index: 1, Term: 1, Type: raft.LogNoop})
		var fatal error
		s, err := raftstore.Open(vfs.NewMem(), "state", stuckLog{disk}, raftstoretest.Machine{},
			raftstore.Hooks{Fatal: func(err error) { fatal = err }})
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{Store: s, t: t}
		defer r.close()
		if err := r.receive(state, p); !errors.Is(err, errPower) || !errors.Is(fatal, errPower) {
			t.Errorf("%v, fatal %v", err, fatal)
		}
	})
}

// stuckLog can't be emptied.
type stuckLog struct{ raft.LogStore }

func (stuckLog) DeleteRange(_, _ uint64) error { return errPower }

// The decision state is told of a restore before its index is published, and reads the new state.
func TestRestoredRunsBeforePublishing(t *testing.T) {
	var r *rig
	seen := ""
	r = newRig(t, vfs.NewMem(), raftstoretest.NewDisk(), raftstore.Hooks{Restored: func(rd storage.Reader) error {
		if i, _ := r.Applied(); i != 0 {
			t.Errorf("index %d was published before the hook ran", i)
		}
		b, err := rd.Get([]byte("k/k"))
		seen = string(b)
		return err
	}})
	waited := make(chan error, 1)
	go func() { waited <- r.waitApplied(10) }()
	if err := r.receive(donor(t, storage.Position{Index: 10, Term: 4}), storage.Position{Index: 10, Term: 4}); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil || seen != "10" {
		t.Errorf("wait: %v; the hook read %q", err, seen)
	}
}

// Log and state that don't meet are refused, not patched.
func TestOpenRefusesHole(t *testing.T) {
	commands := func(r *rig, low, high uint64) {
		for i := low; i <= high; i++ {
			l := command(r.Store, i, 1, "k", "v")
			storeLog(t, r.disk, l)
			r.ApplyBatch([]*raft.Log{l})
		}
	}
	trim := func(low, high uint64) func(*raftstoretest.Disk) {
		return func(d *raftstoretest.Disk) {
			if err := d.DeleteRange(low, high); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name    string
		stamped bool
		damage  func(*raftstoretest.Disk)
		hole    bool
		first   uint64 // of the log afterwards
	}{
		{"nothing", false, trim(0, 0), false, 1},
		{"log lost, nothing compacted", false, trim(1, 20), true, 0},
		{"log's end lost, nothing compacted", false, trim(15, 20), true, 1},
		{"log's beginning lost, nothing compacted", false, trim(1, 5), true, 6},
		{"compacted", true, trim(1, 15), false, 16},
		{"compacted to the end", true, trim(1, 20), false, 0},
		{"log ends before the state", true, trim(15, 20), false, 0},
		{"log begins behind the state", true, func(d *raftstoretest.Disk) {
			trim(1, 20)(d)
			storeLog(t, d, &raft.Log{Index: 22, Term: 1, Type: raft.LogNoop})
		}, true, 22},
		{"log of another term, compacted", true, func(d *raftstoretest.Disk) {
			storeLog(t, d, &raft.Log{Index: 20, Term: 9, Type: raft.LogNoop})
		}, false, 0},
		{"log of another term, nothing compacted", false, func(d *raftstoretest.Disk) {
			storeLog(t, d, &raft.Log{Index: 20, Term: 9, Type: raft.LogNoop})
		}, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs, disk := vfs.NewMem(), raftstoretest.NewDisk()
			storeLog(t, disk, &raft.Log{Index: 1, Term: 1, Type: raft.LogNoop})
			r := newRig(t, fs, disk, raftstore.Hooks{})
			commands(r, 2, 20)
			if c.stamped {
				stampAt(t, r.Store, storage.Position{Index: 20, Term: 1}, raftstoretest.Servers("f"))
			}
			r.close()
			c.damage(disk)
			s, err := raftstore.Open(fs, "state", disk, raftstoretest.Machine{}, raftstore.Hooks{}, raftstore.WithStorage(storage.Small()))
			if err == nil {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			first, _ := disk.FirstIndex()
			if errors.Is(err, raftstore.ErrHole) != c.hole || err != nil && !c.hole || first != c.first {
				t.Errorf("%v; the log begins at %d, expected %d", err, first, c.first)
			}
		})
	}
}
