package audit

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/kavachd/kavachd/audit/block"
	"github.com/kavachd/kavachd/authz"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/ids"
)

// pool is a cluster's entries as a query sees them: a trail, and journals of which a part is in it.
type pool struct {
	trail *trail
	lives []*liveNode
	all   []*raftv1.AuditEntry // of everything that was acknowledged
}

// liveNode is a node that answers for its journal. From is what it knows to be replicated, which may be less than what is.
type liveNode struct {
	id      JournalID
	from    uint64
	entries []*raftv1.AuditEntry // number n stands at n-1
}

func (n *liveNode) live(q LiveQuery) *LiveAnswer {
	a := &LiveAnswer{NodeID: fmt.Sprint("node-", n.id[0]), Journals: []LiveRange{{n.id, n.from, uint64(len(n.entries)) + 1}}}
	for seq := n.from; seq <= uint64(len(n.entries)); seq++ {
		if e := n.entries[seq-1]; q.match(e) {
			a.Entries = append(a.Entries, LiveEntry{n.id, seq, e})
		}
	}
	a.trim(q)
	return a
}

func (p *pool) live(q LiveQuery) (answers []*LiveAnswer) {
	for _, n := range p.lives {
		answers = append(answers, n.live(q))
	}
	return answers
}

// drawEntry makes an entry of few values, so that filters meet some, and of few times, so that many are equal. Times are
// within a few spans of a block.
func (p *pool) drawEntry(t *rapid.T) *raftv1.AuditEntry {
	pick := func(name string, from ...string) string { return rapid.SampledFrom(from).Draw(t, name) }
	at := rapid.Int64Range(1, 40).Draw(t, "time") * block.MaxSpan / 4
	id, err := ids.New(unixNano(at), seededReader{seeded(uint64(len(p.all)))})
	if err != nil {
		t.Fatal(err)
	}
	e := &raftv1.AuditEntry{
		Id: id[:], Time: at, Kind: rapid.Uint32Range(1, 2).Draw(t, "kind"), AgentId: pick("agent", "", "agt_a", "agt_b", "agt_ab"),
		Owner: pick("owner", "u1", "u2", "agt_a"), Tenant: pick("tenant", "default", "t2"), Action: pick("action", "read", "write", "readwrite"),
		Resource: pick("resource", "mcp:a", "mcp:b:c", "mcp", "x"), Result: rapid.Uint32Range(1, 3).Draw(t, "result"),
	}
	p.all = append(p.all, e)
	return e
}

// draw makes a pool, or puts more into one.
func (p *pool) draw(t *rapid.T) {
	for range rapid.IntRange(0, 60).Draw(t, "entries") {
		switch k := rapid.IntRange(0, 7).Draw(t, "what"); {
		case k == 0:
			if err := p.trail.act(p.drawEntry(t)); err != nil {
				t.Fatal(err)
			}
		case k < 3:
			p.ship(t)
		default:
			n := p.lives[rapid.IntRange(0, len(p.lives)-1).Draw(t, "node")]
			n.entries = append(n.entries, p.drawEntry(t))
		}
	}
}

// ship takes a block of one node's entries into the trail; the node may not know of it yet.
func (p *pool) ship(t *rapid.T) {
	n := p.lives[rapid.IntRange(0, len(p.lives)-1).Draw(t, "shipped")]
	first := max(p.trail.next[n.id], 1)
	b := block.NewBuilder(true, block.TargetBody)
	for _, e := range n.entries[first-1 : min(uint64(len(n.entries)), first-1+rapid.Uint64Range(1, 9).Draw(t, "count"))] {
		if took, err := b.Add(block.AppendEntry(nil, e), e); err != nil {
			t.Fatal(err)
		} else if !took {
			break
		}
	}
	blk, count := b.Finish()
	if count == 0 {
		return
	}
	if _, err := p.trail.apply(blk.Command(n.id, first, "n")); err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "known") {
		n.from = p.trail.next[n.id]
	}
}

func newPool() *pool {
	p := &pool{trail: newTrail()}
	for i := range 3 {
		p.lives = append(p.lives, &liveNode{id: JournalID{byte(i + 1)}, from: 1})
	}
	return p
}

