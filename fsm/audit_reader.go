package fsm

import (
	"math"

	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// AuditBlock returns the header of a block, by its number in the cluster's order, from 1.
func (r *Reader) AuditBlock(block uint64) (*raftv1.AuditBlock, error) {
	return record(r, storage.AuditBlockKey(block), &raftv1.AuditBlock{})
}

// AuditBody returns the body of a block, as audit/block decodes it.
func (r *Reader) AuditBody(block uint64) ([]byte, error) { return r.r.Get(storage.AuditBodyKey(block)) }

// AuditBlocks calls fn for the blocks in which value stands as kind (storage.TermKind; TermTime with an empty value: all)
// and whose newest entry is of a time in [from, to], by that time, ascending or descending, until fn returns false. It has
// basic types only, because audit asks for it and must not know how keys are spelled.
func (r *Reader) AuditBlocks(kind uint8, value string, from, to int64, descending bool, fn func(block uint64, oldest, newest int64) (more bool, err error)) error {
	term := storage.TermKind(kind)
	lower := storage.AuditTermFrom(term, value, from)
	_, upper := storage.PrefixRange(storage.AuditTermPrefix(term, value))
	if to < math.MaxInt64 {
		upper = storage.AuditTermFrom(term, value, to+1)
	}
	return r.r.Scan(lower, upper, descending, func(key, v []byte) (bool, error) {
		_, _, newest, n, err := storage.ParseAuditTermKey(key)
		if err != nil {
			return false, corruptf("%s: %w", storage.PrintKey(key), err)
		}
		oldest, err := storage.ParseTimeValue(v)
		if err != nil {
			return false, corruptf("%s: %w", storage.PrintKey(key), err)
		}
		return fn(n, oldest, newest)
	})
}

// AuditLast returns the number of the newest block, 0 if there is none.
func (r *Reader) AuditLast() (uint64, error) {
	c, err := r.Cluster()
	return c.GetAuditBlocks(), err
}

// JournalNext returns the next number that the cluster takes of a journal: 1 for one it has taken nothing of.
func (r *Reader) JournalNext(journal [16]byte) (uint64, error) {
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
