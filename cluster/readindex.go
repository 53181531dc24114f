package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	nodev1 "github.com/kavachd/kavachd/gen/kavach/node/v1"
	"github.com/kavachd/kavachd/status"
)

// voters is the part of the Raft library that says who counts.
type voters interface {
	CurrentTerm() uint64
	GetConfiguration() raft.ConfigurationFuture
}

// asker asks one voter for its term.
type asker func(ctx context.Context, voter raft.ServerID, q *nodev1.ConfirmRequest) (*nodev1.ConfirmResponse, error)

// confirmer gives read indexes: positions of the log at which a read, wherever it is served, is current (PROTOCOLS A9,
// fresh). It needs no clock. raft.VerifyLeader is never used: it counts answers that were sent before it asked (PROTOCOLS 0,
// finding 1).
type confirmer struct {
	node    string
	raft    voters
	reign   func() *reign
	applied func() uint64
	// committed returns the newest index that every state machine publishes, at or below what the leader knows to be
	// committed.
	committed func() (uint64, error)
	ask       asker
	cluster   func() clusterID
	limit     time.Duration // of one round
	nonce     atomic.Uint64
}

// readIndex is an index and the term in which it was confirmed.
type readIndex struct{ index, term uint64 }

// round is one run: first the index, then the questions, then a majority of answers.
//
// Why it is sound: whatever was acknowledged, or seen by any reader on any node, before the round began is at or below the
// index, because it was committed by this leader (this term), or lies below base (older terms), or was committed by a newer
// leader. The last is impossible: that leader's term was known to a majority before it could commit, one of them is in the
// majority that answers now, each answers with a term that it reads after the question has reached it, and any term above
// ours fails the round.
//
// PROTOCOLS A9 takes the leader's applied index instead. That covers what is acknowledged, but a follower may apply a
// committed entry before the leader does: a reader there sees it, and a later one elsewhere would not.
// TestRotateAndDecideAreLinearizable found that.
func (c *confirmer) round(ctx context.Context) (readIndex, error) {
	r := c.reign()
	if r == nil {
		return readIndex{}, notLeader()
	}
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	select {
	case <-r.opened: // R1: nothing is confirmed before the term's own entry is applied
	case <-r.ctx.Done():
		return readIndex{}, notLeader()
	case <-ctx.Done():
		return readIndex{}, unconfirmed(fmt.Errorf("term %d is not open yet: %w", r.term, context.Cause(ctx)))
	}
	index, err := c.committed() // before the questions
	if err != nil {
		return readIndex{}, unconfirmed(err)
	}
	if index < r.base.Load() {
		return readIndex{}, unconfirmed(fmt.Errorf("index %d is below the term's base %d", index, r.base.Load()))
	}
	if err := c.majority(ctx, r.term); err != nil {
		return readIndex{}, err
	}
	return readIndex{index: index, term: r.term}, nil
}

// majority asks every voter of the latest configuration and returns nil once a majority, this node included, has answered
// with a term that is not above term.
func (c *confirmer) majority(ctx context.Context, term uint64) error {
	f := c.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return unconfirmed(err)
	}
	answers := make(chan error, len(f.Configuration().Servers)) // room for all: no goroutine is left behind
	nonce, total, agreed := c.nonce.Add(1), 0, 0
	for _, s := range f.Configuration().Servers {
		switch {
		case s.Suffrage != raft.Voter:
		case s.ID == raft.ServerID(c.node):
			total++
			if t := c.raft.CurrentTerm(); t > term {
				return unconfirmed(newerTerm(c.node, t, term))
			}
			agreed++
		default:
			total++
			go func() { answers <- c.question(ctx, s.ID, term, nonce) }()
		}
	}
	var errs []error
	for asked := total - agreed; asked > 0 && agreed <= total/2; asked-- {
		if err := <-answers; err != nil {
			errs = append(errs, err)
			if errors.Is(err, errNewerTerm) {
				break
			}
			continue
		}
		agreed++
	}
	if agreed <= total/2 || isNewer(errs) {
		return unconfirmed(fmt.Errorf("%d of %d voters confirm term %d: %w", agreed, total, term, errors.Join(errs...)))
	}
	return nil
}

// question asks one voter. Only an answer to this round, by this very voter, counts: another node may have its address now.
func (c *confirmer) question(ctx context.Context, voter raft.ServerID, term, nonce uint64) error {
	id := c.cluster()
	a, err := c.ask(ctx, voter, &nodev1.ConfirmRequest{ClusterId: id[:], Term: term, Nonce: nonce})
	switch {
	case err != nil:
		return fmt.Errorf("voter %s: %w", voter, err)
	case a.GetNonce() != nonce || a.GetNodeId() != string(voter):
		return fmt.Errorf("voter %s: the answer is round %d's of node %s, not round %d's", voter, a.GetNonce(), a.GetNodeId(), nonce)
	case a.GetTerm() > term:
		return newerTerm(string(voter), a.GetTerm(), term)
	}
	return nil
}

var errNewerTerm = errors.New("a newer term has begun")

func newerTerm(node string, is, was uint64) error {
	return fmt.Errorf("%w: node %s is in term %d, not %d", errNewerTerm, node, is, was)
}

func isNewer(errs []error) bool { return errors.Is(errors.Join(errs...), errNewerTerm) }

func unconfirmed(cause error) *status.Error {
	return status.New(status.ReadIndexUnavailable, "no majority confirms that this state is current").Retry(retrySoon).Wrap(cause)
}

// answer is the voter's side of a round. The term must be read after the question has arrived, which is here.
func (c *confirmer) answer(q *nodev1.ConfirmRequest) *nodev1.ConfirmResponse {
	return &nodev1.ConfirmResponse{Term: c.raft.CurrentTerm(), Nonce: q.GetNonce(), NodeId: c.node, Applied: c.applied()}
}

// indexes gives read indexes on any node: of its own rounds if it leads, else of the leader's. Both are shared by all who
// wait: see rounds.
type indexes struct {
	own    *rounds[readIndex]
	remote *rounds[readIndex]
	leads  func() bool
	limit  time.Duration // of the waiting for a leader and its answer
	// others are API addresses of nodes that may have more luck.
	others func() []string
}

// get returns a read index that was confirmed after the call. While there is no leader it tries again, until ctx or the
// limit ends.
func (x *indexes) get(ctx context.Context) (readIndex, error) {
	limited, cancel := context.WithTimeout(ctx, x.limit)
	defer cancel()
	var again backoff
	for {
		source := x.remote
		if x.leads() {
			source = x.own
		}
		ri, err := source.get(limited)
		if err == nil {
			return ri, nil
		}
		if ctx.Err() != nil {
			return readIndex{}, ended(ctx, "no read index in time").Wrap(err)
		}
		if status.ReasonOf(err) == status.NodeStopping {
			return readIndex{}, err
		}
		if !again.wait(limited) {
			e := unconfirmed(err)
			e.Alternatives = x.others()
			return readIndex{}, e
		}
	}
}
