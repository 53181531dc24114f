package audit

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/kavachd/kavachd/audit/block"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/ids"
)

// actSlack is how far the time of an act's entry, stamped by the leader, may lie from that of its id, made by the node
// that took the request. A decision's entry has the time of its id.
const actSlack = 5 * time.Minute

// Get returns one entry, nil if there is none. What Find asks of the answers holds here too; they are answers to
// LiveQuery{ID: id[:]}.
func Get(ctx context.Context, blocks Blocks, id ids.ID, live []*LiveAnswer) (*Found, error) {
	for _, a := range live {
		for _, e := range a.Entries {
			if !bytes.Equal(e.Entry.GetId(), id[:]) {
				continue
			}
			next, err := blocks.JournalNext(e.Journal)
			if err != nil {
				return nil, fmt.Errorf("get audit entry: journal %x: %w", e.Journal, err)
			}
			return &Found{e.Entry, e.Seq >= next}, nil
		}
	}
	// A UUIDv7 begins with its time in milliseconds.
	ms := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
	if ms > maxMillis {
		return nil, nil
	}
	from, to := ms*int64(time.Millisecond), (ms+1)*int64(time.Millisecond)-1
	g := getter{ctx: ctx, blocks: blocks, id: id}
	if err := g.look(from, to, false); err != nil || g.found != nil {
		return g.found, err
	}
	err := g.look(from-int64(actSlack), to+int64(actSlack), true)
	return g.found, err
}

// maxMillis keeps times within what nanoseconds can say.
const maxMillis = (1<<63-1)/int64(time.Millisecond) - int64(actSlack/time.Millisecond) - block.MaxSpan/int64(time.Millisecond) - 1

// getter looks for one entry.
type getter struct {
	ctx    context.Context
	blocks Blocks
	id     ids.ID
	found  *Found
}

// look reads the blocks that may hold entries of the times from to to, both included; only those of apply if acts is
// set.
func (g *getter) look(from, to int64, acts bool) error {
	err := g.blocks.AuditBlocks(termTime, "", from, to+block.MaxSpan, true, func(n uint64, oldest, _ int64) (bool, error) {
		if oldest > to {
			return true, g.ctx.Err()
		}
		if acts {
			h, err := g.blocks.AuditBlock(n)
			if err != nil {
				return false, fmt.Errorf("block %d: %w", n, err)
			}
			if JournalID(h.GetJournalId()) != (JournalID{}) {
				return true, g.ctx.Err()
			}
		}
		body, err := g.blocks.AuditBody(n)
		if err != nil {
			return false, fmt.Errorf("body of block %d: %w", n, err)
		}
		err = block.Select(body, block.Want{Since: from, Until: to, Literals: [][]byte{g.id[:]}}, func(_ int, e *raftv1.AuditEntry) error {
			if bytes.Equal(e.GetId(), g.id[:]) {
				g.found = &Found{Entry: e}
			}
			return nil
		})
		if err != nil {
			return false, fmt.Errorf("body of block %d: %w", n, err)
		}
		return g.found == nil, g.ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("get audit entry: %w", err)
	}
	return nil
}
