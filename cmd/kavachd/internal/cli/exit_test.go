package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/status"
)

// answered makes an error as a node's API answers it.
func answered(code connect.Code, detail *kavachv1.ErrorDetail, text string) *connect.Error {
	ce := connect.NewError(code, errors.New(text))
	d, err := connect.NewErrorDetail(detail)
	if err != nil {
		panic(err)
	}
	ce.AddDetail(d)
	return ce
}

// TestErrors pins how errors are shown and their exit codes.
func TestErrors(t *testing.T) {
	detail := func(r status.Reason) *kavachv1.ErrorDetail { return &kavachv1.ErrorDetail{Reason: string(r)} }
	tests := []struct {
		err  error
		code int
	}{
		{answered(connect.CodeNotFound, detail(status.AgentNotFound), "no agent agt_1"), ExitNotFound},
		{answered(connect.CodeNotFound, detail(status.MemberNotFound), "no member n1"), ExitNotFound},
		{answered(connect.CodeUnauthenticated, detail(status.Unauthenticated), "no API key"), ExitUnauthorized},
		{answered(connect.CodePermissionDenied, detail(status.PermissionDenied), "this key may not"), ExitUnauthorized},
		{answered(connect.CodeInvalidArgument, &kavachv1.ErrorDetail{Reason: "INVALID_ARGUMENT", Fields: []*kavachv1.FieldError{
			{Field: "permissions[0].constraints.ip_allowlist[1]", Message: `"10.0.0.0/99" is no address or CIDR block`},
			{Field: "owner_id", Message: "has 0 bytes, needs 1"},
		}}, "permissions[0]... (and 1 more)"), ExitError},
		{answered(connect.CodeResourceExhausted, detail(status.AgentLimitExceeded), "owner user-123 has 10 agents, the limit is 10"), ExitError},
		{answered(connect.CodeFailedPrecondition, detail(status.AgentExpired), "agt_1 is expired"), ExitError},
		{answered(connect.CodeAborted, detail(status.RevisionMismatch), "revision is 7, expected 6"), ExitError},
		{answered(connect.CodeUnavailable, &kavachv1.ErrorDetail{Reason: "NO_LEADER", Retryable: true}, "no leader"), ExitUnavailable},
		{answered(connect.CodeUnavailable, &kavachv1.ErrorDetail{Reason: "NOT_READY", Retryable: true, Alternatives: []string{"127.0.0.1:1", "127.0.0.1:2"}}, "not ready"), ExitUnavailable},
		{answered(connect.CodeUnimplemented, detail(status.QuotaUnavailable), "quotas are not enforced yet"), ExitError},
		{&outcomeError{answered(connect.CodeUnavailable, detail(status.OutcomeUnknown), "the leader is gone"), "cli-42"}, ExitUnavailable},
		{&fatalError{errors.New("api.listen: address already in use")}, ExitError},
		{&notReadyError{"1 of 3 nodes did not answer or are not ready"}, ExitUnavailable},
		{context.Canceled, ExitError},
		{fmt.Errorf("waiting: %w", context.DeadlineExceeded), ExitUnavailable},
		{&net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")}, ExitUnavailable},
		{io.ErrUnexpectedEOF, ExitError},
	}
	var all strings.Builder
	for _, test := range tests {
		p := explain(test.err)
		if p.code != test.code {
			t.Errorf("%v: exit code %d, want %d", test.err, p.code, test.code)
		}
		p.show(&all)
		fmt.Fprintf(&all, "(%d)\n\n", p.code)
	}
	golden(t, "errors.txt", all.String())
}

// TestEveryReasonHasAnExitCode: no reason makes the command line fall over, and none looks like success or a denial.
func TestEveryReasonHasAnExitCode(t *testing.T) {
	for _, r := range status.All() {
		p := explain(answered(connect.CodeUnknown, &kavachv1.ErrorDetail{Reason: string(r)}, "text"))
		if p.code == ExitOK || p.code == ExitDenied || p.code == ExitUsage || p.reason != string(r) {
			t.Errorf("%s: %+v", r, p)
		}
	}
}

// wire is a server that answers each request by the next of its functions, the last one again and again. It stands for
// nodes in states that a real one reaches by luck only.
type wire struct {
	*httptest.Server
	asked atomic.Int32
}

func newWire(t *testing.T, answers ...http.HandlerFunc) *wire {
	w := &wire{}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n := int(w.asked.Add(1)) - 1
		answers[min(n, len(answers)-1)](rw, r)
	}))
	t.Cleanup(w.Close)
	return w
}

// fails answers with an error of the API.
func fails(code connect.Code, detail *kavachv1.ErrorDetail) http.HandlerFunc {
	writer := connect.NewErrorWriter()
	return func(w http.ResponseWriter, r *http.Request) { _ = writer.Write(w, r, answered(code, detail, "text")) }
}

