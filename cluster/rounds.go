package cluster

import (
	"context"
	"sync"
)

// rounds shares the runs of an expensive question between all who ask it. Whoever comes while a run is under way waits
// for the next one: an answer must rest on nothing that happened before it was asked for.
//
// At most one run is under way. The goroutine that runs lives only while somebody waits. When ctx ends, the run under way
// is told, and wait returns once it has ended.
type rounds[T any] struct {
	ctx context.Context
	run func(ctx context.Context) (T, error)
	wg  sync.WaitGroup

	mu struct {
		sync.Mutex
		next    *round[T] // collects those who wait for the next run; nil: nobody
		running bool
	}
}

// round is one run and who waits for it. value and err are set before done is closed.
type round[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func newRounds[T any](ctx context.Context, run func(context.Context) (T, error)) *rounds[T] {
	return &rounds[T]{ctx: ctx, run: run}
}

// get returns the answer of a run that began after get was called.
func (r *rounds[T]) get(ctx context.Context) (T, error) {
	r.mu.Lock()
	if r.mu.next == nil {
		r.mu.next = &round[T]{done: make(chan struct{})}
	}
	mine := r.mu.next
	if !r.mu.running {
		r.mu.running = true
		r.wg.Go(r.loop)
	}
	r.mu.Unlock()
	select {
	case <-mine.done:
		return mine.value, mine.err
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}
}

func (r *rounds[T]) loop() {
	for {
		r.mu.Lock()
		cur := r.mu.next
		r.mu.next = nil
		if cur == nil {
			r.mu.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		cur.value, cur.err = r.run(r.ctx)
		close(cur.done)
	}
}

// wait returns when nothing runs any more. ctx must have ended, and no get may follow.
func (r *rounds[T]) wait() { r.wg.Wait() }
