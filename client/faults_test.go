package client_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kavachd/kavachd/client"
	"github.com/kavachd/kavachd/cluster/clustertest"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// load asks and writes through one client until it is stopped. Every write is a new owner's agent, so that one applied
// twice is seen.
type load struct {
	decisions, writes atomic.Int64
	stop              context.CancelFunc
	all               sync.WaitGroup
}

func startLoad(t *testing.T, c *client.Client, agent string) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop}
	call := func(do func(ctx context.Context) error) {
		for ctx.Err() == nil {
			// A deadline of its own, not the load's end, so that no call is cut off.
			one, cancel := context.WithTimeout(t.Context(), clustertest.Patience)
			err := do(one)
			cancel()
			if err != nil {
				t.Errorf("a call failed under faults: %v", err)
				return
			}
		}
	}
	for range 4 {
		l.all.Go(func() {
			call(func(ctx context.Context) error {
				d, err := ask(ctx, c, agent)
				if err == nil && !d.GetAllowed() {
					err = fmt.Errorf("denied: %v", d)
				}
				l.decisions.Add(1)
				return err
			})
		})
	}
	for range 2 {
		l.all.Go(func() {
			call(func(ctx context.Context) error {
				_, err := c.Agents.CreateAgent(ctx, &kavachv1.CreateAgentRequest{OwnerId: fmt.Sprintf("load-%d", l.writes.Add(1)), Name: "a"})
				return err
			})
		})
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) end() {
	l.stop()
	l.all.Wait()
}

// progress waits until both kinds of calls go on.
func (l *load) progress(t *testing.T, what string) {
	t.Helper()
	decisions, writes := l.decisions.Load()+40, l.writes.Load()+10
	clustertest.Await(t, "calls "+what, func() error {
		if d, w := l.decisions.Load(), l.writes.Load(); d < decisions || w < writes {
			return fmt.Errorf("%d decisions of %d, %d writes of %d", d, decisions, w, writes)
		}
		return nil
	})
}

// once checks that every write was applied exactly once.
func (l *load) once(t *testing.T, c *client.Client) {
	t.Helper()
	count := map[string]int{}
	req := &kavachv1.ListAgentsRequest{PageSize: 1000}
	for {
		res, err := c.Agents.ListAgents(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range res.GetAgents() {
			count[a.GetOwnerId()]++
		}
		if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	for i := range l.writes.Load() {
		if owner := fmt.Sprintf("load-%d", i+1); count[owner] != 1 {
			t.Errorf("the write of %s was applied %d times", owner, count[owner])
		}
	}
	t.Logf("%d decisions, %d writes", l.decisions.Load(), l.writes.Load())
}

// healthOf waits until the client has found out about a node.
func healthOf(t *testing.T, c *client.Client, n *clustertest.Node, want string) {
	t.Helper()
	url := "http://" + n.Config.Address.API
	clustertest.Await(t, n.Config.Address.API+" being "+want, func() error {
		for _, e := range c.Endpoints() {
			if e.Endpoint == url && e.Health != want {
				return fmt.Errorf("it is %s", e.Health)
			}
		}
		return nil
	})
}

// TestFaults: under load, the node that leads is stopped, cut off with its API reachable, and hung, one after the other.
// No decision and no write fails at the client, and every write is applied exactly once.
func TestFaults(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.client(t, client.Config{AttemptTimeout: time.Second})
	agent := newAgent(t.Context(), t, c, "alice")
	l := startLoad(t, c, agent)
	l.progress(t, "before any fault")

	stopped := w.Leader()
	stopped.Stop()
	l.progress(t, "with a node stopped")
	healthOf(t, c, stopped, "gone")
	stopped.Start()
	w.AwaitReady()
	healthOf(t, c, stopped, "well")

	isolated := w.Leader()
	w.Network.Isolate(isolated.Index())
	healthOf(t, c, isolated, "doubtful")
	l.progress(t, "with a node cut off")
	w.Network.Heal()
	healthOf(t, c, isolated, "well")

	hung := w.Leader() // as by a stop signal: silent to callers and to its peers
	w.hangs[hung.Index()].begin()
	t.Cleanup(w.hangs[hung.Index()].end)
	w.Network.Isolate(hung.Index())
	healthOf(t, c, hung, "gone")
	l.progress(t, "with a node hung")
	w.hangs[hung.Index()].end()
	w.Network.Heal()
	healthOf(t, c, hung, "well")

	l.progress(t, "after all faults")
	l.end()
	l.once(t, c)
}

// TestLeaderChanges: the leadership is handed around under writes; none fails, each is applied once.
func TestLeaderChanges(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.client(t, client.Config{})
	l := startLoad(t, c, newAgent(t.Context(), t, c, "alice"))
	for i := range 3 {
		before := w.Leader()
		if _, err := c.Cluster.TransferLeadership(t.Context(), &kavachv1.TransferLeadershipRequest{}); err != nil {
			t.Fatal(err)
		}
		w.Await("another leader", func() error {
			if w.Leader() == before {
				return fmt.Errorf("node %d still leads", before.Index())
			}
			return nil
		})
		l.progress(t, fmt.Sprintf("after change %d", i))
	}
	l.end()
	l.once(t, c)
}

// TestHungNodeLeavesTime: of a call with a short deadline, a node that hangs takes a share, not all.
func TestHungNodeLeavesTime(t *testing.T) {
	t.Parallel()
	w := start(t)
	agent := newAgent(t.Context(), t, w.client(t, client.Config{}), "alice")
	w.hangs[0].begin()
	t.Cleanup(w.hangs[0].end)
	for range 6 { // whichever node is first in turn
		c := w.client(t, client.Config{AttemptTimeout: clustertest.Patience}) // the share alone limits
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			if d, err := ask(ctx, c, agent); err != nil || !d.GetAllowed() {
				t.Errorf("with one node hung: %v, %v", d, err)
			}
			cancel()
		}
		c.Close()
	}
}

// TestExport: a stream begins at another node when the first that is asked is gone, and tells of a refusal as other
// calls do.
func TestExport(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.client(t, client.Config{})
	agent := newAgent(t.Context(), t, c, "alice")
	for range 5 {
		if _, err := ask(t.Context(), c, agent); err != nil {
			t.Fatal(err)
		}
	}
	w.Nodes[1].Stop()
	for range 3 {
		s, err := c.Audit.ExportAuditLog(t.Context(), &kavachv1.ExportAuditLogRequest{Format: kavachv1.ExportFormat_EXPORT_FORMAT_JSONL})
		if err != nil {
			t.Fatal(err)
		}
		var entries uint64
		for s.Receive() {
			entries = s.Msg().GetEntries()
		}
		if err := s.Err(); err != nil || entries < 6 {
			t.Errorf("%d entries: %v", entries, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	nobody := w.client(t, client.Config{Key: unknownKey(t)})
	s, err := nobody.Audit.ExportAuditLog(t.Context(), &kavachv1.ExportAuditLogRequest{Format: kavachv1.ExportFormat_EXPORT_FORMAT_JSONL})
	if err != nil {
		t.Fatal(err)
	}
	if s.Receive() || client.ReasonOf(s.Err()) != "UNAUTHENTICATED" {
		t.Errorf("an unknown key: %v", s.Err())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
