package fsm

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/kavachd/kavachd/audit/block"
	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// trail is every entry of every block, in the cluster's order.
func (b *bench) trail() (all []*raftv1.AuditEntry) {
	b.t.Helper()
	b.read(func(r *Reader) {
		c, err := r.Cluster()
		if err != nil {
			b.t.Fatal(err)
		}
		for n := uint64(1); n <= c.GetAuditBlocks(); n++ {
			body, err := r.AuditBody(n)
			if err != nil {
				b.t.Fatal(err)
			}
			entries, err := block.Decode(body)
			if err != nil {
				b.t.Fatal(err)
			}
			all = append(all, entries...)
		}
	})
	return all
}

// TestEveryActHasOneEntry: allowed, refused, and repeated; all of one Raft entry in one block.
func TestEveryActHasOneEntry(t *testing.T) {
	b := newBench(t)
	b.entry(
		audited(1001, "AgentService.CreateAgent", keyed("k", "q", create(10, nil, "a *"))),
		audited(1002, "AgentService.RotateAgentToken", rotate(11, "x", 0)),
		audited(1003, "AgentService.CreateAgent", by(99, "default", create(12, nil))),
		create(13, nil), // asks for none
		audited(1004, "DelegationService.CreateDelegation", delegate(50, 10, 13, nil, "a read")),
		audited(1005, "AgentService.CreateAgent", keyed("k", "q", create(14, nil))),
		audited(1006, "AccessService.RevokeApiKey", revokeKey(2)),
	)
	b.last.Touched = Touched{}
	id := func(n int) string { return agentText(testID(n)) }
	act := func(n int, method string, edit func(*raftv1.AuditEntry)) *raftv1.AuditEntry {
		e := &raftv1.AuditEntry{
			Id: testID(n), Time: start, NodeId: "n1", Kind: 2, Action: method, Result: 1, ReasonCode: 1, Ip: "10.0.0.1",
			UserAgent: "test", Trace: "trace", Revision: b.index, CallerKey: testID(2),
		}
		edit(e)
		return e
	}
	denied := func(e *raftv1.AuditEntry, r status.Reason, text string) {
		e.Result, e.ReasonCode, e.Refusal, e.Reason = 2, 0, string(r), text
	}
	want := []*raftv1.AuditEntry{
		act(1001, "AgentService.CreateAgent", func(e *raftv1.AuditEntry) { e.AgentId, e.Owner, e.Tenant = id(10), "alice", "default" }),
		act(1002, "AgentService.RotateAgentToken", func(e *raftv1.AuditEntry) {
			e.AgentId = id(11)
			denied(e, status.AgentNotFound, "agent "+id(11)+" not found")
		}),
		act(1003, "AgentService.CreateAgent", func(e *raftv1.AuditEntry) {
			e.Tenant, e.CallerKey = "default", testID(99)
			denied(e, status.Unauthenticated, "the API key is unknown")
		}),
		act(1004, "DelegationService.CreateDelegation", func(e *raftv1.AuditEntry) {
			e.AgentId, e.Owner, e.Tenant, e.Resource = id(10), "alice", "default", "delegation:"+delegationText(testID(50))
		}),
		act(1005, "AgentService.CreateAgent", func(e *raftv1.AuditEntry) { e.AgentId, e.Owner, e.Tenant = id(10), "alice", "default" }),
		act(1006, "AccessService.RevokeApiKey", func(e *raftv1.AuditEntry) { e.Resource = "key:" + keyText(testID(2)) }),
	}
	if d := cmp.Diff(want, b.trail(), protocmp.Transform()); d != "" {
		t.Error(d)
	}
	b.read(func(r *Reader) {
		h, err := r.AuditBlock(1)
		if err != nil || h.GetCount() != 6 || h.GetFirstSeq() != 1 || h.GetIndex() != b.index || h.GetBlockSeq() != 1 {
			t.Errorf("%v, %v", h, err)
		}
		if h2, err := r.AuditBlock(2); h2 != nil || err != nil {
			t.Errorf("a second block: %v, %v", h2, err)
		}
		if next, err := r.JournalNext(storage.JournalID{}); next != 7 || err != nil {
			t.Errorf("the next number is %d, %v", next, err)
		}
	})
	b.check()
}

// TestManyActsMakeSeveralBlocks: an entry whose acts exceed a block is cut, and loses none.
func TestManyActsMakeSeveralBlocks(t *testing.T) {
	b := newBench(t)
	var cmds []*raftv1.Command
	for i := range 2000 {
		c := audited(2000+i, strings.Repeat("m", 2000), revoke(99))
		c.Audit.UserAgent = strings.Repeat("é", 900)
		cmds = append(cmds, c)
	}
	b.entry(cmds...)
	trail := b.trail()
	if len(trail) != 2000 || len(trail[0].GetAction()) != clipped || len(trail[0].GetUserAgent()) != clipped {
		t.Errorf("%d entries; %d and %d bytes of text", len(trail), len(trail[0].GetAction()), len(trail[0].GetUserAgent()))
	}
	b.check()
}

