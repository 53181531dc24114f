package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

const auditResultPrefix, auditKindPrefix = "AUDIT_RESULT_", "AUDIT_KIND_"

func newAudit(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "audit",
		Short:   "Read and export the audit trail",
		GroupID: groupAPI,
		Example: `  kavachd audit query --agent agt_... --result denied --since 1h
  kavachd audit export --format csv --out trail.csv`,
	}
	a := newAPI(env, cmd)
	cmd.AddCommand(newAuditQuery(a), newAuditGet(a), newAuditExport(a))
	return cmd
}

// auditFilter are the flags that say which entries.
type auditFilter struct {
	agent, owner, tenant, result, kind, resource, since, until string
	actions                                                    []string
}

func (q *auditFilter) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&q.agent, "agent", "", "of this agent")
	f.StringVar(&q.owner, "owner", "", "of this owner")
	f.StringVar(&q.tenant, "tenant", "", "of this tenant (default: the API key's)")
	f.StringVar(&q.result, "result", "", "allowed, denied or rate_limited")
	f.StringVar(&q.kind, "kind", "", "decision, admin or authentication")
	f.StringArrayVar(&q.actions, "action", nil, "with this action; repeat it for any of several")
	f.StringVar(&q.resource, "resource", "", "whose resource this pattern covers, as 'mcp:github:*'")
	f.StringVar(&q.since, "since", "", "not before this time, or this long ago: 2027-01-31T12:00:00Z, 15m")
	f.StringVar(&q.until, "until", "", "not after this time, or this long ago")
}

func (q *auditFilter) message(now time.Time) (*kavachv1.AuditFilter, error) {
	result, err := enum("--result", auditResultPrefix, q.result, kavachv1.AuditResult_value)
	if err != nil {
		return nil, err
	}
	kind, err := enum("--kind", auditKindPrefix, q.kind, kavachv1.AuditKind_value)
	if err != nil {
		return nil, err
	}
	since, err := timeFlag("--since", q.since, now)
	if err != nil {
		return nil, err
	}
	until, err := timeFlag("--until", q.until, now)
	if err != nil {
		return nil, err
	}
	return &kavachv1.AuditFilter{
		AgentId: q.agent, OwnerId: q.owner, Tenant: q.tenant, Result: kavachv1.AuditResult(result), Kind: kavachv1.AuditKind(kind),
		Actions: q.actions, ResourcePattern: q.resource, Since: since, Until: until,
	}, nil
}

func newAuditQuery(a *api) *cobra.Command {
	var (
		filter auditFilter
		page   paging
		level  consistency
	)
	cmd := &cobra.Command{
		Use:     "query",
		Aliases: []string{"list", "ls"},
		Short:   "Show entries, the newest first",
		Example: `  kavachd audit query --agent agt_... --result denied
  kavachd audit query --since 15m --kind decision --limit 20`,
		Args: cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			want, err := level.message()
			if err != nil {
				return err
			}
			req := &kavachv1.QueryAuditLogRequest{PageToken: page.token, Consistency: want}
			if req.Filter, err = filter.message(time.Now()); err != nil {
				return err
			}
			all := &kavachv1.QueryAuditLogResponse{}
			for {
				var more bool
				if req.PageSize, more = page.next(len(all.GetEntries())); !more {
					break
				}
				res, err := read(cmd, a, func(ctx context.Context, e *endpoint) (*kavachv1.QueryAuditLogResponse, error) {
					return e.audit.QueryAuditLog(ctx, req)
				})
				if err != nil {
					return err
				}
				all.Entries = append(all.Entries, res.GetEntries()...)
				all.NextPageToken, all.Revision, all.MissingJournals = res.GetNextPageToken(), res.GetRevision(), res.GetMissingJournals()
				if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			missing(a.env, all.GetMissingJournals())
			page.more(a.env, all.GetNextPageToken())
			return a.message(all, func(t *table) { auditTable(t, all.GetEntries()) })
		}),
	}
	filter.flags(cmd)
	page.flags(cmd)
	level.flag(cmd)
	return cmd
}

// missing warns of nodes whose newest entries are not in the answer.
func missing(env Env, nodes []string) {
	if len(nodes) > 0 {
		fmt.Fprintf(env.Stderr, "Warning: incomplete: the newest entries of these nodes may be missing, since they did not answer: %s\n", strings.Join(nodes, ", "))
	}
}

