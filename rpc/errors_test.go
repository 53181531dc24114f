package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/status"
)

// TestEveryReasonHasACode fails for a reason that codeOf does not know.
func TestEveryReasonHasACode(t *testing.T) {
	for _, r := range status.All() {
		if codeOf(r) == 0 {
			t.Errorf("%s has no code", r)
		}
	}
	if codeOf("SOMETHING_ELSE") != 0 {
		t.Error("an unknown reason has a code")
	}
}

func TestCodes(t *testing.T) {
	for reason, code := range map[status.Reason]connect.Code{
		status.InvalidArgument:      connect.CodeInvalidArgument,
		status.IdempotencyKeyReused: connect.CodeInvalidArgument, // SPEC 1
		status.Unauthenticated:      connect.CodeUnauthenticated, // SPEC 7
		status.AgentNotFound:        connect.CodeNotFound,
		status.RevisionMismatch:     connect.CodeAborted,
		status.AuditUnavailable:     connect.CodeUnavailable, // SPEC 7
		status.ReadIndexUnavailable: connect.CodeUnavailable, // SPEC 4
		status.QuotaUnavailable:     connect.CodeUnimplemented,
		status.Internal:             connect.CodeInternal,
	} {
		if got := codeOf(reason); got != code {
			t.Errorf("%s is %s, want %s", reason, got, code)
		}
	}
}

// detailOf returns the ErrorDetail of an error, as a client reads it.
func detailOf(t *testing.T, err error) *kavachv1.ErrorDetail {
	t.Helper()
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok {
		t.Fatalf("%v is no connect error", err)
	}
	for _, d := range ce.Details() {
		m, err := d.Value()
		if err != nil {
			t.Fatal(err)
		}
		if detail, ok := m.(*kavachv1.ErrorDetail); ok {
			return detail
		}
	}
	return nil
}

func TestWireError(t *testing.T) {
	e := status.New(status.InvalidArgument, "bad").WithField("permissions[3].resource", "is empty").Wrap(errors.New("secret path"))
	e.Alternatives, e.Revision = []string{"127.0.0.1:1"}, "aabbccdd.0.7"
	e = e.Retry(1500 * time.Millisecond)
	got := wireError(e)
	want := &kavachv1.ErrorDetail{
		Reason: "INVALID_ARGUMENT", Retryable: true, Alternatives: []string{"127.0.0.1:1"}, Revision: "aabbccdd.0.7",
		Fields: []*kavachv1.FieldError{{Field: "permissions[3].resource", Message: "is empty"}},
	}
	detail := detailOf(t, got)
	if d := detail.GetRetryAfter().AsDuration(); d != 1500*time.Millisecond {
		t.Errorf("retry_after is %s", d)
	}
	detail.RetryAfter = nil
	if !proto.Equal(detail, want) {
		t.Errorf("detail is %v, want %v", detail, want)
	}
	if got.Message() != "bad" || got.Meta().Get("Retry-After") != "2" {
		t.Errorf("message %q, Retry-After %q", got.Message(), got.Meta().Get("Retry-After"))
	}
	var kinds []string
	for _, d := range got.Details() {
		kinds = append(kinds, d.Type())
	}
	for _, m := range []proto.Message{&errdetails.BadRequest{}, &errdetails.RetryInfo{}} {
		if name := string(m.ProtoReflect().Descriptor().FullName()); !slices.Contains(kinds, name) {
			t.Errorf("no %s among %v", name, kinds)
		}
	}
}

// TestRetryable: an unknown outcome is not to be repeated blindly, all else that is unavailable may be.
func TestRetryable(t *testing.T) {
	for _, r := range status.All() {
		want := codeOf(r) == connect.CodeUnavailable && r != status.OutcomeUnknown
		if got := detailOf(t, wireError(status.New(r, "x"))).GetRetryable(); got != want {
			t.Errorf("%s: retryable is %t", r, got)
		}
	}
}

// TestStatusOfMasks: only a *status.Error with a reason for callers, and the end of a context, are shown.
func TestStatusOfMasks(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want status.Reason // "": masked
	}{
		"plain":             {errors.New("open /var/lib/x: permission denied"), ""},
		"internal":          {status.New(status.Internal, "pebble: corrupt"), ""},
		"unknown reason":    {status.New("FROM_A_NEWER_NODE", "x"), ""},
		"another node's":    {connect.NewError(connect.CodeUnavailable, errors.New("dial tcp 10.0.0.1:7400")), ""},
		"wrapped":           {fmt.Errorf("rotate: %w", status.New(status.AgentRevoked, "x")), status.AgentRevoked},
		"deadline":          {fmt.Errorf("wait: %w", context.DeadlineExceeded), status.DeadlineExceeded},
		"canceled":          {context.Canceled, status.Canceled},
		"status over cause": {status.New(status.NoLeader, "x").Wrap(context.Canceled), status.NoLeader},
	} {
		got := statusOf(c.err)
		if (got == nil) != (c.want == "") || got != nil && got.Reason != c.want {
			t.Errorf("%s: %v, want %q", name, got, c.want)
		}
	}
}
