package raftstore_test

import (
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/cluster/raftstore/raftstoretest"
)

// gatedLog holds the library's main loop inside StoreLogs.
type gatedLog struct {
	*raftstoretest.Disk
	entered chan struct{}
	open    chan struct{}
	once    sync.Once
}

func (g *gatedLog) StoreLogs(logs []*raft.Log) error {
	g.once.Do(func() {
		close(g.entered)
		<-g.open
	})
	return g.Disk.StoreLogs(logs)
}

// besideMainLoop tells whether a heartbeat of term 3 is answered, and moves the node to term 3, while its main loop is
// still storing entries of the leader of term 2.
func besideMainLoop(t *testing.T, wrap func(*raft.NetworkTransport) raft.Transport) bool {
	t.Helper()
	trans := func() *raft.NetworkTransport {
		tr, err := raft.NewTCPTransportWithLogger("127.0.0.1:0", nil, 2, 10*time.Second, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			tr.CloseStreams()
			if err := tr.Close(); err != nil {
				t.Error(err)
			}
		})
		return tr
	}
	ft, lt := trans(), trans()
	logs := &gatedLog{Disk: raftstoretest.NewDisk(), entered: make(chan struct{}), open: make(chan struct{})}
	servers := raft.Configuration{Servers: []raft.Server{{ID: "f", Address: ft.LocalAddr()}, {ID: "l", Address: lt.LocalAddr()}}}
	boot(t, logs.Disk, logs.Disk, servers)
	c := raftstore.Config("f", raftstore.Profile{Heartbeat: time.Hour, Lease: time.Hour, CommitTimeout: time.Second})
	c.Logger = hclog.NewNullLogger()
	r, err := raft.NewRaft(c, &idleFSM{}, logs, logs.Disk, raft.NewInmemSnapshotStore(), wrap(ft))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Shutdown().Error(); err != nil {
			t.Error(err)
		}
	})
	send := func(req *raft.AppendEntriesRequest) chan error {
		req.RPCHeader = raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("l"), Addr: []byte(lt.LocalAddr())}
		done := make(chan error, 1)
		go func() { done <- lt.AppendEntries("f", ft.LocalAddr(), req, &raft.AppendEntriesResponse{}) }()
		return done
	}
	appended := send(&raft.AppendEntriesRequest{
		Term: 2, PrevLogEntry: 1, PrevLogTerm: 1, Entries: []*raft.Log{{Index: 2, Term: 2, Type: raft.LogNoop}},
	})
	<-logs.entered
	beat := send(&raft.AppendEntriesRequest{Term: 3})
	beside := false
	select {
	case err := <-beat:
		if err != nil {
			t.Fatal(err)
		}
		beside = r.CurrentTerm() == 3
		beat <- nil
	case <-time.After(300 * time.Millisecond): // nothing can be awaited: the answer must not come
	}
	close(logs.open)
	for _, done := range []chan error{appended, beat} {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	return beside
}

func TestHeartbeatWithoutShield(t *testing.T) {
	t.Parallel()
	if !besideMainLoop(t, func(tr *raft.NetworkTransport) raft.Transport { return tr }) {
		t.Error("heartbeats wait for the main loop: the library has repaired it, NoHeartbeatFastPath can go")
	}
}

func TestHeartbeatWithShield(t *testing.T) {
	t.Parallel()
	if besideMainLoop(t, raftstore.NoHeartbeatFastPath) {
		t.Error("a heartbeat was answered beside the main loop")
	}
}

// The wrapper must not hide from the library what it looks for by type.
func TestNoHeartbeatFastPathKeepsPreVote(t *testing.T) {
	var tr raft.Transport = raftstore.NoHeartbeatFastPath(nil)
	if _, ok := tr.(raft.WithPreVote); !ok {
		t.Error("pre-vote is hidden: the library would switch it off")
	}
}
