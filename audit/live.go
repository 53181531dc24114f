package audit

import (
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// JournalID names a journal: 16 random bytes. Zero: the entries that apply itself makes.
type JournalID [16]byte

// LiveQuery asks a node for what stands in its journals and is, as far as it knows, not yet replicated.
type LiveQuery struct {
	// Filter, OldestFirst and Limit are those of the Query. At most Limit entries are returned.
	Filter      Filter
	OldestFirst bool
	Limit       int
	// After is the position that the page begins behind; zero: from the beginning.
	After Position
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
