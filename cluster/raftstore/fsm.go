package raftstore

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/storage"
)

// Apply implements raft.FSM. The library calls ApplyBatch instead, except in RecoverCluster.
func (s *Store) Apply(l *raft.Log) any { return s.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM: one transaction for all entries. The result of a command is the machine's; of
// an entry that came again, nil; after a fault, of every entry, an error that wraps ErrHalted.
func (s *Store) ApplyBatch(logs []*raft.Log) []any {
	results := make([]any, len(logs))
	err := s.Err()
	if err == nil {
		if err = s.applyBatch(logs, results); err != nil {
			s.halt(err)
			err = s.Err()
		}
	}
	if err != nil {
		for i := range results {
			results[i] = err
		}
	}
	return results
}

// applyBatch applies, commits, tells and publishes, in this order. Nothing of a batch with a fault is committed.
func (s *Store) applyBatch(logs []*raft.Log, results []any) (err error) {
	tx := s.storage.Begin()
	defer func() { err = errors.Join(err, tx.Abort()) }()
	at, config := s.applied, (*storage.Configuration)(nil)
	var applied []Applied
	for i, l := range logs {
		if l.Index <= at.Index {
			s.skipped.Add(1)
			continue
		}
		if l.Term < at.Term {
			return fmt.Errorf("entry %d has term %d, the one before it %d", l.Index, l.Term, at.Term)
		}
		at = storage.Position{Index: l.Index, Term: l.Term}
		switch l.Type {
		case raft.LogConfiguration:
			config = &storage.Configuration{Index: l.Index, Data: l.Data}
		case raft.LogCommand:
			if results[i], err = s.applyCommand(tx, l); err != nil {
				return err
			}
			applied = append(applied, Applied{Index: l.Index, Term: l.Term, Result: results[i]})
		default:
			return fmt.Errorf("entry %d has type %v, which never reaches a state machine", l.Index, l.Type)
		}
	}
	if at == s.applied {
		return nil
	}
	if err := tx.Commit(at, config); err != nil {
		return fmt.Errorf("commit up to %v: %w", at, err)
	}
	s.applied = at
	if len(applied) > 0 && s.hooks.Applied != nil {
		if err := s.hooks.Applied(applied); err != nil {
			return fmt.Errorf("hand on what was applied up to %v: %w", at, err)
		}
	}
	if config != nil && s.hooks.Configuration != nil {
		s.hooks.Configuration(config.Index, raft.DecodeConfiguration(config.Data))
	}
	s.published.publish(at) // last: who waits for the index finds the state, and what the hooks made of it
	return nil
}

func (s *Store) applyCommand(tx *storage.Tx, l *raft.Log) (any, error) {
	payload, err := unframe(*s.history.Load(), l.Data)
	if err != nil {
		return nil, fmt.Errorf("entry %d@%d: %w", l.Index, l.Term, err)
	}
	result, err := s.machine.Apply(tx, l.Index, l.Term, payload)
	if err != nil {
		return nil, fmt.Errorf("apply entry %d@%d: %w", l.Index, l.Term, err)
	}
	return result, nil
}

// Snapshot implements raft.FSM. It is quick: the state is the snapshot, Persist only stamps it.
func (s *Store) Snapshot() (raft.FSMSnapshot, error) {
	if err := s.Err(); err != nil { // the library counts entries that a halted machine didn't take
		return nil, err
	}
	h, err := s.storage.Hold()
	if err != nil {
		return nil, err
	}
	return &snapshot{s: s, hold: h}, nil
}

// snapshot is the state of one generation, on its way to a stamp. It belongs to one goroutine.
type snapshot struct {
	s    *Store
	hold *storage.Hold // nil once released
}

// Persist implements raft.FSMSnapshot with one synced write. It runs beside later ApplyBatch calls, which does no harm:
// a stamp says that everything up to its index is in the state, not that nothing else is. It lets go of the state by
// itself, because RecoverCluster never calls Release.
func (n *snapshot) Persist(to raft.SnapshotSink) error {
	defer n.Release()
	k, ok := to.(*sink)
	if !ok {
		return fmt.Errorf("persist to a sink of type %T", to)
	}
	if err := n.s.Err(); err != nil {
		return err
	}
	if n.hold == nil {
		return errors.New("persist of a snapshot that was released")
	}
	if err := n.hold.Stamp(k.stamp); err != nil {
		return err
	}
	k.stamped = true
	return nil
}

// Release implements raft.FSMSnapshot. It may be called again.
func (n *snapshot) Release() {
	if n.hold == nil {
		return
	}
	h := n.hold
	n.hold = nil
	if err := h.Release(); err != nil {
		n.s.halt(fmt.Errorf("close a state that was replaced: %w", err))
	}
}

// Restore implements raft.FSM: it takes what a sink has built. Up to the flip an error leaves everything as it was; the
// library passes it to the leader, which tries again. Behind the flip there is no way back, and an error ends the
// process; the next start finds whichever state CURRENT names.
func (s *Store) Restore(r io.ReadCloser) error {
	if err := s.Err(); err != nil {
		return err
	}
	k, err := s.take(r)
	if err != nil {
		return err
	}
	if err := s.notOlder(k.stamp.Position); err != nil {
		return errors.Join(err, k.builder.Abort())
	}
	flipped, err := s.storage.Flip(k.builder)
	if err == nil {
		err = s.switchOver(k.stamp.Position)
	}
	if err == nil {
		return nil
	}
	if !flipped {
		return errors.Join(err, k.builder.Abort())
	}
	s.halt(fmt.Errorf("restore of %v: %w", k.stamp.Position, err))
	return s.Err()
}

// take returns the sink that the snapshot's content names.
func (s *Store) take(r io.Reader) (*sink, error) {
	id, err := io.ReadAll(io.LimitReader(r, 64))
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.built[string(id)]
	if k == nil {
		return nil, fmt.Errorf("restore: nothing was received as %q", id)
	}
	delete(s.built, string(id))
	return k, nil
}

// errConflict ends a node whose log disagreed with an installed state: the log is empty now and the library doesn't know.
var errConflict = errors.New("the log conflicted with the installed state and was emptied; start again")

// switchOver follows a flip to p: log, memory, decision state, and only then the index.
func (s *Store) switchOver(p storage.Position) error {
	// After the flip, never before it: this log may be the only holder of entries that the old state had not.
	conflict, err := trimLog(s.log, p)
	if err != nil {
		return err
	}
	if conflict {
		return errConflict
	}
	v := s.storage.View()
	err = s.adopt(v)
	return errors.Join(err, v.Close())
}

func (s *Store) adopt(v *storage.View) error {
	m, err := v.Meta()
	if err != nil {
		return err
	}
	s.applied = m.Applied
	s.history.Store(&m.History)
	if s.hooks.Restored != nil {
		if err := s.hooks.Restored(v); err != nil {
			return err
		}
	}
	s.installs.Add(1)
	s.published.publish(s.applied)
	return nil
}

// notOlder refuses a state older than ours: a message of the library that was held up in the network would take the
// node back behind entries that its log has compacted. Older is meant as in Raft, by term first: a leader that was cut
// off during an operator's restore may hold an index above the cluster's, and must be able to come back.
func (s *Store) notOlder(p storage.Position) error {
	m, err := s.meta()
	if err != nil {
		return err
	}
	at := position(m)
	if p.Term < at.Term || p.Term == at.Term && p.Index < at.Index {
		return fmt.Errorf("received the state of %v, this node is at %v already", p, at)
	}
	return nil
}
