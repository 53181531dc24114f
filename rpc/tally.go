package rpc

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

const (
	// tallyWindow is how long failures of one address are counted into one audit entry.
	tallyWindow = time.Minute
	// tallyAddresses bounds the addresses counted apart; those beyond share one count, under no address.
	tallyAddresses = 4096
)

// tally counts callers that failed to authenticate: one audit entry per address and minute, however many there are
// (SPEC 7). Addresses of IPv6 count by their /64, which one machine owns. Safe for concurrent use.
type tally struct {
	log    *slog.Logger
	record func(e *raftv1.AuditEntry) error
	now    func() time.Time

	mu     sync.Mutex
	counts map[netip.Prefix]*failures // at most tallyAddresses and one for the zero prefix
}

// failures are those of one address since its first one in the window.
type failures struct {
	since time.Time
	count uint64
}

func newTally(log *slog.Logger, now func() time.Time, record func(*raftv1.AuditEntry) error) *tally {
	return &tally{log: log, now: now, record: record, counts: make(map[netip.Prefix]*failures)}
}

// add counts one failure of addr, a host or host:port; what is neither counts with those beyond the bound.
func (t *tally) add(addr string) {
	p := prefixOf(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.counts[p]
	if !ok && p.IsValid() && len(t.counts) >= tallyAddresses {
		p = netip.Prefix{}
		f, ok = t.counts[p]
	}
	if !ok {
		f = &failures{since: t.now()}
		t.counts[p] = f
	}
	f.count++
}

func prefixOf(addr string) netip.Prefix {
	ip, ok := peerIP(addr)
	if !ok {
		return netip.Prefix{}
	}
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil { // can't be: both lengths fit
		return netip.Prefix{}
	}
	return p
}

// peerIP returns the address of host or host:port, without zone and 4-in-6.
func peerIP(addr string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	ip, err := netip.ParseAddr(addr)
	return ip.Unmap().WithZone(""), err == nil
}

// run writes what is due until ctx ends, then what is left.
func (t *tally) run(ctx context.Context) {
	tick := time.NewTicker(tallyWindow / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.flush(t.now().Add(-tallyWindow))
		case <-ctx.Done():
			t.flush(time.Time{})
			return
		}
	}
}

// flush writes an entry for every address whose window began at or before due; for all if due is zero. An entry that
// can't be written is logged: the caller has long had its answer.
func (t *tally) flush(due time.Time) {
	for p, f := range t.take(due) {
		if err := t.record(failureEntry(p, f)); err != nil {
			t.log.Error("audit entry of failed authentications not written", "address", p.String(), "count", f.count, "error", err)
		}
	}
}

func (t *tally) take(due time.Time) map[netip.Prefix]*failures {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := make(map[netip.Prefix]*failures)
	for p, f := range t.counts {
		if due.IsZero() || !f.since.After(due) {
			taken[p] = f
			delete(t.counts, p)
		}
	}
	return taken
}

func failureEntry(p netip.Prefix, f *failures) *raftv1.AuditEntry {
	address := ""
	if p.IsValid() {
		if address = p.Addr().String(); p.Addr().Is6() {
			address = p.String()
		}
	}
	return &raftv1.AuditEntry{
		Kind:   uint32(kavachv1.AuditKind_AUDIT_KIND_AUTHENTICATION),
		Action: "Authenticate",
		Result: uint32(kavachv1.AuditResult_AUDIT_RESULT_DENIED),
		Reason: "callers that failed to authenticate, counted from " + f.since.UTC().Format(time.RFC3339),
		Ip:     address,
		Count:  f.count,
	}
}
