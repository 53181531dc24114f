package rpc

import (
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// Limits of the HTTP server. A body is limited per message: see MaxRequestBytes.
const (
	// MaxHeaderBytes bounds the header of one request.
	MaxHeaderBytes = 16 << 10
	// MaxConcurrentStreams bounds the calls that run at once on one HTTP/2 connection; more wait.
	MaxConcurrentStreams = 250
	// MaxConnections bounds the connections to one node; more wait in the kernel's queue until one is closed.
	MaxConnections = 8192
)

// Limit returns l with at most MaxConnections open at once, so that callers can't use up the process's descriptors.
func Limit(l net.Listener) net.Listener { return netutil.LimitListener(l, MaxConnections) }

// NewServer returns a server for h that speaks HTTP/1.1 and HTTP/2 without TLS (prior knowledge). It has no read or write
// timeout, because exports are streams: each call has a deadline of its own. The number of connections is limited by
// the listener: see Limit.
func NewServer(h http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           h,
		Protocols:         &protocols,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    MaxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: MaxConcurrentStreams,
			SendPingTimeout:      30 * time.Second,
			PingTimeout:          15 * time.Second,
		},
	}
}
