package client

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"

	"connectrpc.com/connect"
)

// WrapStreamingHandler implements connect.Interceptor; a client has none.
func (c *core) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// WrapStreamingClient implements connect.Interceptor. A stream from a node begins anew elsewhere as long as no piece of it
// has come; after that, what breaks it is the caller's to know.
func (c *core) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		s := &stream{core: c, spec: spec, open: next, header: http.Header{}}
		s.ctx, s.end, s.err = c.enter(ctx)
		if s.err == nil {
			s.end = sync.OnceFunc(s.end)
		}
		return s
	}
}

// stream is a call with one request and many answers. Nothing is sent before the first Receive. It belongs to one
// goroutine.
type stream struct {
	core *core
	spec connect.Spec
	open connect.StreamingClientFunc

	ctx    context.Context // the call's
	end    func()
	err    error // why it failed
	header http.Header
	method *method
	sent   any // the request
	asked  string

	conn    connect.StreamingClientConn // nil: not begun
	release context.CancelFunc          // ends the attempt
	judge   func(err error) outcome
}

// Spec implements connect.StreamingClientConn.
func (s *stream) Spec() connect.Spec { return s.spec }

// Peer implements connect.StreamingClientConn.
func (s *stream) Peer() connect.Peer {
	if s.conn == nil {
		return connect.Peer{Protocol: connect.ProtocolConnect}
	}
	return s.conn.Peer()
}

// RequestHeader implements connect.StreamingClientConn.
func (s *stream) RequestHeader() http.Header { return s.header }

// ResponseHeader implements connect.StreamingClientConn.
func (s *stream) ResponseHeader() http.Header {
	if s.conn == nil {
		return http.Header{}
	}
	return s.conn.ResponseHeader()
}

// ResponseTrailer implements connect.StreamingClientConn.
func (s *stream) ResponseTrailer() http.Header {
	if s.conn == nil {
		return http.Header{}
	}
	return s.conn.ResponseTrailer()
}

// Send implements connect.StreamingClientConn. It keeps the request, for every attempt.
func (s *stream) Send(message any) error {
	m, msg, err := s.core.method(s.spec, message)
	if err != nil {
		s.finish()
		return err
	}
	if s.err != nil {
		return s.core.refuse(m, s.err)
	}
	s.asked = s.core.wanted()
	s.method = m
	s.sent, _ = m.prepare(msg, s.asked)
	return nil
}

// CloseRequest implements connect.StreamingClientConn.
func (s *stream) CloseRequest() error { return nil }

// Receive implements connect.StreamingClientConn.
func (s *stream) Receive(message any) error {
	if s.err != nil {
		return s.err
	}
	if s.conn == nil {
		s.err = s.first(message)
	} else if err := s.conn.Receive(message); err != nil {
		s.err = s.broken(err)
	}
	if s.err != nil {
		s.finish()
		return s.err
	}
	s.core.seen.observe(s.method.revisionOf(message))
	return nil
}

// first makes attempts until one has a piece of the stream, or its regular end.
func (s *stream) first(message any) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.core.timeout)
	defer cancel()
	empty := false
	e := s.core.loop(ctx, s.method, func(attemptCtx context.Context) error {
		err := s.begin(attemptCtx, message)
		empty = errors.Is(err, io.EOF)
		if err == nil || empty {
			return nil
		}
		s.close()
		return err
	})
	switch {
	case e != nil:
		return s.core.failed(e, "", s.asked)
	case empty:
		return io.EOF
	}
	return nil
}

// begin opens the stream at one node, and waits for the first piece no longer than the attempt lasts. The stream itself
// lasts as long as the call.
func (s *stream) begin(attemptCtx context.Context, message any) error {
	ctx, release := context.WithCancelCause(s.ctx)
	a, _ := attemptCtx.Value(attemptKey{}).(*attempt)
	ctx = context.WithValue(ctx, attemptKey{}, a)
	s.release = func() { release(nil) }
	stop := context.AfterFunc(attemptCtx, func() { release(context.Cause(attemptCtx)) })
	defer stop()
	s.judge = func(err error) outcome { return judge(ctx, s.method.procedure, a, err) }
	s.conn = s.open(ctx, s.spec)
	maps.Copy(s.conn.RequestHeader(), s.header)
	if err := s.conn.Send(s.sent); err != nil && !errors.Is(err, io.EOF) { // EOF: Receive has the reason
		return err
	}
	if err := s.conn.CloseRequest(); err != nil {
		return err
	}
	return s.conn.Receive(message)
}

// broken is what a stream ends with after its first piece.
func (s *stream) broken(err error) error {
	if errors.Is(err, io.EOF) {
		return err
	}
	o := s.judge(err)
	o.err.Message = "the stream broke off: " + o.err.Message
	return o.err
}

// close ends an attempt.
func (s *stream) close() {
	if s.conn != nil {
		_ = s.conn.CloseResponse() // it failed; Receive has said why
		s.conn = nil
	}
	if s.release != nil {
		s.release()
	}
}

// finish ends the call.
func (s *stream) finish() {
	if s.release != nil {
		s.release()
	}
	if s.end != nil {
		s.end()
	}
}

// CloseResponse implements connect.StreamingClientConn.
func (s *stream) CloseResponse() error {
	if s.release != nil {
		s.release() // what is not wanted any more need not be read to its end
	}
	var err error
	if s.conn != nil {
		err = s.conn.CloseResponse()
	}
	s.finish()
	if err != nil && (errors.Is(err, context.Canceled) || connect.CodeOf(err) == connect.CodeCanceled) {
		return nil // our own doing
	}
	return err
}
