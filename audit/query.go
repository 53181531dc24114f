package audit

import (
	"context"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// Blocks is the replicated trail in one version of the state; fsm.Reader is one.
type Blocks interface {
	// AuditBlocks calls fn for the blocks in which value stands as kind (termTime and "": all) and whose newest entry is
	// of a time in [from, to], by (newest, block), ascending or descending, until fn returns false or an error. oldest and
	// newest are the times of a block's entries.
	AuditBlocks(kind uint8, value string, from, to int64, descending bool, fn func(block uint64, oldest, newest int64) (more bool, err error)) error
	// AuditBlock returns the header of a block, by its number.
	AuditBlock(block uint64) (*raftv1.AuditBlock, error)
	// AuditBody returns the body of a block. It is the caller's.
	AuditBody(block uint64) ([]byte, error)
	// JournalNext returns the next number that the cluster takes of a journal: 1 for one it has taken nothing of.
	JournalNext(journal [16]byte) (uint64, error)
	// AuditLast returns the number of the newest block, 0 if there is none.
	AuditLast() (uint64, error)
}

// Query asks for one page.
type Query struct {
	Filter      Filter
	OldestFirst bool
	// Limit is the size of the page; at least 1.
	Limit int
	// Cursor is Next of the page before; nil: the first page.
	Cursor *Cursor
}

// Found is an entry of an answer.
type Found struct {
	Entry *raftv1.AuditEntry
	// Unreplicated says that no block holds it yet.
	Unreplicated bool
}

// Page is one page. It may be shorter than the limit although more follow: Next says that.
type Page struct {
	Entries []Found
	// Next asks for the following page; nil: this was the last.
	Next *Cursor
	// Missing are the nodes whose answers leave a gap to what is replicated here.
	Missing []string
}

// Live is the question to ask every live node before the state is read.
func (q Query) Live() LiveQuery {
	l := LiveQuery{Filter: q.Filter, OldestFirst: q.OldestFirst, Limit: q.Limit + 1}
	if q.Cursor != nil {
		l.After = &q.Cursor.After
	}
	return l
}

// Find returns a page of the entries in blocks and in the live answers, each once, by (time, id).
//
// The answers must have been asked for before the version behind blocks was read by a confirmed read: what a node has
// freed from its journal in between is then in a block of this version. Pages that follow hold what there was when the
// first page was read, and nothing newer.
func Find(ctx context.Context, blocks Blocks, q Query, live []*LiveAnswer) (*Page, error) {
	s, err := newSearch(ctx, blocks, q, live)
	if err != nil {
		return nil, err
	}
	if err := s.run(); err != nil {
		return nil, err
	}
	return s.page(), nil
}
