package cluster

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/kavachd/kavachd/authz"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/status"
)

func TestIdentityIsKept(t *testing.T) {
	dir := t.TempDir()
	first, err := openIdentity(dir, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if c, s := first.get(); c != (clusterID{}) || s != stageNone {
		t.Errorf("a new node is in %v, %q", c, s)
	}
	mine := clusterID{1, 2, 3}
	for _, s := range []stage{stageFounding, stageMember} {
		if err := errors.Join(first.set(mine, s), first.close()); err != nil {
			t.Fatal(err)
		}
		again, err := openIdentity(dir, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if c, got := again.get(); c != mine || got != s || again.node != first.node {
			t.Errorf("node %s in %v, %q; it was node %s in %v, %q", again.node, c, got, first.node, mine, s)
		}
		first = again
	}
	if err := first.set(clusterID{9}, stageMember); err == nil {
		t.Error("a node changed its cluster")
	}
	if err := first.close(); err != nil {
		t.Error(err)
	}
}

func TestIdentityRefusesWhatItCantRead(t *testing.T) {
	for name, content := range map[string]string{
		nodeIDFile:    "me\n",
		clusterIDFile: "00000000000000000000000000000000 member\n",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openIdentity(dir, rand.Reader); err == nil {
			t.Errorf("%s with %q is accepted", name, content)
		}
	}
	for _, content := range []string{"", "0123", "0102030405060708090a0b0c0d0e0f10 emperor", "0102030405060708090a0b0c0d0e0f10"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, clusterIDFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openIdentity(dir, rand.Reader); err == nil {
			t.Errorf("a cluster-id of %q is accepted", content)
		}
	}
}

func TestRevisionRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := clusterID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "cluster"))
		epoch, index := rapid.Uint64().Draw(t, "epoch"), rapid.Uint64().Draw(t, "index")
		token := revisionToken(c, epoch, index)
		if got, err := parseRevision(c, epoch, token); err != nil || got != index {
			t.Fatalf("%s reads as %d, %v", token, got, err)
		}
		other := c
		other[0]++
		for _, f := range []func() (uint64, error){
			func() (uint64, error) { return parseRevision(other, epoch, token) },
			func() (uint64, error) { return parseRevision(c, epoch+1, token) },
		} {
			if _, err := f(); status.ReasonOf(err) != status.RevisionUnknown {
				t.Fatalf("another history's revision: %v", err)
			}
		}
	})
}

func FuzzParseRevision(f *testing.F) {
	c := clusterID{0xab, 0xcd, 0xef, 0x01}
	f.Add("abcdef01.0.17")
	f.Add("abcdef01.00.17")
	f.Add("abcdef01.0.+7")
	f.Fuzz(func(t *testing.T, token string) {
		index, err := parseRevision(c, 0, token)
		if err == nil && revisionToken(c, 0, index) != token {
			t.Fatalf("%q reads as %d, which is written %q", token, index, revisionToken(c, 0, index))
		}
	})
}

// TestReasonCodes walks every code of a decision: the API must have a number for each.
func TestReasonCodes(t *testing.T) {
	for c := authz.Allowed; c.String() != ""; c++ {
		if int(c) >= len(reasonCodes) || reasonCode(c) == kavachv1.ReasonCode_REASON_CODE_UNSPECIFIED {
			t.Errorf("the API has no number for %v", c)
		}
	}
}

func TestConfigProblems(t *testing.T) {
	good := Config{
		DataDir: "d", Address: Addresses{API: "h:1", Raft: "h:2"}, Peers: []string{"h:1", "i:1"}, JoinSecret: make([]byte, MinJoinSecret),
	}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no directory":        func(c *Config) { c.DataDir = "" },
		"a short secret":      func(c *Config) { c.JoinSecret = c.JoinSecret[1:] },
		"no address":          func(c *Config) { c.Address.API = "" },
		"port 0":              func(c *Config) { c.Address.Raft = "h:0" },
		"peers and join":      func(c *Config) { c.Join = []string{"i:1"} },
		"neither":             func(c *Config) { c.Peers = nil },
		"itself not a peer":   func(c *Config) { c.Peers = []string{"i:1"} },
		"a peer twice":        func(c *Config) { c.Peers = []string{"h:1", "i:1", "i:1"} },
		"a founding replica":  func(c *Config) { c.Replica = true },
		"gossip without name": func(c *Config) { c.GossipBind = "h:3" },
	} {
		c := good
		spoil(&c)
		if c.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
