package raftstore_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/cluster/raftstore/raftstoretest"
)

// committedDisk remembers a commit index, as RestoreCommittedLogs wants.
type committedDisk struct {
	*raftstoretest.Disk
	index uint64
}

func (d *committedDisk) StageCommitIndex(i uint64) error { d.index = i; return nil }
func (d *committedDisk) GetCommitIndex() (uint64, error) { return d.index, nil }

// startCommitted starts a node whose log names two members and holds n committed entries.
func startCommitted(n uint64, replay bool) (*raft.Raft, error) {
	d := &committedDisk{Disk: raftstoretest.NewDisk(), index: n}
	logs := []*raft.Log{{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(raftstoretest.Servers("a", "b"))}}
	for i := uint64(2); i <= n; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: 1, Type: raft.LogCommand})
	}
	if err := d.StoreLogs(logs); err != nil {
		return nil, err
	}
	_, tr := raft.NewInmemTransport("a")
	c := raftstore.Config("a", raftstore.Profile{Heartbeat: time.Hour, Lease: time.Hour, CommitTimeout: time.Second})
	c.Logger = hclog.NewNullLogger()
	c.RestoreCommittedLogs = c.RestoreCommittedLogs || replay
	return raft.NewRaft(c, &idleFSM{}, d, d, raft.NewInmemSnapshotStore(), tr)
}

// RestoreCommittedLogs of 1.8.0 starts a node without its peers; Config leaves it off.
func TestRestoreCommittedLogs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		replay bool
		want   int
	}{{true, 0}, {false, 2}} {
		r, err := startCommitted(100, c.replay)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(r.GetConfiguration().Configuration().Servers); n != c.want {
			t.Errorf("RestoreCommittedLogs %v: the node starts with %d members, expected %d", c.replay, n, c.want)
		}
		if err := r.Shutdown().Error(); err != nil {
			t.Fatal(err)
		}
	}
}

// committedEnv makes the test binary start a node, instead of testing.
const committedEnv = "RAFTSTORE_TEST_COMMITTED"

// With more committed entries than the library's channel holds, NewRaft blocks for ever. Since nothing can end that
// goroutine, it runs in a process of its own.
func TestRestoreCommittedLogsBlocks(t *testing.T) {
	t.Parallel()
	if mode := os.Getenv(committedEnv); mode != "" {
		// The library's channel holds 128 batches, and its reader starts only after the replay.
		tooMany := uint64(128*raftstore.Config("a", raftstore.SlowProfile()).MaxAppendEntries + 200)
		started := make(chan error, 1)
		go func() {
			_, err := startCommitted(tooMany, mode == "replay")
			started <- err
		}()
		select {
		case err := <-started:
			fmt.Println("started", err)
		case <-time.After(2 * time.Second): // it never starts: there is nothing to await
			fmt.Println("blocked")
		}
		os.Exit(0)
	}
	for mode, want := range map[string]string{"replay": "blocked", "ours": "started <nil>"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRestoreCommittedLogsBlocks$")
		cmd.Env = append(os.Environ(), committedEnv+"="+mode)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("%s: want %q, got %q, %v", mode, want, out, err)
		}
	}
}
