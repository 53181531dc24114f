package audit

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/kavachd/kavachd/audit/block"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// world is a node's journal and the cluster's trail, as one goroutine moves them.
type world struct {
	t     *rapid.T
	dir   string
	boot  int
	j     *Journal
	s     *Shipper
	trail *trail
	acked int // entries 0 to acked-1 were acknowledged
	// fate is what becomes of the next proposals.
	fate []string
	// late are commands whose proposer gave up, and which are still on their way.
	late []*raftv1.AppendAuditBlock
	cmd  *raftv1.AppendAuditBlock // what the shipper is repeating
}

func (w *world) open() {
	o := smallJournal()
	o.BootID = fmt.Sprint("boot-", w.boot)
	j, err := OpenJournal(w.dir, o)
	if err != nil {
		w.t.Fatalf("open: %v", err)
	}
	w.j, w.s, w.cmd = j, NewShipper(j, w.propose, nil), nil
	w.s.builder = block.NewBuilder(true, 20<<10)
}

// propose applies a block or not, and tells of it or not.
func (w *world) propose(_ context.Context, cmd *raftv1.AppendAuditBlock) (uint64, error) {
	fate := "applied"
	if len(w.fate) > 0 {
		fate, w.fate = w.fate[0], w.fate[1:]
	}
	switch fate {
	case "lost":
		return 0, errors.New("no leader")
	case "late":
		w.late = append(w.late, cmd)
		return 0, errors.New("outcome unknown")
	case "answer lost":
		if _, err := w.trail.apply(cmd); err != nil {
			w.t.Fatalf("apply: %v", err)
		}
		return 0, errors.New("outcome unknown")
	}
	next, err := w.trail.apply(cmd)
	if err != nil {
		w.t.Fatalf("apply: %v", err)
	}
	return next, nil
}

// check finds every acknowledged entry exactly once, through a query as a node makes it.
func (w *world) check() {
	live, err := w.j.Live(Query{OldestFirst: true, Limit: 1 << 20}.Live())
	if err != nil {
		w.t.Fatalf("live: %v", err)
	}
	view := w.trail.view()
	page, err := Find(context.Background(), view, Query{OldestFirst: true, Limit: 1 << 20}, []*LiveAnswer{live})
	if err != nil {
		w.t.Fatalf("find: %v", err)
	}
	if len(page.Missing) > 0 {
		w.t.Fatalf("journals are missing: %v", page.Missing)
	}
	for i, f := range page.Entries {
		if got := number(f.Entry); got != i {
			w.t.Fatalf("place %d holds entry %d of %d", i, got, w.acked)
		}
	}
	if len(page.Entries) != w.acked {
		w.t.Fatalf("%d entries, %d were acknowledged", len(page.Entries), w.acked)
	}
}

// TestExactlyOnce: whatever happens to appends, proposals and the process, in any order, every acknowledged entry is
// once in blocks and journals together, and in the end once in blocks.
func TestExactlyOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{t: rt, dir: t.TempDir(), trail: newTrail()}
		w.open()
		add := func(size int) {
			var batch []*raftv1.AuditEntry
			for i := range size {
				e := entry(w.acked + i)
				e.Parameters = make([]byte, rapid.SampledFrom([]int{0, 100, 30_000, 60_000}).Draw(rt, "parameters"))
				batch = append(batch, e)
			}
			if _, err := w.j.AppendBatch(batch); err != nil {
				rt.Fatalf("append: %v", err)
			}
			w.acked += size
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(*rapid.T) { add(1) },
			"batch":  func(rt *rapid.T) { add(rapid.IntRange(1, 4).Draw(rt, "size")) },
			"ship": func(rt *rapid.T) {
				w.fate = append(w.fate, rapid.SampledFrom([]string{"applied", "applied", "lost", "late", "answer lost"}).Draw(rt, "fate"))
				if _, err := w.s.attempt(context.Background(), &w.cmd); err == nil {
					w.cmd = nil
				}
				w.fate = nil // nothing may have been left to propose
			},
			"arrive": func(*rapid.T) {
				for _, cmd := range w.late {
					if _, err := w.trail.apply(cmd); err != nil {
						rt.Fatalf("apply: %v", err)
					}
				}
				w.late = nil
			},
			"end": func(rt *rapid.T) {
				end := w.j.Close
				if rapid.Bool().Draw(rt, "killed") {
					end = func() error { return crash(w.j) }
				}
				if err := end(); err != nil {
					rt.Fatal(err)
				}
				w.boot += rapid.IntRange(0, 1).Draw(rt, "machine too")
				w.open()
			},
			"": func(*rapid.T) { w.check() },
		})
		w.fate = nil
		for w.j.pending() > 0 {
			w.cmd = nil
			if _, err := w.s.attempt(context.Background(), &w.cmd); err != nil {
				rt.Fatalf("ship: %v", err)
			}
		}
		if got := len(w.trail.view().all(rt)); got != w.acked {
			rt.Fatalf("%d entries in blocks, %d were acknowledged", got, w.acked)
		}
		w.check()
		if err := w.j.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}
