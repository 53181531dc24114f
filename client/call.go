package client

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/status"
)

// WrapUnary implements connect.Interceptor: the way of a call. next is one attempt at it.
func (c *core) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		m, msg, err := c.method(req.Spec(), req.Any())
		if err != nil {
			return nil, err
		}
		ctx, end, err := c.enter(ctx)
		if err != nil {
			return nil, c.refuse(m, err)
		}
		defer end()
		ctx, cancel := c.bound(ctx)
		defer cancel()
		asked := c.wanted()
		message, key := m.prepare(msg, asked)
		var answer connect.AnyResponse
		e := c.loop(ctx, m, func(ctx context.Context) error {
			res, err := next(ctx, &request{AnyRequest: req, message: message, header: req.Header().Clone()})
			if err == nil {
				answer = res
			}
			return err
		})
		if e != nil {
			return nil, c.failed(e, key, asked)
		}
		c.seen.observe(m.revisionOf(answer.Any()))
		return answer, nil
	}
}

// method finds what is known of a procedure.
func (c *core) method(spec connect.Spec, message any) (*method, proto.Message, error) {
	m, ok := c.methods[spec.Procedure]
	msg, isProto := message.(proto.Message)
	if !ok || !isProto {
		return nil, nil, &Error{Procedure: spec.Procedure, Reason: status.Unimplemented, Message: "not a procedure of this client's API"}
	}
	return m, msg, nil
}

// refuse is for a call to a closed client.
func (c *core) refuse(m *method, err error) *Error {
	return &Error{Procedure: m.procedure, Reason: status.Canceled, Message: err.Error(), err: err}
}

// bound gives a call without a deadline the Client's.
func (c *core) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.timeout)
}

// wanted is the revision that reads ask for; empty: none.
func (c *core) wanted() string {
	if !c.readYourWrites {
		return ""
	}
	return c.seen.get()
}

// failed completes a call's error and learns from it.
func (c *core) failed(e *Error, key, asked string) *Error {
	e.IdempotencyKey = key
	c.seen.observe(e.Revision)
	switch e.Reason {
	case status.RevisionUnknown:
		// The cluster was restored from before that revision, or is another one: the next call must not ask for it again.
		if asked != "" {
			c.seen.forget(asked)
		}
	case status.Unauthenticated:
		// Perhaps the key was replaced. This call isn't repeated: the next one has the new key.
		if err := c.key.reload(); err != nil {
			c.log.Warn("the key file can't be read again", "error", err)
		}
	}
	return e
}

// loop makes attempts until one succeeds, one fails for good, or ctx ends.
func (c *core) loop(ctx context.Context, m *method, try func(context.Context) error) *Error {
	var (
		tried   []*endpoint // in this round
		hints   []string
		last    *Error
		pause   time.Duration
		maybe   bool // an attempt may have been applied
		n       int
		attempt = c.attemptTimeout
	)
	finish := func(e *Error) *Error {
		e.Attempts, e.MayBeDone = n, maybe && m.kind != reading
		if last != nil {
			e.Endpoint = last.Endpoint
		}
		return e
	}
	for round := 0; ; {
		if ctx.Err() != nil {
			return finish(ended(ctx, m.procedure, last))
		}
		e, untried := c.pool.pick(tried, hints)
		if e == nil {
			d := max(c.backoff.delay(round), pause)
			if left := remaining(ctx); left <= d {
				return finish(last) // no other attempt fits: what the last one said is worth more than "too late"
			}
			if !wait(ctx, d) {
				continue
			}
			round++
			tried, pause = nil, 0
			attempt = min(2*attempt, c.timeout)
			continue
		}
		n++
		tried = append(tried, e)
		o := c.attempt(ctx, m, e, share(ctx, attempt, untried), try)
		if o.err == nil {
			return nil
		}
		last = o.err
		last.Endpoint = e.addr.String()
		maybe = !o.final && (maybe || o.done)
		if !o.again || m.kind == oneShot && maybe {
			return finish(last)
		}
		pause = max(pause, last.RetryAfter)
		hints = c.follow(e, o.hints)
	}
}

// attempt asks one node. The outcome has no error if it succeeded.
func (c *core) attempt(ctx context.Context, m *method, e *endpoint, limit time.Duration, try func(context.Context) error) outcome {
	ctx, a, release := begin(ctx, e.addr, limit)
	defer release()
	err := try(ctx)
	if err == nil {
		c.pool.release(e, answered)
		return outcome{}
	}
	o := judge(ctx, m.procedure, a, err)
	c.pool.release(e, o.node)
	return o
}

// follow returns the nodes that another named as better, as hosts, and makes them known if the Client discovers.
func (c *core) follow(from *endpoint, named []string) []string {
	named = slices.DeleteFunc(slices.Clone(named), func(host string) bool {
		_, err := parseEndpoint(host, false)
		return err != nil
	})
	if c.discover {
		for _, host := range named {
			c.pool.learn(address{scheme: from.addr.scheme, host: host})
		}
	}
	return named
}

// share is the time of one attempt: what is left of the call, divided by the nodes that can still be asked in this
// round, and at most limit.
func share(ctx context.Context, limit time.Duration, untried int) time.Duration {
	return min(limit, remaining(ctx)/time.Duration(max(untried, 1)))
}

// remaining is the time until the deadline, which every call has.
func remaining(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return DefaultTimeout
	}
	return time.Until(deadline)
}
