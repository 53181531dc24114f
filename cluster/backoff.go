package cluster

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is the waiting between attempts: it doubles, with jitter, so that callers that failed together don't come back
// together. The zero value is ready.
type backoff struct{ next time.Duration }

const (
	backoffMin = 5 * time.Millisecond
	backoffMax = 200 * time.Millisecond
)

// wait waits for the next turn. It returns false when ctx has ended.
func (b *backoff) wait(ctx context.Context) bool {
	b.next = min(max(2*b.next, backoffMin), backoffMax)
	t := time.NewTimer(b.next/2 + rand.N(b.next/2)) //nolint:gosec // jitter is no secret
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
