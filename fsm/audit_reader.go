package fsm

import (
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// AuditBlock returns the header of a block, by its number in the cluster's order, from 1.
func (r *Reader) AuditBlock(block uint64) (*raftv1.AuditBlock, error) {
	return record(r, storage.AuditBlockKey(block), &raftv1.AuditBlock{})
}

// AuditBody returns the body of a block, as audit/block decodes it.
func (r *Reader) AuditBody(block uint64) ([]byte, error) { return r.r.Get(storage.AuditBodyKey(block)) }

// BlockRef is a block as the sparse index names it.
type BlockRef struct {
	Block          uint64
	Oldest, Newest int64 // Unix nanoseconds of its entries
}

// AuditBlocks calls fn for the blocks in which value stands as kind (storage.TermTime with an empty value: all), by
// the time of their newest entry: from the newest back to those whose newest entry is at or after since. Blocks whose
// oldest entry is after until are left out; 0: no bound. fn ends it with false.
func (r *Reader) AuditBlocks(kind storage.TermKind, value string, since, until int64, fn func(BlockRef) (bool, error)) error {
	_, upper := storage.PrefixRange(storage.AuditTermPrefix(kind, value))
	lower := storage.AuditTermFrom(kind, value, since)
	return r.r.Scan(lower, upper, true, func(key, v []byte) (bool, error) {
		_, _, newest, n, err := storage.ParseAuditTermKey(key)
		if err != nil {
			return false, corruptf("%s: %w", storage.PrintKey(key), err)
		}
		oldest, err := storage.ParseTimeValue(v)
		if err != nil {
			return false, corruptf("%s: %w", storage.PrintKey(key), err)
		}
		if until != 0 && oldest > until {
			return true, nil
		}
		return fn(BlockRef{Block: n, Oldest: oldest, Newest: newest})
	})
}

// JournalNext returns the next number that the cluster takes of a journal: 1 for one it has taken nothing of.
func (r *Reader) JournalNext(journal storage.JournalID) (uint64, error) {
	value, err := r.r.Get(storage.JournalKey(journal))
	if err != nil {
		return 0, err
	}
	if value == nil {
		return 1, nil
	}
	n, err := storage.ParseUintValue(value)
	if err != nil {
		return 0, corruptf("%s: %w", storage.PrintKey(storage.JournalKey(journal)), err)
	}
	return n, nil
}
