package raftstore_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/cluster/raftstore/raftstoretest"
	"github.com/kavachd/kavachd/storage"
)

// The operator's restore: a damaged archive, an older one, one of another cluster with a higher index.
func TestOperatorRestore(t *testing.T) {
	t.Parallel()
	sp := raftstoretest.Spec{Trailing: 4}
	_, ns := raftstoretest.NewCluster(t, sp, "n1", "n2", "n3")
	l := ns[0]
	l.Write(30)
	m, archive := l.Backup()
	then, _ := l.State()
	l.Write(30)
	raftstoretest.Agree(t, ns...)

	bad := slices.Clone(archive)
	bad[len(bad)/2] ^= 1
	if err := l.Raft.Restore(m, bytes.NewReader(bad), 10*time.Second); err == nil {
		t.Error("a damaged archive was restored")
	}
	l.Write(1) // nothing has happened
	raftstoretest.Agree(t, ns...)

	_, held, err := l.Store.Open("state") // a stream to somebody, open while the state is swapped
	if err != nil {
		t.Fatal(err)
	}
	early, err := l.Store.Snapshot() // and a Persist that comes too late
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Raft.Restore(m, bytes.NewReader(archive), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	raftstoretest.Agree(t, ns...)
	if now, _ := l.State(); !now.Equal(then) {
		t.Error("not the archive's state")
	}
	if h := l.Store.History(); h.Index != l.Applied() || h == (storage.Position{}) {
		t.Errorf("history %v, applied %d", h, l.Applied())
	}
	k, err := l.Store.Create(1, 64, 2, raftstoretest.Servers("n1", "n2", "n3"), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := early.Persist(k); !errors.Is(err, storage.ErrSuperseded) {
		t.Errorf("a Persist from before the swap: %v", err)
	}
	early.Release()
	p := storage.NewParser(func(_, _ []byte) error { return nil })
	if _, err := io.Copy(p, held); err != nil {
		t.Errorf("the open stream: %v", err)
	}
	if _, _, err := p.Finish(); err != nil || generations(l.Files()) != 2 {
		t.Errorf("the open stream: %v; %v", err, l.Files())
	}
	if err := held.Close(); err != nil || generations(l.Files()) != 1 {
		t.Errorf("after its end: %v; %v", err, l.Files())
	}
	l.Write(20)
	raftstoretest.Agree(t, ns...)
	restoreFromElsewhere(t, sp, ns)
}

// restoreFromElsewhere restores another cluster's archive, whose index is higher, and restarts everybody.
func restoreFromElsewhere(t *testing.T, sp raftstoretest.Spec, ns []*raftstoretest.Node) {
	t.Helper()
	l := ns[0]
	_, other := raftstoretest.NewCluster(t, sp, "o1")
	o := other[0]
	o.Write(300)
	m, archive := o.Backup()
	if err := l.Raft.Restore(m, bytes.NewReader(archive), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	raftstoretest.Agree(t, ns...)
	want, _ := o.State()
	if now, _ := l.State(); !now.Equal(want) {
		t.Error("not the other cluster's state")
	}
	l.Write(20)
	raftstoretest.Agree(t, ns...)
	for _, n := range ns {
		n.Stop()
		n.MustStart(sp)
	}
	l.Elect()
	raftstoretest.Lead(t, l, ns...)
	l.Write(20)
	raftstoretest.Agree(t, ns...)
	for _, n := range ns {
		if n.Store.History() != l.Store.History() || len(n.Raft.GetConfiguration().Configuration().Servers) != 3 || n.Store.Err() != nil {
			t.Errorf("%s: history %v, members %v, halted %v", n.ID, n.Store.History(), n.Raft.GetConfiguration().Configuration().Servers, n.Store.Err())
		}
	}
}

// The library's Restore takes effect on the leader before anybody else has heard of it. Cut off at that moment, the old
// leader comes back with a state that the cluster never had.
func TestLonelyRestore(t *testing.T) {
	for _, fate := range []string{"lives", "restarts", "loses power"} {
		t.Run(fate, func(t *testing.T) {
			t.Parallel()
			lonelyRestore(t, fate)
		})
	}
}

func lonelyRestore(t *testing.T, fate string) {
	sp := raftstoretest.Spec{Trailing: 1000}
	var (
		l   *raftstoretest.Node
		cut raftstoretest.Image
		one sync.Once
		rng = rand.New(rand.NewPCG(4, 4))
	)
	first := sp
	first.ShieldLog = func(log raft.LogStore) raft.LogStore {
		return tellingLog{log, func(at string) {
			if at == "log emptied" {
				one.Do(func() { cut = l.Crash(0, rng) })
			}
		}}
	}
	net, ns := raftstoretest.NewCluster(t, first, "n1", "n2", "n3")
	l = ns[0]
	l.Write(30)
	m, archive := l.Backup()
	l.Write(30)
	raftstoretest.Agree(t, ns...)
	net.Isolate("n1", true)
	err := l.Raft.Restore(m, bytes.NewReader(archive), 10*time.Second)
	if err == nil || l.Store.History() == (storage.Position{}) {
		t.Fatalf("restore on a leader that is cut off: %v, history %v", err, l.Store.History())
	}
	n := ns[1]
	n.Elect()
	raftstoretest.Lead(t, n, ns[1:]...)
	n.Write(20)
	net.Isolate("n1", false)
	if fate != "lives" {
		l.Stop()
		if fate == "loses power" {
			l.Become(cut)
		}
		l.MustStart(sp)
	}
	if fate == "loses power" {
		// It takes the new leader's entries from 1, and meets one of the other history behind its own index.
		raftstoretest.Await(t, "n1 to end", func() bool {
			n = raftstoretest.Leader(t, ns...)
			n.Write(1)
			return l.Store.Err() != nil
		})
		if err := l.Store.Err(); !errors.Is(err, raftstore.ErrHistory) {
			t.Errorf("ended by %v", err)
		}
		at, _ := l.Store.Applied()
		if h := l.Store.History(); h.Index != at {
			t.Errorf("history %v, but applied up to %d", h, at)
		}
		return
	}
	n = raftstoretest.Leader(t, ns...)
	n.Write(5)
	// It refuses every append, until the leader's log is compacted and it is sent the state.
	rc := n.Raft.ReloadableConfig()
	rc.TrailingLogs = 0
	if err := n.Raft.ReloadConfig(rc); err != nil {
		t.Fatal(err)
	}
	n.Snapshot()
	raftstoretest.Await(t, "n1 to be healed", func() bool { return l.Store.History() == n.Store.History() })
	raftstoretest.Agree(t, ns...)
}

// answers says how long the main loop of a follower takes to answer anything.
func answers(n *raftstoretest.Node) time.Duration {
	at := time.Now()
	_ = n.Raft.Apply(nil, 0).Error() // not the leader
	return time.Since(at)
}

// tamper is a snapshot store that lies about the size of the state, or sends a part of it and falls silent.
type tamper struct {
	*raftstore.Store
	off   int64
	after int           // bytes before the silence, 0: none
	end   chan struct{} // of the silence
}

func (s *tamper) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m, r, err := s.Store.Open(id)
	if err != nil || id != "state" {
		return m, r, err
	}
	m.Size += s.off
	return m, &tamperedStream{ReadCloser: r, s: s, left: s.after}, nil
}

type tamperedStream struct {
	io.ReadCloser
	s    *tamper
	left int
}

func (r *tamperedStream) Read(p []byte) (int, error) {
	if r.s.after == 0 {
		return r.ReadCloser.Read(p)
	}
	if r.left == 0 {
		<-r.s.end
		return 0, io.ErrUnexpectedEOF
	}
	n, err := r.ReadCloser.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}

// tampered brings about a follower that is being sent a state with which the leader tampers.
func tampered(t *testing.T, s *tamper, stall, timeout time.Duration) (f *raftstoretest.Node) {
	sp := raftstoretest.Spec{Trailing: 1, Timeout: timeout}
	lsp := sp
	lsp.Snapshots = func(st *raftstore.Store) raft.SnapshotStore {
		s.Store = st
		return s
	}
	net := raftstoretest.NewNetwork()
	l, f := raftstoretest.NewNode(t, net, "n1"), raftstoretest.NewNode(t, net, "n2")
	l.MustStart(lsp)
	if err := l.Raft.BootstrapCluster(raftstoretest.Servers("n1")).Error(); err != nil {
		t.Fatal(err)
	}
	l.Elect()
	raftstoretest.Lead(t, l, l)
	l.Write(50)
	l.Snapshot()
	sp.Stall = stall
	arrived := make(chan struct{})
	once := sync.OnceFunc(func() { close(arrived) })
	sp.FS = func(fs vfs.FS) vfs.FS {
		return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if strings.Contains(op.Path, "incoming") {
				once()
			}
			return nil
		}))
	}
	f.MustStart(sp)
	if err := l.Raft.AddNonvoter("n2", "n2", 0, 10*time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	<-arrived
	return f
}

