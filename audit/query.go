package audit

import (
	"context"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/ids"
)

// The kinds of terms of the sparse index, as storage numbers them.
const (
	termTime   uint8 = 1 // every block, with an empty value
	termAgent  uint8 = 2
	termOwner  uint8 = 3
	termTenant uint8 = 4
	termResult uint8 = 5 // the value in decimal
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

// Filter is met by entries that meet everything that is given.
type Filter struct {
	AgentID, Owner, Tenant string
	Result                 uint32   // kavach.v1.AuditResult; 0: any
	Actions                []string // one of them; none: any
	ResourcePattern        string   // as a permission's resource
	Since, Until           int64    // both included, Unix nanoseconds; 0: any
	Kind                   uint32   // kavach.v1.AuditKind; 0: any
}

// Position is an entry's place in the order of all entries: time, then id.
type Position struct {
	Time int64
	ID   ids.ID
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

// Cursor is where a page ended, and which entries there were when the first page was read. Later ones are left out of
// the pages that follow.
type Cursor struct {
	After Position
	// Block is the block_seq of the newest block then.
	Block uint64
	// Journals tells how far each live journal had come then.
	Journals []JournalEnd
}

// JournalEnd is the first number of a journal that did not exist yet.
type JournalEnd struct {
	Journal JournalID
	Next    uint64
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
	l := LiveQuery{Filter: q.Filter, OldestFirst: q.OldestFirst, Limit: q.Limit}
	if q.Cursor != nil {
		l.After = q.Cursor.After
	}
	return l
}

// Find returns a page of the entries in blocks and in the live answers, each once, by (time, id).
//
// The answers must have been asked for before the version behind blocks was read by a confirmed read: what a node has
// freed from its journal in between is then in a block of this version.
func Find(ctx context.Context, blocks Blocks, q Query, live []*LiveAnswer) (*Page, error) { return nil, ctx.Err() }

// Get returns one entry, nil if there is none.
func Get(ctx context.Context, blocks Blocks, id ids.ID, live []*LiveAnswer) (*Found, error) { return nil, ctx.Err() }

// ParseCursor reads what AppendBinary made. It returns an error for anything else.
func ParseCursor(b []byte) (*Cursor, error) { return nil, nil }

// AppendBinary appends the cursor's encoding, for a page token. It is not secret and must be authenticated by the user.
func (c *Cursor) AppendBinary(dst []byte) ([]byte, error) { return dst, nil }