// ok answers with an empty message, which every response is.
func ok(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "application/proto") }

// breaks drops the connection after the request has arrived.
func breaks(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func TestRetry(t *testing.T) {
	noLeader := fails(connect.CodeUnavailable, &kavachv1.ErrorDetail{Reason: "NO_LEADER", Retryable: true, RetryAfter: durationpb.New(1)})
	unknown := fails(connect.CodeUnavailable, &kavachv1.ErrorDetail{Reason: "OUTCOME_UNKNOWN"})
	refused := fails(connect.CodeFailedPrecondition, &kavachv1.ErrorDetail{Reason: "AGENT_REVOKED"})
	tests := []struct {
		name          string
		first, second []http.HandlerFunc // nil: nobody listens
		args          string
		code          int
		asked         [2]int32
	}{
		{"first answers", []http.HandlerFunc{ok}, []http.HandlerFunc{ok}, "agent list", ExitOK, [2]int32{1, 0}},
		{"first is dead", nil, []http.HandlerFunc{ok}, "agent revoke agt_1", ExitOK, [2]int32{0, 1}},
		{"first is dead, change without a key", nil, []http.HandlerFunc{ok}, "cluster transfer", ExitOK, [2]int32{0, 1}},
		{"both are dead", nil, nil, "agent list", ExitUnavailable, [2]int32{0, 0}},
		{"no leader, then one", []http.HandlerFunc{noLeader, ok}, []http.HandlerFunc{noLeader}, "agent revoke agt_1", ExitOK, [2]int32{2, 1}},
		{"a refusal stays", []http.HandlerFunc{refused}, []http.HandlerFunc{ok}, "agent rotate agt_1", ExitError, [2]int32{1, 0}},
		{"broken read", []http.HandlerFunc{breaks}, []http.HandlerFunc{ok}, "agent list", ExitOK, [2]int32{1, 1}},
		{"broken change with a key", []http.HandlerFunc{breaks}, []http.HandlerFunc{ok}, "agent revoke agt_1", ExitOK, [2]int32{1, 1}},
		{"broken change without a key", []http.HandlerFunc{breaks}, []http.HandlerFunc{ok}, "cluster transfer", ExitUnavailable, [2]int32{1, 0}},
		{"unknown outcome with a key", []http.HandlerFunc{unknown}, []http.HandlerFunc{ok}, "agent revoke agt_1", ExitOK, [2]int32{1, 1}},
		{"unknown outcome without a key", []http.HandlerFunc{unknown}, []http.HandlerFunc{ok}, "cluster transfer", ExitUnavailable, [2]int32{1, 0}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			addrs := []string{"127.0.0.1:1", "127.0.0.1:1"} // nobody listens there
			var wires [2]*wire
			for i, answers := range [][]http.HandlerFunc{test.first, test.second} {
				if answers != nil {
					wires[i] = newWire(t, answers...)
					addrs[i] = wires[i].URL
				}
			}
			got := kavachd(t, []string{"KAVACH_ADDR=" + strings.Join(addrs, ","), "KAVACH_TOKEN=kvk_secret"}, "", strings.Fields(test.args)...)
			if got.code != test.code {
				t.Errorf("exit code %d, want %d; %s", got.code, test.code, got.stderr)
			}
			for i, w := range wires {
				if w != nil && w.asked.Load() != test.asked[i] {
					t.Errorf("server %d was asked %d times, want %d", i, w.asked.Load(), test.asked[i])
				}
			}
			if strings.Contains(got.stdout+got.stderr, "kvk_secret") {
				t.Error("the API key is shown")
			}
		})
	}
}

// TestRepeatsCarryOneKey: all repeats of a change are one change to the cluster, and the user can go on repeating it.
func TestRepeatsCarryOneKey(t *testing.T) {
	var keys []string
	record := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			_, key, _ := bytes.Cut(body, []byte("cli-"))
			keys = append(keys, "cli-"+string(key))
		}
		fails(connect.CodeUnavailable, &kavachv1.ErrorDetail{Reason: "OUTCOME_UNKNOWN"})(w, r)
	}
	w := newWire(t, record)
	got := kavachd(t, nil, "", "agent", "revoke", "agt_1", "--addr", w.URL, "--timeout", "500ms")
	if got.code != ExitUnavailable || len(keys) < 2 {
		t.Fatalf("exit code %d after %d requests: %s", got.code, len(keys), got.stderr)
	}
	for _, key := range keys {
		if key != keys[0] {
			t.Errorf("keys differ: %q and %q", keys[0], key)
		}
	}
	if !strings.Contains(got.stderr, "--idempotency-key "+keys[0]) {
		t.Errorf("the hint does not name the key: %s", got.stderr)
	}
}
