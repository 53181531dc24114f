package clustertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kavachd/kavachd/cluster"
	"github.com/kavachd/kavachd/cluster/raftstore"
)

// Patience is how long Await and the helpers here wait before they fail a test. It is long because the tests of many
// packages share few cores; nothing waits that long when all is well.
const Patience = 60 * time.Second

// stopWait is short because whole clusters stop at once here, and the last of their nodes have nobody to ship to.
const stopWait = 3 * time.Second

// Secret is the join secret of every cluster here, unless Options.Configure sets another.
const Secret = "clustertest join secret"

// Options describe a cluster.
type Options struct {
	// Size is how many nodes found it; 0: 3.
	Size int
	// Timing is Raft's; zero: raftstore.SlowProfile, for whatever isn't about timing.
	Timing raftstore.Profile
	// Configure changes the configuration of node i before each start; may be nil.
	Configure func(i int, c *cluster.Config)
	// Mount adds to what a node serves at its API address, as rpc does; may be nil. stop runs before the node stops; may be
	// nil.
	Mount func(i int, n *cluster.Node, mux *http.ServeMux) (stop func())
	// Gossip turns gossip on.
	Gossip bool
	// Fatal takes what ends a node; nil: the test fails.
	Fatal func(i int, err error)
}

// Cluster is a running cluster.
type Cluster struct {
	Network *Network
	Nodes   []*Node

	tb   testing.TB
	opts Options
	ctx  context.Context
}

// Node is one node of a Cluster. The embedded cluster.Node is nil while it is stopped.
type Node struct {
	*cluster.Node
	Config cluster.Config

	index   int
	cluster *Cluster
	api     net.Listener // held open until the first start, so that nobody else gets the port
	raft    net.Listener
	server  *http.Server
	unmount func()
	wg      sync.WaitGroup
}

// Start starts a cluster and waits until every node is ready and has its vote. It stops with the test.
func Start(tb testing.TB, opts Options) *Cluster {
	tb.Helper()
	c := New(tb, opts)
	for _, n := range c.Nodes {
		n.Start()
	}
	c.AwaitReady()
	return c
}

// New prepares a cluster whose nodes are not started.
func New(tb testing.TB, opts Options) *Cluster {
	tb.Helper()
	if opts.Size == 0 {
		opts.Size = 3
	}
	if opts.Timing == (raftstore.Profile{}) {
		opts.Timing = raftstore.SlowProfile()
	}
	c := &Cluster{Network: newNetwork(), tb: tb, opts: opts, ctx: tb.Context()}
	var peers []string
	for range opts.Size {
		peers = append(peers, c.add().Config.Address.API)
	}
	for _, n := range c.Nodes {
		n.Config.Peers = peers
	}
	tb.Cleanup(func() {
		for _, n := range c.Nodes {
			n.Stop()
		}
	})
	return c
}

// Add prepares one more node, which joins through the others when it is started.
func (c *Cluster) Add() *Node {
	n := c.add()
	for _, other := range c.Nodes[:n.index] {
		n.Config.Join = append(n.Config.Join, other.Config.Address.API)
	}
	return n
}

func (c *Cluster) add() *Node {
	n := &Node{index: len(c.Nodes), cluster: c}
	n.api, n.raft = c.listen(n.index), c.listen(n.index)
	n.Config = cluster.Config{
		DataDir:    filepath.Join(c.tb.TempDir(), fmt.Sprintf("node%d", n.index)),
		Address:    cluster.Addresses{API: n.api.Addr().String(), Raft: n.raft.Addr().String()},
		JoinSecret: []byte(Secret), Timing: c.opts.Timing, Version: "test",
	}
	if c.opts.Gossip {
		n.Config.Address.Gossip = GossipAddress(c.tb)
		n.Config.GossipBind = n.Config.Address.Gossip
	}
	c.Nodes = append(c.Nodes, n)
	return n
}

