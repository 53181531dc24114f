package raftstoretest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/storage"
)

// Spec says how a node is started. The zero value is a node with every shield, slow timing and no snapshots of its own.
type Spec struct {
	Trailing  uint64        // entries that a snapshot leaves in the log
	Threshold uint64        // entries after which the library takes a snapshot by itself, 0: never
	Interval  time.Duration // how often it looks, with Threshold
	Timeout   time.Duration // of the transport, 0: 2 s
	Stall     time.Duration // limit on silence on the receiving side, 0: none
	// ShieldLog wraps the handle of the log that the Store gets, but not the library's: a shield that reaches the log
	// through it can be taken away.
	ShieldLog func(raft.LogStore) raft.LogStore
	// Snapshots wraps the Store where the library sees a snapshot store.
	Snapshots func(*raftstore.Store) raft.SnapshotStore
	FS        func(vfs.FS) vfs.FS // wraps the node's file system
	Hooks     raftstore.Hooks     // Fatal is set if nil, and then only halts
}

// Node is one member, on a disk that survives Stop.
type Node struct {
	ID   string
	FS   *vfs.MemFS
	Disk *Disk

	Raft  *raft.Raft
	Store *raftstore.Store
	Logs  raft.LogStore

	t     testing.TB
	net   *Network
	conf  *raft.Config
	trans *raft.NetworkTransport
	alive bool
}

// stateDir is where a node's state lies in its file system.
const stateDir = "node/state"

// NewNode returns a node with an empty disk. It isn't started.
func NewNode(t testing.TB, n *Network, id string) *Node {
	return &Node{ID: id, FS: vfs.NewCrashableMem(), Disk: NewDisk(), t: t, net: n}
}

// Open prepares everything but the library: disk, Store, transport. Recover needs this; Start does it too.
func (n *Node) open(sp Spec) (err error) {
	if n.Logs, err = raftstore.Logs(n.Disk); err != nil {
		return err
	}
	handle := n.Logs
	if sp.ShieldLog != nil {
		handle = sp.ShieldLog(handle)
	}
	if sp.Hooks.Fatal == nil {
		sp.Hooks.Fatal = func(error) {} // Store.Err tells
	}
	fs := vfs.FS(n.FS)
	if sp.FS != nil {
		fs = sp.FS(fs)
	}
	n.Store, err = raftstore.Open(fs, stateDir, handle, Machine{}, sp.Hooks, raftstore.WithStorage(storage.Small()))
	if err != nil {
		return err
	}
	l, err := n.net.listen(n.ID, sp.Stall)
	if err != nil {
		return errors.Join(err, n.Store.Close())
	}
	if sp.Timeout == 0 {
		sp.Timeout = 2 * time.Second
	}
	log := hclog.NewNullLogger()
	if os.Getenv("RAFTLOG") != "" {
		log = hclog.New(&hclog.LoggerOptions{Name: n.ID, Level: hclog.Debug})
	}
	n.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: l, MaxPool: 3, Timeout: sp.Timeout, Logger: log, MsgpackUseNewTimeFormat: true,
	})
	c := raftstore.Config(raft.ServerID(n.ID), raftstore.SlowProfile())
	c.CommitTimeout = 10 * time.Millisecond
	c.SnapshotInterval, c.SnapshotThreshold, c.TrailingLogs = time.Hour, 1<<40, sp.Trailing
	if sp.Threshold > 0 {
		c.SnapshotInterval, c.SnapshotThreshold = sp.Interval, sp.Threshold
	}
	c.Logger = log
	n.conf = c
	return nil
}

// Start starts the node on its disk. It returns what Open of the Store or the library says.
func (n *Node) Start(sp Spec) (err error) {
	n.t.Helper()
	if err := n.open(sp); err != nil {
		return err
	}
	var snaps raft.SnapshotStore = n.Store
	if sp.Snapshots != nil {
		snaps = sp.Snapshots(n.Store)
	}
	defer func() {
		if p := recover(); p != nil {
			err = errors.Join(fmt.Errorf("NewRaft panics: %v", p), n.trans.Close(), n.Store.Close())
		}
	}()
	n.Raft, err = raft.NewRaft(n.conf, n.Store, n.Logs, raftstore.AtomicVote(n.Disk), snaps, raftstore.NoHeartbeatFastPath(n.trans))
	if err != nil {
		return errors.Join(err, n.trans.Close(), n.Store.Close())
	}
	n.alive = true
	n.t.Cleanup(n.Stop)
	return nil
}

// MustStart starts the node or fails the test.
func (n *Node) MustStart(sp Spec) {
	n.t.Helper()
	if err := n.Start(sp); err != nil {
		n.t.Fatal(n.ID, err)
	}
}

// Stop stops the node. Its disk stays. It may be called twice.
func (n *Node) Stop() {
	if !n.alive {
		return
	}
	n.alive = false
	n.net.Close(n.ID)
	n.trans.CloseStreams()
	err := n.Raft.Shutdown().Error()
	if err := errors.Join(err, n.trans.Close(), n.Store.Close()); err != nil {
		n.t.Error(n.ID, err)
	}
}

// Elect makes the node ask for votes at once, as if a leader had told it to take over.
func (n *Node) Elect() {
	n.t.Helper()
	me := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.ID), Addr: []byte(n.ID)}
	err := n.trans.TimeoutNow(raft.ServerID(n.ID), raft.ServerAddress(n.ID), &raft.TimeoutNowRequest{RPCHeader: me}, &raft.TimeoutNowResponse{})
	if err != nil {
		n.t.Fatal(n.ID, err)
	}
}

// Image is what a power cut leaves.
type Image struct {
	FS   *vfs.MemFS
	Disk *Disk
}

// Crash returns what a power cut at this moment would leave, with that share of unsynced data.
func (n *Node) Crash(unsyncedPercent int, rng *rand.Rand) Image {
	// The log first: what it has may be missing in the state, never the other way round.
	d := n.Disk.Clone()
	return Image{FS: n.FS.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsyncedPercent, RNG: rng}), Disk: d}
}

// Become puts the image in the place of the node's disk. The node must be stopped.
func (n *Node) Become(i Image) { n.FS, n.Disk = i.FS, i.Disk }

// First and last index of the node's log.
func (n *Node) First() uint64 { i, _ := n.Disk.FirstIndex(); return i }

// Last returns the last index of the node's log.
func (n *Node) Last() uint64 { i, _ := n.Disk.LastIndex(); return i }

// Applied returns the index that the Store has published.
func (n *Node) Applied() uint64 { i, _ := n.Store.Applied(); return i }

// Files returns the names in the state's directory.
func (n *Node) Files() []string {
	names, err := n.FS.List(stateDir)
	if err != nil {
		n.t.Fatal(n.ID, err)
	}
	return names
}

// recovering is the FSM for RecoverCluster, which restores in any case: the state is there already.
type recovering struct{ *raftstore.Store }

// Puppet returns the node's transport, without a library behind it: the test plays the node.
func (n *Node) Puppet() raft.Transport {
	n.t.Helper()
	l, err := n.net.listen(n.ID, 0)
	if err != nil {
		n.t.Fatal(n.ID, err)
	}
	tr := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: l, MaxPool: 3, Timeout: 5 * time.Second, Logger: hclog.NewNullLogger(), MsgpackUseNewTimeFormat: true,
	})
	n.t.Cleanup(func() {
		tr.CloseStreams()
		if err := tr.Close(); err != nil {
			n.t.Error(n.ID, err)
		}
	})
	return tr
}
