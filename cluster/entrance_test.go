package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/cluster"
	"github.com/kavachd/kavachd/cluster/clustertest"
	"github.com/kavachd/kavachd/status"
)

// TestUnequalListsRefuse gives one node another list of peers. Nobody founds anything, and each says why.
func TestUnequalListsRefuse(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, clustertest.Options{})
	c.Nodes[2].Config.Peers = append(c.Nodes[2].Config.Peers[:2:2], c.Nodes[2].Config.Address.API, "127.0.0.1:1")
	for _, n := range c.Nodes {
		n.Start()
	}
	for _, n := range c.Nodes[:2] {
		c.Await("a refusal", func() error {
			s, err := n.Status()
			if err != nil {
				return err
			}
			if s.ClusterID != "" {
				t.Fatalf("node %d has a cluster", n.Index())
			}
			if !strings.Contains(s.Problem, "another list of peers") {
				return fmt.Errorf("node %d says %q", n.Index(), s.Problem)
			}
			return nil
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.Nodes[0].Ready(ctx); status.ReasonOf(err) != status.NotReady || !strings.Contains(err.Error(), "another list of peers") {
		t.Errorf("Ready: %v", err)
	}
	for _, n := range c.Nodes {
		if n.ClusterID() != "" {
			t.Errorf("node %d has a cluster", n.Index())
		}
	}
}

// TestMissingPeerNobodyFounds starts two of three. They wait; the third one's start makes the cluster.
func TestMissingPeerNobodyFounds(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, clustertest.Options{})
	c.Nodes[0].Start()
	c.Nodes[1].Start()
	for _, n := range c.Running() {
		c.Await("the missing peer is named", func() error {
			s, err := n.Status()
			if err != nil {
				return err
			}
			if !strings.Contains(s.Problem, c.Nodes[2].Config.Address.API) || n.ClusterID() != "" {
				return fmt.Errorf("node %d says %q", n.Index(), s.Problem)
			}
			return nil
		})
	}
	c.Nodes[2].Start()
	c.AwaitReady()
}

// TestWipedNodeRejoins wipes the founder, the one node that could found again. It comes back under a new id, in the old
// cluster, and its old self is gone from the configuration. Then all restart on their directories.
func TestWipedNodeRejoins(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{})
	a := c.Admin()
	_, token, cmd := a.CreateAgent(clustertest.Allow("doc:*", "read"))
	propose(t, c.Nodes[0], cmd)
	id := c.Nodes[0].ClusterID()
	for _, n := range c.Nodes { // whichever founded it
		n.Stop()
		n.Wipe()
		n.Start()
		c.AwaitReady()
		if got := n.ClusterID(); got != id {
			t.Fatalf("node %d came back in cluster %s, it was %s", n.Index(), got, id)
		}
		if code, err := decideByToken(soon(t), n, a, token); err != nil || code != authz.Allowed {
			t.Fatalf("node %d after wiping: %v, %v", n.Index(), code, err)
		}
	}
	members, err := c.Nodes[0].Members()
	if err != nil || len(members) != 3 {
		t.Fatalf("members are %+v, %v", members, err)
	}
	for _, n := range c.Nodes {
		n.Stop()
	}
	for _, n := range c.Nodes {
		n.Start()
	}
	c.AwaitReady()
	for _, n := range c.Nodes {
		if code, err := decideByToken(soon(t), n, a, token); err != nil || code != authz.Allowed || n.ClusterID() != id {
			t.Fatalf("node %d after a restart of all: %v, %v", n.Index(), code, err)
		}
	}
	sameDigests(t, c)
}

