package raftstoretest

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/raftstore"
)

// BareLeader starts so many nodes of the bare library on this machine's disk and loopback, with our shields and
// configuration but a state machine that does nothing, and returns their leader: the yardstick for what a proposer adds.
func BareLeader(t testing.TB, nodes int) *raft.Raft {
	t.Helper()
	dir := t.TempDir()
	trans := make([]*raft.NetworkTransport, nodes)
	var members raft.Configuration
	for i := range trans {
		tr, err := raft.NewTCPTransportWithConfig("127.0.0.1:0", nil, &raft.NetworkTransportConfig{
			MaxPool: 3, Timeout: 10 * time.Second, Logger: hclog.NewNullLogger(), MsgpackUseNewTimeFormat: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		trans[i] = tr
		members.Servers = append(members.Servers, raft.Server{ID: raft.ServerID(fmt.Sprint(i)), Address: tr.LocalAddr()})
	}
	rafts := make([]*raft.Raft, nodes)
	for i, tr := range trans {
		bolt, err := raftstore.OpenLog(filepath.Join(dir, fmt.Sprintf("%d.db", i)))
		if err != nil {
			t.Fatal(err)
		}
		logs, err := raftstore.Logs(bolt)
		if err != nil {
			t.Fatal(err)
		}
		c := raftstore.Config(members.Servers[i].ID, raftstore.SlowProfile())
		c.Logger = hclog.NewNullLogger()
		c.SnapshotThreshold = 1 << 40
		stable, snaps, shielded := raftstore.AtomicVote(bolt), raft.NewInmemSnapshotStore(), raftstore.NoHeartbeatFastPath(tr)
		if err := raft.BootstrapCluster(c, logs, stable, snaps, shielded, members); err != nil {
			t.Fatal(err)
		}
		r, err := raft.NewRaft(c, nothing{}, logs, stable, snaps, shielded)
		if err != nil {
			t.Fatal(err)
		}
		rafts[i] = r
		t.Cleanup(func() {
			tr.CloseStreams()
			err := r.Shutdown().Error()
			if err := errors.Join(err, tr.Close(), bolt.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	Await(t, "a leader", func() bool {
		for i, r := range rafts {
			if r.State() == raft.Leader && r.Barrier(time.Second).Error() == nil {
				rafts[0], rafts[i] = rafts[i], rafts[0]
				return true
			}
		}
		return false
	})
	return rafts[0]
}

// nothing is a state machine that forgets.
type nothing struct{}

// Apply implements raft.FSM.
func (nothing) Apply(*raft.Log) any { return nil }

// ApplyBatch implements raft.BatchingFSM.
func (nothing) ApplyBatch(logs []*raft.Log) []any { return make([]any, len(logs)) }

// Snapshot implements raft.FSM.
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("nothing to snapshot") }

// Restore implements raft.FSM.
func (nothing) Restore(r io.ReadCloser) error { return r.Close() }

// Callers calls op from so many goroutines until b.N calls are done, and reports calls per second and the median and
// the 99th percentile of their latency.
func Callers(b *testing.B, callers int, op func() error) {
	b.Helper()
	var (
		todo atomic.Int64
		wg   sync.WaitGroup
		all  = make([][]time.Duration, callers)
		errs = make([]error, callers)
	)
	todo.Store(int64(b.N))
	b.ResetTimer()
	start := time.Now()
	for i := range callers {
		wg.Go(func() {
			for todo.Add(-1) >= 0 {
				at := time.Now()
				if errs[i] = op(); errs[i] != nil {
					return
				}
				all[i] = append(all[i], time.Since(at))
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	b.StopTimer()
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
	lat := slices.Concat(all...)
	slices.Sort(lat)
	b.ReportMetric(float64(len(lat))/elapsed.Seconds(), "calls/s")
	b.ReportMetric(float64(lat[len(lat)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(lat[len(lat)*99/100].Microseconds()), "p99-µs")
}
