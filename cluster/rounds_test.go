package cluster

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// TestRoundsShareAndNeverLookBack checks that many who wait share one run, and that who comes during a run gets the next.
func TestRoundsShareAndNeverLookBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begun, finish := make(chan struct{}), make(chan struct{})
		runs := 0
		r := newRounds(ctx, func(context.Context) (int, error) {
			runs++
			begun <- struct{}{}
			<-finish
			return runs, nil
		})
		var wg sync.WaitGroup
		ask := func(n, want int) {
			for range n {
				wg.Go(func() {
					if got, err := r.get(ctx); err != nil || got != want {
						t.Errorf("got run %d (%v), want %d", got, err, want)
					}
				})
			}
			synctest.Wait()
		}
		ask(1, 1)
		<-begun
		ask(50, 2) // too late for the first run
		finish <- struct{}{}
		<-begun
		ask(1, 3)
		finish <- struct{}{}
		<-begun
		finish <- struct{}{}
		wg.Wait()
		if runs != 3 {
			t.Errorf("%d runs, want 3", runs)
		}
		cancel()
		r.wait()
	})
}

func TestRoundsCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := newRounds(ctx, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		gone, give := context.WithCancelCause(ctx)
		because := errors.New("no patience")
		give(because)
		if _, err := r.get(gone); !errors.Is(err, because) {
			t.Errorf("got %v", err)
		}
		cancel()
		r.wait()
	})
}