// The receiver reads exactly as many bytes as it was promised. Too few are refused, for ever. One too many hold the
// follower's main loop until the sender gives up: hence the exact size.
func TestSizeMustBeExact(t *testing.T) {
	t.Parallel()
	if f := tampered(t, &tamper{}, 0, 2*time.Second); answers(f) > time.Second {
		t.Error("the exact size holds the follower up")
	}
	for _, off := range []int64{-1, -100, 1} {
		f := tampered(t, &tamper{off: off}, 0, 800*time.Millisecond)
		d := answers(f)
		if f.Store.Installs() > 0 || off > 0 && d < 200*time.Millisecond {
			t.Errorf("size wrong by %d: %d installs, the main loop answers after %v", off, f.Store.Installs(), d)
		}
	}
}

// A leader's host that vanishes in the middle of a state holds the follower's main loop, unless the receiving side has
// a limit on silence.
func TestStalledInstall(t *testing.T) {
	t.Parallel()
	for _, limit := range []time.Duration{0, 300 * time.Millisecond} {
		end := make(chan struct{})
		f := tampered(t, &tamper{after: 300, end: end}, limit, 5*time.Second)
		done := make(chan struct{})
		go func() {
			answers(f)
			close(done)
		}()
		select {
		case <-done:
			if limit == 0 {
				t.Error("the main loop is free without a limit: the library has repaired it")
			}
		case <-time.After(2 * time.Second): // that it stays blocked can't be awaited
			if limit > 0 {
				t.Error("the main loop is still blocked")
			}
		}
		close(end)
		<-done
	}
}
