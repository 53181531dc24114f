package fsm

import (
	"errors"
	"fmt"
)

// Cause says why an entry can't be applied. The list is closed: a node stops for these and for nothing else. As such an
// entry would stop every node at every start, each has a way out.
type Cause string

// The causes, what they mean, and the operator's way out.
const (
	// The entry is not an encoded Entry, or one that no proposer makes (no command, a LeaderEpoch in company).
	// Way out: the log or the program that wrote it is damaged. Restore this node from its peers; if all stop at the
	// same index, install the version that ran before, and report the entry.
	CauseMalformed Cause = "MALFORMED_ENTRY"
	// The entry has a format that this version does not know. Way out: install the version that wrote it, or a newer.
	CauseFormat Cause = "UNKNOWN_FORMAT"
	// A command, or a field of one, that this version does not know. Way out: as for the format.
	CauseCommand Cause = "UNKNOWN_COMMAND"
	// A record that this state holds can't be read, or an index leads nowhere. Way out: remove this node's data and let
	// it come back from a snapshot of its peers; `kavachd debug check` names the records.
	CauseCorrupt Cause = "CORRUPT_STATE"
	// A refused command had written, or another rule of this package was broken: a defect of this version.
	// Way out: install the version that ran before, save a snapshot, and report the entry.
	CauseInvariant Cause = "BROKEN_INVARIANT"
	// Storage failed. Way out: see to the disk, then start again; nothing is lost.
	CauseStorage Cause = "STORAGE"
)

// Causes returns the closed list, in a fixed order.
func Causes() []Cause {
	return []Cause{CauseMalformed, CauseFormat, CauseCommand, CauseCorrupt, CauseInvariant, CauseStorage}
}

// Fault is why Apply could not apply an entry. It stops the node.
type Fault struct {
	Cause       Cause
	Index, Term uint64
	// Position of the command in the entry; -1: the entry itself.
	Position int
	Err      error
}

// Error names cause, entry and command, and what is wrong.
func (f *Fault) Error() string {
	where := "entry"
	if f.Position >= 0 {
		where = fmt.Sprintf("command %d", f.Position)
	}
	return fmt.Sprintf("fsm: %s: %s of index %d, term %d: %v", f.Cause, where, f.Index, f.Term, f.Err)
}

// Unwrap returns what is wrong.
func (f *Fault) Unwrap() error { return f.Err }

// causeError gives an error its cause on the way up to Apply.
type causeError struct {
	cause Cause
	err   error
}

func (e *causeError) Error() string { return e.err.Error() }
func (e *causeError) Unwrap() error { return e.err }

func faultf(c Cause, format string, args ...any) error {
	return &causeError{cause: c, err: fmt.Errorf(format, args...)}
}

func corruptf(format string, args ...any) error { return faultf(CauseCorrupt, format, args...) }

// asFault makes the one error that leaves Apply. What has no cause came from storage.
func asFault(err error, index, term uint64, position int) *Fault {
	cause := CauseStorage
	if e, ok := errors.AsType[*causeError](err); ok {
		cause = e.cause
	}
	return &Fault{Cause: cause, Index: index, Term: term, Position: position, Err: err}
}