const auditTime = "2006-01-02T15:04:05.000Z"

func auditTable(t *table, list []*kavachv1.AuditEntry) {
	if len(list) == 0 {
		t.line("No entries.")
		return
	}
	t.header("TIME", "RESULT", "ACTION", "RESOURCE", "AGENT", "WHY", "AUDIT ENTRY")
	for _, e := range list {
		t.row(e.GetTime().AsTime().UTC().Format(auditTime), short(auditResultPrefix, e.GetResult().String()), e.GetAction(), dash(e.GetResource()),
			dash(e.GetAgentId()), dash(auditWhy(e)), e.GetAuditId())
	}
}

// auditWhy is the code of what was not allowed.
func auditWhy(e *kavachv1.AuditEntry) string {
	switch {
	case e.GetRefusal() != "":
		return e.GetRefusal()
	case e.GetReasonCode() == kavachv1.ReasonCode_REASON_CODE_ALLOWED, e.GetReasonCode() == kavachv1.ReasonCode_REASON_CODE_UNSPECIFIED:
		return e.GetReason()
	}
	return reasonText(e.GetReasonCode())
}

func newAuditGet(a *api) *cobra.Command {
	var level consistency
	cmd := &cobra.Command{
		Use:     "get ENTRY",
		Short:   "Show one entry",
		Example: "  kavachd audit get aud_...",
		Args:    names("ENTRY"),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			want, err := level.message()
			if err != nil {
				return err
			}
			req := &kavachv1.GetAuditEntryRequest{AuditId: args[0], Consistency: want}
			res, err := read(cmd, a, func(ctx context.Context, e *endpoint) (*kavachv1.GetAuditEntryResponse, error) {
				return e.audit.GetAuditEntry(ctx, req)
			})
			if err != nil {
				return err
			}
			return a.message(res, func(t *table) { entryTable(t, res.GetEntry()) })
		}),
	}
	level.flag(cmd)
	return cmd
}

func entryTable(t *table, e *kavachv1.AuditEntry) {
	t.field("Audit entry", e.GetAuditId())
	t.field("Time", e.GetTime().AsTime().UTC().Format(auditTime))
	t.field("Kind", short(auditKindPrefix, e.GetKind().String()))
	t.field("Result", short(auditResultPrefix, e.GetResult().String()))
	t.field("Why", auditWhy(e))
	t.field("Reason", e.GetReason())
	t.field("Agent", e.GetAgentId())
	t.field("Owner", e.GetOwnerId())
	t.field("Tenant", e.GetTenant())
	t.field("Action", e.GetAction())
	t.field("Resource", e.GetResource())
	t.field("Parameters", e.GetParametersJson())
	if g := e.GetGrant(); g != nil {
		t.field("By", grantText(g))
	}
	t.field("Approval", e.GetApprovalId())
	t.field("Address", e.GetContext().GetIp())
	t.field("User agent", e.GetContext().GetUserAgent())
	t.field("Trace", e.GetContext().GetTrace())
	t.field("Request", e.GetRequestId())
	if d := e.GetDuration(); d != nil {
		t.field("Took", d.AsDuration().String())
	}
	t.field("Caller's key", e.GetCallerKeyId())
	t.field("Node", e.GetNodeId())
	t.field("Revision", number(e.GetRevision()))
	if e.GetCount() > 1 {
		t.field("Times", number(e.GetCount()))
	}
	if e.GetUnreplicated() {
		t.field("Replicated", "not yet: in the node's journal only")
	}
}

// exporting are the flags of export.
type exporting struct {
	filter   auditFilter
	format   string
	file     string
	complete bool
	level    consistency
}

func newAuditExport(a *api) *cobra.Command {
	var q exporting
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write all entries, the oldest first, without a limit",
		Long: `Write all entries that match, the oldest first, without a limit, as CSV or JSON Lines.

The file of --out appears under its name only when the export is whole. There is no timeout unless --timeout is given.`,
		Example: `  kavachd audit export --format csv --out trail.csv
  kavachd audit export --format jsonl --since 24h | jq .`,
		Args: cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error { return q.run(cmd, a) }),
	}
	q.filter.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&q.format, "format", "csv", "csv or jsonl")
	f.StringVar(&q.file, "out", "", "write into this file (mode 0600) instead of standard output")
	f.BoolVar(&q.complete, "require-complete", false, "fail (exit code 4) if a node's newest entries may be missing")
	q.level.flag(cmd)
	return cmd
}

