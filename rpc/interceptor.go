package rpc

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/status"
)

// maxViolations bounds the fields named by one error.
const maxViolations = 20

// guard is the interceptor around every handler. It recovers from panics, masks what is not for callers, gives a unary
// call its deadline, and validates requests by the rules of the schema.
type guard struct {
	log       *slog.Logger
	random    io.Reader
	timeout   time.Duration
	validator protovalidate.Validator
	// failed counts a caller whose key turned out to be no good.
	failed func(peer string)
}

// WrapUnary implements connect.Interceptor.
func (g *guard) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (res connect.AnyResponse, err error) {
		defer func() {
			if p := recover(); p != nil {
				res, err = nil, g.panicked(ctx, req.Spec(), p)
			}
		}()
		markReached(ctx)
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, g.timeout)
			defer cancel()
		}
		if err := g.validate(req.Any()); err != nil {
			return nil, g.mask(ctx, req.Spec(), err)
		}
		res, err = next(ctx, req)
		if err != nil {
			return nil, g.mask(ctx, req.Spec(), err)
		}
		return res, nil
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (g *guard) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor. A stream has the deadline that its caller gives it, or none.
func (g *guard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = g.panicked(ctx, conn.Spec(), p)
			}
		}()
		markReached(ctx)
		if err := next(ctx, &guardedConn{StreamingHandlerConn: conn, guard: g}); err != nil {
			return g.mask(ctx, conn.Spec(), err)
		}
		return nil
	}
}

// guardedConn validates what is received.
type guardedConn struct {
	connect.StreamingHandlerConn
	guard *guard
}

// Receive implements connect.StreamingHandlerConn.
func (c *guardedConn) Receive(m any) error {
	if err := c.StreamingHandlerConn.Receive(m); err != nil {
		if errors.Is(err, io.EOF) {
			return err
		}
		return &receiveError{err}
	}
	return c.guard.validate(m)
}

// receiveError is what connect itself says of a request that it could not read: no internals are in it.
type receiveError struct{ err error }

func (e *receiveError) Error() string { return e.err.Error() }
func (e *receiveError) Unwrap() error { return e.err }

// validate checks a request by the rules of its schema. All violations are named, up to maxViolations.
func (g *guard) validate(message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no protobuf message", message)
	}
	if e := malformed(m); e != nil {
		return e
	}
	err := g.validator.Validate(m)
	if err == nil {
		return nil
	}
	violated, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok {
		return fmt.Errorf("validate %T: %w", message, err)
	}
	e := status.New(status.InvalidArgument, "")
	for i, v := range violated.Violations {
		if i == maxViolations {
			e = e.WithField("", "and %d more problems", len(violated.Violations)-i)
			break
		}
		e = e.WithField(protovalidate.FieldPathString(v.Proto.GetField()), "%s", violationText(v))
	}
	return describe(e)
}

// violationText says what rule is broken, and what the value's size is where a size is the point.
func violationText(v *protovalidate.Violation) string {
	text := v.Proto.GetMessage()
	if text == "" {
		text = "breaks the rule " + v.Proto.GetRuleId()
	}
	if size, ok := sizeOf(v); ok {
		text += fmt.Sprintf(", but is %d", size)
	}
	return text
}

func sizeOf(v *protovalidate.Violation) (size int, ok bool) {
	if v.FieldDescriptor == nil || !v.FieldValue.IsValid() {
		return 0, false
	}
	switch v.Proto.GetRuleId() {
	case "repeated.max_items", "repeated.min_items":
		if v.FieldDescriptor.IsList() {
			return v.FieldValue.List().Len(), true
		}
	case "string.max_bytes", "string.min_bytes", "string.max_len", "string.min_len":
		if s, ok := v.FieldValue.Interface().(string); ok {
			return len(s), true
		}
	}
	return 0, false
}

// mask turns err into what a caller sees. What is not deliberate becomes INTERNAL with an incident id, under which the
// log has the rest.
func (g *guard) mask(ctx context.Context, spec connect.Spec, err error) *connect.Error {
	if e := statusOf(err); e != nil {
		if e.Reason == status.Unauthenticated {
			g.failed(callerOf(ctx).peer)
		}
		return wireError(e)
	}
	if received, ok := errors.AsType[*receiveError](err); ok {
		if ce, ok := errors.AsType[*connect.Error](received.err); ok {
			return ce
		}
	}
	return g.incident(ctx, spec, "error", err)
}

func (g *guard) panicked(ctx context.Context, spec connect.Spec, p any) *connect.Error {
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
		panic(p)
	}
	return g.incident(ctx, spec, "panic", fmt.Errorf("%v\n%s", p, debug.Stack()))
}

func (g *guard) incident(ctx context.Context, spec connect.Spec, kind string, err error) *connect.Error {
	var id [8]byte
	if _, randErr := io.ReadFull(g.random, id[:]); randErr != nil {
		g.log.ErrorContext(ctx, "no randomness for an incident id", "error", randErr)
	}
	name := hex.EncodeToString(id[:])
	g.log.ErrorContext(ctx, "internal error", "incident", name, "method", spec.Procedure, "kind", kind, "error", err)
	return wireError(status.New(status.Internal, "internal error; the node's log has it under incident %s", name))
}
