package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/kavachd/kavachd/audit/block"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// When blocks are cut, and how often a proposal is repeated.
const (
	// loadedInterval is how long entries wait under load, and how often the shipper looks. Appenders don't wake it: that
	// would cost each of them more than its copy.
	loadedInterval = 50 * time.Millisecond
	// idleInterval is how long entries wait otherwise.
	idleInterval = time.Second
	// loadedEntries waiting at one look are load.
	loadedEntries = 64
	// A proposal that failed is repeated after minBackoff, then after twice as long, up to maxBackoff.
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
	// proposeTimeout bounds one proposal; its outcome is unknown then, and it is repeated.
	proposeTimeout = 10 * time.Second
)

// Propose takes a block into the replicated trail and returns the next number that the cluster takes of the journal. On
// an error the outcome may be unknown: the shipper repeats.
type Propose func(ctx context.Context, cmd *raftv1.AppendAuditBlock) (nextSeq uint64, err error)

// Shipper takes a journal's entries into the replicated trail, block by block, one at a time. It never gives up and
// never leaves an entry out: what the cluster already has is recognised by its number.
type Shipper struct {
	journal *Journal
	propose Propose
	log     *slog.Logger
	drains  chan chan struct{}
	builder *block.Builder
}

// NewShipper makes a shipper; Run runs it. log may be nil.
func NewShipper(j *Journal, propose Propose, log *slog.Logger) *Shipper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Shipper{
		journal: j, propose: propose, log: log.With("journal_node", j.NodeID()),
		drains: make(chan chan struct{}), builder: block.NewBuilder(true, block.TargetBody),
	}
}

// Run ships until ctx ends, and returns its error. It is called once.
func (s *Shipper) Run(ctx context.Context) error {
	tick := time.NewTicker(loadedInterval)
	defer tick.Stop()
	var waited time.Duration
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case done := <-s.drains:
			if err := s.ship(ctx, s.journal.pending()); err != nil {
				return err
			}
			close(done)
		case <-tick.C:
			n := s.journal.pending()
			if n == 0 {
				waited = 0
				continue
			}
			if waited += loadedInterval; n < loadedEntries && waited < idleInterval {
				continue
			}
			waited = 0
			// What has waited goes; what comes meanwhile waits for the next look, unless it fills blocks.
			if err := s.ship(ctx, n); err != nil {
				return err
			}
		}
	}
}

// Drain ships everything that is in the journal at the call, at once. Run must be running. It returns when that is done,
// or ctx ends.
func (s *Shipper) Drain(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case s.drains <- done:
	case <-ctx.Done():
		return fmt.Errorf("drain the audit journal: %w", ctx.Err())
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain the audit journal: %w", ctx.Err())
	}
}

// ship takes at least the n oldest entries into the trail. It returns only ctx's error: everything else it repeats.
func (s *Shipper) ship(ctx context.Context, n uint64) error {
	for {
		shipped, err := s.shipBlock(ctx)
		if err != nil || shipped == 0 || shipped >= n {
			return err
		}
		n -= shipped
	}
}

// shipBlock takes one block into the trail and returns by how many entries the journal got shorter; 0: there was none.
func (s *Shipper) shipBlock(ctx context.Context) (uint64, error) {
	var cmd *raftv1.AppendAuditBlock
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		shipped, err := s.attempt(ctx, &cmd)
		s.journal.setStuck(err)
		if err == nil {
			return shipped, nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		s.log.Warn("audit block is not shipped yet", "error", err, "again_in", backoff)
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(backoff):
		}
	}
}

// attempt proposes *cmd, or a new block if it is nil, once.
func (s *Shipper) attempt(ctx context.Context, cmd **raftv1.AppendAuditBlock) (uint64, error) {
	if *cmd == nil {
		c, err := s.journal.cut(s.builder)
		if c == nil || err != nil {
			return 0, err
		}
		*cmd = c
	}
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	next, err := s.propose(ctx, *cmd)
	if err != nil {
		return 0, fmt.Errorf("propose entries from %d: %w", (*cmd).GetHeader().GetFirstSeq(), err)
	}
	h := (*cmd).GetHeader()
	if next < h.GetFirstSeq() {
		*cmd = nil // what was cut does not fit: look again
	}
	shipped, err := s.journal.replicated(JournalID(h.GetJournalId()), next)
	if err == nil && shipped == 0 {
		return 0, errors.New("the cluster took nothing, and wants nothing else")
	}
	return shipped, err
}