func (q *exporting) run(cmd *cobra.Command, a *api) error {
	req := &kavachv1.ExportAuditLogRequest{}
	switch q.format {
	case "csv":
		req.Format = kavachv1.ExportFormat_EXPORT_FORMAT_CSV
	case "jsonl":
		req.Format = kavachv1.ExportFormat_EXPORT_FORMAT_JSONL
	default:
		return usagef("--format %q is not csv or jsonl", q.format)
	}
	var err error
	if req.Consistency, err = q.level.message(); err != nil {
		return err
	}
	if req.Filter, err = q.filter.message(time.Now()); err != nil {
		return err
	}
	if q.file == "" {
		return q.stream(cmd, a, req, a.env.Stdout)
	}
	// Beside the target, so that the rename stays on one file system. CreateTemp makes it with mode 0600.
	tmp, err := os.CreateTemp(filepath.Dir(q.file), filepath.Base(q.file)+".part-*")
	if where, ok := errors.AsType[*fs.PathError](err); ok {
		return usagef("--out %s: %w", q.file, where.Err) // without the temporary name
	}
	if err != nil {
		return fmt.Errorf("--out %s: %w", q.file, err)
	}
	err = q.stream(cmd, a, req, tmp)
	if syncErr := tmp.Sync(); err == nil {
		err = syncErr
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), q.file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // the error that led here is told
	}
	return err
}

// progressEvery is how often the count on a terminal changes.
const progressEvery = 200 * time.Millisecond

// stream copies one export. It goes to the first node that can be reached: what is written can't be taken back.
func (q *exporting) stream(cmd *cobra.Command, a *api, req *kavachv1.ExportAuditLogRequest, w io.Writer) error {
	ctx, cancel := context.WithCancel(cmd.Context())
	if cmd.Flags().Changed("timeout") {
		ctx, cancel = context.WithTimeout(cmd.Context(), a.timeout)
	}
	defer cancel()
	var errs []error
	for _, e := range a.endpoints {
		began, err := q.copy(ctx, a, e, req, w)
		if err == nil || began || !again(err, true) {
			return err
		}
		errs = append(errs, err)
	}
	return worst(a, errs)
}

// copy tells whether anything was written before an error.
func (q *exporting) copy(ctx context.Context, a *api, e *endpoint, req *kavachv1.ExportAuditLogRequest, w io.Writer) (began bool, err error) {
	stream, err := e.audit.ExportAuditLog(ctx, req)
	if err != nil {
		return false, err
	}
	defer func() {
		if closeErr := stream.Close(); err == nil && closeErr != nil {
			err = closeErr
		}
	}()
	var entries, bytes uint64
	var gone []string
	shown := time.Now()
	for stream.Receive() {
		piece := stream.Msg()
		n, err := w.Write(piece.GetData())
		began = began || n > 0
		if err != nil {
			return began, fmt.Errorf("write the export: %w", err)
		}
		bytes += uint64(n)
		entries = max(entries, piece.GetEntries())
		gone = append(gone, piece.GetMissingJournals()...)
		if a.env.StderrTTY && time.Since(shown) > progressEvery {
			shown = time.Now()
			fmt.Fprintf(a.env.Stderr, "\r%d entries, %d bytes", entries, bytes)
		}
	}
	if a.env.StderrTTY {
		fmt.Fprintf(a.env.Stderr, "\r%d entries, %d bytes\n", entries, bytes)
	}
	if err := stream.Err(); err != nil {
		return began, err
	}
	missing(a.env, gone)
	if q.complete && len(gone) > 0 {
		return true, &incompleteError{nodes: gone}
	}
	return began, nil
}

// incompleteError refuses an export that --require-complete forbids.
type incompleteError struct{ nodes []string }

func (e *incompleteError) Error() string {
	return "the export is incomplete: no answer from " + strings.Join(e.nodes, ", ")
}
