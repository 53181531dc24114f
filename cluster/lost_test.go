package cluster_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/cluster"
	"github.com/kavachd/kavachd/cluster/clustertest"
	"github.com/kavachd/kavachd/status"
)

// TestLostLogRefuses removes a member's log and leaves its state, which counts as a snapshot: without its votes it must
// not vote in its old name.
func TestLostLogRefuses(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{Configure: func(_ int, cfg *cluster.Config) {
		cfg.Snapshots = cluster.Snapshots{Interval: 20 * time.Millisecond, Threshold: 2, Trailing: 1}
	}})
	a, n := c.Admin(), c.Followers()[0]
	log := func() int64 {
		info, err := os.Stat(filepath.Join(n.Config.DataDir, "raft.db"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	for range 20 {
		_, _, cmd := a.CreateAgent()
		propose(t, c.Nodes[0], cmd)
	}
	if log() == 0 {
		t.Fatal("there is no log to lose")
	}
	n.Stop()
	if err := os.Remove(filepath.Join(n.Config.DataDir, "raft.db")); err != nil {
		t.Fatal(err)
	}
	if err := n.TryStart(); err == nil || !strings.Contains(err.Error(), "wipe") {
		t.Fatalf("it started: %v", err)
	}
}

// TestLiveMemberIsNotEvicted has a new node advertise a living member's Raft address, by mistake.
func TestLiveMemberIsNotEvicted(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{})
	lead, victim := c.Leader(), c.Followers()[0]
	stranger := c.Add()
	stranger.Config.Address.Raft = victim.Config.Address.Raft
	stranger.Start()
	c.Await("the stranger told why it isn't taken", func() error {
		members, err := lead.Members()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(members, func(m cluster.Member) bool { return m.NodeID == victim.ID() && m.Voter }) || len(members) != 3 {
			t.Fatalf("members: %+v", members)
		}
		s, err := stranger.Status()
		if err != nil {
			return err
		}
		if !strings.Contains(s.Problem, victim.ID()) {
			return errors.New("its problem is " + s.Problem)
		}
		return nil
	})
	stranger.Stop()
}

// TestEntryOfSilentNode asks for the entry of an answered decision whose node can't be asked: that it doesn't exist
// nobody can say.
func TestEntryOfSilentNode(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{})
	a := c.Admin()
	_, token, cmd := a.CreateAgent(clustertest.Allow("doc:*", "read"))
	propose(t, c.Nodes[0], cmd)
	f := c.Followers()
	d, err := f[0].Decide(soon(t), cluster.Level{}, a.Hash, []cluster.Check{{Request: authz.Request{
		ByToken: true, Token: token, TokenOK: true, Action: "read", Resource: "doc:1",
	}}})
	if err != nil {
		t.Fatal(err)
	}
	c.Network.Isolate(f[0].Index())
	found, _, err := f[1].AuditEntry(soon(t), cluster.Level{}, d.AuditIDs[0])
	// It may have been shipped already; what must not be is "there is none".
	if found == nil && status.ReasonOf(err) != status.AuditUnavailable {
		t.Errorf("the entry of an answered decision: %v, %v", found, err)
	}
}
