package fsm

import (
	"testing"

	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// records counts the records of a table.
func (b *bench) records(table byte) int { return int(b.digests()[table].Records) }

// purgeAll purges in steps of limit until nothing is left, and returns how much went.
func (b *bench) purgeAll(limit uint32) (gone int) {
	b.t.Helper()
	for range 10_000 {
		r := b.ok(purgeCommand(limit)).GetPurge()
		gone += int(r.GetPurged())
		b.check()
		if !r.GetMore() {
			return gone
		}
	}
	b.t.Fatal("purging does not end")
	return 0
}

func TestPurgeRequestsAndChanges(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		b.ok(keyed(string(rune('a'+i)), "q", create(10+i, func(c *raftv1.CreateAgent) { c.Expiry = never() })))
	}
	if n := b.purgeAll(3); n != 0 {
		t.Errorf("%d records went before their time", n)
	}
	requests, changes := b.records(storage.TableIdempotency), b.records(storage.TableChange)
	if requests != 5 || changes != 6 {
		t.Errorf("%d requests, %d changes", requests, changes)
	}
	b.wall += day
	r := b.ok(purgeCommand(3)).GetPurge()
	if r.GetPurged() != 3 || !r.GetMore() || b.records(storage.TableIdempotency) != 2 {
		t.Errorf("%v", r)
	}
	if n := b.purgeAll(4); n != 8 || b.records(storage.TableIdempotency)+b.records(storage.TableIdempotencyExpiry)+b.records(storage.TableChange) != 0 {
		t.Errorf("%d went, %d requests and %d changes are left", n, b.records(storage.TableIdempotency), b.records(storage.TableChange))
	}
	for _, limit := range []uint32{0, maxPurge + 1} {
		b.refused(status.InvalidArgument, purgeCommand(limit))
	}
}

func TestPurgeAgents(t *testing.T) {
	b := newBench(t)
	family(b, "a *", "b *", "", "")
	forever := func(n int) *raftv1.Command {
		return update(n, func(c *raftv1.UpdateAgent) { c.Expiry = never() })
	}
	endless := func(c *raftv1.CreateDelegation) { c.Expiry = never() }
	b.ok(forever(11))
	b.ok(forever(12))
	b.ok(forever(13))
	b.ok(delegate(50, 10, 11, endless, "a read")) // from 10, which expires after a day
	b.ok(delegate(51, 11, 12, endless, "a read")) // derives from 10
	b.ok(delegate(52, 11, 12, endless, "b read")) // does not
	b.ok(delegate(53, 12, 13, endless, "b read"))
	b.ok(revoke(13))
	b.wall += 90*day - 1
	b.purgeAll(100)
	if b.agent(13) == nil {
		t.Fatal("a revoked agent went before purge_after")
	}
	b.wall++
	b.purgeAll(100)
	if b.agent(13) != nil || b.byToken("t13") != 0 || b.delegation(53) != nil {
		t.Error("a long revoked agent, its token or what it received is still there")
	}
	if b.agent(10) == nil {
		t.Fatal("an expired agent went before purge_after")
	}
	b.wall += day
	b.purgeAll(1) // one record at a time
	if b.agent(10) != nil || b.delegation(50) != nil {
		t.Error("a long expired agent, or what it gave, is still there")
	}
	if d := b.delegation(51); d != nil && d.GetRevokedAt() == 0 {
		t.Error("what derives from a purged agent outlives it")
	}
	if b.delegation(52).GetRevokedAt() != 0 || b.agent(11) == nil || b.agent(12) == nil {
		t.Error("too much went")
	}
	b.wall += 100 * day
	b.purgeAll(7)
	if b.delegation(51) != nil {
		t.Error("a long revoked delegation is still there")
	}
	b.check()
}

// TestPurgeFollowsTheSetting: purge_after may change; the queue holds the ends, not the deadlines.
func TestPurgeFollowsTheSetting(t *testing.T) {
	b := newBench(t)
	b.ok(create(10, nil))
	b.ok(revoke(10))
	b.wall += 2 * hour
	b.purgeAll(10)
	if b.agent(10) == nil {
		t.Fatal("gone before its time")
	}
	b.ok(settings(&raftv1.Settings{PurgeAfter: hour}))
	b.purgeAll(10)
	if b.agent(10) != nil {
		t.Error("the new setting has no effect")
	}
}
