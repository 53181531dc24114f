package raftstore_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/cluster/raftstore/raftstoretest"
	"github.com/kavachd/kavachd/storage"
)

// blindLog takes the shield away: the Store sees an empty log and leaves the real one as it is.
type blindLog struct{ raft.LogStore }

func (blindLog) FirstIndex() (uint64, error) { return 0, nil }
func (blindLog) LastIndex() (uint64, error)  { return 0, nil }

func blind(l raft.LogStore) raft.LogStore { return blindLog{l} }

const neverCommitted = "never committed"

// divergentPrefix tells how many entries that were never committed a new node applies: a leader is cut off with 200 of
// them, catches up by a state that ends behind them, leads again, and hands its log to the new node.
func divergentPrefix(t *testing.T, sp raftstoretest.Spec) (wrong int64) {
	sp.Trailing = 300
	net, ns := raftstoretest.NewCluster(t, sp, "a", "b", "d")
	old, next := ns[0], ns[1]
	old.Write(8)
	raftstoretest.Agree(t, ns...)
	net.Isolate(old.ID, true)
	last := old.Last()
	cmd := old.Store.Frame(raftstoretest.Command("x", neverCommitted))
	for range 200 {
		old.Raft.Apply(cmd, time.Second) // its future never succeeds
	}
	raftstoretest.Await(t, "the old leader's log to grow", func() bool { return old.Last() >= last+200 })
	next.Elect()
	raftstoretest.Lead(t, next, ns[1:]...)
	next.Write(1000)
	raftstoretest.Agree(t, ns[1:]...)
	for _, n := range ns[1:] {
		n.Snapshot()
	}
	if next.First() <= old.Last() {
		t.Fatalf("the new leader's log begins at %d, the old one's ends at %d: no install is needed", next.First(), old.Last())
	}
	net.Isolate(old.ID, false)
	raftstoretest.Await(t, "the old leader to take the state", func() bool { return old.Store.Installs() > 0 })
	raftstoretest.Agree(t, ns...)
	t.Logf("caught up to %d; its log is %d..%d", old.Applied(), old.First(), old.Last())
	raftstoretest.Lead(t, old, ns...)

	var count atomic.Int64
	fresh := sp
	fresh.Hooks.Applied = func(results []raftstore.Applied) error {
		for _, r := range results {
			if r.Result.(raftstoretest.Result).Value == neverCommitted {
				count.Add(1)
			}
		}
		return nil
	}
	c := raftstoretest.NewNode(t, net, "c")
	c.MustStart(fresh)
	if err := old.Raft.AddVoter("c", "c", 0, 10*time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	old.Write(1)
	raftstoretest.Agree(t, old, c)
	return count.Load()
}

func TestDivergentPrefixWithoutShield(t *testing.T) {
	t.Parallel()
	n := divergentPrefix(t, raftstoretest.Spec{ShieldLog: blind})
	t.Logf("%d entries that were never committed were applied", n)
	if n == 0 {
		t.Error("nothing wrong was applied: the library has repaired it")
	}
}

func TestDivergentPrefixWithShield(t *testing.T) {
	t.Parallel()
	if n := divergentPrefix(t, raftstoretest.Spec{}); n != 0 {
		t.Errorf("%d entries that were never committed were applied", n)
	}
}

// donor returns the stream of a state at p whose members are f and l, without a Raft library.
func donor(t *testing.T, p storage.Position) []byte {
	t.Helper()
	s, err := raftstore.Open(vfs.NewMem(), "donor", raftstoretest.NewDisk(), raftstoretest.Machine{}, raftstore.Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(2); i <= p.Index; i++ {
		s.ApplyBatch([]*raft.Log{{Index: i, Term: p.Term, Type: raft.LogCommand, Data: s.Frame(raftstoretest.Command("k", fmt.Sprint(i)))}})
	}
	stampAt(t, s, p, raftstoretest.Servers("f", "l", "x"))
	b := readState(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return b
}

// stampAt does what the library does to take a snapshot.
func stampAt(t testing.TB, s *raftstore.Store, p storage.Position, c raft.Configuration) {
	t.Helper()
	n, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Release()
	k, err := s.Create(1, p.Index, p.Term, c, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Persist(k); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
}

// readState returns the whole stream of a Store.
func readState(t testing.TB, s *raftstore.Store) []byte {
	t.Helper()
	m, r, err := s.Open("state")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil || int64(len(b)) != m.Size {
		t.Fatalf("stream of %d bytes, promised %d: %v", len(b), m.Size, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return b
}

// conflictAt runs a real follower whose log conflicts at the position of the state that it is sent, three times; the
// test plays the leader. It tells whether the append behind the state was taken, and the follower's disk.
func conflictAt(t *testing.T, sp raftstoretest.Spec) (taken bool, f *raftstoretest.Node, again func() bool) {
	net := raftstoretest.NewNetwork()
	f = raftstoretest.NewNode(t, net, "f")
	boot(t, f.Disk, f.Disk, raftstoretest.Servers("f", "l", "x"))
	for i := uint64(2); i <= 15; i++ { // never committed
		storeLog(t, f.Disk, &raft.Log{Index: i, Term: 2, Type: raft.LogNoop})
	}
	f.MustStart(sp)
	state := donor(t, storage.Position{Index: 10, Term: 4})
	lead := raftstoretest.NewNode(t, net, "l").Puppet()
	again = func() bool {
		err := lead.InstallSnapshot("f", "f", &raft.InstallSnapshotRequest{
			RPCHeader: header("l"), SnapshotVersion: 1, Term: 5, LastLogIndex: 10, LastLogTerm: 4,
			Configuration: raft.EncodeConfiguration(raftstoretest.Servers("f", "l", "x")), ConfigurationIndex: 1, Size: int64(len(state)),
		}, &raft.InstallSnapshotResponse{}, bytes.NewReader(state))
		var resp raft.AppendEntriesResponse
		err2 := lead.AppendEntries("f", "f", &raft.AppendEntriesRequest{
			RPCHeader: header("l"), Term: 5, PrevLogEntry: 10, PrevLogTerm: 4,
			Entries: []*raft.Log{{Index: 11, Term: 5, Type: raft.LogNoop}}, LeaderCommitIndex: 10,
		}, &resp)
		t.Logf("install: %v; append behind it: %v, taken %v, last %d; installs %d", err, err2, resp.Success, resp.LastLog, f.Store.Installs())
		return resp.Success
	}
	for range 3 {
		taken = taken || again()
	}
	return taken, f, again
}

func header(id string) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(id)}
}

func TestConflictAtStateWithoutShield(t *testing.T) {
	t.Parallel()
	taken, f, _ := conflictAt(t, raftstoretest.Spec{ShieldLog: blind})
	if taken || f.Store.Installs() != 3 || f.Store.Err() != nil {
		t.Errorf("taken %v, installs %d, halted %v: the library has repaired the loop", taken, f.Store.Installs(), f.Store.Err())
	}
}

func TestConflictAtStateWithShield(t *testing.T) {
	t.Parallel()
	var fatal atomic.Pointer[error]
	sp := raftstoretest.Spec{Hooks: raftstore.Hooks{Fatal: func(err error) { fatal.CompareAndSwap(nil, &err) }}}
	taken, f, again := conflictAt(t, sp)
	if taken {
		t.Error("an append was taken by a library whose memory of the log is wrong")
	}
	if p := fatal.Load(); p == nil || !strings.Contains((*p).Error(), "start again") {
		t.Fatalf("the process was not ended: %v", p)
	}
	if f.First() != 0 {
		t.Errorf("the log is still %d..%d", f.First(), f.Last())
	}
	f.Stop()
	f.MustStart(sp) // as the supervisor does
	if !again() {
		t.Error("still refused after the restart")
	}
}
