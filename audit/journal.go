package audit

import (
	"io"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// JournalOptions are what a journal is opened with.
type JournalOptions struct {
	// NodeID is the node the journal belongs to.
	NodeID string
	// Random is where the ids of new journals come from.
	Random io.Reader
	// BootID names this start of the machine, as the kernel's boot_id does. A journal that was not closed goes on only
	// within the same one; after a crash of the machine a new one begins, and the old one is shipped to its end. Empty:
	// not known, and every start begins a new journal unless the last was closed.
	BootID string
	// SegmentBytes is the size of a segment file; 0: 16 MiB.
	SegmentBytes int64
	// MaxBacklog bounds the bytes of segments that are not yet freed; 0: 512 MiB. Beyond it Append fails.
	MaxBacklog int64
}

// Journal is a node's own part of the audit trail, until the cluster has it. See doc.go.
type Journal struct{}

// Backlog is what is not yet replicated.
type Backlog struct {
	Entries uint64
	// Oldest is the time of the oldest such entry, Unix nanoseconds; 0: none.
	Oldest int64
	// Bytes are those of all segments that are not freed.
	Bytes int64
	// Err is why shipping does not get on; nil: it does.
	Err error
}

// OpenJournal opens the journals in the folder dir, and makes it if need be. One process only may have it open.
func OpenJournal(dir string, o JournalOptions) (*Journal, error) { return nil, io.EOF }

// ID returns the id of the journal that is appended to.
func (j *Journal) ID() JournalID { return JournalID{} }

// Append writes an entry and returns its number in the journal. When it returns nil, the entry survives a crash of the
// process and every later query finds it. An error is a *status.Error with status.AuditUnavailable: the entry is not in
// the trail. Safe for concurrent use; e is not kept.
func (j *Journal) Append(e *raftv1.AuditEntry) (seq uint64, err error) { return 0, io.EOF }

// AppendBatch writes entries with consecutive numbers, all or none, and returns the first number.
func (j *Journal) AppendBatch(entries []*raftv1.AuditEntry) (first uint64, err error) { return 0, io.EOF }

// Backlog tells what is not yet replicated.
func (j *Journal) Backlog() Backlog { return Backlog{} }

// Live answers for this node what other nodes, or itself, ask with a LiveQuery.
func (j *Journal) Live(q LiveQuery) (*LiveAnswer, error) { return nil, io.EOF }

// Close refuses further entries, waits for those being written, and syncs to disk.
func (j *Journal) Close() error { return nil }
