package cluster

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/kavachd/kavachd/gen/kavach/node/v1/nodev1connect"
)

// maxNodeMessage bounds a message between nodes in bytes: the largest command, and a piece of a journal.
const maxNodeMessage = 2 << 20

// peers calls the node protocol of other nodes over HTTP/1.1 with kept connections, which net/http serves faster than
// HTTP/2 (DEPENDENCIES.md measured 40 to 50 %).
type peers struct {
	http      *http.Client
	transport *http.Transport
	auth      connect.Interceptor

	mu      sync.Mutex
	clients map[string]nodev1connect.NodeServiceClient // by address
}

// maxClients bounds the clients that are kept; they hold no connection of their own.
const maxClients = 1024

func newPeers(dial DialFunc, authorization string) *peers {
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err != nil {
				return nil, &dialError{err}
			}
			return c, nil
		},
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     30 * time.Second, // shorter than any server's, so that a write doesn't meet a closing connection
		DisableCompression:  true,
	}
	return &peers{
		http: &http.Client{Transport: t}, transport: t, auth: authorize(authorization),
		clients: map[string]nodev1connect.NodeServiceClient{},
	}
}

// dialError proves that a request never left this node.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// authorize adds the header that proves this node to others.
type authorize string

func (a authorize) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, q connect.AnyRequest) (connect.AnyResponse, error) {
		q.Header().Set("Authorization", string(a))
		return next(ctx, q)
	}
}

func (a authorize) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		c := next(ctx, spec)
		c.RequestHeader().Set("Authorization", string(a))
		return c
	}
}

func (authorize) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// at returns a client for the node whose API is at address.
func (p *peers) at(address string) nodev1connect.NodeServiceClient {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.clients[address]
	if !ok {
		if len(p.clients) >= maxClients {
			clear(p.clients)
		}
		c = nodev1connect.NewNodeServiceClient(p.http, "http://"+address,
			connect.WithInterceptors(p.auth),
			connect.WithReadMaxBytes(maxNodeMessage),
			connect.WithAcceptCompression("gzip", nil, nil), // on a local network it costs more than it saves
		)
		p.clients[address] = c
	}
	return c
}

// close drops idle connections.
func (p *peers) close() { p.transport.CloseIdleConnections() }

// neverReached tells whether err proves that the other node did nothing: it could not be dialed, or what stands before the
// handler refused the request. No client makes these codes up by itself.
func neverReached(err error) bool {
	if _, ok := errors.AsType[*dialError](err); ok {
		return true
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodeUnimplemented, connect.CodeFailedPrecondition:
		return true
	}
	return false
}
