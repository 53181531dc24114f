package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/audit"
	nodev1 "github.com/kavachd/kavachd/gen/kavach/node/v1"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
)

// journal is this node's part of the audit trail, its way into the replicated one, and questions to both.
type journal struct {
	self      string
	journal   *audit.Journal
	shipper   *audit.Shipper
	directory *directory
	reader    *reader
	cluster   func() clusterID
	limit     time.Duration // of a question to another node
	log       *slog.Logger
}

// pieceBytes is about how large one message of an answer may get; a message holds at least one entry.
const pieceBytes = 256 << 10

// query asks the journals of all nodes, then reads the replicated trail as of a moment behind that, so that an entry that
// was shipped in between is found once (audit.Find).
func (j *journal) query(ctx context.Context, level Level, q audit.Query) (*audit.Page, Served, error) {
	live, silent, err := j.live(ctx, q.Live())
	if err != nil {
		return nil, Served{}, err
	}
	var page *audit.Page
	served, err := j.reader.read(ctx, level, func(v *View) (err error) {
		page, err = audit.Find(ctx, v.Records, q, live)
		return err
	})
	if err != nil {
		return nil, Served{}, err
	}
	page.Missing = merge(page.Missing, silent)
	return page, served, nil
}

// get returns one entry, nil if there is none.
func (j *journal) get(ctx context.Context, level Level, id ids.ID) (*audit.Found, Served, error) {
	live, silent, err := j.live(ctx, audit.LiveQuery{ID: id[:], Limit: 1})
	if err != nil {
		return nil, Served{}, err
	}
	var found *audit.Found
	served, err := j.reader.read(ctx, level, func(v *View) (err error) {
		found, err = audit.Get(ctx, v.Records, id, live)
		return err
	})
	if err == nil && found == nil && len(silent) > 0 { // it may stand in a journal that could not be asked
		err = status.New(status.AuditUnavailable, "no such entry is replicated, and the journals of %s could not be asked",
			strings.Join(silent, ", ")).Retry(retrySoon)
	}
	return found, served, err
}

// export writes all entries that match, oldest first.
func (j *journal) export(ctx context.Context, w io.Writer, f audit.Format, filter audit.Filter) (n uint64, missing []string, err error) {
	return audit.Export(ctx, w, f, filter, func(ctx context.Context, q audit.Query) (*audit.Page, error) {
		page, _, err := j.query(ctx, Level{}, q)
		return page, err
	})
}

// live asks every node of the registry, this one too. silent are those that gave no answer.
func (j *journal) live(ctx context.Context, q audit.LiveQuery) (answers []*audit.LiveAnswer, silent []string, err error) {
	own, err := j.journal.Live(q)
	if err != nil {
		return nil, nil, status.New(status.AuditUnavailable, "this node's journal can't be read").Wrap(err)
	}
	answers = append(answers, own)
	ctx, cancel := context.WithTimeout(ctx, j.limit)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for id := range j.directory.replica.registered() {
		if id == j.self {
			continue
		}
		wg.Go(func() {
			a, err := j.ask(ctx, id, q)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				j.log.Warn("a node's journal can't be asked", "node", id, "error", err)
				silent = append(silent, id)
				return
			}
			answers = append(answers, a)
		})
	}
	wg.Wait()
	return answers, silent, nil
}

func (j *journal) ask(ctx context.Context, node string, q audit.LiveQuery) (*audit.LiveAnswer, error) {
	c, err := j.directory.node(node)
	if err != nil {
		return nil, err
	}
	id := j.cluster()
	stream, err := c.QueryJournal(ctx, questionToWire(id, q))
	if err != nil {
		return nil, err
	}
	a := &audit.LiveAnswer{NodeID: node}
	for stream.Receive() {
		m := stream.Msg()
		for _, r := range m.GetRanges() {
			if len(r.GetJournalId()) != len(audit.JournalID{}) {
				return nil, errors.Join(fmt.Errorf("node %s: malformed journal id", node), stream.Close())
			}
			a.Journals = append(a.Journals, audit.LiveRange{Journal: audit.JournalID(r.GetJournalId()), From: r.GetFrom(), Next: r.GetNext()})
		}
		for _, e := range m.GetEntries() {
			if len(e.GetJournalId()) != len(audit.JournalID{}) || q.Limit > 0 && len(a.Entries) >= q.Limit {
				return nil, errors.Join(fmt.Errorf("node %s: malformed answer", node), stream.Close())
			}
			a.Entries = append(a.Entries, audit.LiveEntry{Journal: audit.JournalID(e.GetJournalId()), Seq: e.GetSeq(), Entry: e.GetEntry()})
		}
		a.Truncated = a.Truncated || m.GetTruncated()
	}
	return a, errors.Join(stream.Err(), stream.Close())
}