// listen opens a free port and names it in the network.
func (c *Cluster) listen(node int) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.tb.Fatal(err)
	}
	c.Network.Name(l.Addr().String(), node)
	return l
}

// GossipAddress finds a port of loopback that is free for UDP and TCP. It can't be held open, because the library opens it
// itself.
func GossipAddress(tb testing.TB) string {
	for {
		u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			tb.Fatal(err)
		}
		address := u.LocalAddr().String()
		l, err := net.Listen("tcp", address)
		if err := u.Close(); err != nil {
			tb.Fatal(err)
		}
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			tb.Fatal(err)
		}
		return address
	}
}

// Start starts a stopped node on its directory and addresses. It doesn't wait for anything.
func (n *Node) Start() {
	tb := n.cluster.tb
	tb.Helper()
	if err := n.TryStart(); err != nil {
		tb.Fatalf("start node %d: %v", n.index, err)
	}
}

// TryStart is Start for a node that may refuse.
func (n *Node) TryStart() error {
	c := n.cluster
	cfg := n.Config
	cfg.Limits.StopWait = stopWait
	if c.opts.Configure != nil {
		c.opts.Configure(n.index, &cfg)
	}
	api, raft := n.api, n.raft
	n.api, n.raft = nil, nil
	var err error
	if api == nil {
		if api, err = listen(c.ctx, cfg.Address.API); err != nil {
			return err
		}
		if raft, err = listen(c.ctx, cfg.Address.Raft); err != nil {
			return errors.Join(err, api.Close())
		}
	}
	node, err := cluster.Start(c.ctx, cfg, cluster.Deps{
		RaftListener: raft, Dial: c.Network.dial(n.index), Log: logger(n.index), Fatal: func(err error) { c.fatal(n.index, err) },
	})
	if err != nil {
		return errors.Join(err, api.Close())
	}
	mux := http.NewServeMux()
	mux.Handle(node.NodeHandler())
	n.unmount = func() {}
	if c.opts.Mount != nil {
		if stop := c.opts.Mount(n.index, node, mux); stop != nil {
			n.unmount = stop
		}
	}
	n.Node, n.server = node, &http.Server{Handler: mux, ReadHeaderTimeout: Patience}
	server := n.server
	n.wg.Go(func() {
		if err := server.Serve(api); !errors.Is(err, http.ErrServerClosed) {
			c.tb.Errorf("serve node %d: %v", n.index, err)
		}
	})
	return nil
}

