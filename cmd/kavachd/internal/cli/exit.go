package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"connectrpc.com/connect"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/status"
)

// Exit codes. Scripts rely on them: never give one another meaning.
const (
	ExitOK           = 0 // done; of a decision: allowed
	ExitError        = 1 // anything that has no code of its own
	ExitUsage        = 2 // the command line or a configuration is wrong; nothing was sent
	ExitDenied       = 3 // the decision is a denial
	ExitUnavailable  = 4 // no node could answer in time: the same command may succeed later
	ExitNotFound     = 5 // the agent, delegation, key, entry or member is not there
	ExitUnauthorized = 6 // the API key is missing, wrong, or may not do this
)

// usageError is a mistake on the command line: nothing was sent.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// errDenied ends a command whose answer, already printed, is a denial.
var errDenied = errors.New("denied")

// problem is an error as it is shown: reason, sentence, fields, and one hint.
type problem struct {
	code    int
	reason  string
	message string
	fields  []*kavachv1.FieldError
	hint    string
}

// explain turns an error into what is shown of it.
func explain(err error) problem {
	if _, ok := errors.AsType[*usageError](err); ok {
		return problem{code: ExitUsage, reason: "USAGE", message: err.Error()}
	}
	if asFatal(err) {
		return problem{code: ExitError, message: err.Error()}
	}
	if unknown, ok := errors.AsType[*outcomeError](err); ok {
		p := explain(unknown.err)
		p.hint = "The change may have happened. To learn the outcome, and to be safe, repeat the command with --idempotency-key " + unknown.key
		return p
	}
	if _, ok := errors.AsType[*unreachableError](err); ok {
		return problem{code: ExitUnavailable, reason: "UNREACHABLE", message: err.Error(), hint: hintAddress}
	}
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return explainLocal(err)
	}
	p := problem{message: ce.Message()}
	detail := detailOf(ce)
	p.reason, p.fields = detail.GetReason(), detail.GetFields()
	if p.reason == "" { // not from a node's API: a proxy, or a connection that broke
		p.reason = strings.ToUpper(ce.Code().String())
	}
	p.code = exitCode(ce, detail)
	p.hint = hint(p.reason, p.code, detail)
	if p.hint == "" && !connect.IsWireError(ce) && p.code == ExitUnavailable {
		p.hint = hintAddress
	}
	return p
}

const hintAddress = "Is a node running there? Give the addresses with --addr or KAVACH_ADDR; `kavachd health` asks a node how it is."

func explainLocal(err error) problem {
	var netErr net.Error
	var config *configError
	var notReady *notReadyError
	var incomplete *incompleteError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return problem{code: ExitUnavailable, reason: string(status.DeadlineExceeded), message: err.Error(), hint: "Give it longer with --timeout."}
	case errors.Is(err, context.Canceled):
		return problem{code: ExitError, reason: string(status.Canceled), message: "interrupted"}
	case errors.As(err, &notReady), errors.As(err, &incomplete):
		return problem{code: ExitUnavailable, reason: string(status.NotReady), message: err.Error()}
	case errors.As(err, &config):
		return problem{code: ExitUsage, reason: "CONFIG", message: err.Error(), hint: "docs/configuration.md lists every setting; `kavachd config print` shows the values in force and where they come from."}
	case errors.As(err, &netErr):
		return problem{code: ExitUnavailable, reason: "UNAVAILABLE", message: err.Error(), hint: hintAddress}
	}
	return problem{code: ExitError, message: err.Error()}
}

// detailOf returns the API's own error detail, nil if there is none.
func detailOf(ce *connect.Error) *kavachv1.ErrorDetail {
	for _, d := range ce.Details() {
		value, err := d.Value()
		if err != nil {
			continue // a detail of a newer version
		}
		if detail, ok := value.(*kavachv1.ErrorDetail); ok {
			return detail
		}
	}
	return nil
}

func exitCode(ce *connect.Error, detail *kavachv1.ErrorDetail) int {
	switch ce.Code() {
	case connect.CodeNotFound:
		return ExitNotFound
	case connect.CodeUnauthenticated, connect.CodePermissionDenied:
		return ExitUnauthorized
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded:
		return ExitUnavailable
	}
	if detail.GetRetryable() {
		return ExitUnavailable
	}
	return ExitError
}

// hint returns the one sentence that most likely helps; empty if there is none.
func hint(reason string, code int, detail *kavachv1.ErrorDetail) string {
	switch status.Reason(reason) {
	case status.Unauthenticated:
		return "Give an API key with KAVACH_TOKEN or --token-file. The first one of a cluster is made by `kavachd cluster bootstrap-key`."
	case status.PermissionDenied:
		return "This API key may not do that. `kavachd access key list`, with an admin key, shows the keys and their roles."
	case status.AgentNotFound:
		return "`kavachd agent list` shows the agents. Ids begin with agt_."
	case status.DelegationNotFound:
		return "`kavachd delegate list AGENT` shows an agent's delegations. Ids begin with dlg_."
	case status.KeyNotFound:
		return "`kavachd access key list` shows the keys. Ids begin with key_."
	case status.AuditEntryNotFound:
		return "`kavachd audit query` shows the newest entries. Ids begin with aud_."
	case status.MemberNotFound:
		return "`kavachd cluster members` shows the members."
	case status.AgentLimitExceeded:
		return "Revoke an agent of this owner, let one expire, or raise the limit: kavachd cluster settings set max_agents_per_owner=N"
	case status.InsufficientPermissions:
		return "An agent can only give what it holds now: kavachd delegate effective AGENT"
	case status.RevisionMismatch:
		return "Somebody changed it meanwhile. Read it again, and repeat with its revision."
	case status.AlreadyBootstrapped:
		return "The first key was made before. Any admin key can make another: kavachd access key create NAME"
	case status.IdempotencyKeyReused:
		return "This --idempotency-key was used for another request. Leave the flag out, and a new key is made."
	case status.PageTokenInvalid, status.PageTokenExpired:
		return "Begin at the first page: leave --page-token out, and keep the filters the same from page to page."
	case status.WarningsRejected:
		return "Correct the list, or leave --reject-warnings out to accept it."
	case status.OutcomeUnknown:
		return "The change may have happened. Repeating it with the same --idempotency-key is safe, and tells the outcome."
	case status.AgentRevoked:
		return "Revoking is final. Make a new agent: kavachd agent create"
	case status.AgentExpired:
		return "An extension revives it: kavachd agent update AGENT --ttl 24h"
	}
	if alternatives := detail.GetAlternatives(); code == ExitUnavailable && len(alternatives) > 0 {
		return "These nodes may be able to answer: --addr " + strings.Join(alternatives, ",")
	}
	if code == ExitUnavailable && detail != nil {
		return "The same command may succeed later. `kavachd cluster status` tells how the cluster stands."
	}
	return ""
}

// show writes the problem for people: one line, one line a field, one hint.
func (p problem) show(w io.Writer) {
	if p.reason == "" || p.code == ExitUsage {
		fmt.Fprintf(w, "Error: %s\n", p.message)
	} else {
		fmt.Fprintf(w, "Error: %s: %s\n", p.reason, p.message)
	}
	for _, f := range p.fields {
		if f.GetField()+": "+f.GetMessage() == p.message {
			continue // said already
		}
		fmt.Fprintf(w, "  %s: %s\n", f.GetField(), f.GetMessage())
	}
	if p.hint != "" {
		fmt.Fprintf(w, "Hint: %s\n", p.hint)
	}
}
