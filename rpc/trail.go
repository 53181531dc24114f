package rpc

import (
	"context"
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/audit"
	"github.com/kavachd/kavachd/cluster"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
)

// trail serves AuditService.
type trail struct{ *api }

// filter reads a filter, and keeps a caller of a tenant within it.
func filter(ctx context.Context, in *kavachv1.AuditFilter) (audit.Filter, *kavachv1.AuditFilter, error) {
	tenant, err := tenantOf(ctx, in.GetTenant())
	if err != nil {
		return audit.Filter{}, nil, err
	}
	since, err := nanos(in.GetSince(), "filter.since")
	if err != nil {
		return audit.Filter{}, nil, err
	}
	until, err := nanos(in.GetUntil(), "filter.until")
	if err != nil {
		return audit.Filter{}, nil, err
	}
	if until != 0 && since > until {
		return audit.Filter{}, nil, invalid("filter.until", "lies before filter.since")
	}
	full := &kavachv1.AuditFilter{}
	if in != nil {
		full = proto.CloneOf(in)
	}
	full.Tenant = tenant
	return audit.FilterFromAPI(full), full, nil
}

// authenticated judges the caller's key in a confirmed read.
func (a *api) authenticated(ctx context.Context) error {
	_, err := a.read(ctx, nil, func(*cluster.View) error { return nil })
	return err
}

// QueryAuditLog implements AuditService.
func (s trail) QueryAuditLog(ctx context.Context, req *kavachv1.QueryAuditLogRequest) (*kavachv1.QueryAuditLogResponse, error) {
	f, full, err := filter(ctx, req.GetFilter())
	if err != nil {
		return nil, err
	}
	pages, err := s.pager(ctx, "AuditService.QueryAuditLog", full, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	q := audit.Query{Filter: f, Limit: pageSize(req.GetPageSize())}
	if pages.cursor != nil {
		if q.Cursor, err = audit.ParseCursor(pages.cursor); err != nil {
			return nil, errors.Join(errCursor, err)
		}
	}
	if err := s.authenticated(ctx); err != nil {
		return nil, err
	}
	page, served, err := s.node.QueryAudit(ctx, level(req.GetConsistency()), q)
	if err != nil {
		return nil, err
	}
	res := &kavachv1.QueryAuditLogResponse{Revision: s.node.RevisionToken(served.Revision), MissingJournals: page.Missing}
	next := page.Next
	size := 0
	for i, found := range page.Entries {
		if size += proto.Size(found.Entry); size > maxPageBytes && i > 0 {
			next = cutPage(page, q.Cursor, page.Entries[i-1])
			break
		}
		res.Entries = append(res.Entries, audit.ToAPI(found))
	}
	if next == nil {
		return res, nil
	}
	cursor, err := next.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	if res.NextPageToken, err = pages.token(cursor); err != nil {
		return nil, err
	}
	return res, nil
}

// cutPage is the cursor behind last, the last entry of page that is answered.
func cutPage(page *audit.Page, asked *audit.Cursor, last audit.Found) *audit.Cursor {
	from := page.Next
	if from == nil {
		from = asked
	}
	next := audit.Cursor{}
	if from != nil {
		next = *from
	}
	next.After = audit.Position{Time: last.Entry.GetTime(), ID: ids.ID(last.Entry.GetId())}
	return &next
}

// GetAuditEntry implements AuditService.
func (s trail) GetAuditEntry(ctx context.Context, req *kavachv1.GetAuditEntryRequest) (*kavachv1.GetAuditEntryResponse, error) {
	id, err := parseID(ids.PrefixAudit, req.GetAuditId(), "audit_id", status.AuditEntryNotFound)
	if err != nil {
		return nil, err
	}
	if err := s.authenticated(ctx); err != nil {
		return nil, err
	}
	found, served, err := s.node.AuditEntry(ctx, level(req.GetConsistency()), id)
	if err != nil {
		return nil, err
	}
	if found == nil || !mine(ctx, found.Entry.GetTenant()) {
		return nil, unknown(status.AuditEntryNotFound, "audit_id", req.GetAuditId())
	}
	return &kavachv1.GetAuditEntryResponse{Entry: audit.ToAPI(*found), Revision: s.node.RevisionToken(served.Revision)}, nil
}

// exportPiece is how many bytes of an export travel in one message.
const exportPiece = 64 << 10

// ExportAuditLog implements AuditService. Pieces are sent as they are made: a slow reader slows the export down, and
// nothing is kept for it but the page being written. The act has its audit entry before the first piece. The caller's key
// is judged again with every page: the stream ends when the caller's right does.
func (s trail) ExportAuditLog(ctx context.Context, req *kavachv1.ExportAuditLogRequest, stream *connect.ServerStream[kavachv1.ExportAuditLogResponse]) error {
	f, _, err := filter(ctx, req.GetFilter())
	if err != nil {
		return err
	}
	format := audit.FormatCSV
	if req.GetFormat() == kavachv1.ExportFormat_EXPORT_FORMAT_JSONL {
		format = audit.FormatJSONL
	}
	began := s.now()
	if err := s.authenticated(ctx); err != nil {
		return err
	}
	act := s.act(ctx, "AuditService.ExportAuditLog", began)
	act.AgentId, act.Owner = f.AgentID, f.Owner
	if f.Tenant != "" {
		act.Tenant = f.Tenant
	}
	if err := s.note(act); err != nil {
		return err
	}
	out := &pieces{stream: stream}
	n, missing, err := audit.Export(ctx, out, format, f, func(ctx context.Context, q audit.Query) (*audit.Page, error) {
		if err := s.authenticated(ctx); err != nil {
			return nil, err
		}
		page, served, err := s.node.QueryAudit(ctx, level(req.GetConsistency()), q)
		if err != nil {
			return nil, err
		}
		if out.revision == "" {
			out.revision = s.node.RevisionToken(served.Revision)
		}
		if page != nil {
			out.entries += uint64(len(page.Entries))
		}
		return page, nil
	})
	if err != nil {
		return err
	}
	out.entries = n
	return out.end(missing)
}

// pieces is the writer of an export: it sends what it gathers in messages of exportPiece bytes.
type pieces struct {
	stream   *connect.ServerStream[kavachv1.ExportAuditLogResponse]
	buf      []byte
	entries  uint64
	revision string
	began    bool
}

// Write implements io.Writer.
func (p *pieces) Write(b []byte) (int, error) {
	written := 0
	for len(b) > 0 {
		n := min(exportPiece-len(p.buf), len(b))
		p.buf = append(p.buf, b[:n]...)
		b, written = b[n:], written+n
		if len(p.buf) == exportPiece {
			if err := p.send(nil); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

func (p *pieces) send(missing []string) error {
	res := &kavachv1.ExportAuditLogResponse{Data: p.buf, Entries: p.entries, MissingJournals: missing}
	if !p.began {
		p.began, res.Revision = true, p.revision
	}
	if err := p.stream.Send(res); err != nil {
		return &receiveError{err}
	}
	p.buf = p.buf[:0] // Send has encoded it
	return nil
}

// end sends the last piece, which an export always has.
func (p *pieces) end(missing []string) error { return p.send(missing) }
