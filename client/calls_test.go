package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/kavachd/kavachd/client"
	"github.com/kavachd/kavachd/status"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// wire sees every request to real nodes, and may lose their answers.
type wire struct {
	http.Transport

	mu   sync.Mutex
	sent map[string]int                           // by procedure
	lose func(procedure string, attempt int) bool // after the node has answered; nil: never
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := w.Transport.RoundTrip(r)
	w.mu.Lock()
	if w.sent == nil {
		w.sent = map[string]int{}
	}
	w.sent[r.URL.Path]++
	lost := w.lose != nil && w.lose(r.URL.Path, w.sent[r.URL.Path])
	w.mu.Unlock()
	if err == nil && lost {
		res.Body.Close()
		return nil, errors.New("the answer is lost on its way")
	}
	return res, err
}

func (w *wire) count(method string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent["/kavach.v1."+method]
}

// over makes a client over a wire.
func (w *world) over(t *testing.T, wire *wire, cfg client.Config) *client.Client {
	t.Helper()
	t.Cleanup(wire.CloseIdleConnections)
	cfg.HTTPClient = &http.Client{Transport: wire}
	return w.client(t, cfg)
}

// TestLostAnswers: nodes do what they are told, and the answer is lost. Mutations are repeated with the same key and
// applied once, also with the caller's own; what has no key is not repeated, and says that it may have been done.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	w := start(t)
	wire := &wire{lose: func(procedure string, attempt int) bool {
		return strings.HasSuffix(procedure, "CreateAgent") && attempt%3 != 0 || strings.HasSuffix(procedure, "TransferLeadership")
	}}
	c := w.over(t, wire, client.Config{})
	req := &kavachv1.CreateAgentRequest{OwnerId: "alice", Name: "a"}
	for range 2 {
		if _, err := c.Agents.CreateAgent(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		if req.GetIdempotency() != nil {
			t.Fatal("the caller's message was changed")
		}
	}
	req.Idempotency = &kavachv1.Idempotency{Key: "mine"}
	first, err := c.Agents.CreateAgent(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Agents.CreateAgent(t.Context(), req)
	if err != nil || again.GetAgent().GetAgentId() != first.GetAgent().GetAgentId() {
		t.Errorf("the caller's own key: %v, %v, %v", first.GetAgent().GetAgentId(), again.GetAgent().GetAgentId(), err)
	}
	res, err := c.Agents.ListAgents(t.Context(), &kavachv1.ListAgentsRequest{OwnerId: "alice"})
	if err != nil || len(res.GetAgents()) != 3 || wire.count("AgentService/CreateAgent") != 12 {
		t.Errorf("%d agents by %d requests, want 3 by 12: %v", len(res.GetAgents()), wire.count("AgentService/CreateAgent"), err)
	}

	_, err = c.Cluster.TransferLeadership(t.Context(), &kavachv1.TransferLeadershipRequest{})
	e, ok := errors.AsType[*client.Error](err)
	if !ok || !e.MayBeDone || e.Attempts != 1 || e.Reason != client.Unreachable {
		t.Errorf("without a key: %+v", err)
	}
}

// TestNeverRepeated: what is wrong with the request or the caller is sent once, and its fields arrive.
func TestNeverRepeated(t *testing.T) {
	t.Parallel()
	w := start(t)
	wire := &wire{}
	c := w.over(t, wire, client.Config{})
	_, err := c.Agents.CreateAgent(t.Context(), &kavachv1.CreateAgentRequest{Name: "a"})
	e, ok := errors.AsType[*client.Error](err)
	if !ok || e.Reason != status.InvalidArgument || len(e.Fields) == 0 || e.Fields[0].Path != "owner_id" || e.MayBeDone || e.Retryable {
		t.Errorf("an invalid request: %+v", err)
	}
	if !errors.Is(err, status.New(status.InvalidArgument, "")) || connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("neither the reason nor the code is found in %v", err)
	}
	_, err = c.Agents.GetAgent(t.Context(), &kavachv1.GetAgentRequest{AgentId: "agt_none"})
	if client.ReasonOf(err) != status.AgentNotFound {
		t.Errorf("an unknown agent: %v", err)
	}
	nobody := w.over(t, wire, client.Config{Key: unknownKey(t)})
	if _, err := ask(t.Context(), nobody, "agt_none"); client.ReasonOf(err) != status.Unauthenticated {
		t.Errorf("an unknown key: %v", err)
	}
	for _, m := range []string{"AgentService/CreateAgent", "AgentService/GetAgent", "AuthorizationService/Authorize"} {
		if n := wire.count(m); n != 1 {
			t.Errorf("%s was sent %d times", m, n)
		}
	}
}

