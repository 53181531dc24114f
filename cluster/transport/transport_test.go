package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func me(node string, cluster byte) identity {
	return identity{node: node, cluster: Cluster{cluster}, joined: true, key: [32]byte{1}}
}

// greet runs both sides of a handshake over a pipe.
func greetBoth(dialer, acceptor identity, target string) (peer string, dialErr, acceptErr error) {
	a, b := net.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		dialErr = dial(a, dialer, target)
		dialErr = errors.Join(dialErr, a.Close())
	})
	peer, acceptErr = accept(b, acceptor)
	acceptErr = errors.Join(acceptErr, b.Close())
	wg.Wait()
	return peer, dialErr, acceptErr
}

func TestHandshake(t *testing.T) {
	if peer, d, a := greetBoth(me("a", 1), me("b", 1), "b"); peer != "a" || d != nil || a != nil {
		t.Errorf("peer %q, dialer %v, acceptor %v", peer, d, a)
	}
}

func TestHandshakeRefuses(t *testing.T) {
	stranger := me("b", 1)
	stranger.key = [32]byte{2}
	homeless := me("b", 1)
	homeless.joined = false
	for _, c := range []struct {
		name           string
		acceptor       identity
		target         string
		dialer, accept error
	}{
		{"another cluster", me("b", 2), "b", ErrWrongCluster, ErrWrongCluster},
		{"another node, as after a wiped disk", me("b2", 1), "b", ErrWrongNode, ErrWrongNode},
		{"no cluster yet", homeless, "b", ErrNoCluster, ErrNoCluster},
		{"another secret", stranger, "b", ErrSecret, nil},
		{"an id that is too long", me("b", 1), strings.Repeat("b", MaxID+1), ErrHandshake, nil},
		{"no id", me("b", 1), "", ErrHandshake, nil},
	} {
		_, d, a := greetBoth(me("a", 1), c.acceptor, c.target)
		if !errors.Is(d, c.dialer) {
			t.Errorf("%s: the dialer says %v, want %v", c.name, d, c.dialer)
		}
		if a == nil || c.accept != nil && !errors.Is(a, c.accept) {
			t.Errorf("%s: the acceptor says %v, want %v", c.name, a, c.accept)
		}
	}
}

// TestReplayIsRefused plays the dialer's half of a good handshake again: the acceptor's nonce is new.
func TestReplayIsRefused(t *testing.T) {
	var sent bytes.Buffer
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- dial(teed{a, &sent}, me("a", 1), "b") }()
	if _, err := accept(b, me("b", 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := accept(script{&sent}, me("b", 1)); !errors.Is(err, ErrSecret) {
		t.Errorf("a replayed handshake: %v", err)
	}
}

type teed struct {
	net.Conn
	to io.Writer
}

func (t teed) Write(p []byte) (int, error) {
	if n, err := t.to.Write(p); err != nil {
		return n, err
	}
	return t.Conn.Write(p)
}

// script reads what was written before, and forgets what it is told.
type script struct{ from io.Reader }

func (s script) Read(p []byte) (int, error)  { return s.from.Read(p) }
func (s script) Write(p []byte) (int, error) { return len(p), nil }

// FuzzAccept feeds the acceptor. Without the key nothing gets in.
func FuzzAccept(f *testing.F) {
	f.Add([]byte("KVR1"))
	f.Add(append(append([]byte("KVR1"), make([]byte, 32)...), "\x01b\x01a"...))
	f.Fuzz(func(t *testing.T, in []byte) {
		if peer, err := accept(script{bytes.NewReader(in)}, me("b", 0)); err == nil {
			t.Fatalf("%q got in as %q", in, peer)
		}
	})
}

// FuzzDial answers the dialer.
func FuzzDial(f *testing.F) {
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, in []byte) {
		if err := dial(script{bytes.NewReader(in)}, me("a", 0), "b"); err == nil {
			t.Fatalf("%q passes for node b", in)
		}
	})
}

// newLayer makes a layer on loopback.
func newLayer(t *testing.T, node string, l net.Listener) *Layer {
	t.Helper()
	return New(Config{
		Listener: l, Advertise: l.Addr().String(), NodeID: node, Key: [32]byte{1}, Dial: (&net.Dialer{}).DialContext,
		Cluster: func() (Cluster, bool) { return Cluster{1}, true }, Stall: time.Minute, Log: slog.New(slog.DiscardHandler),
	})
}

func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestRaftOverLayers sends one call of Raft from one node to another, then closes both while the connection is open.
func TestRaftOverLayers(t *testing.T) {
	a, b := newLayer(t, "a", loopback(t)), newLayer(t, "b", loopback(t))
	ta, tb := networkTransport(a), networkTransport(b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		rpc := <-tb.Consumer()
		rpc.Respond(&raft.AppendEntriesResponse{Term: 7}, nil)
	}()
	var answer raft.AppendEntriesResponse
	err := ta.AppendEntries("b", Address("b", b.cfg.Advertise), &raft.AppendEntriesRequest{Term: 7}, &answer)
	if err != nil || answer.Term != 7 {
		t.Errorf("%+v, %v", answer, err)
	}
	<-done
	if err := ta.AppendEntries("c", Address("c", b.cfg.Advertise), &raft.AppendEntriesRequest{}, &answer); !errors.Is(err, ErrWrongNode) {
		t.Errorf("a call for another node: %v", err)
	}
	if _, err := a.Dial(raft.ServerAddress(b.cfg.Advertise), time.Second); err == nil {
		t.Error("dialed an address without knowing who is expected there")
	}
	for _, x := range []interface{ Close() error }{ta, tb, a, b, a} {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
}

func networkTransport(l *Layer) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: l, MaxPool: 1, Timeout: 10 * time.Second, MsgpackUseNewTimeFormat: true,
	})
}

// pipes is a listener whose connections the test makes.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) dial() net.Conn {
	a, b := net.Pipe()
	p.conns <- b
	return a
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return address("pipes") }

// TestSilentPeersAreDropped opens more connections than may be unproven and says nothing: the last is closed at once, the
// others when their time is up.
func TestSilentPeersAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		l := newLayer(t, "b", p)
		begun := time.Now()
		var silent []net.Conn
		for range MaxHandshakes {
			silent = append(silent, p.dial())
		}
		synctest.Wait()
		if _, err := p.dial().Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(begun) > 0 {
			t.Errorf("one too many: %v after %v", err, time.Since(begun))
		}
		for _, c := range silent {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("a silent peer: %v", err)
			}
		}
		if d := time.Since(begun); d != handshakeTime {
			t.Errorf("dropped after %v, want %v", d, handshakeTime)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept of a closed layer: %v", err)
		}
	})
}

// TestDialGivesUp checks the dialer's own deadline against a peer that takes the connection and says nothing.
func TestDialGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		l := newLayer(t, "a", p)
		mute, other := net.Pipe()
		l.cfg.Dial = func(context.Context, string, string) (net.Conn, error) { return mute, nil }
		begun := time.Now()
		if _, err := l.Dial(Address("b", "somewhere:1"), 3*time.Second); err == nil || time.Since(begun) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		if err := errors.Join(l.Close(), other.Close()); err != nil {
			t.Error(err)
		}
	})
}
