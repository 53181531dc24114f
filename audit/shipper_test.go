package audit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/status"
)

// shipment is one proposal: when, since the test began, and of how many entries.
type shipment struct {
	At    time.Duration
	Count uint32
}

// shipping runs a shipper in a synctest bubble and notes what it proposes.
type shipping struct {
	t        *testing.T
	j        *Journal
	s        *Shipper
	trail    *trail
	began    time.Time
	seen     []shipment
	inFlight int
	fail     func(attempt int) error // nil: every proposal succeeds
	delay    time.Duration           // how long a proposal takes
	appended int
}

func startShipping(t *testing.T) *shipping {
	s := &shipping{t: t, j: openJournal(t, t.TempDir(), smallJournal()), trail: newTrail(), began: time.Now()}
	s.s = NewShipper(s.j, s.propose, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	return s
}

func (s *shipping) propose(ctx context.Context, cmd *raftv1.AppendAuditBlock) (uint64, error) {
	if s.inFlight++; s.inFlight != 1 {
		s.t.Error("two proposals are in flight")
	}
	defer func() { s.inFlight-- }()
	s.seen = append(s.seen, shipment{time.Since(s.began), cmd.GetHeader().GetCount()})
	select {
	case <-time.After(s.delay):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if s.fail != nil {
		if err := s.fail(len(s.seen)); err != nil {
			return 0, err
		}
	}
	return s.trail.apply(cmd)
}

func (s *shipping) append(n int) {
	s.t.Helper()
	for range n {
		if _, err := s.j.Append(entry(s.appended)); err != nil {
			s.t.Fatal(err)
		}
		s.appended++
	}
}

// want compares the proposals since the last call.
func (s *shipping) want(want ...shipment) {
	s.t.Helper()
	synctest.Wait()
	if diff := cmp.Diff(want, s.seen); diff != "" {
		s.t.Errorf("proposals (-want +got):\n%s", diff)
	}
	s.seen = nil
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func TestShipperTiming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startShipping(t)
		time.Sleep(ms(10_010))
		s.want() // nothing is proposed of nothing

		s.append(1) // idle: a second
		time.Sleep(ms(900))
		s.append(1)
		time.Sleep(ms(200))
		s.want(shipment{ms(11_000), 2})

		s.append(loadedEntries) // load: at the next look
		time.Sleep(ms(50))
		s.want(shipment{ms(11_150), loadedEntries})

		s.append(10_000) // more than a block: one after the other, until what had waited is gone
		time.Sleep(ms(50))
		synctest.Wait()
		var total uint32
		for _, x := range s.seen {
			if x.At != ms(11_200) {
				t.Errorf("a block is proposed at %v, want 11.2s", x.At)
			}
			total += x.Count
		}
		if total != 10_000 || len(s.seen) < 2 {
			t.Errorf("%d entries in %d blocks, want 10000 in several", total, len(s.seen))
		}
		if b := s.j.Backlog(); b.Entries != 0 || b.Oldest != 0 || b.Err != nil {
			t.Errorf("backlog %+v", b)
		}
	})
}

func TestShipperRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startShipping(t)
		unknown := status.New(status.OutcomeUnknown, "nobody knows")
		s.fail = func(attempt int) error {
			if attempt == 2 { // this one was applied, and nobody heard of it
				if _, err := s.trail.apply(mustCut(t, s.j)); err != nil {
					t.Error(err)
				}
			}
			if attempt < 4 {
				return unknown
			}
			return nil
		}
		s.append(100)
		time.Sleep(ms(120))
		if b := s.j.Backlog(); !errors.Is(b.Err, unknown) || b.Entries != 100 || b.Oldest != entry(0).GetTime() {
			t.Errorf("backlog %+v", b)
		}
		s.append(10) // they don't get into the block that is repeated
		time.Sleep(ms(380))
		s.want(shipment{ms(50), 100}, shipment{ms(100), 100}, shipment{ms(200), 100}, shipment{ms(400), 100})
		if b := s.j.Backlog(); b.Err != nil || b.Entries != 10 {
			t.Errorf("backlog %+v", b)
		}
		time.Sleep(ms(1000))
		synctest.Wait()
		s.seen = nil
		if got := len(s.trail.view().all(t)); got != 110 {
			t.Errorf("%d entries in blocks, want 110", got)
		}
	})
}

// mustCut is the block that the shipper is repeating, made again.
func mustCut(t *testing.T, j *Journal) *raftv1.AppendAuditBlock {
	cmd, err := j.cut(NewShipper(j, nil, nil).builder)
	if err != nil || cmd == nil {
		t.Fatal(err)
	}
	return cmd
}

func TestShipperBacksOffAndTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startShipping(t)
		s.delay = time.Hour
		s.append(loadedEntries)
		time.Sleep(time.Minute)
		synctest.Wait()
		// 10 s each, and a pause that doubles up to 2 s.
		var at []time.Duration
		for _, x := range s.seen {
			at = append(at, x.At)
		}
		want := []time.Duration{ms(50), ms(10_100), ms(20_200), ms(30_400), ms(40_800), ms(51_600)}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("proposals (-want +got):\n%s", diff)
		}
		s.seen = nil
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startShipping(t)
		s.append(3)
		s.delay = ms(20)
		if err := s.s.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.want(shipment{0, 3})
		if err := s.s.Drain(t.Context()); err != nil { // of nothing
			t.Fatal(err)
		}
		s.want()
		s.append(1)
		s.fail = func(int) error { return status.New(status.NoLeader, "no leader") }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.s.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a leader: %v", err)
		}
		if b := s.j.Backlog(); b.Entries != 1 {
			t.Errorf("backlog %+v", b)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.s.Drain(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("while the shipper is at work: %v", err)
		}
	})
}

// TestShipperSkipsWhatIsThere: after a crash the shipper does not know what is shipped; the cluster's answer says it.
func TestShipperSkipsWhatIsThere(t *testing.T) {
	dir, tr := t.TempDir(), newTrail()
	j, err := OpenJournal(dir, smallJournal())
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	count := func(_ context.Context, cmd *raftv1.AppendAuditBlock) (uint64, error) {
		calls++
		return tr.apply(cmd)
	}
	const n = 30_000
	for i := range n {
		if _, err := j.Append(entry(i)); err != nil {
			t.Fatal(err)
		}
	}
	// Shipped, and killed before any segment was freed.
	for from := uint64(1); from <= n; {
		cmd := mustCut(t, j)
		if from, err = count(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
		j.mu.Lock()
		st := j.mu.streams[0]
		if st.from, err = read(st.segs, st.from, func(seq uint64, _ []byte) (bool, error) { return seq < from, nil }); err != nil {
			t.Fatal(err)
		}
		j.mu.Unlock()
	}
	shipped := calls
	if err := crash(j); err != nil {
		t.Fatal(err)
	}
	j = openJournal(t, dir, smallJournal())
	if j.pending() != n {
		t.Fatalf("%d entries wait, want %d", j.pending(), n)
	}
	s := NewShipper(j, count, nil)
	if err := s.ship(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if calls != shipped+1 || j.pending() != 0 {
		t.Fatalf("%d proposals, want one; %d entries wait", calls-shipped, j.pending())
	}
	if got := len(tr.view().all(t)); got != n {
		t.Fatalf("%d entries in blocks, want %d", got, n)
	}
	if names, err := journalDirs(dir); err != nil || len(names) != 1 {
		t.Fatalf("journals %v, %v", names, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.mu.streams[0].segs) != 1 {
		t.Fatalf("%d segments are left, want 1", len(j.mu.streams[0].segs))
	}
}
