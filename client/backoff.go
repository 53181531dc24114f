package client

import (
	"context"
	"time"
)

// backoff doubles from base to limit. Half of each wait is chance, so that many clients don't come back at once.
type backoff struct {
	base, limit time.Duration
	chance      func() float64 // [0, 1)
}

// delay is the wait after n failures before; at least half of base<<n, never more than limit.
func (b backoff) delay(n int) time.Duration {
	d := b.limit
	if n < 32 && b.base<<n < b.limit {
		d = b.base << n
	}
	return d/2 + time.Duration(b.chance()*float64(d/2))
}

// wait lets d pass. It returns false if ctx ends before.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