// listen waits until the address is free again: the kernel may keep it for a moment after the last owner.
func listen(ctx context.Context, address string) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for {
		l, err := net.Listen("tcp", address)
		if err == nil {
			return l, nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (c *Cluster) fatal(node int, err error) {
	if c.opts.Fatal != nil {
		c.opts.Fatal(node, err)
		return
	}
	c.tb.Errorf("node %d can't go on: %v", node, err)
}

// logger writes to standard error if KAVACH_TEST_LOG is set.
func logger(node int) *slog.Logger {
	if os.Getenv("KAVACH_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("n", node)
}

// Stop stops the node gracefully, if it runs.
func (n *Node) Stop() {
	for _, l := range []net.Listener{n.api, n.raft} {
		if l != nil {
			_ = l.Close() // never used
		}
	}
	n.api, n.raft = nil, nil
	if n.Node == nil {
		return
	}
	n.unmount()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	err := n.Node.Stop(ctx)
	if err := errors.Join(err, n.server.Close()); err != nil {
		n.cluster.tb.Errorf("stop node %d: %v", n.index, err)
	}
	n.wg.Wait()
	n.Node, n.server = nil, nil
}

// Restart stops the node and starts it on its directory.
func (n *Node) Restart() {
	n.Stop()
	n.Start()
}

// Wipe removes what a stopped node keeps.
func (n *Node) Wipe() {
	if err := os.RemoveAll(n.Config.DataDir); err != nil {
		n.cluster.tb.Fatal(err)
	}
}

// Move gives a stopped node new addresses.
func (n *Node) Move() {
	n.api, n.raft = n.cluster.listen(n.index), n.cluster.listen(n.index)
	n.Config.Address = cluster.Addresses{API: n.api.Addr().String(), Raft: n.raft.Addr().String()}
	n.Config.Peers, n.Config.Join = nil, n.cluster.Nodes[(n.index+1)%len(n.cluster.Nodes)].Config.Peers
}

// ClusterIDOnDisk returns the cluster's id in a stopped node's directory, hex; empty: none.
func (n *Node) ClusterIDOnDisk() string {
	b, err := os.ReadFile(filepath.Join(n.Config.DataDir, "cluster-id"))
	if err != nil {
		return ""
	}
	id, _, _ := strings.Cut(string(b), " ")
	return id
}

// Index is the node's number.
func (n *Node) Index() int { return n.index }

// AwaitReady waits until every running node is ready, and has its vote in the configuration as every one sees it.
func (c *Cluster) AwaitReady() {
	c.tb.Helper()
	running := c.Running()
	for _, n := range running {
		ctx, cancel := context.WithTimeout(c.ctx, Patience)
		err := n.Ready(ctx)
		cancel()
		if err != nil {
			c.tb.Fatalf("node %d: %v", n.index, err)
		}
	}
	c.Await("every node has its vote", func() error {
		for _, n := range running {
			members, err := n.Members()
			if err != nil {
				return err
			}
			votes := map[string]bool{}
			for _, m := range members {
				votes[m.NodeID] = m.Voter && m.APIAddress != ""
			}
			for _, other := range running {
				if !votes[other.ID()] && !other.Config.Replica {
					return fmt.Errorf("node %d doesn't see node %d's vote", n.index, other.index)
				}
			}
		}
		return nil
	})
}

// Running returns the nodes that run.
func (c *Cluster) Running() []*Node {
	var running []*Node
	for _, n := range c.Nodes {
		if n.Node != nil {
			running = append(running, n)
		}
	}
	return running
}

// Leader waits until one of the running nodes leads and all of among (none: all running) agree on it.
func (c *Cluster) Leader(among ...*Node) *Node {
	c.tb.Helper()
	if len(among) == 0 {
		among = c.Running()
	}
	var leader *Node
	c.Await("a leader", func() error {
		leader = nil
		for _, n := range among {
			s, err := n.Status()
			if err != nil {
				return err
			}
			led := c.byID(s.LeaderID)
			if led == nil || leader != nil && led != leader {
				return fmt.Errorf("node %d says that %q leads", n.index, s.LeaderID)
			}
			leader = led
		}
		if s, err := leader.Status(); err != nil || s.State != "Leader" {
			return fmt.Errorf("node %d is %s (%w)", leader.index, s.State, err)
		}
		return nil
	})
	return leader
}

func (c *Cluster) byID(id string) *Node {
	for _, n := range c.Running() {
		if n.ID() == id {
			return n
		}
	}
	return nil
}

// Followers returns the running nodes but the leader.
func (c *Cluster) Followers() []*Node {
	c.tb.Helper()
	leader := c.Leader()
	var followers []*Node
	for _, n := range c.Running() {
		if n != leader {
			followers = append(followers, n)
		}
	}
	return followers
}

// Await waits until a condition returns nil, and fails the test when Patience ends.
func (c *Cluster) Await(what string, condition func() error) {
	c.tb.Helper()
	Await(c.tb, what, condition)
}

// Await waits until a condition returns nil, and fails the test when Patience ends.
func Await(tb testing.TB, what string, condition func() error) {
	tb.Helper()
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	deadline := time.After(Patience)
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-t.C:
		case <-deadline:
			tb.Fatalf("waited %v for %s: %v", Patience, what, err)
		}
	}
}
