package raftstore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/cluster/raftstore/raftstoretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A follower that was down past the trailing entries comes back by one install and then follows by appends.
func TestCatchUpByInstall(t *testing.T) {
	t.Parallel()
	sp := raftstoretest.Spec{Trailing: 64, Threshold: 32, Interval: 50 * time.Millisecond}
	_, ns := raftstoretest.NewCluster(t, sp, "n1", "n2", "n3")
	l, f := ns[0], ns[2]
	for range 20 {
		l.Write(5)
		l.Barriers(1)
	}
	raftstoretest.Agree(t, ns...)
	at := f.Applied()
	f.Stop()
	for range 60 {
		l.Write(5)
		l.Barriers(2)
	}
	raftstoretest.Await(t, "the leader to compact", func() bool { return l.First() > at+1 })
	f.MustStart(sp)
	raftstoretest.Await(t, "the install", func() bool { return f.Store.Installs() > 0 })
	raftstoretest.Agree(t, l, f)
	for range 40 {
		l.Write(5)
		l.Barriers(1)
	}
	raftstoretest.Agree(t, ns...)
	if n := f.Store.Installs(); n != 1 {
		t.Errorf("%d installs", n)
	}
}

// Barriers raise the library's index above the state's. With more of them than trailing entries, the state's index alone
// would point below the compacted log, every append after an install would begin with an entry that is gone, and the
// follower of an idle cluster would be sent the state again and again.
func TestBarriersBehindTheState(t *testing.T) {
	t.Parallel()
	sp := raftstoretest.Spec{Trailing: 16}
	_, ns := raftstoretest.NewCluster(t, sp, "n1", "n2", "n3")
	l, f := ns[0], ns[2]
	l.Write(20)
	f.Stop()
	l.Write(20)
	l.Barriers(100)
	l.Snapshot()
	f.MustStart(sp)
	raftstoretest.Await(t, "an install", func() bool { return f.Store.Installs() > 0 })
	raftstoretest.Never(t, 500*time.Millisecond, "a second install of an idle cluster", func() bool { return f.Store.Installs() > 1 })
	l.Write(20)
	raftstoretest.Agree(t, l, f)
	l.Barriers(100)
	l.Snapshot()
	l.Stop()
	if err := l.Start(sp); err != nil {
		t.Errorf("restart behind compacted barriers: %v", err)
	}
}

// Restart with NoSnapshotRestoreOnStart, clean and after a power cut, of a node that has compacted its log.
func TestRestart(t *testing.T) {
	t.Parallel()
	for _, percent := range []int{-1, 0, 30, 100} { // -1: no power cut
		rng := rand.New(rand.NewPCG(1, uint64(percent+1)))
		sp := raftstoretest.Spec{Trailing: 4}
		_, ns := raftstoretest.NewCluster(t, sp, "n1")
		n := ns[0]
		n.Write(100)
		n.Barriers(10)
		n.Snapshot()
		n.Write(50)
		n.Barriers(3)
		_, want := n.State()
		image := n.Crash(max(percent, 0), rng)
		n.Stop()
		if percent >= 0 {
			n.Become(image)
		}
		if err := n.Start(sp); err != nil {
			t.Errorf("%d %% of unsynced data kept: %v", percent, err)
			continue
		}
		n.Elect()
		raftstoretest.Leader(t, n)
		n.Write(5)
		_, got := n.State()
		if missed, twice := raftstoretest.Compare(want, got); missed+twice > 0 || n.First() == 1 {
			t.Errorf("%d %% of unsynced data kept: %d missed, %d twice, log from %d", percent, missed, twice, n.First())
		}
	}
}