// drawFilter gives few conditions, so that some entries meet them.
func drawFilter(t *rapid.T) (f Filter) {
	pick := func(name string, from ...string) string { return rapid.SampledFrom(from).Draw(t, name) }
	at := func(name string) int64 { return rapid.Int64Range(0, 41).Draw(t, name) * block.MaxSpan / 4 }
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		switch rapid.IntRange(0, 8).Draw(t, "condition") {
		case 0:
			f.AgentID = pick("f agent", "agt_a", "agt_b", "none")
		case 1:
			f.Owner = pick("f owner", "u1", "agt_a")
		case 2:
			f.Tenant = pick("f tenant", "default", "t2")
		case 3:
			f.Result = rapid.Uint32Range(1, 3).Draw(t, "f result")
		case 4:
			f.Kind = rapid.Uint32Range(1, 2).Draw(t, "f kind")
		case 5:
			f.ResourcePattern = pick("f pattern", "mcp:*", "mcp:b:*", "x")
		case 6:
			f.Actions = rapid.SampledFrom([][]string{{}, {"read"}, {"write", "readwrite"}, {"none"}}).Draw(t, "f actions")
		case 7:
			f.Since = at("f since")
		case 8:
			f.Until = at("f until")
		}
	}
	return f
}

// naive is what a query must return: all entries, looked at one by one.
func naive(all []*raftv1.AuditEntry, f Filter, oldestFirst bool) (want []*raftv1.AuditEntry) {
	for _, e := range all {
		ok := true
		for _, c := range []struct{ given, met bool }{
			{f.AgentID != "", e.AgentId == f.AgentID},
			{f.Owner != "", e.Owner == f.Owner},
			{f.Tenant != "", e.Tenant == f.Tenant},
			{f.Result != 0, e.Result == f.Result},
			{f.Kind != 0, e.Kind == f.Kind},
			{len(f.Actions) > 0, slices.Contains(f.Actions, e.Action)},
			{f.ResourcePattern != "", authz.Match(f.ResourcePattern, e.Resource)},
			{f.Since != 0, f.Since <= e.Time},
			{f.Until != 0, e.Time <= f.Until},
		} {
			ok = ok && (!c.given || c.met)
		}
		if ok {
			want = append(want, e)
		}
	}
	slices.SortFunc(want, func(a, b *raftv1.AuditEntry) int {
		c := slices.Compare(a.Id, b.Id)
		if a.Time != b.Time {
			c = 1 - 2*btoi(a.Time < b.Time)
		}
		if !oldestFirst {
			c = -c
		}
		return c
	})
	return want
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestFindEqualsNaive: any query over any mixture of blocks and journals, read page by page while more arrives, returns
// what looking at every entry there was at the first page returns, each once and in order.
func TestFindEqualsNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPool()
		p.draw(t)
		q := Query{
			Filter: drawFilter(t), OldestFirst: rapid.Bool().Draw(t, "oldest first"), Limit: rapid.IntRange(1, 12).Draw(t, "limit"),
		}
		want := naive(p.all, q.Filter, q.OldestFirst)
		var got []*raftv1.AuditEntry
		for pages := 0; ; pages++ {
			if pages > 500 {
				t.Fatal("the pages have no end")
			}
			answers := p.live(q.Live())
			if rapid.Bool().Draw(t, "more in between") { // between the answers and the read
				p.draw(t)
			}
			page, err := Find(context.Background(), p.trail.view(), q, answers)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Missing) > 0 || len(page.Entries) > q.Limit {
				t.Fatalf("page of %d entries, limit %d; missing %v", len(page.Entries), q.Limit, page.Missing)
			}
			if pages == 0 { // what came between the answers and the read may or may not be there: it is at the first page only
				want = settle(page, want, p, q)
			}
			for _, f := range page.Entries {
				got = append(got, f.Entry)
			}
			if page.Next == nil {
				break
			}
			b, err := page.Next.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			if q.Cursor, err = ParseCursor(b); err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "more") {
				p.draw(t)
			}
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Fatalf("entries (-want +got):\n%s", diff)
		}
	})
}