// TestLostRaftStateRefuses removes a member's log but leaves its identity: with its old name it could vote as if it had
// never promised anything.
func TestLostRaftStateRefuses(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{Size: 1})
	n := c.Nodes[0]
	n.Stop()
	for _, name := range []string{"raft.db", "state"} {
		if err := os.RemoveAll(filepath.Join(n.Config.DataDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.TryStart(); err == nil || !strings.Contains(err.Error(), "wipe") {
		t.Fatalf("it started: %v", err)
	}
}

// TestClustersDontMix has a node of one cluster told to join another: neither its requests nor its Raft get in. A node with
// another secret isn't even answered.
func TestClustersDontMix(t *testing.T) {
	t.Parallel()
	one := clustertest.Start(t, clustertest.Options{Size: 1})
	two := clustertest.Start(t, clustertest.Options{Size: 1})
	stranger := two.Nodes[0]
	stranger.Stop()
	stranger.Config.Peers, stranger.Config.Join = nil, []string{one.Nodes[0].Config.Address.API}
	two.Network.Name(one.Nodes[0].Config.Address.API, 1)
	two.Network.Name(one.Nodes[0].Config.Address.Raft, 1)
	id := stranger.ClusterIDOnDisk()
	stranger.Start()
	two.AwaitReady() // in its own cluster of one, as before
	if stranger.ClusterID() != id || id == one.Nodes[0].ClusterID() {
		t.Errorf("the stranger is in %s, was in %s", stranger.ClusterID(), id)
	}
	three := clustertest.New(t, clustertest.Options{Size: 1, Configure: func(_ int, cfg *cluster.Config) {
		cfg.JoinSecret = []byte("quite another secret")
		cfg.Peers, cfg.Join = nil, []string{one.Nodes[0].Config.Address.API}
	}})
	three.Network.Name(one.Nodes[0].Config.Address.API, 1)
	n := three.Nodes[0]
	n.Start()
	three.Await("a refusal", func() error {
		s, err := n.Status()
		if err != nil {
			return err
		}
		if !strings.Contains(s.Problem, "no member of a cluster answers") {
			return fmt.Errorf("it says %q", s.Problem)
		}
		return nil
	})
	if members, err := one.Nodes[0].Members(); err != nil || len(members) != 1 {
		t.Errorf("members of the first cluster: %+v, %v", members, err)
	}
}

// TestAddRemoveTransfer grows a cluster to four, hands leadership to the new member, and takes out a follower, the leader,
// and what isn't there.
func TestAddRemoveTransfer(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{})
	a := c.Admin()
	n := c.Add()
	n.Start()
	c.AwaitReady()
	if err := c.Followers()[0].Transfer(soon(t), n.ID()); err != nil {
		t.Fatal(err)
	}
	if l := c.Leader(); l != n {
		t.Errorf("node %d leads, not node %d", l.Index(), n.Index())
	}
	if err := n.Transfer(soon(t), "nobody"); status.ReasonOf(err) != status.MemberNotFound {
		t.Errorf("transfer to nobody: %v", err)
	}
	if err := n.Remove(soon(t), "nobody"); status.ReasonOf(err) != status.MemberNotFound {
		t.Errorf("remove nobody: %v", err)
	}
	follower := c.Nodes[0]
	gone := follower.ID()
	follower.Stop()
	if err := c.Nodes[1].Remove(soon(t), gone); err != nil {
		t.Fatal(err)
	}
	leader := c.Leader()
	gone = leader.ID()
	if err := leader.Remove(soon(t), gone); err != nil {
		t.Fatal(err)
	}
	leader.Stop()
	for _, m := range c.Running() {
		c.Await("two members are left", func() error {
			members, err := m.Members()
			if err != nil || len(members) != 2 {
				return fmt.Errorf("%+v (%w)", members, err)
			}
			return nil
		})
	}
	_, token, cmd := a.CreateAgent(clustertest.Allow("doc:*", "read"))
	propose(t, c.Running()[0], cmd)
	if code, err := decideByToken(soon(t), c.Running()[1], a, token); err != nil || code != authz.Allowed {
		t.Errorf("after the removals: %v, %v", code, err)
	}
}

// TestNewAddresses restarts a member elsewhere: it registers its new addresses and takes part there.
func TestNewAddresses(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{})
	n := c.Followers()[0]
	n.Stop()
	n.Move()
	n.Start()
	c.AwaitReady()
	for _, other := range c.Nodes {
		c.Await("the new address is known", func() error {
			members, err := other.Members()
			if err != nil {
				return err
			}
			for _, m := range members {
				if m.NodeID == n.ID() && m.APIAddress == n.Config.Address.API && m.RaftAddress == n.Config.Address.Raft {
					return nil
				}
			}
			return fmt.Errorf("node %d knows %+v", other.Index(), members)
		})
	}
	if err := c.Leader().Transfer(soon(t), n.ID()); err != nil {
		t.Errorf("it can't lead from there: %v", err)
	}
}

// TestSnapshotInstall stops a node, writes until the log it needs is gone, and starts it again.
func TestSnapshotInstall(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{Configure: func(_ int, cfg *cluster.Config) {
		cfg.Snapshots = cluster.Snapshots{Interval: 50 * time.Millisecond, Threshold: 4, Trailing: 2}
	}})
	a := c.Admin()
	lagging := c.Followers()[0]
	lagging.Stop()
	up := c.Running()
	for i := range 50 {
		_, _, cmd := a.CreateAgent()
		propose(t, up[i%2], cmd)
	}
	_, token, cmd := a.CreateAgent(clustertest.Allow("doc:*", "read"))
	propose(t, up[0], cmd)
	lagging.Start()
	c.AwaitReady()
	if code, err := decideByToken(soon(t), lagging, a, token); err != nil || code != authz.Allowed {
		t.Fatalf("the node that lagged: %v, %v", code, err)
	}
	sameDigests(t, c)
	s, err := lagging.Status()
	if err != nil || s.Installs == 0 {
		t.Errorf("it got entries, not a snapshot: %+v, %v", s, err)
	}
}

// TestReplicaHasNoVote joins a node without a vote: it decides like any other.
func TestReplicaHasNoVote(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{Size: 1})
	a := c.Admin()
	_, token, cmd := a.CreateAgent(clustertest.Allow("doc:*", "read"))
	propose(t, c.Nodes[0], cmd)
	n := c.Add()
	n.Config.Replica = true
	n.Start()
	c.AwaitReady()
	if code, err := decideByToken(soon(t), n, a, token); err != nil || code != authz.Allowed {
		t.Errorf("%v, %v", code, err)
	}
	members, err := n.Members()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		if m.NodeID == n.ID() && m.Voter {
			t.Error("it has a vote")
		}
	}
}

// TestDataDirBelongsToOne starts a second node on the same directory.
func TestDataDirBelongsToOne(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{Size: 1})
	second := c.Add()
	second.Config.DataDir = c.Nodes[0].Config.DataDir
	if err := second.TryStart(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("it started: %v", err)
	}
}

// TestStoppingRefuses checks what a node says that has been stopped, and that a second Stop is harmless.
func TestStoppingRefuses(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{Size: 1})
	a := c.Admin()
	n := c.Nodes[0].Node
	c.Nodes[0].Stop()
	_, _, cmd := a.CreateAgent()
	_, _, err := n.Propose(soon(t), cmd)
	_, readErr := n.Read(soon(t), cluster.Level{}, func(*cluster.View) error { return errors.New("it ran") })
	_, statusErr := n.Status()
	for _, err := range []error{err, readErr, statusErr} {
		if status.ReasonOf(err) != status.NodeStopping {
			t.Errorf("a stopped node says %v", err)
		}
	}
}
