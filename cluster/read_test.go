package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/cluster"
	"github.com/kavachd/kavachd/cluster/clustertest"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/status"
)

// shortly bounds a call that has to fail.
func shortly(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestDeposedLeaderRefuses cuts the leader off, before it can know, and revokes through the others. The old leader must
// never allow: it may only refuse to answer. So must a follower that is cut off.
func TestDeposedLeaderRefuses(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{})
	a := c.Admin()
	id, token, cmd := a.CreateAgent(clustertest.Allow("doc:*", "read"))
	old := c.Leader()
	propose(t, old, cmd)
	if code, err := decideByToken(soon(t), old, a, token); err != nil || code != authz.Allowed {
		t.Fatalf("before the cut: %v, %v", code, err)
	}
	c.Network.Isolate(old.Index())
	var stop atomic.Bool
	var refused atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() { // asks all the time, so also while it still believes that it leads
		for !stop.Load() {
			code, err := decideByToken(shortly(t), old, a, token)
			if err == nil && code == authz.Allowed {
				t.Errorf("the leader that was cut off allows")
			}
			if r := status.ReasonOf(err); err != nil && r != status.ReadIndexUnavailable && r != status.DeadlineExceeded {
				t.Errorf("the leader that was cut off says %v", err)
			}
			refused.Add(1)
		}
	})
	rest := others(c, old)
	c.Leader(rest...)
	propose(t, rest[0], a.Revoke(id))
	for _, n := range rest {
		if code, err := decideByToken(soon(t), n, a, token); err != nil || code != authz.InvalidToken {
			t.Fatalf("node %d: %v, %v", n.Index(), code, err)
		}
	}
	had := refused.Load()
	c.Await("a refusal after the revocation", func() error {
		if refused.Load() <= had {
			return errors.New("none yet")
		}
		return nil
	})
	stop.Store(true)
	wg.Wait()
	_, err := decideByToken(shortly(t), old, a, token)
	if e, ok := errors.AsType[*status.Error](err); !ok || !e.Retryable {
		t.Errorf("a refusal that isn't marked as retryable: %v", err)
	}
	c.Network.Heal()
	if code, err := decideByToken(soon(t), old, a, token); err != nil || code != authz.InvalidToken {
		t.Errorf("after healing: %v, %v", code, err)
	}
}

func others(c *clustertest.Cluster, but *clustertest.Node) []*clustertest.Node {
	var rest []*clustertest.Node
	for _, n := range c.Running() {
		if n != but {
			rest = append(rest, n)
		}
	}
	return rest
}

// TestUnknownOutcomeIsResolved writes to a leader that has just been cut off. Nobody can say whether it was done, and the
// repeat with the same key finds out, exactly once.
func TestUnknownOutcomeIsResolved(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{})
	a := c.Admin()
	old := c.Leader()
	c.Network.Isolate(old.Index())
	id, _, cmd := a.CreateAgent(clustertest.Allow("doc:*", "read"))
	_, _, err := old.Propose(soon(t), cmd)
	if status.ReasonOf(err) != status.OutcomeUnknown {
		t.Fatalf("a write to a leader without followers: %v", err)
	}
	c.Leader(others(c, old)...)
	c.Network.Heal()
	result, first, err := old.Propose(soon(t), cmd)
	if err != nil || !bytes.Equal(result.GetAgent().GetAgent().GetId(), id[:]) {
		t.Fatalf("the repeat: %v, %v", result, err)
	}
	_, again, err := others(c, old)[0].Propose(soon(t), cmd)
	if err != nil || again != first {
		t.Errorf("the second repeat: revision %d instead of %d, %v", again, first, err)
	}
}

// TestAtLeast checks revisions: of this cluster, ahead of it, of another one, and what is none.
func TestAtLeast(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{Size: 1, Configure: func(_ int, cfg *cluster.Config) {
		cfg.Limits.ReadWait = 200 * time.Millisecond
	}})
	a := c.Admin()
	n := c.Nodes[0]
	_, _, cmd := a.CreateAgent()
	revision := propose(t, n, cmd)
	token := n.RevisionToken(revision)
	for _, q := range []struct {
		revision string
		want     status.Reason
	}{
		{token, ""},
		{n.RevisionToken(revision + 1000), status.RevisionAhead},
		{"00000000" + token[8:], status.RevisionUnknown},
		{token[:8] + ".7." + token[11:], status.RevisionUnknown},
		{"yesterday", status.InvalidArgument},
		{"", status.InvalidArgument},
	} {
		served, err := n.Read(soon(t), cluster.Level{Consistency: cluster.AtLeast, Revision: q.revision}, func(*cluster.View) error { return nil })
		if status.ReasonOf(err) != q.want {
			t.Errorf("at least %q: %v, want %q", q.revision, err, q.want)
		}
		if err == nil && (served.Revision < revision || served.Consistency != cluster.AtLeast) {
			t.Errorf("at least %q: served %+v", q.revision, served)
		}
	}
}

// TestDecideAuthenticates checks that the caller's key is judged by the version that decides.
func TestDecideAuthenticates(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{Size: 1})
	a := c.Admin()
	n := c.Nodes[0]
	if _, err := n.Decide(soon(t), cluster.Level{}, a.Token(), []cluster.Check{{}}); status.ReasonOf(err) != status.Unauthenticated {
		t.Errorf("an unknown key: %v", err)
	}
	_, token, cmd := a.CreateAgent(&raftv1.Permission{Resource: "doc:*", Actions: []string{"read"}, MaxCallsPerHour: 5})
	propose(t, n, cmd)
	if _, err := decideByToken(soon(t), n, a, token); status.ReasonOf(err) != status.QuotaUnavailable {
		t.Errorf("a quota that nothing enforces: %v", err)
	}
	key := a.Caller.GetKeyId()
	propose(t, n, a.RevokeKey(key))
	if _, err := decideByToken(soon(t), n, a, token); status.ReasonOf(err) != status.Unauthenticated {
		t.Errorf("a revoked key: %v", err)
	}
}

// TestReadersOfOneVersion reads decision state and records together while a token is rotated between the two:
// both must be of one version.
func TestReadersOfOneVersion(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{Size: 1})
	a := c.Admin()
	n := c.Nodes[0]
	id, _, cmd := a.CreateAgent()
	propose(t, n, cmd)
	for range 50 {
		runs := 0
		_, err := n.Read(soon(t), cluster.Level{}, func(v *cluster.View) error {
			// A write comes in the middle of the first evaluation: between its decision state and its first record.
			if runs++; runs == 1 {
				_, cmd := a.Rotate(id)
				propose(t, n, cmd)
			}
			record, err := v.Records.Agent(id)
			if err != nil {
				return err
			}
			if got, want := v.State.Agent(id).Revision, record.GetRevision(); got != want {
				t.Errorf("the decision state has revision %d, the record %d", got, want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if runs < 2 {
			t.Fatal("the evaluation that saw the state move was not repeated")
		}
	}
}
