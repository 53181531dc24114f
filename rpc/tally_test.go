package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// recorded is the audit trail of a tally under test.
type recorded struct {
	mu      sync.Mutex
	entries []*raftv1.AuditEntry
}

func (r *recorded) record(e *raftv1.AuditEntry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	return nil
}

// counts returns the count of each address, and how many entries it has.
func (r *recorded) counts() (counts, entries map[string]uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts, entries = map[string]uint64{}, map[string]uint64{}
	for _, e := range r.entries {
		counts[e.GetIp()] += e.GetCount()
		entries[e.GetIp()]++
	}
	return counts, entries
}

// TestTallyOneEntryAMinute: SPEC 7: at most one entry per address and minute, and every failure is counted.
func TestTallyOneEntryAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trail recorded
		ta := newTally(slog.New(slog.DiscardHandler), time.Now, trail.record)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); ta.run(ctx) }()
		for range 600 { // ten minutes, one a second from each
			ta.add("10.0.0.1:1234")
			ta.add("[2001:db8::1]:5")
			ta.add("[2001:db8::2]:5") // the same /64
			time.Sleep(time.Second)
		}
		stop()
		<-done
		counts, entries := trail.counts()
		if counts["10.0.0.1"] != 600 || counts["2001:db8::/64"] != 1200 || len(counts) != 2 {
			t.Errorf("counts %v", counts)
		}
		for address, n := range entries {
			if n > 10 {
				t.Errorf("%s has %d entries in ten minutes", address, n)
			}
		}
	})
}

// TestTallyIsBounded: a flood from many addresses neither fills memory nor the journal, and none of it goes uncounted.
func TestTallyIsBounded(t *testing.T) {
	var trail recorded
	ta := newTally(slog.New(slog.DiscardHandler), time.Now, trail.record)
	const flood = 3 * tallyAddresses
	for i := range flood {
		ta.add(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255))
	}
	ta.add("not an address")
	if n := len(ta.counts); n > tallyAddresses+1 {
		t.Errorf("%d addresses are held", n)
	}
	ta.flush(time.Time{})
	var sum uint64
	counts, _ := trail.counts()
	for _, n := range counts {
		sum += n
	}
	if sum != flood+1 || len(trail.entries) > tallyAddresses+1 || counts[""] == 0 {
		t.Errorf("%d failures in %d entries, %d without an address", sum, len(trail.entries), counts[""])
	}
}

func TestTallyTellsOfALostEntry(t *testing.T) {
	var log strings.Builder
	ta := newTally(slog.New(slog.NewTextHandler(&log, nil)), time.Now, func(*raftv1.AuditEntry) error {
		return errors.New("disk full")
	})
	ta.add("10.0.0.1")
	ta.flush(time.Time{})
	if !strings.Contains(log.String(), "disk full") || !strings.Contains(log.String(), "10.0.0.1") {
		t.Errorf("log: %s", log.String())
	}
}
