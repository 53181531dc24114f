package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/cluster"
	"github.com/kavachd/kavachd/cluster/clustertest"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
)

// soon bounds one call of a test.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), clustertest.Patience)
	t.Cleanup(cancel)
	return ctx
}

// propose writes through a node and returns the revision.
func propose(t testing.TB, n *clustertest.Node, cmd *raftv1.Command) uint64 {
	t.Helper()
	_, revision, err := n.Propose(soon(t), cmd)
	if err != nil {
		t.Fatalf("propose through node %d: %v", n.Index(), err)
	}
	return revision
}

// decideByToken asks a node whether a token may read.
func decideByToken(ctx context.Context, n *clustertest.Node, a *clustertest.Admin, token ids.Hash) (authz.Code, error) {
	d, err := n.Decide(ctx, cluster.Level{}, a.Hash, []cluster.Check{{Request: authz.Request{
		ByToken: true, Token: token, TokenOK: true, Action: "read", Resource: "doc:1",
	}}})
	if err != nil {
		return 0, err
	}
	return d.Verdicts[0].Code, nil
}

// TestWriteThenReadEverywhere writes through each node and sees the write at once on every node, by decision and by record.
func TestWriteThenReadEverywhere(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{})
	a := c.Admin()
	for _, through := range c.Nodes {
		id, token, cmd := a.CreateAgent(clustertest.Allow("doc:*", "read"))
		revision := propose(t, through, cmd)
		for _, n := range c.Nodes {
			if code, err := decideByToken(soon(t), n, a, token); err != nil || code != authz.Allowed {
				t.Fatalf("node %d after a write through node %d: %v, %v", n.Index(), through.Index(), code, err)
			}
			var got *raftv1.Agent
			served, err := n.Read(soon(t), cluster.Level{}, func(v *cluster.View) (err error) {
				got, err = v.Records.Agent(id)
				return err
			})
			if err != nil || got.GetRevision() != revision || served.Revision < revision {
				t.Fatalf("node %d: agent %v at %d, written at %d: %v", n.Index(), got, served.Revision, revision, err)
			}
		}
		next, cmd := a.Rotate(id)
		propose(t, through, cmd)
		for _, n := range c.Nodes {
			old, err := decideByToken(soon(t), n, a, token)
			if err != nil || old != authz.InvalidToken {
				t.Fatalf("node %d still knows the old token: %v, %v", n.Index(), old, err)
			}
			if code, err := decideByToken(soon(t), n, a, next); err != nil || code != authz.Allowed {
				t.Fatalf("node %d doesn't know the new token: %v, %v", n.Index(), code, err)
			}
		}
	}
	sameDigests(t, c)
}

// sameDigests waits until all running nodes have applied the same and compares their digests.
func sameDigests(t testing.TB, c *clustertest.Cluster) {
	t.Helper()
	c.Await("equal digests at one index", func() error {
		var first cluster.Status
		for i, n := range c.Running() {
			s, err := n.Status()
			if err != nil {
				return err
			}
			if i == 0 {
				first = s
				continue
			}
			if s.Applied != first.Applied || fmt.Sprint(s.Digests) != fmt.Sprint(first.Digests) {
				return fmt.Errorf("node %d is at %d with %v, node 0 at %d with %v", i, s.Applied, s.Digests, first.Applied, first.Digests)
			}
		}
		return nil
	})
}

// TestLeaderChangesUnderWrites moves leadership around, gracefully and by force, while all nodes write. Every write that was
// acknowledged is there once; one whose outcome was unknown is resolved by repeating it with its idempotency key.
func TestLeaderChangesUnderWrites(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{})
	a := c.Admin()
	const writers = 6
	stop := make(chan struct{})
	var wg sync.WaitGroup
	acked := make([][]ids.ID, writers)
	unknown := make([]int, writers)
	var done atomic.Int64
	ctx := soon(t)
	for w := range writers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				id, _, cmd := a.CreateAgent(clustertest.Allow("doc:*", "read"))
				n, err := untilDone(ctx, c.Nodes[w%len(c.Nodes)], cmd)
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				unknown[w] += n
				acked[w] = append(acked[w], id)
				done.Add(1)
			}
		})
	}
	progress := func() {
		target := done.Load() + 10*writers
		c.Await("more writes", func() error {
			if n := done.Load(); n < target {
				return fmt.Errorf("%d of %d writes are done", n, target)
			}
			return nil
		})
	}
	for range 2 {
		progress()
		leader := c.Leader()
		if err := leader.Transfer(ctx, ""); err != nil {
			t.Errorf("transfer from node %d: %v", leader.Index(), err)
		}
		progress()
		leader = c.Leader()
		c.Network.Isolate(leader.Index())
		var rest []*clustertest.Node
		for _, n := range c.Nodes {
			if n != leader {
				rest = append(rest, n)
			}
		}
		c.Await("another leader", func() error {
			if l := c.Leader(rest...); l == leader {
				return errors.New("still the old one")
			}
			return nil
		})
		c.Network.Heal()
		c.Leader()
	}
	progress()
	close(stop)
	wg.Wait()
	total := 0
	for w := range writers {
		total += unknown[w]
		for _, id := range acked[w] {
			for _, n := range c.Nodes {
				if _, err := n.Read(ctx, cluster.Level{}, func(v *cluster.View) error {
					if v.State.Agent(id) == nil {
						return fmt.Errorf("agent %s is not there", id.Text(ids.PrefixAgent))
					}
					return nil
				}); err != nil {
					t.Fatalf("node %d: acknowledged to writer %d: %v", n.Index(), w, err)
				}
			}
		}
		t.Logf("writer %d: %d writes, %d unknown outcomes resolved", w, len(acked[w]), unknown[w])
	}
	t.Logf("%d unknown outcomes in all", total)
	sameDigests(t, c)
}

// untilDone repeats a write with its idempotency key until its outcome is known.
func untilDone(ctx context.Context, n *clustertest.Node, cmd *raftv1.Command) (unknown int, err error) {
	for {
		_, _, err := n.Propose(ctx, cmd)
		switch status.ReasonOf(err) {
		case "":
			return unknown, nil
		case status.OutcomeUnknown:
			unknown++
		case status.NoLeader, status.QueueFull:
		default:
			return unknown, err
		}
		if ctx.Err() != nil {
			return unknown, err
		}
	}
}
