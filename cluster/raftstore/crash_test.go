package raftstore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/cluster/raftstore/raftstoretest"
	"github.com/kavachd/kavachd/storage"
)

// life is one short life of a node: it applies, takes a snapshot and compacts everything, applies, takes in the state of
// another node, and applies again. owed is the index up to which the state may miss nothing after a power cut, because
// the log may have it no more.
type life struct {
	t     *testing.T
	disk  *raftstoretest.Disk
	s     *raftstore.Store
	owed  atomic.Uint64
	kept  atomic.Uint64 // index up to which the log has stored entries: others count on them, in log or state
	fatal error
}

const (
	lifeSnapshot = 12 // index of the snapshot
	lifeInstall  = 40 // index of the state that is taken in
	lifeEnd      = 45
)

func lifeEntry(i uint64) *raft.Log {
	return &raft.Log{Index: i, Term: 4, Type: raft.LogCommand, Data: frameOf(storage.Position{}, raftstoretest.Command("k", fmt.Sprint(i)))}
}

// sent is the state of another node at lifeInstall, made of the same entries.
func sent(t *testing.T) []byte { return donor(t, storage.Position{Index: lifeInstall, Term: 4}) }

func (l *life) apply(low, high uint64) {
	for i := low; i <= high; i += 2 {
		var batch []*raft.Log
		for j := i; j <= min(i+1, high); j++ {
			if last, _ := l.disk.LastIndex(); last < j {
				storeLog(l.t, l.disk, lifeEntry(j))
				l.kept.Store(j)
			}
			batch = append(batch, lifeEntry(j))
		}
		l.s.ApplyBatch(batch)
	}
}

// run lives. It stops at the first error, which an injected fault brings about.
func (l *life) run(fs vfs.FS, state []byte) (err error) {
	storeLog(l.t, l.disk, &raft.Log{Index: 1, Term: 1, Type: raft.LogNoop})
	l.s, err = raftstore.Open(fs, "state", l.disk, raftstoretest.Machine{},
		raftstore.Hooks{Fatal: func(err error) { l.fatal = err }}, raftstore.WithStorage(storage.Small()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.s.Close()) }()
	l.apply(2, lifeSnapshot)
	n, err := l.s.Snapshot()
	if err != nil {
		return err
	}
	defer n.Release()
	k, err := l.s.Create(1, lifeSnapshot, 4, raftstoretest.Servers("f", "l"), 1, nil)
	if err != nil {
		return err
	}
	if err := n.Persist(k); err != nil {
		return err
	}
	l.owed.Store(lifeSnapshot)
	if err := l.disk.DeleteRange(1, lifeSnapshot); err != nil {
		return err
	}
	l.apply(lifeSnapshot+1, lifeSnapshot+5)
	r := &rig{Store: l.s, t: l.t}
	if err := r.receive(state, storage.Position{Index: lifeInstall, Term: 4}); err != nil {
		return err
	}
	l.owed.Store(lifeInstall)
	l.apply(lifeInstall+1, lifeEnd)
	return nil
}

// reopen starts a node on what a power cut left, and brings it to the end: from the log, or by an install if the log
// was emptied.
func reopen(t *testing.T, fs *vfs.MemFS, disk *raftstoretest.Disk, owed, kept uint64, state []byte) error {
	var fatal error
	s, err := raftstore.Open(fs, "state", disk, raftstoretest.Machine{},
		raftstore.Hooks{Fatal: func(err error) { fatal = err }}, raftstore.WithStorage(storage.Small()))
	if err != nil {
		return err
	}
	l := &life{t: t, disk: disk, s: s}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	at, _ := s.Applied()
	if last, _ := disk.LastIndex(); at < owed || max(at, last) < kept {
		return fmt.Errorf("the state is at %d, %d was promised; the log ends at %d, it had stored %d", at, owed, last, kept)
	}
	v := s.Storage().View()
	err = v.Check()
	if err := errors.Join(err, v.Close()); err != nil {
		return err
	}
	if last, _ := disk.LastIndex(); at < lifeInstall && (last > 0 || at == 0) {
		l.apply(at+1, max(last, at)) // what the log has, again
	}
	if at, _ := s.Applied(); at < lifeInstall {
		if err := (&rig{Store: s, t: t}).receive(state, storage.Position{Index: lifeInstall, Term: 4}); err != nil {
			return err
		}
	}
	at, _ = s.Applied()
	l.apply(at+1, lifeEnd)
	v = s.Storage().View()
	defer v.Close()
	counts, err := raftstoretest.Counts(v)
	if err != nil {
		return err
	}
	want := map[uint64]int{}
	for i := uint64(2); i <= lifeEnd; i++ {
		want[i] = 1
	}
	if missed, twice := raftstoretest.Compare(want, counts); missed+twice > 0 || fatal != nil {
		return fmt.Errorf("%d missed, %d twice, fatal %w", missed, twice, fatal)
	}
	return v.Check()
}

