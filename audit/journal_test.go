package audit

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kavachd/kavachd/audit/block"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/status"
)

func TestAppendAndReopen(t *testing.T) {
	dir := t.TempDir()
	var want []int
	var id JournalID
	for life := range 4 {
		j, err := OpenJournal(dir, smallJournal())
		if err != nil {
			t.Fatal(err)
		}
		if life == 0 {
			id = j.ID()
		}
		r := j.Recovered()
		if j.ID() != id || r.Continued != (life > 0) || r.Entries != uint64(len(want)) || r.Damage != nil {
			t.Fatalf("life %d: journal %x, want %x; recovered %+v, want %d entries", life, j.ID(), id, r, len(want))
		}
		for range 3000 { // more than a segment holds
			n := len(want) + 1
			seq, err := j.Append(entry(n))
			if err != nil || seq != uint64(n) {
				t.Fatalf("entry %d has number %d: %v", n, seq, err)
			}
			want = append(want, n)
		}
		if diff := cmp.Diff(want, liveNumbers(t, j)); diff != "" {
			t.Fatalf("life %d: entries (-want +got):\n%s", life, diff)
		}
		if life%2 == 0 {
			err = crash(j)
		} else {
			err = j.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAppendBatchIsWhole(t *testing.T) {
	j := openJournal(t, t.TempDir(), smallJournal())
	var want []int
	for size := range 200 {
		var batch []*raftv1.AuditEntry
		for range size {
			want = append(want, len(want)+1)
			batch = append(batch, entry(len(want)))
		}
		first, err := j.AppendBatch(batch)
		if err != nil || (size > 0 && first != uint64(len(want)-size+1)) || (size == 0 && first != 0) {
			t.Fatalf("batch of %d begins at %d: %v", size, first, err)
		}
	}
	if diff := cmp.Diff(want, liveNumbers(t, j)); diff != "" {
		t.Fatalf("entries (-want +got):\n%s", diff)
	}
}

// TestManyAppenders: numbers are given once and without a gap, and every entry that was acknowledged is read at once.
func TestManyAppenders(t *testing.T) {
	j := openJournal(t, t.TempDir(), smallJournal())
	const appenders, each = 16, 1500
	var wg sync.WaitGroup
	seqs := make([][]uint64, appenders)
	var stop atomic.Bool
	wg.Go(func() { // a reader meanwhile never sees anything that is not whole
		for !stop.Load() {
			if _, err := j.Live(LiveQuery{Limit: 10}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var writers sync.WaitGroup
	for a := range appenders {
		writers.Go(func() {
			for i := 0; i < each; i++ {
				n := a*each + i
				if i%10 != 0 {
					seq, err := j.Append(entry(n))
					if err != nil {
						t.Error(err)
						return
					}
					seqs[a] = append(seqs[a], seq)
					continue
				}
				batch := []*raftv1.AuditEntry{entry(n), entry(n + 1), entry(n + 2)}
				first, err := j.AppendBatch(batch)
				if err != nil {
					t.Error(err)
					return
				}
				seqs[a] = append(seqs[a], first, first+1, first+2)
				i += 2
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	wg.Wait()
	all := slices.Concat(seqs...)
	slices.Sort(all)
	for i, seq := range all {
		if seq != uint64(i)+1 {
			t.Fatalf("number %d stands at place %d", seq, i)
		}
	}
	if got := liveNumbers(t, j); len(got) != appenders*each || len(slices.Compact(got)) != appenders*each {
		t.Fatalf("%d entries, want %d", len(got), appenders*each)
	}
}

func TestReadYourOwnEntry(t *testing.T) {
	j := openJournal(t, t.TempDir(), smallJournal())
	var wg sync.WaitGroup
	for a := range 8 {
		wg.Go(func() {
			for i := range 50 {
				e := entry(a*1000 + i)
				if _, err := j.Append(e); err != nil {
					t.Error(err)
					return
				}
				ans, err := j.Live(LiveQuery{ID: e.GetId()})
				if err != nil || len(ans.Entries) != 1 {
					t.Errorf("an acknowledged entry is not read: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// unpublished takes room for an entry of n and leaves it unpublished; fill publishes it.
func unpublished(t *testing.T, j *Journal, n int) (fill func()) {
	t.Helper()
	rec, err := encodeRecord(nil, entry(n))
	if err != nil {
		t.Fatal(err)
	}
	s := j.active.Load()
	start, ok := s.take(1, uint64(len(rec)))
	if !ok {
		t.Fatal("the segment is full")
	}
	return func() { s.publish(start, 1, rec) }
}

// yield lets the other goroutines run for a while. It can't make a correct journal fail: what must not happen never does.
func yield() {
	for range 20_000 {
		runtime.Gosched()
	}
}

// TestNoAcknowledgementBehindAHole: an entry behind one that is not published could not be found after a crash.
func TestNoAcknowledgementBehindAHole(t *testing.T) {
	j := openJournal(t, t.TempDir(), smallJournal())
	fill := unpublished(t, j, 1)
	var acked atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := j.Append(entry(2)); err != nil {
			t.Error(err)
		}
		acked.Store(true)
	})
	yield()
	if acked.Load() {
		t.Error("acknowledged while the entry before is not published")
	}
	if n := len(liveNumbers(t, j)); n != 0 {
		t.Errorf("%d entries are read behind one that is not published", n)
	}
	fill()
	wg.Wait()
	if diff := cmp.Diff([]int{1, 2}, liveNumbers(t, j)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// TestNoSegmentBehindAHole: no segment is begun before the one before is published to its end.
func TestNoSegmentBehindAHole(t *testing.T) {
	o := smallJournal()
	var j *Journal
	var was atomic.Pointer[segment]
	o.allocate = func(f *os.File, size int64) error {
		if s := was.Load(); s != nil && s.end() != s.sealedAt {
			t.Errorf("a segment is begun behind byte %d, but only %d are published", s.sealedAt.offset(), s.end().offset())
		}
		return allocate(f, size)
	}
	j = openJournal(t, t.TempDir(), o)
	was.Store(j.active.Load())
	fill := unpublished(t, j, 0)
	var wg sync.WaitGroup
	for n := range 6 { // more than a segment holds
		wg.Go(func() {
			e := entry(n + 1)
			e.Parameters = make([]byte, 60<<10)
			if _, err := j.Append(e); err != nil {
				t.Error(err)
			}
		})
	}
	<-was.Load().full
	yield()
	fill()
	wg.Wait()
	if got := liveNumbers(t, j); len(got) != 7 {
		t.Errorf("%d entries, want 7", len(got))
	}
}

func TestLimits(t *testing.T) {
	j := openJournal(t, t.TempDir(), smallJournal())
	tooLarge := &raftv1.AuditEntry{Parameters: make([]byte, block.MaxEntry)}
	if _, err := j.Append(tooLarge); status.ReasonOf(err) != status.LimitExceeded {
		t.Errorf("an entry that is too large: %v", err)
	}
	largest := &raftv1.AuditEntry{Parameters: make([]byte, block.MaxEntry-4)}
	if _, err := j.Append(largest); err != nil {
		t.Errorf("the largest entry: %v", err)
	}
	if _, err := j.AppendBatch([]*raftv1.AuditEntry{largest, largest, largest}); status.ReasonOf(err) != status.LimitExceeded {
		t.Errorf("a batch that is too large: %v", err)
	}
	if _, err := j.AppendBatch([]*raftv1.AuditEntry{entry(1), tooLarge}); status.ReasonOf(err) != status.LimitExceeded {
		t.Errorf("a batch with an entry that is too large: %v", err)
	}
	if _, err := j.Append(&raftv1.AuditEntry{}); err != nil {
		t.Errorf("an empty entry: %v", err)
	}
	if b := j.Backlog(); b.Entries != 2 {
		t.Errorf("%d entries, want 2: a refused batch left some", b.Entries)
	}
	for _, o := range []JournalOptions{{SegmentBytes: minSegment - 1}, {SegmentBytes: maxSegment + 1}, {SegmentBytes: minSegment, MaxBacklog: minSegment - 1}} {
		if _, err := OpenJournal(t.TempDir(), o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

// fill appends until it is refused, and returns how many were taken.
func fill(t *testing.T, j *Journal, from int) (n int, err error) {
	t.Helper()
	for ; n < 100_000; n++ {
		if _, err = j.Append(entry(from + n)); err != nil {
			return n, err
		}
	}
	t.Fatal("the journal takes everything")
	return 0, nil
}

func TestBacklogIsBounded(t *testing.T) {
	o := smallJournal()
	o.MaxBacklog = 3 * minSegment
	j := openJournal(t, t.TempDir(), o)
	n, err := fill(t, j, 0)
	if se, ok := errors.AsType[*status.Error](err); !ok || se.Reason != status.AuditUnavailable || !se.Retryable {
		t.Fatalf("after %d entries: %v", n, err)
	}
	b := j.Backlog()
	if b.Entries != uint64(n) || b.Bytes != o.MaxBacklog || b.Oldest != entry(0).GetTime() {
		t.Fatalf("backlog %+v, want %d entries", b, n)
	}
	// What the cluster has makes room.
	if _, err := j.replicated(j.ID(), uint64(n)); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Append(entry(n)); err != nil {
		t.Fatalf("after the backlog was taken: %v", err)
	}
	if diff := cmp.Diff([]int{n - 1, n}, liveNumbers(t, j)); diff != "" {
		t.Fatalf("entries (-want +got):\n%s", diff)
	}
}

func TestFullDisk(t *testing.T) {
	o := smallJournal()
	var full atomic.Bool
	o.allocate = func(f *os.File, size int64) error {
		if full.Load() {
			return syscall.ENOSPC
		}
		return allocate(f, size)
	}
	dir := t.TempDir()
	j := openJournal(t, dir, o)
	full.Store(true)
	n, err := fill(t, j, 0)
	if status.ReasonOf(err) != status.AuditUnavailable || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("on a full disk: %v", err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := j.Append(entry(1)); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("on a full disk: %v", err)
			}
		})
	}
	wg.Wait()
	full.Store(false)
	if seq, err := j.Append(entry(n)); err != nil || seq != uint64(n)+1 {
		t.Fatalf("with room again: number %d, %v", seq, err)
	}
	if got := liveNumbers(t, j); len(got) != n+1 || got[n] != n {
		t.Fatalf("%d entries, want %d", len(got), n+1)
	}
	if half, _ := filepath.Glob(filepath.Join(dir, "*", "*"+tmpSuffix)); len(half) > 0 {
		t.Fatalf("left behind: %v", half)
	}
}

func TestClosedRefusesAndOpensOnce(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir, smallJournal())
	if _, err := OpenJournal(dir, smallJournal()); err == nil {
		t.Fatal("the journal is open twice")
	}
	if _, err := j.Append(entry(1)); err != nil {
		t.Fatal(err)
	}
	// Appenders at work while it closes: what was acknowledged is there, what came too late was refused.
	var wg sync.WaitGroup
	var acked atomic.Int64
	for a := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				if _, err := j.Append(entry(a*100_000 + i)); err != nil {
					if status.ReasonOf(err) != status.AuditUnavailable || !errors.Is(err, errClosed) {
						t.Error(err)
					}
					return
				}
				acked.Add(1)
			}
		})
	}
	for acked.Load() < 1000 {
		if t.Failed() {
			break
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	j = openJournal(t, dir, smallJournal())
	if got, want := int64(len(liveNumbers(t, j))), acked.Load()+1; got != want {
		t.Fatalf("%d entries, %d were acknowledged", got, want)
	}
}

func TestContradictionsStopTheJournal(t *testing.T) {
	for name, c := range map[string]struct{ freed, told uint64 }{
		"the cluster has what the journal never had": {0, 12},
		"the cluster lost what was freed":            {5, 3},
	} {
		j := openJournal(t, t.TempDir(), smallJournal())
		for n := range 10 {
			if _, err := j.Append(entry(n)); err != nil {
				t.Fatal(err)
			}
		}
		if c.freed > 0 {
			if _, err := j.replicated(j.ID(), c.freed); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := j.replicated(j.ID(), c.told); err == nil {
			t.Errorf("%s: no error", name)
		}
		if b := j.Backlog(); b.Err == nil {
			t.Errorf("%s: the backlog says nothing", name)
		}
		if _, err := fill(t, j, 10); status.ReasonOf(err) != status.AuditUnavailable {
			t.Errorf("%s: Append %v", name, err)
		}
	}
}

// FuzzSegment: any bytes are refused, or read up to where they make sense.
func FuzzSegment(f *testing.F) {
	mem := make([]byte, segmentHeader+200)
	putSegmentHeader(mem, JournalID{1}, 7)
	rec, err := encodeRecord(nil, &raftv1.AuditEntry{Time: 1, AgentId: "a"})
	if err != nil {
		f.Fatal(err)
	}
	copy(mem[segmentHeader:], rec)
	copy(mem[segmentHeader+len(rec):], rec)
	f.Add(mem)
	f.Add(mem[:segmentHeader])
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parseSegmentHeader(b, JournalID{1}); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		if len(b) < segmentHeader {
			return
		}
		mem := make([]byte, (len(b)+7)&^7) // words are read: they must be aligned, as a mapping is
		copy(mem, b)
		end, err := scanRecords(mem)
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		if end.offset() > uint64(len(mem)) || end.offset() < segmentHeader || end.entries() > uint64(len(mem))/recordHeader {
			t.Fatalf("ends at %d behind %d entries, of %d bytes", end.offset(), end.entries(), len(mem))
		}
	})
}