// TestKeyFile: a key that is replaced in its file is used from the call after the refusal on.
func TestKeyFile(t *testing.T) {
	t.Parallel()
	w := start(t)
	file := filepath.Join(t.TempDir(), "key")
	write := func(key string) {
		if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(unknownKey(t))
	c := w.client(t, client.Config{KeyFile: file})
	write(w.admin)
	req := &kavachv1.GetSettingsRequest{}
	if _, err := c.Cluster.GetSettings(t.Context(), req); client.ReasonOf(err) != status.Unauthenticated {
		t.Errorf("the old key: %v", err)
	}
	if _, err := c.Cluster.GetSettings(t.Context(), req); err != nil {
		t.Errorf("the new key: %v", err)
	}
}

// TestRevisions: the newest revision is kept over reads and writes, reads ask for it, and one that the cluster doesn't
// know is dropped, so that the next call works.
func TestRevisions(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.client(t, client.Config{ReadYourWrites: true})
	if c.Revision() != "" {
		t.Errorf("a new client has seen %q", c.Revision())
	}
	agent := newAgent(t.Context(), t, c, "alice")
	made := c.Revision()
	d, err := ask(t.Context(), c, agent)
	if err != nil || !d.GetAllowed() || made == "" {
		t.Fatalf("%v, %v, revision %q", d, err, made)
	}
	res, err := c.Agents.RevokeAgent(t.Context(), &kavachv1.RevokeAgentRequest{AgentId: agent})
	if err != nil || c.Revision() != res.GetRevision() || c.Revision() == made {
		t.Errorf("after a write: seen %q, written %q: %v", c.Revision(), res.GetRevision(), err)
	}
	c.Observe(made)
	if c.Revision() != res.GetRevision() {
		t.Errorf("an older revision replaced a newer: %q", c.Revision())
	}
	c.Observe("00000000.0.1")
	if _, err := ask(t.Context(), c, agent); client.ReasonOf(err) != status.RevisionUnknown {
		t.Errorf("a revision of another cluster: %v", err)
	}
	if _, err := ask(t.Context(), c, agent); err != nil {
		t.Errorf("the call after it: %v", err)
	}
	// The caller's own consistency goes before.
	_, err = c.Agents.GetAgent(t.Context(), &kavachv1.GetAgentRequest{AgentId: agent, Consistency: client.AtLeast("00000000.0.1")})
	if client.ReasonOf(err) != status.RevisionUnknown {
		t.Errorf("the caller's own revision: %v", err)
	}
}

// TestDeadline: with nobody there a call ends with its context or its Client's timeout, says so, and shows no key; with
// all nodes silent too.
func TestDeadline(t *testing.T) {
	t.Parallel()
	key := unknownKey(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, endpoint := range map[string]string{"silent": silent.Addr().String(), "closed": closed.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			c, err := client.New(client.Config{
				Endpoints: []string{endpoint}, Key: key, Timeout: 300 * time.Millisecond, AttemptTimeout: 100 * time.Millisecond,
				Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			})
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			_, err = c.Agents.RevokeAgent(t.Context(), &kavachv1.RevokeAgentRequest{AgentId: "agt_x"})
			took := time.Since(begin)
			e, ok := errors.AsType[*client.Error](err)
			if !ok || !e.Retryable || e.IdempotencyKey == "" || e.MayBeDone != (name == "silent") || took > 5*time.Second {
				t.Errorf("after %v: %+v", took, e)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, short := ask(ctx, c, "agt_x")
			if r := client.ReasonOf(short); r != status.DeadlineExceeded && r != client.Unreachable {
				t.Errorf("with a context of its own: %v", short)
			}
			c.Close()
			for _, text := range []string{
				err.Error(), short.Error(), fmt.Sprintf("%+v %#v", err, err), fmt.Sprintf("%+v %#v %v", c, c, c.Endpoints()), log.String(),
			} {
				if strings.Contains(text, key) {
					t.Errorf("the key stands in %q", text)
				}
			}
			if log.Len() == 0 {
				t.Error("the node's health went unlogged")
			}
		})
	}
}

// TestClose: calls under way end with ErrClosed, later ones don't begin.
func TestClose(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	c, err := client.New(client.Config{Endpoints: []string{silent.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		_, err := ask(t.Context(), c, "agt_x")
		failed <- err
	}()
	conn, err := silent.Accept() // the call is under way
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c.Close()
	if err := <-failed; !errors.Is(err, client.ErrClosed) || client.ReasonOf(err) != status.Canceled {
		t.Errorf("the call under way: %v", err)
	}
	if _, err := ask(t.Context(), c, "agt_x"); !errors.Is(err, client.ErrClosed) {
		t.Errorf("a later call: %v", err)
	}
	if _, err := c.Audit.ExportAuditLog(t.Context(), &kavachv1.ExportAuditLogRequest{}); !errors.Is(err, client.ErrClosed) {
		t.Errorf("a later stream: %v", err)
	}
	c.Close()
}

// TestConfig: all problems are named, and no key is printed.
func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := client.New(client.Config{
		Endpoints: []string{"ftp://a:1", "http://u:secret@a:1", "http://a:1/path", ":7400", "node1:7400"}, Key: "kvk_wrongkey", KeyFile: "k",
		Timeout: -1,
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"endpoints[0]", "endpoints[1]", "endpoints[2]", "endpoints[3]", "key:", "key, key_file", "timeout"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named in %v", want, err)
		}
	}
	for _, never := range []string{"wrongkey", "secret", "endpoints[4]"} {
		if strings.Contains(err.Error(), never) {
			t.Errorf("%q stands in %v", never, err)
		}
	}
	cfg := client.Config{Endpoints: []string{"a:1"}, Key: unknownKey(t)}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "config", cfg)
	for _, text := range []string{fmt.Sprint(cfg), fmt.Sprintf("%+v %#v %s %q", cfg, cfg, cfg, cfg), fmt.Sprintf("%+v", &cfg), log.String()} {
		if strings.Contains(text, cfg.Key) || !strings.Contains(text, "a:1") {
			t.Errorf("printed as %q", text)
		}
	}
	if _, err := client.New(client.Config{}); err == nil {
		t.Error("no endpoints: accepted")
	}
}
