package audit

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/kavachd/kavachd/audit/block"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// JournalID names a journal: 16 random bytes. Zero: the entries that apply itself makes.
type JournalID [16]byte

// LiveQuery asks a node for what stands in its journals and is, as far as it knows, not yet replicated.
type LiveQuery struct {
	// Filter, OldestFirst and Limit are those of the Query. At most Limit entries are returned; 0: all.
	Filter      Filter
	OldestFirst bool
	Limit       int
	// After is the position that the page begins behind; nil: from the beginning.
	After *Position
	// ID asks for one entry only; empty: not.
	ID []byte
}

// LiveRange tells which numbers of a journal an answer covers: From up to, not including, Next.
type LiveRange struct {
	Journal    JournalID
	From, Next uint64
}

// LiveEntry is an entry and where it stands.
type LiveEntry struct {
	Journal JournalID
	Seq     uint64
	Entry   *raftv1.AuditEntry
}

// LiveAnswer is one node's answer. Entries are in the order of the query.
type LiveAnswer struct {
	NodeID   string
	Journals []LiveRange
	Entries  []LiveEntry
	// Truncated says that more entries match behind the last one.
	Truncated bool
}

// Live answers for this node what other nodes, or itself, ask with a LiveQuery. It takes memory for at most twice the
// limit of entries.
func (j *Journal) Live(q LiveQuery) (*LiveAnswer, error) {
	j.mu.Lock()
	streams := make([]stream, len(j.mu.streams))
	for i, st := range j.mu.streams {
		streams[i] = *st
	}
	j.mu.Unlock()
	a := &LiveAnswer{NodeID: j.opts.NodeID}
	want := q.want()
	for _, st := range streams {
		end, err := read(st.segs, st.from, func(seq uint64, raw []byte) (bool, error) {
			if !want.Holds(raw) {
				return true, nil
			}
			e := new(raftv1.AuditEntry)
			if err := block.DecodeEntry(raw, e); err != nil {
				return false, err
			}
			if q.match(e) {
				a.Entries = append(a.Entries, LiveEntry{st.id, seq, e})
			}
			if q.Limit > 0 && len(a.Entries) >= 2*q.Limit+64 {
				a.trim(q)
			}
			return true, nil
		})
		if err != nil {
			return nil, fmt.Errorf("read journal %x: %w", st.id, err)
		}
		a.Journals = append(a.Journals, LiveRange{st.id, st.from.seq, end.seq})
	}
	a.trim(q)
	return a, nil
}

// want narrows what is decoded.
func (q LiveQuery) want() block.Want {
	w := block.Want{Literals: q.Filter.literals()}
	if len(q.ID) > 0 {
		w.Literals = append(w.Literals, q.ID)
	}
	return w
}

func (q LiveQuery) match(e *raftv1.AuditEntry) bool {
	if len(q.ID) > 0 && !bytes.Equal(q.ID, e.GetId()) {
		return false
	}
	if q.After != nil && order(positionOf(e), *q.After, q.OldestFirst) <= 0 {
		return false
	}
	return q.Filter.Match(e)
}

// order compares two positions in the order of an answer.
func order(a, b Position, oldestFirst bool) int {
	if oldestFirst {
		return a.compare(b)
	}
	return b.compare(a)
}

// trim puts the entries in order and cuts them at the limit.
func (a *LiveAnswer) trim(q LiveQuery) {
	slices.SortStableFunc(a.Entries, func(x, y LiveEntry) int {
		return order(positionOf(x.Entry), positionOf(y.Entry), q.OldestFirst)
	})
	if q.Limit > 0 && len(a.Entries) > q.Limit {
		clear(a.Entries[q.Limit:])
		a.Entries, a.Truncated = a.Entries[:q.Limit], true
	}
}