// settle adds to want what was not there when the answers were made, but in a block of the version that was read.
func settle(page *Page, want []*raftv1.AuditEntry, p *pool, q Query) []*raftv1.AuditEntry {
	next := page.Next
	if next == nil {
		next = &Cursor{Block: uint64(len(p.trail.headers))}
	}
	known := map[string]bool{}
	for _, e := range want {
		known[string(e.Id)] = true
	}
	view := p.trail.view()
	for n := range min(next.Block, uint64(len(view.bodies))) {
		entries, err := block.Decode(view.bodies[n])
		if err != nil {
			panic(err)
		}
		for _, e := range naive(entries, q.Filter, q.OldestFirst) {
			if !known[string(e.Id)] {
				want = append(want, e)
			}
		}
	}
	return naive(want, Filter{}, q.OldestFirst)
}

// TestFindReportsGaps: a node that has freed what this version does not hold is named.
func TestFindReportsGaps(t *testing.T) {
	p := newPool()
	for n := range 5 {
		p.lives[0].entries = append(p.lives[0].entries, entry(n))
	}
	p.lives[0].from = 3
	page, err := Find(t.Context(), p.trail.view(), Query{Limit: 10}, p.live(LiveQuery{}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"node-1"}, page.Missing); diff != "" || len(page.Entries) != 3 {
		t.Fatalf("%d entries; missing (-want +got):\n%s", len(page.Entries), diff)
	}
}

// TestFindOpensFewBlocks: the newest page of an agent reads only blocks that hold the agent, and no more than it needs.
func TestFindOpensFewBlocks(t *testing.T) {
	tr := newTrail()
	id := JournalID{1}
	for b := range 200 {
		var entries []*raftv1.AuditEntry
		for i := range 20 {
			e := entry(b*20 + i)
			e.Time = int64(b+1)*block.MaxSpan + int64(i)
			e.AgentId = fmt.Sprint("agt_", b%10)
			entries = append(entries, e)
		}
		blk, err := block.Encode(entries)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.apply(blk.Command(id, uint64(b)*20+1, "n")); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		q          Query
		want, most int
	}{
		{Query{Filter: Filter{AgentID: "agt_3"}, Limit: 30}, 30, 2},
		{Query{Filter: Filter{AgentID: "none"}, Limit: 30}, 0, 0},
		{Query{Filter: Filter{Since: 50 * block.MaxSpan, Until: 51*block.MaxSpan - 1}, Limit: 100}, 20, 1},
		{Query{Filter: Filter{Since: 50 * block.MaxSpan}, OldestFirst: true, Limit: 30}, 30, 2},
		{Query{Limit: 20}, 20, 2},
	} {
		v := tr.view()
		page, err := Find(t.Context(), v, c.q, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) != c.want || v.opened > c.most {
			t.Errorf("%+v: %d entries of %d blocks, want %d of at most %d", c.q, len(page.Entries), v.opened, c.want, c.most)
		}
	}
}

func TestFindAtTheEndsOfTime(t *testing.T) {
	p := newPool()
	for _, at := range []int64{math.MinInt64, -1, 1, math.MaxInt64} {
		e := &raftv1.AuditEntry{Id: make([]byte, 16), Time: at}
		if err := p.trail.act(e); err != nil {
			t.Fatal(err)
		}
		p.all = append(p.all, e)
	}
	for _, f := range []Filter{{}, {Since: math.MinInt64}, {Since: math.MaxInt64}, {Until: math.MaxInt64}, {Until: math.MinInt64}, {Since: 5, Until: 4}} {
		for _, oldestFirst := range []bool{false, true} {
			page, err := Find(t.Context(), p.trail.view(), Query{Filter: f, OldestFirst: oldestFirst, Limit: 9}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []*raftv1.AuditEntry
			for _, x := range page.Entries {
				got = append(got, x.Entry)
			}
			if diff := cmp.Diff(naive(p.all, f, oldestFirst), got, protocmp.Transform()); diff != "" {
				t.Errorf("%+v, oldest first %v (-want +got):\n%s", f, oldestFirst, diff)
			}
		}
	}
}

func TestGet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPool()
		p.draw(t)
		// An act is stamped by the leader: its entry's time is not that of its id.
		act := p.drawEntry(t)
		act.Time += rapid.Int64Range(-int64(actSlack), int64(actSlack)).Draw(t, "late")
		if err := p.trail.act(act); err != nil {
			t.Fatal(err)
		}
		for _, want := range append(p.all, nil) {
			id := ids.ID{5: 1, 15: 1}
			if want != nil {
				id = ids.ID(want.Id)
			}
			answers := p.live(LiveQuery{ID: id[:]})
			got, err := Get(context.Background(), p.trail.view(), id, answers)
			if err != nil {
				t.Fatal(err)
			}
			if (got == nil) != (want == nil) {
				t.Fatalf("%v: got %v", want, got)
			}
			if want == nil {
				continue
			}
			if diff := cmp.Diff(want, got.Entry, protocmp.Transform()); diff != "" {
				t.Fatalf("entry (-want +got):\n%s", diff)
			}
		}
		if got, err := Get(context.Background(), p.trail.view(), ids.ID{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, nil); got != nil || err != nil {
			t.Fatalf("an id of no time: %v, %v", got, err)
		}
	})
}