// A power cut at every write of a life, with none, some and all of the unsynced data left.
func TestPowerCutAtEveryWrite(t *testing.T) {
	t.Parallel()
	state := sent(t)
	rng := rand.New(rand.NewPCG(5, 5))
	for k := int64(1); ; k++ {
		type image struct {
			fs   *vfs.MemFS
			disk *raftstoretest.Disk
		}
		var (
			n          atomic.Int64
			images     []image
			owed, kept uint64
			at         string
		)
		l := &life{t: t, disk: raftstoretest.NewDisk()}
		mem := vfs.NewCrashableMem()
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && n.Add(1) == k {
				owed, kept = l.owed.Load(), l.kept.Load() // before the image: what is acknowledged later isn't owed
				at = fmt.Sprintf("%v %s", op.Kind, op.Path)
				disk := l.disk.Clone()
				for _, percent := range []int{0, 30, 100} {
					clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
					images = append(images, image{clone, disk.Clone()})
				}
			}
			return nil
		}))
		if err := l.run(fs, state); err != nil || l.fatal != nil {
			t.Fatal(err, l.fatal)
		}
		if n.Load() < k {
			if k < 50 {
				t.Errorf("a life has %d writes only", k)
			}
			break
		}
		for i, image := range images {
			if err := reopen(t, image.fs, image.disk, owed, kept, state); err != nil {
				t.Errorf("write %d, %s, image %d: %v", k, at, i, err)
			}
		}
	}
}

// An error at every write of our own to the disk while a state is taken in: up to the flip the node goes on with the old
// state and can take it in later; behind it the process ends, and the next start finds one of the two.
func TestErrorAtEveryWriteOfAnInstall(t *testing.T) {
	t.Parallel()
	state := sent(t)
	ended, refused := 0, 0
	for k := int64(1); ; k++ {
		var n atomic.Int64
		var armed, behind atomic.Bool // behind: CURRENT may name the new state
		mem := vfs.NewCrashableMem()
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			// Not Pebble's own files: there it ends the process by itself.
			ours := strings.Contains(op.Path, "CURRENT") || strings.Contains(op.Path, "incoming") || strings.HasSuffix(op.Path, "state")
			behind.CompareAndSwap(false, armed.Load() && op.Kind == errorfs.OpRename && strings.HasSuffix(op.Path, "CURRENT.tmp"))
			if armed.Load() && ours && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && n.Add(1) == k {
				return errPower
			}
			return nil
		}))
		l := &life{t: t, disk: raftstoretest.NewDisk()}
		storeLog(t, l.disk, &raft.Log{Index: 1, Term: 1, Type: raft.LogNoop})
		r := newRig(t, fs, l.disk, raftstore.Hooks{})
		l.s = r.Store
		l.apply(2, 10)
		armed.Store(true)
		err := r.receive(state, storage.Position{Index: lifeInstall, Term: 4})
		armed.Store(false)
		if ends := r.fatal != nil; ends != (err != nil && behind.Load()) {
			t.Errorf("error %d: %v, behind the flip %v, fatal %v", k, err, behind.Load(), r.fatal)
		}
		switch at, _ := r.Applied(); {
		case n.Load() < k:
			if err != nil || ended == 0 || refused < 5 {
				t.Errorf("%d errors ended the process, %d refused the state; without one: %v", ended, refused, err)
			}
			return
		case r.fatal != nil:
			ended++
			if !errors.Is(r.fatal, errPower) || at != 10 {
				t.Errorf("error %d: fatal %v, published %d", k, r.fatal, at)
			}
		case err == nil: // of a file that was about to be deleted
		default:
			refused++
			if at != 10 || r.value("k") != "10" {
				t.Errorf("error %d: at %d, k=%q", k, at, r.value("k"))
			}
			if err := r.receive(state, storage.Position{Index: lifeInstall, Term: 4}); err != nil {
				t.Errorf("error %d: the next try: %v", k, err)
			}
		}
		r.close()
		if err := reopen(t, mem, l.disk, 10, 10, state); err != nil {
			t.Errorf("error %d: restart: %v", k, err)
		}
	}
}

// A Persist to somebody else's sink, or after Release, stamps nothing.
func TestPersistErrors(t *testing.T) {
	r := newRig(t, vfs.NewMem(), raftstoretest.NewDisk(), raftstore.Hooks{})
	r.ApplyBatch([]*raft.Log{lifeEntry(2)})
	ours, err := r.Create(1, 2, 4, raftstoretest.Servers("f"), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := raft.NewDiscardSnapshotStore().Create(1, 2, 4, raftstoretest.Servers("f"), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []raft.SnapshotSink{theirs, ours} {
		n, err := r.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if k == ours {
			n.Release()
		}
		if err := n.Persist(k); err == nil {
			t.Errorf("persisted to %T", k)
		}
		n.Release()
	}
	if metas, err := r.List(); err != nil || len(metas) != 0 {
		t.Errorf("%v, %v", metas, err)
	}
}
