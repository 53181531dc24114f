package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/kavachd/kavachd/status"
)

// errSlow is the cause of the end of an attempt that took longer than its share.
var errSlow = errors.New("no answer within the time of one attempt")

// attempt is one request to one node. It travels in the context, from the interceptor to the transport.
type attempt struct {
	to address
	// sent is set once there is a connection: before, nothing can have been done.
	sent atomic.Bool
	// lost is set when the connection, not the node, ended the request.
	lost atomic.Bool
}

type attemptKey struct{}

// transport sends a request to the node that its attempt names. It implements connect.HTTPClient.
type transport struct {
	http *http.Client
	key  *credential
}

// Do implements connect.HTTPClient.
func (t *transport) Do(r *http.Request) (*http.Response, error) {
	a, ok := r.Context().Value(attemptKey{}).(*attempt)
	if !ok {
		return nil, errors.New("a request without an attempt")
	}
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { a.sent.Store(true) },
	})
	r = r.Clone(ctx) // with headers and a URL of its own
	r.URL.Scheme, r.URL.Host, r.Host = a.to.scheme, a.to.host, a.to.host
	if key := t.key.get(); key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := t.http.Do(r) //nolint:gosec // the host is one of the configuration, or what Discover allows
	if err != nil {
		a.lost.Store(true)
		return nil, err
	}
	res.Body = &body{ReadCloser: res.Body, attempt: a}
	return res, nil
}

// body notes a connection that ends within an answer.
type body struct {
	io.ReadCloser
	attempt *attempt
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.attempt.lost.Store(true)
	}
	return n, err
}

// outcome is what became of an attempt that failed.
type outcome struct {
	err   *Error
	node  verdict
	again bool // another attempt may succeed
	done  bool // something may have been done
	final bool // the answer tells of earlier attempts with the same idempotency key too
	hints []string
}

// judge says what a failed attempt means. ctx is the attempt's.
func judge(ctx context.Context, procedure string, a *attempt, err error) outcome {
	e, detail := read(procedure, err)
	o := outcome{err: e, done: a.sent.Load()}
	if detail != nil {
		return o.byReason(detail.GetAlternatives())
	}
	switch {
	case errors.Is(context.Cause(ctx), errSlow):
		e.Reason, e.Message, e.Retryable = Unreachable, errSlow.Error(), true
		o.node, o.again = slow, true
	case ctx.Err() != nil: // the call's end, not the node's fault
		o.again = true
	case a.lost.Load():
		e.Reason, e.Retryable = Unreachable, true
		o.node, o.again = broken, true
	case e.Reason == status.DeadlineExceeded: // the node's clock ran faster
		e.Retryable = true
		o.node, o.again = slow, true
	case e.Reason == Unreachable: // a proxy's answer, as 502
		e.Retryable = true
		o.node, o.again = refused, true
	}
	return o
}

// byReason judges what a node says itself.
func (o outcome) byReason(alternatives []string) outcome {
	o.hints = alternatives
	o.node = answered
	switch o.err.Reason {
	case status.OutcomeUnknown:
		o.again = true
	case status.NoLeader, status.NotLeader, status.NotReady, status.NodeStopping:
		o.node, o.again, o.done = refused, true, o.err.Revision != ""
	case status.QueueFull:
		o.again, o.done = true, false
	case status.ReadIndexUnavailable, status.AuditUnavailable:
		o.node, o.again = refused, true
	case status.DeadlineExceeded, status.Canceled: // of this attempt, as the node saw it
		o.node, o.again = slow, true
	case status.Unauthenticated, status.PermissionDenied, status.InvalidArgument:
		o.done = false // never again, whatever the flag says
	default:
		o.again = o.err.Retryable
		o.done = o.again || o.err.Reason == status.Internal || o.err.Reason == status.TokenSuperseded || o.err.Revision != ""
		o.final = !o.done
	}
	return o
}

// begin starts an attempt's time: limit, or until release is called.
func begin(ctx context.Context, to address, limit time.Duration) (attemptCtx context.Context, a *attempt, release context.CancelFunc) {
	a = &attempt{to: to}
	ctx, release = context.WithTimeoutCause(context.WithValue(ctx, attemptKey{}, a), limit, errSlow)
	return ctx, a, release
}

// request is a caller's request with another message and with headers of its own. What embeds a connect.AnyRequest is one.
type request struct {
	connect.AnyRequest
	message any
	header  http.Header
}

// Any implements connect.AnyRequest.
func (r *request) Any() any { return r.message }

// Header implements connect.AnyRequest.
func (r *request) Header() http.Header { return r.header }
