package clustertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// errCut is what a node gets that dials where the network is cut.
var errCut = errors.New("the network is cut here")

type pair struct{ from, to int }

// Network connects nodes, by number. It can be cut between any two of them: connections break and none can be made.
// Safe for concurrent use.
type Network struct {
	dialer net.Dialer

	mu    sync.Mutex
	nodes map[string]int // by address
	cut   map[pair]bool
	open  map[pair]map[net.Conn]struct{}
}

func newNetwork() *Network {
	return &Network{nodes: map[string]int{}, cut: map[pair]bool{}, open: map[pair]map[net.Conn]struct{}{}}
}

// Name makes an address reachable, as that of a node. Nodes of the cluster have theirs already.
func (w *Network) Name(address string, node int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[address] = node
}

// dial opens a connection from a node.
func (w *Network) dial(from int) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		w.mu.Lock()
		to, known := w.nodes[address]
		p := pair{from, to}
		cut := w.cut[p]
		w.mu.Unlock()
		if !known {
			return nil, fmt.Errorf("no node at %s", address)
		}
		if cut {
			return nil, errCut
		}
		c, err := w.dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return w.track(p, c)
	}
}

func (w *Network) track(p pair, c net.Conn) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut[p] { // meanwhile
		return nil, errors.Join(errCut, c.Close())
	}
	if w.open[p] == nil {
		w.open[p] = map[net.Conn]struct{}{}
	}
	w.open[p][c] = struct{}{}
	return &conn{Conn: c, forget: func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.open[p], c)
	}}, nil
}

type conn struct {
	net.Conn
	forget func()
}

func (c *conn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// Cut breaks what is between two nodes, in both directions.
func (w *Network) Cut(a, b int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range []pair{{a, b}, {b, a}} {
		w.cut[p] = true
		for c := range w.open[p] {
			_ = c.Close() // breaking it is the purpose
		}
		delete(w.open, p)
	}
}

// Isolate cuts a node off from all others.
func (w *Network) Isolate(node int) {
	for _, other := range w.others(node) {
		w.Cut(node, other)
	}
}

func (w *Network) others(node int) []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := map[int]bool{node: true}
	var all []int
	for _, n := range w.nodes {
		if !seen[n] {
			seen[n] = true
			all = append(all, n)
		}
	}
	return all
}

// Heal mends everything.
func (w *Network) Heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.cut)
}
