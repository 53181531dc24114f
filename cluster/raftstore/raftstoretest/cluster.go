package raftstoretest

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/storage"
)

// Servers returns a configuration of voters whose addresses are their ids.
func Servers(ids ...string) (c raft.Configuration) {
	for _, id := range ids {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	return c
}

// NewCluster starts nodes and bootstraps them. The first leads when it returns.
func NewCluster(t testing.TB, sp Spec, ids ...string) (*Network, []*Node) {
	t.Helper()
	net := NewNetwork()
	var nodes []*Node
	for _, id := range ids {
		n := NewNode(t, net, id)
		n.MustStart(sp)
		nodes = append(nodes, n)
	}
	if err := nodes[0].Raft.BootstrapCluster(Servers(ids...)).Error(); err != nil {
		t.Fatal(err)
	}
	nodes[0].Elect()
	Lead(t, nodes[0], nodes...)
	return net, nodes
}

// Await polls until ok, for at most 20 s.
func Await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("waited in vain for: " + what)
		}
	}
}

// Never polls for a while and fails if ok comes true.
func Never(t testing.TB, while time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(while)
	defer end.Stop()
	for {
		if ok() {
			t.Error("it happened: " + what)
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			return
		}
	}
}

// Leader waits for a leader that has committed an entry of its term.
func Leader(t testing.TB, nodes ...*Node) (leader *Node) {
	t.Helper()
	Await(t, "a leader", func() bool {
		for _, n := range nodes {
			if n.alive && n.Raft.State() == raft.Leader && n.Raft.Barrier(time.Second).Error() == nil {
				leader = n
				return true
			}
		}
		return false
	})
	return leader
}

// Lead makes n the leader.
func Lead(t testing.TB, n *Node, nodes ...*Node) {
	t.Helper()
	Await(t, n.ID+" to lead", func() bool {
		l := Leader(t, nodes...)
		if l == n {
			return true
		}
		// An error means that it can't be now; the next round asks again.
		_ = l.Raft.LeadershipTransferToServer(raft.ServerID(n.ID), raft.ServerAddress(n.ID)).Error()
		return false
	})
}

// Write applies count commands through the node, which must lead. Keys repeat after a thousand.
func (n *Node) Write(count int) {
	n.t.Helper()
	for range count {
		i := n.Raft.LastIndex() + 1
		cmd := Command(fmt.Sprintf("%03d", i%1000), fmt.Sprintf("value of %d", i))
		if err := n.Raft.Apply(n.Store.Frame(cmd), time.Second).Error(); err != nil {
			n.t.Fatal(n.ID, err)
		}
	}
}

// Barriers sends count barriers, which raise the library's index but not the state's.
func (n *Node) Barriers(count int) {
	n.t.Helper()
	for range count {
		if err := n.Raft.Barrier(time.Second).Error(); err != nil {
			n.t.Fatal(n.ID, err)
		}
	}
}

// Snapshot makes the library take a snapshot and compact the log.
func (n *Node) Snapshot() {
	n.t.Helper()
	if err := n.Raft.Snapshot().Error(); err != nil {
		n.t.Fatal(n.ID, err)
	}
}

// Backup returns an operator's archive of the node's state, with the meta that the library's Restore wants.
func (n *Node) Backup() (*raft.SnapshotMeta, []byte) {
	n.t.Helper()
	f := n.Raft.Snapshot()
	if err := f.Error(); err != nil {
		n.t.Fatal(n.ID, err)
	}
	m, r, err := f.Open()
	if err != nil {
		n.t.Fatal(n.ID, err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || int64(len(b)) != m.Size {
		n.t.Fatal(n.ID, len(b), m.Size, err)
	}
	b = append([]byte(storage.ArchiveMagic), b...)
	m.Size = int64(len(b))
	return m, b
}

// State reads the sums of the node's state and how often each entry was applied.
func (n *Node) State() (storage.Sums, map[uint64]int) {
	n.t.Helper()
	v := n.Store.Storage().View()
	sums, err := v.Digests()
	counts, err2 := Counts(v)
	if err := errors.Join(err, err2, v.Check(), v.Close()); err != nil {
		n.t.Fatal(n.ID, err)
	}
	return sums, counts
}

// LastCommand is where the state stands. Not the applied index: after an install that one counts barriers too, so that
// the same state has another applied index on another node.
func (n *Node) LastCommand() uint64 {
	n.t.Helper()
	v := n.Store.Storage().View()
	last, err := LastCommand(v)
	if err := errors.Join(err, v.Close()); err != nil {
		n.t.Fatal(n.ID, err)
	}
	return last
}

// Agree waits until all nodes stand at the same command, then compares their states and checks that each entry was
// applied once. The leader must be one of them, and nobody may write meanwhile.
func Agree(t testing.TB, nodes ...*Node) {
	t.Helper()
	Await(t, "all at one command", func() bool {
		low, high := nodes[0].LastCommand(), uint64(0)
		for _, n := range nodes {
			low, high = min(low, n.LastCommand()), max(high, n.LastCommand())
		}
		return low == high
	})
	want, wantCounts := nodes[0].State()
	for _, n := range nodes {
		got, counts := n.State()
		missed, twice := Compare(wantCounts, counts)
		if !got.Equal(want) || missed > 0 || twice > 0 {
			t.Errorf("%s: sums %v, %s has %v; %d entries missed, %d applied twice", n.ID, got, nodes[0].ID, want, missed, twice)
		}
	}
}

// Compare tells how many entries of want are missing in got, and how many in got were applied more than once.
func Compare(want, got map[uint64]int) (missed, twice int) {
	for i := range want {
		if got[i] == 0 {
			missed++
		}
	}
	for _, c := range got {
		if c > 1 {
			twice++
		}
	}
	return missed, twice
}

// Recover runs the library's RecoverCluster on the stopped node.
func (n *Node) Recover(sp Spec, c raft.Configuration) {
	n.t.Helper()
	if err := n.open(sp); err != nil {
		n.t.Fatal(n.ID, err)
	}
	err := raft.RecoverCluster(n.conf, recovering{n.Store}, n.Logs, raftstore.AtomicVote(n.Disk), n.Store,
		raftstore.NoHeartbeatFastPath(n.trans), c)
	if err := errors.Join(err, n.trans.Close(), n.Store.Close()); err != nil {
		n.t.Fatal(n.ID, err)
	}
}

// Restore implements raft.FSM.
func (recovering) Restore(r io.ReadCloser) error { return r.Close() }
