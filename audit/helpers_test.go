package audit

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	mrand "math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/kavachd/kavachd/audit/block"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

func TestMain(m *testing.M) {
	if runChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

// testBoot is this start of the machine, as far as tests go.
const testBoot = "boot-1"

// smallJournal has segments that are full soon.
func smallJournal() JournalOptions {
	return JournalOptions{NodeID: "node-1", Random: rand.Reader, BootID: testBoot, SegmentBytes: minSegment}
}

func openJournal(tb testing.TB, dir string, o JournalOptions) *Journal {
	tb.Helper()
	j, err := OpenJournal(dir, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := j.Close(); err != nil {
			tb.Error(err)
		}
	})
	return j
}

// crash ends a journal as the death of its process does: no flush, no mark, and the lock falls.
func crash(j *Journal) error { return j.lock.Close() }

// entry is an ordinary entry whose id, as a number, is n.
func entry(n int) *raftv1.AuditEntry {
	e := &raftv1.AuditEntry{
		Id: make([]byte, 16), Time: 1_700_000_000_000_000_000 + int64(n)*1000, NodeId: "node-1", Kind: 1,
		AgentId: fmt.Sprintf("agt_%026d", n%50), Owner: fmt.Sprint("user-", n%10), Tenant: "default", Action: "read",
		Resource: fmt.Sprint("mcp:github:repo-", n%30), Parameters: []byte(`{"branch":"main"}`), Result: 1, ReasonCode: 1,
		PermissionResource: "mcp:github:*", Ip: "10.1.2.3", UserAgent: "kavach-go/1.0", Trace: fmt.Sprintf("%016x", uint64(n+1)*0x9e3779b97f4a7c15), Duration: 900, Revision: 4711,
		CallerKey: bytes.Repeat([]byte{7}, 16),
	}
	binary.BigEndian.PutUint64(e.Id[8:], uint64(n))
	binary.BigEndian.PutUint64(e.Id, uint64(e.Time/1e6)<<16|0x7000)
	if n%5 == 0 {
		e.Result, e.ReasonCode, e.PermissionResource, e.Reason = 2, 2, "", "No permission grants this"
	}
	return e
}

// number is the n of entry.
func number(e *raftv1.AuditEntry) int { return int(binary.BigEndian.Uint64(e.GetId()[8:])) }

// liveNumbers are the numbers of all entries in the journal.
func liveNumbers(tb testing.TB, j *Journal) (n []int) {
	tb.Helper()
	a, err := j.Live(LiveQuery{OldestFirst: true})
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range a.Entries {
		n = append(n, number(e.Entry))
	}
	slices.Sort(n)
	return n
}

// trail is the replicated half as fsm keeps it: blocks by journal and number, with the sparse index.
type trail struct {
	mu      sync.Mutex
	headers []*raftv1.AuditBlock // block n stands at n-1
	bodies  [][]byte
	terms   []map[string]bool
	next    map[JournalID]uint64
}

func newTrail() *trail { return &trail{next: map[JournalID]uint64{}} }

