package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/status"
)

// ErrClosed is the cause of the error of a call to a Client that is closed, or was closed during the call.
var ErrClosed = errors.New("the client is closed")

// Unreachable is the reason of a call that no node answered. It is the Client's own: no node sends it.
const Unreachable status.Reason = "UNREACHABLE"

// Error is why a call failed. Every error of a call is one, and none shows the API key. It wraps the *connect.Error of
// the last attempt.
type Error struct {
	// Procedure is the call, as /kavach.v1.AgentService/CreateAgent.
	Procedure string
	// Reason is the stable reason: a node's, or Unreachable.
	Reason status.Reason
	// Message is for people.
	Message string
	// Fields are what is at fault in the request.
	Fields []status.Field
	// Retryable says that the same call may succeed later. For a mutation that means: with IdempotencyKey.
	Retryable bool
	// RetryAfter is how long to wait first; 0: not known.
	RetryAfter time.Duration
	// Revision is that of a write that is committed, where its enforcement is what failed.
	Revision string
	// MayBeDone says that a mutation may have been applied all the same.
	MayBeDone bool
	// IdempotencyKey is the key that the mutation carried: a repeat with it gives the outcome of the first.
	IdempotencyKey string
	// Endpoint is the node of the last attempt; empty: there was none.
	Endpoint string
	// Attempts is how many requests were sent.
	Attempts int

	err error
}

// Error returns reason, message, fields, and where it came from.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: %s", strings.TrimPrefix(e.Procedure, "/kavach.v1."), e.Reason, e.Message)
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "; %s: %s", f.Path, f.Message)
	}
	if e.MayBeDone {
		b.WriteString("; it may have been done all the same")
	}
	if e.MayBeDone && e.IdempotencyKey != "" {
		b.WriteString(": repeat it with its idempotency key to learn that")
	}
	if e.Endpoint != "" {
		fmt.Fprintf(&b, " (attempt %d, %s)", e.Attempts, e.Endpoint)
	}
	return b.String()
}

// Unwrap returns the last attempt's error.
func (e *Error) Unwrap() error { return e.err }

// Is reports whether target is a *status.Error of the same reason, so that errors.Is(err, status.New(r, "")) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*status.Error)
	return ok && t.Reason == e.Reason
}

// ReasonOf returns the stable reason in err; empty: it is nil or no error of a call.
func ReasonOf(err error) status.Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

// read takes a node's answer apart. detail is nil where the error is no node's: of a connection, of what stands between,
// or of this side.
func read(procedure string, err error) (e *Error, detail *kavachv1.ErrorDetail) {
	e = &Error{Procedure: procedure, Reason: status.Internal, Message: err.Error(), err: err}
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return e, nil
	}
	e.Reason, e.Message = reasonOfCode(ce.Code()), ce.Message()
	for _, d := range ce.Details() {
		v, err := d.Value()
		if err != nil {
			continue // of a type that this version doesn't know
		}
		if detail, ok = v.(*kavachv1.ErrorDetail); !ok {
			continue
		}
		e.Reason, e.Retryable, e.Revision = status.Reason(detail.GetReason()), detail.GetRetryable(), detail.GetRevision()
		e.RetryAfter = detail.GetRetryAfter().AsDuration()
		for _, f := range detail.GetFields() {
			e.Fields = append(e.Fields, status.Field{Path: f.GetField(), Message: f.GetMessage()})
		}
		return e, detail
	}
	return e, nil
}

// reasonOfCode is for answers without a reason: of a proxy, or of connect itself.
func reasonOfCode(c connect.Code) status.Reason {
	switch c {
	case connect.CodeUnauthenticated:
		return status.Unauthenticated
	case connect.CodePermissionDenied:
		return status.PermissionDenied
	case connect.CodeInvalidArgument:
		return status.InvalidArgument
	case connect.CodeUnimplemented:
		return status.Unimplemented
	case connect.CodeResourceExhausted:
		return status.LimitExceeded
	case connect.CodeDeadlineExceeded:
		return status.DeadlineExceeded
	case connect.CodeCanceled:
		return status.Canceled
	case connect.CodeUnavailable:
		return Unreachable
	default:
		return status.Internal
	}
}

// ended turns the end of a call's context into its error: last, if there is one, says what stood in the way.
func ended(ctx context.Context, procedure string, last *Error) *Error {
	e := &Error{Procedure: procedure}
	text := "the call was canceled"
	e.Reason = status.Canceled
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, ErrClosed):
		text = ErrClosed.Error()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		e.Reason, e.Retryable = status.DeadlineExceeded, true
		text = "the deadline of the call has passed"
	}
	e.Message, e.err = text, cause
	if last != nil {
		e.Message += "; before: " + string(last.Reason) + ": " + last.Message
		e.err = errors.Join(cause, last.err)
	}
	return e
}
