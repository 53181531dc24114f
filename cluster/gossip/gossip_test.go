package gossip_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kavachd/kavachd/cluster/clustertest"
	"github.com/kavachd/kavachd/cluster/gossip"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(t *testing.T, id string, known ...string) gossip.Config {
	address := clustertest.GossipAddress(t)
	return gossip.Config{
		Node:  &raftv1.NodeRecord{NodeId: id, ApiAddress: "127.0.0.1:1", GossipAddress: address},
		Bind:  address,
		Key:   [32]byte{1},
		Label: "one",
		Known: func() []string { return append([]string(nil), known...) },
		Log:   slog.New(slog.DiscardHandler), RejoinEvery: 20 * time.Millisecond,
	}
}

func start(t *testing.T, c gossip.Config) *gossip.Gossip {
	t.Helper()
	g, err := gossip.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func stop(t *testing.T, g *gossip.Gossip) {
	t.Helper()
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
}

// TestNodesSeeEachOther starts two, one of which knows the other, and one each with another key and another label, which
// know both and are never seen.
func TestNodesSeeEachOther(t *testing.T) {
	ca := config(t, "a")
	a := start(t, ca)
	cb := config(t, "b", ca.Bind)
	b := start(t, cb)
	foreignKey := config(t, "c", ca.Bind, cb.Bind)
	foreignKey.Key = [32]byte{2}
	c := start(t, foreignKey)
	foreignLabel := config(t, "d", ca.Bind, cb.Bind)
	foreignLabel.Label = "two"
	d := start(t, foreignLabel)
	clustertest.Await(t, "both see both", func() error {
		for _, g := range []*gossip.Gossip{a, b} {
			if g.Alive("a") == nil || g.Alive("b").GetApiAddress() != "127.0.0.1:1" {
				return errors.New("not yet")
			}
		}
		return nil
	})
	for _, g := range []*gossip.Gossip{a, b} {
		if g.Alive("c") != nil || g.Alive("d") != nil {
			t.Error("a node with another key or label is seen")
		}
	}
	stop(t, b)
	clustertest.Await(t, "the one that left is gone", func() error {
		if a.Alive("b") != nil {
			return errors.New("still there")
		}
		return nil
	})
	// It comes back at another address, known to nobody but itself.
	moved := config(t, "b", ca.Bind)
	b = start(t, moved)
	clustertest.Await(t, "it is back", func() error {
		if a.Alive("b").GetGossipAddress() != moved.Bind {
			return errors.New("not yet")
		}
		return nil
	})
	for _, g := range []*gossip.Gossip{a, b, c, d} {
		stop(t, g)
	}
}

func TestTooMuchToSay(t *testing.T) {
	c := config(t, "a")
	c.Node.Version = strings.Repeat("v", 600)
	if _, err := gossip.Start(c); err == nil {
		t.Error("it started")
	}
}
