package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/fsm"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/status"
)

const (
	// entryOverhead is what an entry needs besides its commands, commandOverhead what each command adds to its own size.
	entryOverhead   = 32
	commandOverhead = 8
	// MaxCommand is the largest command in bytes. A larger one is refused before it is proposed: big entries hold up
	// heartbeats.
	MaxCommand = raftstore.MaxPayload - entryOverhead - commandOverhead
)

// errTerm is for an entry that was applied in another term than that of the reign that proposed it.
var errTerm = errors.New("the entry belongs to another term")

// applier is the part of the Raft library that proposes.
type applier interface {
	Apply(cmd []byte, timeout time.Duration) raft.ApplyFuture
}

// proposer puts what waits in the queue into the log: everything that waits becomes one entry, and one entry is in
// flight (RAFT.md decision 2). While it is, the next one gathers, so that many callers share two fsyncs.
type proposer struct {
	queue   *queue
	raft    applier
	frame   func(payload []byte) []byte
	now     func() time.Time
	enqueue time.Duration // how long the library may take to accept an entry
	log     *slog.Logger
}

// submit queues a command and waits for its outcome. Every error but status.OutcomeUnknown and refusals of the state
// machine means that nothing was done.
func (p *proposer) submit(ctx context.Context, cmd *raftv1.Command) (*raftv1.Result, uint64, error) {
	pr := newProposal(cmd)
	if pr.size > MaxCommand {
		return nil, 0, status.New(status.CommandTooLarge, "the command has %d bytes, the limit is %d", pr.size, MaxCommand)
	}
	if _, err := proto.Marshal(cmd); err != nil { // one that can't be encoded must not fail the entry that others share
		return nil, 0, status.New(status.InvalidArgument, "the command can't be encoded").Wrap(err)
	}
	if err := p.queue.push(pr); err != nil {
		return nil, 0, err
	}
	return pr.wait(ctx)
}

// reign proposes until ctx ends or the term is over: first the term's own LeaderEpoch, alone, then whatever comes.
// opened is called with the index of the epoch's entry once it is applied; kick after each entry that no other follows.
func (p *proposer) reign(ctx context.Context, nodeID string, term uint64, opened func(base uint64), kick func()) {
	p.queue.open()
	defer p.queue.close()
	base, err := p.epoch(ctx, nodeID, term)
	if err != nil {
		p.log.Info("the term ended before it began", "term", term, "error", err)
		return
	}
	opened(base)
	owed := false // a kick
	for ctx.Err() == nil {
		batch := p.queue.take()
		if batch == nil {
			wait := time.Duration(0)
			if owed {
				wait = kickDelay
			}
			if !p.queue.await(ctx, wait) && owed {
				kick()
				owed = false
			}
			continue
		}
		if err := p.commit(batch, term); errors.Is(err, errTerm) {
			return
		}
		owed = true
	}
}

// epoch proposes the term's LeaderEpoch until it is applied in this very term (PROTOCOLS R1).
func (p *proposer) epoch(ctx context.Context, nodeID string, term uint64) (base uint64, err error) {
	cmd := &raftv1.Command{
		Caller:  &raftv1.Caller{NodeId: nodeID},
		Command: &raftv1.Command_LeaderEpoch{LeaderEpoch: &raftv1.LeaderEpoch{NodeId: nodeID, Term: term}},
	}
	var again backoff
	for {
		a, err := p.propose([]*raftv1.Command{cmd})
		switch {
		case err == nil && a.Term != term:
			return 0, errTerm
		case err == nil && a.Outcomes[0].Refused != nil:
			return 0, fmt.Errorf("epoch of term %d: %w", term, a.Outcomes[0].Refused)
		case err == nil:
			return a.Index, nil
		}
		if !again.wait(ctx) {
			return 0, errors.Join(context.Cause(ctx), err)
		}
	}
}

// commit proposes a batch and gives each proposal its own outcome.
func (p *proposer) commit(batch []*proposal, term uint64) error {
	commands := make([]*raftv1.Command, len(batch))
	for i, pr := range batch {
		commands[i] = pr.cmd
	}
	a, err := p.propose(commands)
	if err == nil && a.Term != term {
		// It is committed, but whoever leads in that term has not opened it yet (PROTOCOLS A4: an entry counts only under
		// the epoch of its own term). A repeat with the same key finds the result.
		err = outcomeUnknown(errTerm)
	}
	if err != nil {
		for _, pr := range batch {
			pr.done <- outcome{err: err}
		}
		return err
	}
	for i, pr := range batch {
		pr.done <- toOutcome(a.Outcomes[i])
	}
	return nil
}

func toOutcome(o fsm.Outcome) outcome {
	if o.Refused != nil {
		return outcome{revision: o.Revision, err: o.Refused}
	}
	return outcome{result: o.Result, revision: o.Revision}
}

// propose puts one entry into the log and returns what applying it yielded. Its errors are statuses: NotLeader means that
// it was not done, OutcomeUnknown that nobody can tell.
func (p *proposer) propose(commands []*raftv1.Command) (*fsm.Applied, error) {
	payload, err := fsm.EncodeEntry(&raftv1.Entry{Format: fsm.Format, Wall: p.now().UnixNano(), Commands: commands})
	if err != nil {
		return nil, status.New(status.Internal, "the command can't be encoded").Wrap(err)
	}
	future := p.raft.Apply(p.frame(payload), p.enqueue)
	if err := future.Error(); err != nil {
		return nil, unapplied(err)
	}
	switch r := future.Response().(type) {
	case *fsm.Applied:
		if len(r.Outcomes) != len(commands) {
			return nil, outcomeUnknown(fmt.Errorf("%d outcomes for %d commands", len(r.Outcomes), len(commands)))
		}
		return r, nil
	case error:
		return nil, outcomeUnknown(r) // the machine has halted
	default:
		return nil, outcomeUnknown(fmt.Errorf("an entry was answered by a %T", r))
	}
}

// unapplied sorts the library's errors (RAFT.md 1.2): three of them prove that the entry was never queued.
func unapplied(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return notLeader().Wrap(err)
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return status.New(status.QueueFull, "the log does not keep up; nothing was done").Retry(retrySoon).Wrap(err)
	}
	return outcomeUnknown(err)
}
