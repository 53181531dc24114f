package cluster

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/status"
)

// control makes a control command of about size bytes.
func control(size int) *raftv1.Command {
	return &raftv1.Command{Command: &raftv1.Command_CreateAgent{CreateAgent: &raftv1.CreateAgent{Metadata: make([]byte, size)}}}
}

func bulk(size int) *raftv1.Command {
	return &raftv1.Command{Command: &raftv1.Command_AppendAuditBlock{AppendAuditBlock: &raftv1.AppendAuditBlock{Body: make([]byte, size)}}}
}

func openQueue(l Limits) *queue {
	q := newQueue(Config{Limits: l}.withDefaults().Limits)
	q.open()
	return q
}

func mustPush(t *testing.T, q *queue, cmd *raftv1.Command) *proposal {
	t.Helper()
	p := newProposal(cmd)
	if err := q.push(p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestQueueTake checks what makes up an entry: control first and in order, at most one bulk command, never above a cap.
func TestQueueTake(t *testing.T) {
	q := openQueue(Limits{EntryBytes: 1000, EntryCommands: 3})
	var want []*proposal
	mustPush(t, q, bulk(10))
	second := mustPush(t, q, bulk(10))
	for range 4 {
		want = append(want, mustPush(t, q, control(10)))
	}
	big := mustPush(t, q, control(990)) // doesn't fit beside another one
	got := q.take()
	if len(got) != 4 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || !got[3].bulk() {
		t.Fatalf("the first entry has %d commands, want the first three control commands and one bulk", len(got))
	}
	if got := q.take(); len(got) != 2 || got[0] != want[3] || got[1] != second {
		t.Fatalf("the second entry has %d commands: the big one must wait", len(got))
	}
	if got := q.take(); len(got) != 1 || got[0] != big {
		t.Fatalf("the third entry has %d commands, want the big one", len(got))
	}
	if got := q.take(); got != nil {
		t.Fatalf("an entry of %d commands out of nothing", len(got))
	}
}

// TestQueueEntryFits checks that no entry outgrows what the log takes, whatever waits.
func TestQueueEntryFits(t *testing.T) {
	q := openQueue(Limits{EntryBytes: MaxCommand})
	for range 3 {
		mustPush(t, q, control(MaxCommand-100))
		mustPush(t, q, bulk(70<<10))
	}
	for {
		batch := q.take()
		if batch == nil {
			return
		}
		size := entryOverhead
		for _, p := range batch {
			size += p.size + commandOverhead
		}
		if size > MaxCommand+entryOverhead+commandOverhead {
			t.Fatalf("an entry of %d bytes, the limit is %d", size, MaxCommand+entryOverhead+commandOverhead)
		}
	}
}

func TestQueueFull(t *testing.T) {
	q := openQueue(Limits{ControlQueue: 2, BulkQueue: 1})
	for range 2 {
		mustPush(t, q, control(1))
	}
	mustPush(t, q, bulk(1))
	for _, cmd := range []*raftv1.Command{control(1), bulk(1)} {
		if err := q.push(newProposal(cmd)); status.ReasonOf(err) != status.QueueFull {
			t.Errorf("push into a full lane: %v", err)
		}
	}
}

// TestQueueClosed checks that what waits is refused as not queued when leadership ends, and what comes then too.
func TestQueueClosed(t *testing.T) {
	q := openQueue(Limits{})
	waits := mustPush(t, q, control(1))
	q.close()
	if _, _, err := waits.wait(t.Context()); status.ReasonOf(err) != status.NotLeader {
		t.Errorf("waiting when the reign ended: %v", err)
	}
	if err := q.push(newProposal(control(1))); status.ReasonOf(err) != status.NotLeader {
		t.Errorf("push into a closed queue: %v", err)
	}
}

// TestProposalGivesUp checks decision 6: a write whose deadline passes in the queue was certainly not done, one that was
// taken has an unknown outcome.
func TestProposalGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := openQueue(Limits{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		taken := mustPush(t, q, control(1))
		if got := q.take(); len(got) != 1 {
			t.Fatalf("%d taken", len(got))
		}
		waits := mustPush(t, q, control(1))
		if _, _, err := taken.wait(ctx); status.ReasonOf(err) != status.OutcomeUnknown {
			t.Errorf("given up in flight: %v", err)
		}
		if _, _, err := waits.wait(ctx); status.ReasonOf(err) != status.DeadlineExceeded {
			t.Errorf("given up in the queue: %v", err)
		}
		if got := q.take(); got != nil {
			t.Errorf("a command that its caller gave up is proposed")
		}
	})
}
