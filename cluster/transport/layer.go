package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/raftstore"
)

// MaxHandshakes is how many accepted connections may be unproven at once.
const MaxHandshakes = 64

// handshakeTime bounds a handshake on the accepting side. On the dialing side the caller's timeout counts.
const handshakeTime = 5 * time.Second

// keepAlive finds a host that has vanished, also between calls, where a silent connection is a healthy one.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}

// Config is what a Layer needs.
type Config struct {
	// Listener takes connections; the Layer closes it.
	Listener net.Listener
	// Advertise is host:port at which others reach Listener.
	Advertise string
	// NodeID is this node; at most MaxID bytes.
	NodeID string
	// Cluster returns the cluster's id; ok is false before there is one, and then every connection is refused.
	Cluster func() (id Cluster, ok bool)
	// Key is shared by all nodes of the cluster.
	Key [32]byte
	// Dial opens a connection.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Stall is how long an accepted connection may fall silent in the middle of a call.
	Stall time.Duration
	// Log takes refused connections.
	Log *slog.Logger
}

// Layer is a raft.StreamLayer. See the package's documentation.
type Layer struct {
	cfg   Config
	ready chan net.Conn
	done  chan struct{}
	wg    sync.WaitGroup

	mu struct {
		sync.Mutex
		closed bool
		open   map[net.Conn]struct{} // accepted and not closed
	}
}

var _ raft.StreamLayer = (*Layer)(nil)

// New begins to accept. The caller must Close it.
func New(cfg Config) *Layer {
	l := &Layer{cfg: cfg, ready: make(chan net.Conn), done: make(chan struct{})}
	l.mu.open = map[net.Conn]struct{}{}
	l.wg.Go(l.listen)
	return l
}

// Address joins a node's id and its host:port to the one form that Dial takes.
func Address(id, hostport string) raft.ServerAddress { return raft.ServerAddress(id + "@" + hostport) }

// SplitAddress is the inverse of Address.
func SplitAddress(a raft.ServerAddress) (id, hostport string, ok bool) {
	id, hostport, ok = strings.Cut(string(a), "@")
	return id, hostport, ok && id != "" && hostport != ""
}

// Accept implements net.Listener. It returns connections whose handshake has succeeded.
func (l *Layer) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It closes every accepted connection too: the library's handlers wait in them.
func (l *Layer) Close() error {
	l.mu.Lock()
	if l.mu.closed {
		l.mu.Unlock()
		return nil
	}
	l.mu.closed = true
	close(l.done)
	err := l.cfg.Listener.Close()
	for c := range l.mu.open {
		err = errors.Join(err, ignoreClosed(c.Close()))
	}
	l.mu.Unlock()
	l.wg.Wait()
	return ignoreClosed(err)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// Addr implements net.Listener. It is the address at which others reach this node, in the form of Address.
func (l *Layer) Addr() net.Addr { return address(Address(l.cfg.NodeID, l.cfg.Advertise)) }

// Dial implements raft.StreamLayer. a has the form of Address: a bare host:port is refused, because nobody would know
// who answers there.
func (l *Layer) Dial(a raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, hostport, ok := SplitAddress(a)
	if !ok {
		return nil, fmt.Errorf("dial %q: no node id known for this address", a)
	}
	me, err := l.identity()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, err := l.cfg.Dial(ctx, "tcp", hostport)
	if err != nil {
		return nil, err
	}
	if err := l.greet(c, timeout, func() error { return dial(c, me, id) }); err != nil {
		return nil, errors.Join(fmt.Errorf("dial %s: %w", a, err), ignoreClosed(c.Close()))
	}
	return c, nil
}

// identity returns what this side proves. Without a cluster there is nothing to prove to anybody.
func (l *Layer) identity() (identity, error) {
	c, ok := l.cfg.Cluster()
	me := identity{node: l.cfg.NodeID, cluster: c, joined: ok, key: l.cfg.Key}
	if !ok {
		return me, ErrNoCluster
	}
	return me, nil
}

// greet runs a handshake under a deadline and takes the deadline off again.
func (l *Layer) greet(c net.Conn, limit time.Duration, handshake func() error) error {
	if t, ok := c.(*net.TCPConn); ok {
		if err := t.SetKeepAliveConfig(keepAlive); err != nil {
			return err
		}
	}
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if err := handshake(); err != nil {
		return err
	}
	return c.SetDeadline(time.Time{})
}

// listen accepts until the listener is closed.
func (l *Layer) listen() {
	slots := make(chan struct{}, MaxHandshakes)
	for {
		c, err := l.cfg.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			l.cfg.Log.Error("accept", "error", err)
			select { // out of file descriptors, most likely: don't spin
			case <-l.done:
				return
			case <-time.After(50 * time.Millisecond):
				continue
			}
		}
		select {
		case slots <- struct{}{}:
		default:
			l.cfg.Log.Warn("too many handshakes at once", "peer", c.RemoteAddr(), "error", c.Close())
			continue
		}
		tracked, ok := l.track(c)
		if !ok {
			return
		}
		l.wg.Go(func() {
			defer func() { <-slots }()
			l.take(tracked)
		})
	}
}

// take proves one connection and hands it to Accept.
func (l *Layer) take(c *trackedConn) {
	me, _ := l.identity() // without a cluster the peer is told so
	var peer string
	err := l.greet(c, handshakeTime, func() (err error) {
		peer, err = accept(c, me)
		return err
	})
	if err != nil {
		l.cfg.Log.Warn("refuse connection", "peer", c.RemoteAddr(), "node", peer, "error", errors.Join(err, ignoreClosed(c.Close())))
		return
	}
	select {
	case l.ready <- raftstore.StallLimit(c, l.cfg.Stall):
	case <-l.done:
		_ = c.Close() // Close does it too; which of the two comes first doesn't matter
	}
}

// trackedConn tells its Layer when it is closed.
type trackedConn struct {
	net.Conn
	layer *Layer
}

// track notes an accepted connection. ok is false, and the connection closed, when the Layer is.
func (l *Layer) track(c net.Conn) (t *trackedConn, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		_ = c.Close() // nobody was promised anything
		return nil, false
	}
	t = &trackedConn{Conn: c, layer: l}
	l.mu.open[c] = struct{}{}
	return t, true
}

// Close implements net.Conn.
func (t *trackedConn) Close() error {
	t.layer.mu.Lock()
	delete(t.layer.mu.open, t.Conn)
	t.layer.mu.Unlock()
	return t.Conn.Close()
}
