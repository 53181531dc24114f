package rpc

import (
	"context"
	"errors"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/status"
)

// codeOf is the one place where a reason becomes a wire code. It returns 0 for a reason that it does not know; a test
// walks status.All, so that none is.
func codeOf(r status.Reason) connect.Code {
	switch r {
	case status.InvalidArgument, status.PageTokenInvalid, status.PageTokenExpired, status.WarningsRejected,
		status.IdempotencyKeyReused, status.RevisionUnknown, status.CommandTooLarge:
		return connect.CodeInvalidArgument
	case status.Unauthenticated:
		return connect.CodeUnauthenticated
	case status.PermissionDenied:
		return connect.CodePermissionDenied
	case status.AgentNotFound, status.DelegationNotFound, status.KeyNotFound, status.AuditEntryNotFound, status.MemberNotFound:
		return connect.CodeNotFound
	case status.AgentLimitExceeded, status.LimitExceeded:
		return connect.CodeResourceExhausted
	case status.AgentRevoked, status.AgentExpired, status.InsufficientPermissions, status.DelegationDepthExceeded,
		status.DelegationCycle, status.TokenSuperseded, status.AlreadyBootstrapped:
		return connect.CodeFailedPrecondition
	case status.AlreadyExists:
		return connect.CodeAlreadyExists
	case status.RevisionMismatch:
		return connect.CodeAborted
	case status.QueueFull, status.NoLeader, status.NotLeader, status.OutcomeUnknown, status.ReadIndexUnavailable,
		status.RevisionAhead, status.AuditUnavailable, status.NodeStopping, status.NotReady:
		return connect.CodeUnavailable
	case status.DeadlineExceeded:
		return connect.CodeDeadlineExceeded
	case status.Canceled:
		return connect.CodeCanceled
	case status.QuotaUnavailable, status.Unimplemented:
		return connect.CodeUnimplemented
	case status.Internal:
		return connect.CodeInternal
	default:
		return 0
	}
}

// wireError turns e into what a caller sees: code, message, and the details by which a program acts on it. The cause
// stays behind.
func wireError(e *status.Error) *connect.Error {
	code := codeOf(e.Reason)
	if code == 0 {
		code = connect.CodeInternal
	}
	out := connect.NewError(code, errors.New(e.Message))
	detail := &kavachv1.ErrorDetail{
		Reason: string(e.Reason),
		// The same write without an idempotency key must not be repeated blindly: its own producer says so.
		Retryable:    e.Retryable || code == connect.CodeUnavailable && e.Reason != status.OutcomeUnknown,
		Alternatives: e.Alternatives,
		Revision:     e.Revision,
	}
	bad := &errdetails.BadRequest{}
	for _, f := range e.Fields {
		detail.Fields = append(detail.Fields, &kavachv1.FieldError{Field: f.Path, Message: f.Message})
		bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: f.Path, Description: f.Message})
	}
	details := []proto.Message{detail}
	if len(bad.GetFieldViolations()) > 0 && code == connect.CodeInvalidArgument {
		details = append(details, bad)
	}
	if e.RetryAfter > 0 {
		detail.RetryAfter = durationpb.New(e.RetryAfter)
		details = append(details, &errdetails.RetryInfo{RetryDelay: detail.GetRetryAfter()})
		seconds := int64((e.RetryAfter + time.Second - 1) / time.Second)
		out.Meta().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	for _, d := range details {
		if packed, err := connect.NewErrorDetail(d); err == nil { // fails for invalid UTF-8 only; the code still tells
			out.AddDetail(packed)
		}
	}
	return out
}

// errNoSuchService is what grpc.health.v1 demands for a service that is not there.
func errNoSuchService() *connect.Error {
	return connect.NewError(connect.CodeNotFound, errors.New("no such service"))
}

// statusOf returns the error for callers in err, or nil if there is none and err must be masked.
// A *connect.Error is none: it may be another node's, with that node's text in it.
func statusOf(err error) *status.Error {
	if e, ok := errors.AsType[*status.Error](err); ok {
		if e.Reason == status.Internal || codeOf(e.Reason) == 0 {
			return nil
		}
		return e
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return status.New(status.DeadlineExceeded, "the deadline of the call has passed").Retry(0)
	case errors.Is(err, context.Canceled):
		return status.New(status.Canceled, "the caller has canceled the call")
	}
	return nil
}

// invalid makes an error about one field of the request.
func invalid(path, format string, args ...any) *status.Error {
	e := status.New(status.InvalidArgument, "the request is not valid").WithField(path, format, args...)
	return describe(e)
}

// describe puts the first field at fault into the message, for those who read no details.
func describe(e *status.Error) *status.Error {
	if len(e.Fields) == 0 {
		return e
	}
	first := e.Fields[0]
	e.Message = first.Path + ": " + first.Message
	if more := len(e.Fields) - 1; more > 0 {
		e.Message += " (and " + strconv.Itoa(more) + " more)"
	}
	return e
}