func TestClipKeepsCharacters(t *testing.T) {
	if got := clip("x" + strings.Repeat("é", clipped)); len(got) != clipped-1 || strings.ToValidUTF8(got, "?") != got {
		t.Errorf("%d bytes", len(got))
	}
	if got := clip("short"); got != "short" {
		t.Error(got)
	}
}

// TestAppendAuditBlock: only the next number of each journal; a repeat yields it and writes nothing.
func TestAppendAuditBlock(t *testing.T) {
	b := newBench(t)
	next := func(c *raftv1.Command) uint64 { return b.ok(c).GetAuditBlock().GetNextSeq() }
	if n := next(appendBlock(7, 1, "n1", start, start+1)); n != 3 {
		t.Errorf("next is %d", n)
	}
	before := b.digests()
	for _, seq := range []uint64{1, 2} { // a repeat; one that overlaps
		if n := next(appendBlock(7, seq, "n1", start, start+1)); n != 3 {
			t.Errorf("a repeat from %d: next is %d", seq, n)
		}
	}
	for letter, sum := range b.digests() {
		if sum != before[letter] {
			t.Errorf("a repeat changed the table %q", letter)
		}
	}
	e := b.refused(status.InvalidArgument, appendBlock(7, 4, "n1", start)) // a gap
	if e.Fields[0].Path != "header.first_seq" {
		t.Error(e)
	}
	if n := next(appendBlock(8, 1, "n2", start)); n != 2 { // another journal
		t.Errorf("next is %d", n)
	}
	if n := next(appendBlock(7, 3, "n1", start+2)); n != 4 || !b.last.Touched.AuditBlocks || !b.last.Touched.Empty() {
		t.Errorf("next is %d, touched %v", n, b.last.Touched)
	}
	b.check()
}

func TestAppendAuditBlockRefuses(t *testing.T) {
	b := newBench(t)
	for name, spoil := range map[string]func(*raftv1.AppendAuditBlock){
		"the journal of apply": func(c *raftv1.AppendAuditBlock) { c.Header.JournalId = make([]byte, 16) },
		"no journal":           func(c *raftv1.AppendAuditBlock) { c.Header.JournalId = nil },
		"no header":            func(c *raftv1.AppendAuditBlock) { c.Header = nil },
		"another body":         func(c *raftv1.AppendAuditBlock) { c.Body[len(c.Body)-1] ^= 1 },
		"another count":        func(c *raftv1.AppendAuditBlock) { c.Header.Count++ },
		"a term too long":      func(c *raftv1.AppendAuditBlock) { c.Agents = []string{strings.Repeat("a", maxTerm+1)} },
		"a node too long":      func(c *raftv1.AppendAuditBlock) { c.Header.NodeId = strings.Repeat("a", maxText+1) },
	} {
		t.Run(name, func(t *testing.T) {
			b.t = t
			c := appendBlock(7, 1, "n1", start)
			spoil(c.GetAppendAuditBlock())
			b.refused(status.InvalidArgument, c)
		})
	}
	b.t = t
	b.check()
}

func TestAuditBlocksByTerm(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		b.ok(appendBlock(7, uint64(1+2*i), "n1", start+int64(i)*hour, start+int64(i)*hour+second))
	}
	refs := func(kind storage.TermKind, value string, from, to int64, descending bool) (blocks []uint64) {
		b.read(func(r *Reader) {
			err := r.AuditBlocks(uint8(kind), value, from, to, descending, func(block uint64, oldest, newest int64) (bool, error) {
				blocks = append(blocks, block)
				if newest != oldest+second {
					t.Errorf("block %d: %d to %d", block, oldest, newest)
				}
				return true, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
		return blocks
	}
	for _, tc := range []struct {
		kind     storage.TermKind
		value    string
		from, to int64
		want     []uint64 // the newest first
	}{
		{storage.TermTime, "", math.MinInt64, math.MaxInt64, []uint64{5, 4, 3, 2, 1}},
		{storage.TermAgent, agentText(testID(10)), start + hour + second, math.MaxInt64, []uint64{5, 4, 3, 2}},
		{storage.TermAgent, agentText(testID(11)), 0, math.MaxInt64, nil},
		{storage.TermOwner, "alice", 0, start + hour + second, []uint64{2, 1}},
		{storage.TermOwner, "alice", 0, start + hour, []uint64{1}},
		{storage.TermTenant, "default", start + hour, start + 2*hour + second, []uint64{3, 2}},
		{storage.TermResult, ResultTerm(1), start + 4*hour, math.MaxInt64, []uint64{5}},
		{storage.TermResult, ResultTerm(2), 0, math.MaxInt64, nil},
	} {
		ascending := slices.Clone(tc.want)
		slices.Reverse(ascending)
		if d := cmp.Diff(ascending, refs(tc.kind, tc.value, tc.from, tc.to, false)); d != "" {
			t.Errorf("%s %q, ascending: %s", tc.kind, tc.value, d)
		}
		if d := cmp.Diff(tc.want, refs(tc.kind, tc.value, tc.from, tc.to, true)); d != "" {
			t.Errorf("%s %q: %s", tc.kind, tc.value, d)
		}
	}
}
