package status

import (
	"errors"
	"fmt"
	"time"
)

// Reason tells errors apart; it reaches callers as it is.
type Reason string

// The reasons. Add new ones at the end of their group and to all below.
const (
	// The request is at fault.
	InvalidArgument      Reason = "INVALID_ARGUMENT"
	PageTokenInvalid     Reason = "PAGE_TOKEN_INVALID"
	PageTokenExpired     Reason = "PAGE_TOKEN_EXPIRED"
	WarningsRejected     Reason = "WARNINGS_REJECTED"
	IdempotencyKeyReused Reason = "IDEMPOTENCY_KEY_REUSED"
	RevisionUnknown      Reason = "REVISION_UNKNOWN" // a revision of another cluster or history
	CommandTooLarge      Reason = "COMMAND_TOO_LARGE"

	// The caller may not.
	Unauthenticated  Reason = "UNAUTHENTICATED"
	PermissionDenied Reason = "PERMISSION_DENIED"

	// The state says no.
	AgentNotFound           Reason = "AGENT_NOT_FOUND"
	DelegationNotFound      Reason = "DELEGATION_NOT_FOUND"
	KeyNotFound             Reason = "KEY_NOT_FOUND"
	AuditEntryNotFound      Reason = "AUDIT_ENTRY_NOT_FOUND"
	MemberNotFound          Reason = "MEMBER_NOT_FOUND"
	AgentRevoked            Reason = "AGENT_REVOKED"
	AgentExpired            Reason = "AGENT_EXPIRED"
	AgentLimitExceeded      Reason = "AGENT_LIMIT_EXCEEDED"
	LimitExceeded           Reason = "LIMIT_EXCEEDED" // one of SPEC 9's limits
	InsufficientPermissions Reason = "INSUFFICIENT_PERMISSIONS"
	DelegationDepthExceeded Reason = "DELEGATION_DEPTH_EXCEEDED"
	DelegationCycle         Reason = "DELEGATION_CYCLE"
	RevisionMismatch        Reason = "REVISION_MISMATCH"
	TokenSuperseded         Reason = "TOKEN_SUPERSEDED" // a repeat whose first token something else has replaced
	AlreadyBootstrapped     Reason = "ALREADY_BOOTSTRAPPED"
	AlreadyExists           Reason = "ALREADY_EXISTS"

	// The node or the cluster can't, at the moment.
	QueueFull            Reason = "QUEUE_FULL"
	NoLeader             Reason = "NO_LEADER"
	NotLeader            Reason = "NOT_LEADER"
	OutcomeUnknown       Reason = "OUTCOME_UNKNOWN" // the write may have happened: repeat with the same idempotency key
	ReadIndexUnavailable Reason = "READ_INDEX_UNAVAILABLE"
	RevisionAhead        Reason = "REVISION_AHEAD" // this node has not applied the wanted revision in time
	AuditUnavailable     Reason = "AUDIT_UNAVAILABLE"
	NodeStopping         Reason = "NODE_STOPPING"
	NotReady             Reason = "NOT_READY"
	DeadlineExceeded     Reason = "DEADLINE_EXCEEDED"
	Canceled             Reason = "CANCELED"

	// What is not there.
	QuotaUnavailable Reason = "QUOTA_UNAVAILABLE" // a decision needs a quota that this version can't enforce
	Unimplemented    Reason = "UNIMPLEMENTED"
	Internal         Reason = "INTERNAL"
)

var all = []Reason{
	InvalidArgument, PageTokenInvalid, PageTokenExpired, WarningsRejected, IdempotencyKeyReused, RevisionUnknown, CommandTooLarge,
	Unauthenticated, PermissionDenied,
	AgentNotFound, DelegationNotFound, KeyNotFound, AuditEntryNotFound, MemberNotFound, AgentRevoked, AgentExpired,
	AgentLimitExceeded, LimitExceeded, InsufficientPermissions, DelegationDepthExceeded, DelegationCycle, RevisionMismatch,
	TokenSuperseded, AlreadyBootstrapped, AlreadyExists,
	QueueFull, NoLeader, NotLeader, OutcomeUnknown, ReadIndexUnavailable, RevisionAhead, AuditUnavailable, NodeStopping,
	NotReady, DeadlineExceeded, Canceled,
	QuotaUnavailable, Unimplemented, Internal,
}

// All returns every reason, in a fixed order.
func All() []Reason { return append([]Reason(nil), all...) }

// Field is one field at fault.
type Field struct {
	Path    string // as permissions[3].resource
	Message string
}

// Error is an error that callers may see: all but Err.
type Error struct {
	Reason  Reason
	Message string
	Fields  []Field
	// Retryable says that the same request may succeed later without a change.
	Retryable bool
	// RetryAfter is how long to wait first; 0: not known.
	RetryAfter time.Duration
	// Alternatives are API addresses of nodes that may serve the request.
	Alternatives []string
	// Revision is the token of a write that is committed, where its enforcement is what failed.
	Revision string
	// Err is the cause. It is logged, and never shown to a caller.
	Err error
}

// New makes an error with a message for callers.
func New(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Message: fmt.Sprintf(format, args...)}
}

// Error returns reason, message and cause, for logs.
func (e *Error) Error() string {
	s := string(e.Reason) + ": " + e.Message
	for _, f := range e.Fields {
		s += "; " + f.Path + ": " + f.Message
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error of the same reason, so that errors.Is(err, status.New(r, "")) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason
}

// WithField adds a field at fault and returns e.
func (e *Error) WithField(path, format string, args ...any) *Error {
	e.Fields = append(e.Fields, Field{Path: path, Message: fmt.Sprintf(format, args...)})
	return e
}

// Retry marks e as retryable and returns it.
func (e *Error) Retry(after time.Duration) *Error {
	e.Retryable, e.RetryAfter = true, after
	return e
}

// Wrap sets the cause and returns e.
func (e *Error) Wrap(err error) *Error {
	e.Err = err
	return e
}

// ReasonOf returns the reason of the first *Error in err's chain, Internal if there is none, "" for nil.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return Internal
}