func TestUnreplicatedIsSaid(t *testing.T) {
	p := newPool()
	n := p.lives[0]
	n.entries = []*raftv1.AuditEntry{entry(1), entry(2)}
	blk, err := block.Encode(n.entries[:1])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.trail.apply(blk.Command(n.id, 1, "n")); err != nil {
		t.Fatal(err)
	}
	page, err := Find(t.Context(), p.trail.view(), Query{Limit: 5}, p.live(LiveQuery{}))
	if err != nil || len(page.Entries) != 2 || !page.Entries[0].Unreplicated || page.Entries[1].Unreplicated {
		t.Fatalf("page %+v, %v", page, err)
	}
	for i, want := range []bool{false, true} {
		id := ids.ID(n.entries[i].Id)
		got, err := Get(t.Context(), p.trail.view(), id, p.live(LiveQuery{ID: id[:]}))
		if err != nil || got.Unreplicated != want {
			t.Fatalf("entry %d: %+v, %v", i, got, err)
		}
	}
}

func TestFindStopsWithItsContext(t *testing.T) {
	p := newPool()
	if err := p.trail.act(entry(1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Find(ctx, p.trail.view(), Query{Limit: 5}, nil); err == nil {
		t.Fatal("a query of an ended context succeeded")
	}
}

// BenchmarkFindAgent is the newest 100 of one agent of 1,000 among a million entries.
func BenchmarkFindAgent(b *testing.B) {
	const total, each = 1_000_000, 1500
	tr := newTrail()
	var entries []*raftv1.AuditEntry
	var size int
	for n := range total {
		e := entry(n)
		e.AgentId = fmt.Sprintf("agt_%026d", uint64(n)*0x9e3779b97f4a7c15>>32%1000)
		if entries = append(entries, e); len(entries) < each && n < total-1 {
			continue
		}
		blk, err := block.Encode(entries)
		if err != nil {
			b.Fatal(err)
		}
		size += len(blk.Body)
		if _, err := tr.apply(blk.Command(JournalID{1}, uint64(n+2-len(entries)), "n")); err != nil {
			b.Fatal(err)
		}
		entries = nil
	}
	v := tr.view()
	agent := fmt.Sprintf("agt_%026d", 7)
	b.Run("newest100", func(b *testing.B) {
		b.ReportAllocs()
		v.opened = 0
		for b.Loop() {
			page, err := Find(b.Context(), v, Query{Filter: Filter{AgentID: agent}, Limit: 100}, nil)
			if err != nil || len(page.Entries) != 100 {
				b.Fatalf("%v, %v", page, err)
			}
		}
		b.ReportMetric(float64(v.opened)/float64(b.N), "blocks/op")
		b.ReportMetric(float64(size)/total, "bytes/entry")
	})
	for format, name := range map[Format]string{FormatCSV: "csv", FormatJSONL: "jsonl"} {
		b.Run("export/"+name, func(b *testing.B) {
			var n uint64
			for b.Loop() {
				c, _, err := Export(b.Context(), discard{}, format, Filter{Since: entry(0).Time, Until: entry(100_000).Time},
					func(ctx context.Context, q Query) (*Page, error) { return Find(ctx, v, q, nil) })
				if err != nil {
					b.Fatal(err)
				}
				n += c
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
