package raftstore

import (
	"net"
	"time"
)

// stallConn closes in on a peer that falls silent in the middle of a call. The library sets no deadline where it
// receives, and an install holds its main loop from the first byte to the last: a leader's host that vanishes half-way
// would hold it for as long as the connection lives.
//
// Between calls a connection may rest for hours, because the library pools them, so the limit counts from the first
// byte of a call to the answer, which is the next Write. It is a limit on silence, not on the whole call.
type stallConn struct {
	net.Conn
	limit time.Duration
	busy  bool // a call has begun and isn't answered; the library reads and writes on one goroutine
}

// StallLimit wraps an accepted connection: a Read inside a call, and every Write, fails when nothing moves for limit.
func StallLimit(c net.Conn, limit time.Duration) net.Conn { return &stallConn{Conn: c, limit: limit} }

// Read implements net.Conn.
func (c *stallConn) Read(p []byte) (int, error) {
	var deadline time.Time
	if c.busy {
		deadline = time.Now().Add(c.limit)
	}
	if err := c.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	c.busy = c.busy || n > 0
	return n, err
}

// Write implements net.Conn.
func (c *stallConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	c.busy = false
	return c.Conn.Write(p)
}
