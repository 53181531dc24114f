package cluster

import (
	"context"
	"errors"
	"time"

	nodev1 "github.com/kavachd/kavachd/gen/kavach/node/v1"
	"github.com/kavachd/kavachd/status"
)

// retrySoon is how long a caller is asked to wait before it tries again.
const retrySoon = 100 * time.Millisecond

func notLeader() *status.Error {
	return status.New(status.NotLeader, "this node does not lead").Retry(retrySoon)
}

func noLeader(cause error) *status.Error {
	return status.New(status.NoLeader, "the cluster has no leader at the moment; nothing was done").Retry(retrySoon).Wrap(cause)
}

// outcomeUnknown is for a write that may have happened. It is not marked retryable: only with an idempotency key is it
// safe to repeat, and the caller knows whether it sent one.
func outcomeUnknown(cause error) *status.Error {
	return status.New(status.OutcomeUnknown,
		"the write may have happened or may still happen; repeat it with the same idempotency key to learn which").Wrap(cause)
}

func stopping() *status.Error {
	return status.New(status.NodeStopping, "this node is stopping").Retry(retrySoon)
}

// ended returns the status for a ctx that has ended, for what was not done.
func ended(ctx context.Context, format string, args ...any) *status.Error {
	r := status.Canceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		r = status.DeadlineExceeded
	}
	return status.New(r, format, args...).Wrap(context.Cause(ctx))
}

// refusal turns a status into what nodes pass on. The cause stays behind.
func refusal(err error) *nodev1.Refusal {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*status.Error](err)
	if !ok {
		return &nodev1.Refusal{Reason: string(status.Internal), Message: "internal error on another node"}
	}
	r := &nodev1.Refusal{Reason: string(e.Reason), Message: e.Message, Retryable: e.Retryable}
	for _, f := range e.Fields {
		r.Fields = append(r.Fields, &nodev1.RefusalField{Path: f.Path, Message: f.Message})
	}
	if len(e.Alternatives) > 0 {
		r.LeaderAddress = e.Alternatives[0]
	}
	return r
}

// fromRefusal is the inverse of refusal; nil for nil.
func fromRefusal(r *nodev1.Refusal) error {
	if r == nil {
		return nil
	}
	e := status.New(status.Reason(r.GetReason()), "%s", r.GetMessage())
	for _, f := range r.GetFields() {
		e = e.WithField(f.GetPath(), "%s", f.GetMessage())
	}
	if r.GetRetryable() {
		e = e.Retry(retrySoon)
	}
	if r.GetLeaderAddress() != "" {
		e.Alternatives = []string{r.GetLeaderAddress()}
	}
	return e
}
