package cluster

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/status"
)

// outcome is what a proposal comes to: a result and its revision, or an error.
type outcome struct {
	result   *raftv1.Result
	revision uint64
	err      error
}

// proposal is one command on its way into an entry.
type proposal struct {
	cmd  *raftv1.Command
	size int
	// taken settles who decides its fate: its caller, by giving up while it waits, or the proposer, by taking it.
	taken atomic.Bool
	done  chan outcome // has room for the one outcome
}

func newProposal(cmd *raftv1.Command) *proposal {
	return &proposal{cmd: cmd, size: proto.Size(cmd), done: make(chan outcome, 1)}
}

// bulk tells whether the command goes to the bulk queue.
func (p *proposal) bulk() bool { return p.cmd.GetAppendAuditBlock() != nil }

// wait returns the outcome. When ctx ends while the proposal still waits in the queue, it is withdrawn and certainly not
// done; when it has been taken, the outcome is unknown.
func (p *proposal) wait(ctx context.Context) (*raftv1.Result, uint64, error) {
	select {
	case o := <-p.done:
		return o.result, o.revision, o.err
	case <-ctx.Done():
	}
	if p.taken.CompareAndSwap(false, true) {
		return nil, 0, ended(ctx, "the write still waited in the leader's queue; nothing was done")
	}
	select { // it may have come to its end meanwhile
	case o := <-p.done:
		return o.result, o.revision, o.err
	default:
		return nil, 0, outcomeUnknown(context.Cause(ctx))
	}
}

// queue is what waits for the proposer, in two lanes: control first, bulk fills. It is open only while this node leads,
// so that nothing waits for a leader that isn't one. Both lanes are bounded; when one is full, push refuses at once.
type queue struct {
	limits Limits
	wake   chan struct{} // has room for one token: something was pushed

	mu struct {
		sync.Mutex
		open          bool // Invariant: !open ⇒ both lanes are empty
		control, bulk []*proposal
	}
}

func newQueue(l Limits) *queue { return &queue{limits: l, wake: make(chan struct{}, 1)} }

// push queues a proposal, or says why not: status.NotLeader or status.QueueFull, nothing done.
func (q *queue) push(p *proposal) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.mu.open {
		return notLeader()
	}
	lane, limit := &q.mu.control, q.limits.ControlQueue
	if p.bulk() {
		lane, limit = &q.mu.bulk, q.limits.BulkQueue
	}
	if len(*lane) >= limit {
		return status.New(status.QueueFull, "%d writes wait already, which is the limit; nothing was done", limit).Retry(retrySoon)
	}
	*lane = append(*lane, p)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// open lets proposals in.
func (q *queue) open() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.open = true
}

// close refuses what waits, and what comes, as status.NotLeader: none of it was proposed, so it may be forwarded again.
func (q *queue) close() {
	q.mu.Lock()
	rest := slices.Concat(q.mu.control, q.mu.bulk)
	q.mu.open, q.mu.control, q.mu.bulk = false, nil, nil
	q.mu.Unlock()
	for _, p := range rest {
		if p.taken.CompareAndSwap(false, true) {
			p.done <- outcome{err: notLeader()}
		}
	}
}

// take returns what makes up the next entry: control commands in their order up to the limits of an entry, then at most
// one bulk command. It returns nil when nothing waits. What it returns is taken: the caller owes each an outcome.
func (q *queue) take() []*proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	var batch []*proposal
	size := 0
	fill := func(lane *[]*proposal, count, bytes int) {
		n := 0
		for _, p := range *lane {
			if count == 0 || len(batch) > 0 && size+p.size > bytes {
				break
			}
			n++
			if !p.taken.CompareAndSwap(false, true) {
				continue // its caller has given up
			}
			batch = append(batch, p)
			size += p.size + commandOverhead
			count--
		}
		clear((*lane)[:n])
		if *lane = (*lane)[n:]; len(*lane) == 0 {
			*lane = nil
		}
	}
	fill(&q.mu.control, q.limits.EntryCommands, q.limits.EntryBytes)
	// Bulk isn't held to the limit of gathering, or a steady stream of control commands would starve it.
	fill(&q.mu.bulk, 1, MaxCommand)
	return batch
}

// await waits until something was pushed, or limit has passed (0: no limit), or ctx has ended. It tells whether something
// was pushed.
func (q *queue) await(ctx context.Context, limit time.Duration) bool {
	var expired <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-q.wake:
		return true
	case <-expired:
		return false
	case <-ctx.Done():
		return false
	}
}
