package block

import (
	"bytes"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// Decode returns all entries of a body, in order. The entries are the caller's.
func Decode(body []byte) ([]*raftv1.AuditEntry, error) {
	var entries []*raftv1.AuditEntry
	err := Select(body, Want{}, func(_ int, e *raftv1.AuditEntry) error {
		entries = append(entries, e)
		return nil
	})
	return entries, err
}

// Want narrows what Select returns. It may return more than is wanted, never less: the caller looks again.
type Want struct {
	// Since and Until, both included, in Unix nanoseconds; 0: any.
	Since, Until int64
	// Literals are bytes that stand in every wanted entry's encoding, as an agent's id does.
	Literals [][]byte
}

// Select calls fn with the entries of a body that may be wanted, in order, each with its place in the block from 0.
// Frames outside the time range are not opened, entries without a literal not decoded. The entry is the caller's.
func Select(body []byte, w Want, fn func(place int, e *raftv1.AuditEntry) error) error {
	var buf []byte
	place := 0
	for f, err := range frames(body) {
		if err != nil {
			return err
		}
		first := place
		place += int(f.count)
		if (w.Since != 0 && f.newest < w.Since) || (w.Until != 0 && f.oldest > w.Until) {
			continue
		}
		raw, err := f.open(buf)
		if err != nil {
			return err
		}
		if f.codec != codecNone {
			buf = raw
		}
		if !w.Holds(raw) {
			continue
		}
		at := first
		err = f.each(raw, func(entry []byte) error {
			at++
			if !w.Holds(entry) {
				return nil
			}
			e := new(raftv1.AuditEntry)
			if err := DecodeEntry(entry, e); err != nil {
				return err
			}
			return fn(at-1, e)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Holds tells whether all literals stand in b.
func (w Want) Holds(b []byte) bool {
	for _, l := range w.Literals {
		if !bytes.Contains(b, l) {
			return false
		}
	}
	return true
}
