package rpc

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/kavachd/kavachd/audit"
	"github.com/kavachd/kavachd/cluster"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// TestSlowReader: an export waits for its reader, holds no more than a page for it, and arrives whole.
func TestSlowReader(t *testing.T) {
	w := newWorld(t, nil)
	c := w.clients("connect", w.key)
	const checks, rounds = 1000, 6
	batch := &kavachv1.BatchAuthorizeRequest{}
	args := `{"text":"` + strings.Repeat("x", 2000) + `"}`
	for range checks {
		batch.Checks = append(batch.Checks, &kavachv1.BatchCheck{
			Subject: &kavachv1.BatchCheck_AgentId{AgentId: unknownAgent}, Action: "a", Resource: "r",
			Args: &kavachv1.BatchCheck_ArgumentsJson{ArgumentsJson: args},
		})
	}
	for range rounds {
		if _, err := c.authz.BatchAuthorize(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := c.audit.ExportAuditLog(t.Context(), &kavachv1.ExportAuditLogRequest{
		Filter: &kavachv1.AuditFilter{Kind: kavachv1.AuditKind_AUDIT_KIND_DECISION}, Format: kavachv1.ExportFormat_EXPORT_FORMAT_JSONL,
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	pieces := 0
	for stream.Receive() {
		if pieces++; pieces%20 == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		if n := len(stream.Msg().GetData()); n > exportPiece {
			t.Fatalf("a piece of %d bytes", n)
		}
		out.Write(stream.Msg().GetData())
	}
	if err := errors.Join(stream.Err(), stream.Close()); err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(out.Bytes(), []byte("\n")); lines != checks*rounds || pieces < 100 {
		t.Errorf("%d lines in %d pieces", lines, pieces)
	}
	// One that goes away in the middle ends it.
	ctx, cancel := context.WithCancel(t.Context())
	gone, err := c.audit.ExportAuditLog(ctx, &kavachv1.ExportAuditLogRequest{})
	if err != nil {
		t.Fatal(err)
	}
	gone.Receive()
	cancel()
	for gone.Receive() {
	}
	if err := gone.Close(); err != nil && !errors.Is(err, context.Canceled) {
		t.Log("closed with", err)
	}
}

// TestExportEndsWithItsCallersRight: the key is judged with every page (SPEC 4).
func TestExportEndsWithItsCallersRight(t *testing.T) {
	f := &revoking{}
	w := newWorld(t, func(n Node) Node { f.Node = n; return f })
	c := w.clients("connect", w.key)
	made, err := c.access.CreateApiKey(t.Context(), &kavachv1.CreateApiKeyRequest{Name: "reader"})
	if err != nil {
		t.Fatal(err)
	}
	f.revoke = func() {
		if _, err := c.access.RevokeApiKey(context.Background(), &kavachv1.RevokeApiKeyRequest{KeyId: made.GetKey().GetKeyId()}); err != nil {
			t.Error(err)
		}
	}
	stream, err := w.clients("connect", made.GetSecret()).audit.ExportAuditLog(t.Context(), &kavachv1.ExportAuditLogRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for stream.Receive() {
	}
	if connect.CodeOf(stream.Err()) != connect.CodeUnauthenticated {
		t.Errorf("the export ended with %v", stream.Err())
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
}

// revoking revokes the caller's key after the first page, and always has one more page.
type revoking struct {
	Node
	revoke func()
	pages  int
}

func (r *revoking) QueryAudit(ctx context.Context, l cluster.Level, q audit.Query) (*audit.Page, cluster.Served, error) {
	r.pages++
	if r.pages == 1 {
		r.revoke()
	}
	if r.pages > 3 {
		return &audit.Page{}, cluster.Served{}, nil // it should have ended long ago
	}
	return &audit.Page{Next: &audit.Cursor{After: audit.Position{Time: int64(r.pages)}}}, cluster.Served{}, nil
}