// Killed, started, snapshotted, then a power cut: the synced stamp lies in a new log of Pebble's and must still cover
// what the old one holds.
func TestKillThenPowerCut(t *testing.T) {
	t.Parallel()
	sp := raftstoretest.Spec{Trailing: 4}
	_, ns := raftstoretest.NewCluster(t, sp, "n1")
	n := ns[0]
	n.Write(100)
	_, want := n.State()
	rng := rand.New(rand.NewPCG(2, 2))
	killed := n.Crash(100, rng)
	n.Stop()
	n.Become(killed)
	n.MustStart(sp)
	n.Elect()
	raftstoretest.Leader(t, n)
	n.Snapshot()
	cut := n.Crash(0, rng)
	n.Stop()
	n.Become(cut)
	n.MustStart(sp)
	_, got := n.State()
	if missed, _ := raftstoretest.Compare(want, got); missed > 0 || n.First() == 1 {
		t.Errorf("%d missed, log from %d", missed, n.First())
	}
}

// The log must be emptied through the cache that the library reads: beneath it, the cache goes on serving the entries.
// This is why Open wants the library's own handle.
func TestLogCacheServesDeletedEntries(t *testing.T) {
	t.Parallel()
	below := raftstoretest.NewDisk()
	cache, err := raftstore.Logs(below)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(cache.StoreLogs([]*raft.Log{{Index: 1}, {Index: 2}}), below.DeleteRange(1, 2))
	if err != nil || cache.GetLog(2, &raft.Log{}) != nil {
		t.Errorf("the cache follows now: %v", err)
	}
	if err := cache.DeleteRange(1, 2); err != nil || cache.GetLog(2, &raft.Log{}) == nil {
		t.Errorf("still there: %v", err)
	}
}

// A power cut on the receiving side at every write of an install through the library, from the first byte of the state
// to the emptied log. Whatever a cut leaves, the node starts and catches up, nothing missed, nothing twice.
func TestReceiverPowerCut(t *testing.T) {
	t.Parallel()
	sp := raftstoretest.Spec{Trailing: 4}
	_, ns := raftstoretest.NewCluster(t, sp, "n1", "n2", "n3")
	l, f := ns[0], ns[2]
	l.Write(50)
	raftstoretest.Agree(t, ns...)
	f.Stop()
	l.Write(100)
	l.Barriers(10)
	l.Snapshot()
	type cut struct {
		at    string
		image raftstoretest.Image
	}
	var (
		mu   sync.Mutex
		cuts []cut
		rng  = rand.New(rand.NewPCG(3, 3))
	)
	take := func(at string) {
		mu.Lock()
		defer mu.Unlock()
		cuts = append(cuts, cut{at, f.Crash(0, rng)})
	}
	fsp := sp
	fsp.FS = func(fs vfs.FS) vfs.FS {
		return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			// Before the operation: each is a moment between two writes. The first generation's are of no interest.
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && !strings.Contains(op.Path, "gen-000001") {
				take(fmt.Sprintf("%v %s", op.Kind, op.Path))
			}
			return nil
		}))
	}
	fsp.ShieldLog = func(l raft.LogStore) raft.LogStore { return tellingLog{l, take} }
	f.MustStart(fsp)
	raftstoretest.Await(t, "the install", func() bool { return f.Store.Installs() > 0 })
	l.Write(10)
	raftstoretest.Agree(t, l, f)
	f.Stop()
	cuts = append(cuts, cut{"the end", f.Crash(0, rng)})
	l.Write(10)
	kinds := map[string]bool{} // every distinct step once, the flip's all
	installs := uint64(0)
	for _, c := range cuts {
		if kinds[c.at] && !strings.Contains(c.at, "CURRENT") {
			continue
		}
		kinds[c.at] = true
		f.Become(c.image)
		if err := f.Start(sp); err != nil {
			t.Errorf("cut at %q: %v", c.at, err)
			continue
		}
		raftstoretest.Agree(t, l, f)
		l.Write(1)
		raftstoretest.Agree(t, l, f)
		installs += f.Store.Installs()
		if g := generations(f.Files()); g != 1 {
			t.Errorf("cut at %q: %d generations, %v", c.at, g, f.Files())
		}
		f.Stop()
	}
	if len(kinds) < 10 || installs == 0 {
		t.Errorf("only %d distinct steps, %d installs again: the cuts miss the install", len(kinds), installs)
	}
}

