package raftstore

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/storage"
)

// checkLog makes the log agree with the state at start. With a stamp, the library goes on right behind the state's
// position p: a log that ends before p or conflicts there is emptied, which repeats what a crash after a flip cut off.
// Without one, the library applies the log from entry 1 and the state skips what it has.
func checkLog(log raft.LogStore, m storage.Meta) error {
	meta, ok := snapshotMeta(m)
	p := storage.Position{Index: meta.Index, Term: meta.Term}
	if ok {
		if _, err := trimLog(log, p); err != nil {
			return err
		}
	} else if err := containsApplied(log, m.Applied); err != nil {
		return err
	}
	first, err := log.FirstIndex()
	if err != nil {
		return fmt.Errorf("first index of the log: %w", err)
	}
	if first > p.Index+1 {
		return fmt.Errorf("the state ends at %v, the log begins at %d: %w", p, first, ErrHole)
	}
	return nil
}

// containsApplied refuses a log that never held what the state was made of. Before the first snapshot nothing is
// compacted and the log is synced before the state is written, so another log must have been put in its place.
func containsApplied(log raft.LogStore, applied storage.Position) error {
	if applied.Index == 0 {
		return nil
	}
	var l raft.Log
	err := log.GetLog(applied.Index, &l)
	switch {
	case errors.Is(err, raft.ErrLogNotFound):
		return fmt.Errorf("the state was made up to %v without a snapshot, the log has no such entry: %w", applied, ErrHole)
	case err != nil:
		return fmt.Errorf("entry %d of the log: %w", applied.Index, err)
	case l.Term != applied.Term:
		return fmt.Errorf("the state was made up to %v without a snapshot, the log has term %d there: %w", applied, l.Term, ErrHole)
	}
	return nil
}