// answer answers another node's question in pieces.
func (j *journal) answer(q *nodev1.QueryJournalRequest, send func(*nodev1.QueryJournalResponse) error) error {
	live, err := j.journal.Live(questionFromWire(q))
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	piece, size := &nodev1.QueryJournalResponse{NodeId: j.self}, 0
	for _, r := range live.Journals {
		piece.Ranges = append(piece.Ranges, &nodev1.JournalRange{JournalId: slices.Clone(r.Journal[:]), From: r.From, Next: r.Next})
	}
	for _, e := range live.Entries {
		n := entrySize(e.Entry)
		if size > 0 && size+n > pieceBytes {
			if err := send(piece); err != nil {
				return err
			}
			piece, size = &nodev1.QueryJournalResponse{}, 0
		}
		piece.Entries = append(piece.Entries, &nodev1.JournalEntry{JournalId: slices.Clone(e.Journal[:]), Seq: e.Seq, Entry: e.Entry})
		size += n
	}
	piece.Truncated = live.Truncated
	return send(piece)
}

func questionToWire(c clusterID, q audit.LiveQuery) *nodev1.QueryJournalRequest {
	f := q.Filter
	r := &nodev1.QueryJournalRequest{
		ClusterId: c[:],
		Filter: &nodev1.JournalFilter{
			AgentId: f.AgentID, Owner: f.Owner, Tenant: f.Tenant, Result: f.Result, Actions: f.Actions,
			ResourcePattern: f.ResourcePattern, Since: f.Since, Until: f.Until, Kind: f.Kind,
		},
		OldestFirst: q.OldestFirst, Limit: uint32(max(q.Limit, 0)), Id: q.ID,
	}
	if q.After != nil {
		r.AfterTime, r.AfterId = q.After.Time, q.After.ID[:]
	}
	return r
}

func questionFromWire(r *nodev1.QueryJournalRequest) audit.LiveQuery {
	f := r.GetFilter()
	q := audit.LiveQuery{
		Filter: audit.Filter{
			AgentID: f.GetAgentId(), Owner: f.GetOwner(), Tenant: f.GetTenant(), Result: f.GetResult(), Actions: f.GetActions(),
			ResourcePattern: f.GetResourcePattern(), Since: f.GetSince(), Until: f.GetUntil(), Kind: f.GetKind(),
		},
		OldestFirst: r.GetOldestFirst(), Limit: int(r.GetLimit()), ID: r.GetId(),
	}
	if len(r.GetAfterId()) == len(ids.ID{}) {
		q.After = &audit.Position{Time: r.GetAfterTime(), ID: ids.ID(r.GetAfterId())}
	}
	return q
}

// merge joins two lists of nodes, sorted, each once.
func merge(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// ship is how a block gets into the replicated trail.
func ship(propose func(context.Context, *raftv1.Command) (*raftv1.Result, uint64, error), self string) audit.Propose {
	return func(ctx context.Context, b *raftv1.AppendAuditBlock) (uint64, error) {
		result, _, err := propose(ctx, &raftv1.Command{
			Caller:  &raftv1.Caller{NodeId: self},
			Command: &raftv1.Command_AppendAuditBlock{AppendAuditBlock: b},
		})
		if err != nil {
			return 0, err
		}
		return result.GetAuditBlock().GetNextSeq(), nil
	}
}

func entrySize(e *raftv1.AuditEntry) int { return proto.Size(e) + 32 }