func generations(names []string) (n int) {
	for _, name := range names {
		if strings.HasPrefix(name, "gen-") {
			n++
		}
	}
	return n
}

// tellingLog tells before the log is emptied.
type tellingLog struct {
	raft.LogStore
	tell func(string)
}

func (l tellingLog) DeleteRange(low, high uint64) error {
	l.tell("empty the log")
	err := l.LogStore.DeleteRange(low, high)
	l.tell("log emptied")
	return err
}

// Membership changes and transfers across a snapshot; a new node must know its peers from the state alone.
func TestMembershipAcrossSnapshot(t *testing.T) {
	t.Parallel()
	sp := raftstoretest.Spec{Trailing: 1}
	net, ns := raftstoretest.NewCluster(t, sp, "n1", "n2", "n3")
	l := ns[0]
	l.Write(20)
	l.Snapshot() // its stamp knows three members
	n4 := raftstoretest.NewNode(t, net, "n4")
	n4.MustStart(sp)
	if err := l.Raft.AddVoter("n4", "n4", 0, 10*time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	l.Write(20)
	raftstoretest.Agree(t, l, n4)
	all := slices.Concat(ns, []*raftstoretest.Node{n4})
	raftstoretest.Lead(t, ns[1], all...)
	ns[1].Write(20)
	raftstoretest.Lead(t, ns[0], all...)
	l.Write(3)
	m, r, err := l.Store.Open("state")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(m.Configuration.Servers); n != 4 {
		t.Errorf("the state names %d members, at configuration %d", n, m.ConfigurationIndex)
	}
	if err := l.Raft.AddNonvoter("n5", "n5", 0, 10*time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	l.Write(5)
	l.Snapshot() // everything up to n5's own joining is compacted
	n5 := raftstoretest.NewNode(t, net, "n5")
	n5.MustStart(sp)
	l.Write(1)
	raftstoretest.Agree(t, l, n5)
	n5.Stop()
	net.Isolate("n5", true)
	n5.MustStart(sp)
	if s := n5.Raft.GetConfiguration().Configuration().Servers; len(s) != 5 {
		t.Errorf("n5, alone, from the state: %v", s)
	}
}

// RecoverCluster stores its configuration with index 1, while the state remembers an older one with a higher index.
// The dead members must not come back, at the second start neither.
func TestRecoverCluster(t *testing.T) {
	t.Parallel()
	sp := raftstoretest.Spec{Trailing: 4}
	_, ns := raftstoretest.NewCluster(t, sp, "n1", "n2", "n3")
	l := ns[0]
	l.Write(30)
	// So that the state remembers a configuration with an index above that of RecoverCluster.
	if err := l.Raft.AddNonvoter("n4", "n4", 0, 10*time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	l.Write(1)
	l.Snapshot()
	l.Write(10)
	raftstoretest.Agree(t, ns...)
	for _, n := range ns {
		n.Stop()
	}
	l.Recover(sp, raftstoretest.Servers("n1"))
	for i := range 3 { // the second start sees a state that is past the recovery
		l.MustStart(sp)
		if s := l.Raft.GetConfiguration().Configuration().Servers; len(s) != 1 {
			t.Fatalf("start %d after the recovery: %v", i+1, s)
		}
		l.Elect()
		raftstoretest.Leader(t, l)
		l.Write(10)
		if i == 1 {
			l.Snapshot()
		}
		_, counts := l.State()
		if _, twice := raftstoretest.Compare(nil, counts); twice > 0 {
			t.Errorf("start %d: %d applied twice", i+1, twice)
		}
		l.Stop()
	}
}
