package audit

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/kavachd/kavachd/audit/block"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// search merges blocks and live entries into one page. The index gives blocks by their newest entry; because a block
// spans at most block.MaxSpan, that bounds what later blocks can hold in both directions. Blocks wait unopened in the
// heap until their turn, so that only those that overlap in time are in memory at once.
type search struct {
	ctx    context.Context
	blocks Blocks
	q      Query
	limit  int // one more than the page, to know whether anything follows
	// Entries of blocks up to bound.Block, and those before the journals' ends, were there at the first page.
	bound Cursor
	ends  map[JournalID]uint64
	// low and high bound the times of wanted entries, both included.
	low, high int64
	// horizon is where a truncated answer ends: behind it nothing is certain. nil: none is truncated.
	horizon *Position

	heap    sources
	found   []Found
	stopped bool // at the horizon
	missing []string
}

// source is a block that is not opened, or the entries left of one or of an answer.
type source struct {
	at      Position // of its next entry; of an unopened block, the first there can be
	block   uint64   // not 0: an unopened block
	entries []Found
}

type sources struct {
	list        []source
	oldestFirst bool
}

func (h *sources) Len() int { return len(h.list) }
func (h *sources) Less(i, k int) bool {
	a, b := h.list[i], h.list[k]
	// At the same time an unopened block comes first: it may hold what precedes.
	if a.at.Time == b.at.Time && (a.block != 0) != (b.block != 0) {
		return a.block != 0
	}
	return order(a.at, b.at, h.oldestFirst) < 0
}
func (h *sources) Swap(i, k int) { h.list[i], h.list[k] = h.list[k], h.list[i] }
func (h *sources) Push(x any)    { h.list = append(h.list, x.(source)) }
func (h *sources) Pop() any {
	x := h.list[len(h.list)-1]
	h.list[len(h.list)-1] = source{}
	h.list = h.list[:len(h.list)-1]
	return x
}

func newSearch(ctx context.Context, blocks Blocks, q Query, live []*LiveAnswer) (*search, error) {
	s := &search{
		ctx: ctx, blocks: blocks, q: q, limit: max(q.Limit, 1) + 1, heap: sources{oldestFirst: q.OldestFirst},
		low: math.MinInt64, high: math.MaxInt64,
	}
	if q.Filter.Since != 0 {
		s.low = q.Filter.Since
	}
	if q.Filter.Until != 0 {
		s.high = q.Filter.Until
	}
	if c := q.Cursor; c != nil {
		s.bound = *c
		if q.OldestFirst {
			s.low = max(s.low, c.After.Time)
		} else {
			s.high = min(s.high, c.After.Time)
		}
	} else if err := s.begin(live); err != nil {
		return nil, err
	}
	s.ends = make(map[JournalID]uint64, len(s.bound.Journals))
	for _, e := range s.bound.Journals {
		s.ends[e.Journal] = e.Next
	}
	return s, s.addLive(live)
}

// begin notes what there is at the first page.
func (s *search) begin(live []*LiveAnswer) error {
	last, err := s.blocks.AuditLast()
	if err != nil {
		return fmt.Errorf("query: newest block: %w", err)
	}
	s.bound.Block = last
	for _, a := range live {
		for _, r := range a.Journals {
			s.bound.Journals = append(s.bound.Journals, JournalEnd{r.Journal, r.Next})
		}
	}
	return nil
}

// addLive takes what no block of this version holds out of the answers.
func (s *search) addLive(live []*LiveAnswer) error {
	for _, a := range live {
		next := map[JournalID]uint64{}
		for _, r := range a.Journals {
			n, err := s.blocks.JournalNext(r.Journal)
			if err != nil {
				return fmt.Errorf("query: journal %x: %w", r.Journal, err)
			}
			next[r.Journal] = n
			if r.From > n {
				s.missing = append(s.missing, a.NodeID)
			}
		}
		var entries []Found
		for _, e := range a.Entries {
			if e.Seq < next[e.Journal] || e.Seq >= s.ends[e.Journal] || !s.wanted(e.Entry) {
				continue
			}
			entries = append(entries, Found{e.Entry, true})
		}
		s.push(entries)
		if n := len(a.Entries); a.Truncated && n > 0 {
			if end := positionOf(a.Entries[n-1].Entry); s.horizon == nil || order(end, *s.horizon, s.q.OldestFirst) < 0 {
				s.horizon = &end
			}
		}
	}
	return nil
}