// apply does what apply does with a block.
func (t *trail) apply(cmd *raftv1.AppendAuditBlock) (nextSeq uint64, err error) {
	if err := block.Check(cmd); err != nil {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	h := cmd.GetHeader()
	id := JournalID(h.GetJournalId())
	next := max(t.next[id], 1)
	if h.GetFirstSeq() != next {
		return next, nil
	}
	t.add(h, cmd.GetBody(), cmd)
	return t.next[id], nil
}

func (t *trail) add(h *raftv1.AuditBlock, body []byte, cmd *raftv1.AppendAuditBlock) {
	terms := map[string]bool{fmt.Sprint(termTime, "/"): true}
	for kind, values := range map[uint8][]string{termAgent: cmd.GetAgents(), termOwner: cmd.GetOwners(), termTenant: cmd.GetTenants()} {
		for _, v := range values {
			terms[fmt.Sprint(kind, "/", v)] = true
		}
	}
	for _, r := range cmd.GetResults() {
		terms[fmt.Sprint(termResult, "/", r)] = true
	}
	h.BlockSeq = uint64(len(t.headers)) + 1
	t.headers, t.bodies, t.terms = append(t.headers, h), append(t.bodies, body), append(t.terms, terms)
	t.next[JournalID(h.GetJournalId())] = h.GetFirstSeq() + uint64(h.GetCount())
}

// act adds entries that apply itself makes.
func (t *trail) act(entries ...*raftv1.AuditEntry) error {
	blk, err := block.EncodeUncompressed(entries)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	cmd := blk.Command(JournalID{}, max(t.next[JournalID{}], 1), "")
	t.add(cmd.GetHeader(), cmd.GetBody(), cmd)
	return nil
}

// view is the trail as it is now.
func (t *trail) view() *trailView {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := &trailView{headers: slices.Clone(t.headers), bodies: slices.Clone(t.bodies), terms: slices.Clone(t.terms), next: maps.Clone(t.next)}
	v.byNewest = make([]int, len(v.headers))
	for i := range v.byNewest {
		v.byNewest[i] = i
	}
	slices.SortStableFunc(v.byNewest, func(a, b int) int {
		switch x, y := v.headers[a].GetMaxTime(), v.headers[b].GetMaxTime(); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return a - b
	})
	return v
}

// trailView is one version of a trail: Blocks.
type trailView struct {
	headers  []*raftv1.AuditBlock
	bodies   [][]byte
	terms    []map[string]bool
	next     map[JournalID]uint64
	byNewest []int
	opened   int // bodies that were read
}

func (v *trailView) AuditBlocks(kind uint8, value string, from, to int64, descending bool, fn func(block uint64, oldest, newest int64) (bool, error)) error {
	order := slices.Clone(v.byNewest)
	if descending {
		slices.Reverse(order)
	}
	for _, i := range order {
		h := v.headers[i]
		if h.GetMaxTime() < from || h.GetMaxTime() > to || !v.terms[i][fmt.Sprint(kind, "/", value)] {
			continue
		}
		if more, err := fn(uint64(i)+1, h.GetMinTime(), h.GetMaxTime()); err != nil || !more {
			return err
		}
	}
	return nil
}

func (v *trailView) AuditBlock(n uint64) (*raftv1.AuditBlock, error) { return v.headers[n-1], nil }

func (v *trailView) AuditBody(n uint64) ([]byte, error) {
	v.opened++
	return v.bodies[n-1], nil
}

func (v *trailView) JournalNext(id [16]byte) (uint64, error) { return max(v.next[id], 1), nil }

func (v *trailView) AuditLast() (uint64, error) { return uint64(len(v.headers)), nil }

// all are the entries of all blocks, in the order of the blocks.
func (v *trailView) all(tb interface{ Fatal(...any) }) (entries []*raftv1.AuditEntry) {
	for _, body := range v.bodies {
		e, err := block.Decode(body)
		if err != nil {
			tb.Fatal(err)
		}
		entries = append(entries, e...)
	}
	return entries
}

// seeded is randomness that can be repeated.
func seeded(seed uint64) *mrand.Rand { return mrand.New(mrand.NewPCG(seed, seed^math.MaxUint32)) }

func unixNano(at int64) time.Time { return time.Unix(0, at) }

// seededReader is randomness that can be repeated, as a reader.
type seededReader struct{ rng *mrand.Rand }

func (r seededReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.rng.Uint32())
	}
	return len(p), nil
}

func protoBytes(b []byte) protoreflect.Value  { return protoreflect.ValueOfBytes(b) }
func protoString(s string) protoreflect.Value { return protoreflect.ValueOfString(s) }

func protoNumber(f protoreflect.FieldDescriptor, n uint64) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(n))
	}
	return protoreflect.ValueOfUint64(n)
}
