package audit

import (
	"fmt"
	"slices"

	"github.com/kavachd/kavachd/audit/block"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// What follows is the journal as the shipper sees it. One shipper only uses it, from one goroutine.

// pending counts the entries that are not known to be replicated.
func (j *Journal) pending() (n uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, st := range j.mu.streams {
		n += st.next() - st.from.seq
	}
	return n
}

// cut makes a command of the oldest entries that are not known to be replicated, with b; old journals come first. It
// returns nil if there are none.
func (j *Journal) cut(b *block.Builder) (*raftv1.AppendAuditBlock, error) {
	j.mu.Lock()
	var st stream
	for _, s := range j.mu.streams {
		if st = *s; st.next() > st.from.seq {
			break
		}
	}
	j.mu.Unlock()
	b.Reset()
	_, err := read(st.segs, st.from, func(_ uint64, raw []byte) (bool, error) {
		var e raftv1.AuditEntry
		if err := block.DecodeEntry(raw, &e); err != nil {
			return false, err
		}
		return b.Add(raw, &e)
	})
	if err != nil {
		return nil, fmt.Errorf("cut a block of journal %x: %w", st.id, err)
	}
	blk, n := b.Finish()
	if n == 0 {
		return nil, nil
	}
	return blk.Command(st.id, st.from.seq, j.opts.NodeID), nil
}

// replicated notes that the cluster has the journal's entries before next, frees what only they stand in, and returns how
// many are new. Where that contradicts the journal, nothing is appended to it any more.
func (j *Journal) replicated(id JournalID, next uint64) (n uint64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := slices.IndexFunc(j.mu.streams, func(st *stream) bool { return st.id == id })
	if i < 0 {
		return 0, fmt.Errorf("journal %x is shipped and gone", id)
	}
	st := j.mu.streams[i]
	switch {
	case next < st.from.seq:
		j.mu.fault = fmt.Errorf("the cluster takes entry %d of journal %x next, but those before %d are freed: it has lost entries",
			next, id, st.from.seq)
		return 0, j.mu.fault
	case next > st.next() && !st.foreign:
		j.mu.fault = fmt.Errorf("the cluster has entries of journal %x before %d, but it ends before %d: its folder was copied or restored",
			id, next, st.next())
		return 0, j.mu.fault
	}
	// A journal of a machine that stopped may have lost entries that the cluster has.
	next = min(next, st.next())
	to, err := read(st.segs, st.from, func(seq uint64, _ []byte) (bool, error) { return seq < next, nil })
	if err != nil {
		return 0, fmt.Errorf("free journal %x: %w", id, err)
	}
	for k, s := range st.segs[:len(st.segs)-1] {
		if to.seg == s && to.offset == s.sealedAt.offset() {
			to = place{st.segs[k+1], segmentHeader, st.segs[k+1].first}
		}
	}
	n = to.seq - st.from.seq
	st.from = to
	if st.foreign && next == st.next() {
		j.mu.streams = append(j.mu.streams[:i:i], j.mu.streams[i+1:]...)
		return n, st.remove()
	}
	return n, st.free()
}

// setStuck notes why shipping does not get on; nil: it does.
func (j *Journal) setStuck(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mu.stuck = err
}
