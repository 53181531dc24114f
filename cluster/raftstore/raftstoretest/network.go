package raftstoretest

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/raftstore"
)

// Network is loopback TCP by name, with nodes that can be cut off. It is safe for concurrent use.
type Network struct {
	mu    sync.Mutex
	at    map[string]string // name -> listening address
	cut   map[string]bool   // cut off from everybody
	conns map[net.Conn][2]string
}

// NewNetwork returns a network without nodes.
func NewNetwork() *Network {
	return &Network{at: map[string]string{}, cut: map[string]bool{}, conns: map[net.Conn][2]string{}}
}

// Isolate cuts a node off, or lets it back.
func (n *Network) Isolate(name string, yes bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[name] = yes
	if yes {
		n.closeLocked(name)
	}
}

// Close closes the connections from and to a node, which may dial again.
func (n *Network) Close(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closeLocked(name)
}

func (n *Network) closeLocked(name string) {
	for c, ends := range n.conns {
		if ends[0] == name || ends[1] == name {
			_ = c.Close() // the transport closes it again
			delete(n.conns, c)
		}
	}
}

// layer is a raft.StreamLayer whose addresses are names.
type layer struct {
	net.Listener
	name  string
	n     *Network
	limit time.Duration // 0: none
}

// listen returns the stream layer of a node.
func (n *Network) listen(id string, limit time.Duration) (*layer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at[id] = l.Addr().String()
	return &layer{Listener: l, name: id, n: n, limit: limit}, nil
}

type nodeAddr string

func (nodeAddr) Network() string  { return "tcp" }
func (a nodeAddr) String() string { return string(a) }

// Addr implements net.Listener.
func (l *layer) Addr() net.Addr { return nodeAddr(l.name) }

// Accept implements net.Listener.
func (l *layer) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil || l.limit == 0 {
		return c, err
	}
	return raftstore.StallLimit(c, l.limit), nil
}

// Dial implements raft.StreamLayer.
func (l *layer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	l.n.mu.Lock()
	at, bad := l.n.at[string(to)], l.n.cut[l.name] || l.n.cut[string(to)]
	l.n.mu.Unlock()
	if at == "" || bad {
		return nil, errors.New("unreachable")
	}
	c, err := net.DialTimeout("tcp", at, timeout)
	if err != nil {
		return nil, err
	}
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	l.n.conns[c] = [2]string{l.name, string(to)}
	return c, nil
}