// wanted tells whether an entry belongs on this page or a later one.
func (s *search) wanted(e *raftv1.AuditEntry) bool {
	return (s.q.Cursor == nil || order(positionOf(e), s.q.Cursor.After, s.q.OldestFirst) > 0) && s.q.Filter.Match(e)
}

// push adds entries, in any order, as a source.
func (s *search) push(entries []Found) {
	if len(entries) == 0 {
		return
	}
	slices.SortFunc(entries, func(a, b Found) int {
		return order(positionOf(a.Entry), positionOf(b.Entry), s.q.OldestFirst)
	})
	heap.Push(&s.heap, source{at: positionOf(entries[0].Entry), entries: entries})
}

// run fills found.
func (s *search) run() error {
	if s.low > s.high {
		return nil
	}
	kind, value := s.q.Filter.term()
	to := s.high
	if to <= math.MaxInt64-block.MaxSpan {
		to += block.MaxSpan
	} else {
		to = math.MaxInt64
	}
	err := s.blocks.AuditBlocks(kind, value, s.low, to, !s.q.OldestFirst, func(n uint64, oldest, newest int64) (bool, error) {
		// What is left of the blocks has nothing newer than this one's newest entry, in the one direction, and nothing
		// older than a span before it, in the other.
		at, limit := Position{Time: newest}, newest
		if s.q.OldestFirst {
			at = Position{Time: oldest}
			limit = max(newest, math.MinInt64+block.MaxSpan) - block.MaxSpan
		}
		if more, err := s.emit(func(t int64) bool { return cmp.Compare(t, limit) == s.before() }); !more || err != nil {
			return false, err
		}
		if oldest <= s.high {
			heap.Push(&s.heap, source{at: at, block: n})
		}
		return true, s.ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	_, err = s.emit(func(int64) bool { return true })
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	return nil
}

// before is how a time that precedes another in the order of the page compares with it.
func (s *search) before() int {
	if s.q.OldestFirst {
		return -1
	}
	return 1
}

// emit moves entries whose time is certain to precede all that is to come to found. It returns false when the page is
// full.
func (s *search) emit(certain func(t int64) bool) (more bool, err error) {
	for len(s.heap.list) > 0 && len(s.found) < s.limit && !s.stopped && certain(s.heap.list[0].at.Time) {
		top := &s.heap.list[0]
		if n := top.block; n != 0 {
			heap.Pop(&s.heap)
			if err := s.open(n); err != nil {
				return false, err
			}
			continue
		}
		if s.horizon != nil && order(top.at, *s.horizon, s.q.OldestFirst) > 0 {
			s.stopped = true
			break
		}
		s.found = append(s.found, top.entries[0])
		if top.entries = top.entries[1:]; len(top.entries) == 0 {
			heap.Pop(&s.heap)
			continue
		}
		top.at = positionOf(top.entries[0].Entry)
		heap.Fix(&s.heap, 0)
	}
	return len(s.found) < s.limit && !s.stopped, nil
}

// open reads a block's wanted entries.
func (s *search) open(n uint64) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	keep := uint64(math.MaxUint64) // how many entries, from the first, were there at the first page
	if n > s.bound.Block {
		h, err := s.blocks.AuditBlock(n)
		if err != nil {
			return fmt.Errorf("block %d: %w", n, err)
		}
		end := s.ends[JournalID(h.GetJournalId())]
		if end <= h.GetFirstSeq() {
			return nil
		}
		keep = end - h.GetFirstSeq()
	}
	body, err := s.blocks.AuditBody(n)
	if err != nil {
		return fmt.Errorf("body of block %d: %w", n, err)
	}
	want := block.Want{Since: s.low, Until: s.high, Literals: s.q.Filter.literals()}
	var entries []Found
	err = block.Select(body, want, func(place int, e *raftv1.AuditEntry) error {
		if uint64(place) < keep && s.wanted(e) {
			entries = append(entries, Found{Entry: e})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("body of block %d: %w", n, err)
	}
	s.push(entries)
	return nil
}

// page cuts the page out of what was found.
func (s *search) page() *Page {
	p := &Page{Entries: s.found, Missing: s.missing}
	slices.Sort(p.Missing)
	p.Missing = slices.Compact(p.Missing)
	next := s.bound
	switch n := s.limit - 1; {
	case len(s.found) > n:
		p.Entries = s.found[:n:n]
		next.After = positionOf(p.Entries[n-1].Entry)
	case s.stopped:
		next.After = *s.horizon
	case s.horizon != nil: // nothing else is left, but the answer that was cut has more
		next.After = *s.horizon
	default:
		return p
	}
	p.Next = &next
	return p
}
