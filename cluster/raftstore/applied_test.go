package raftstore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kavachd/kavachd/storage"
)

func TestWaitApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p progress
		results := make(chan uint64, 10)
		for _, index := range []uint64{7, 3, 5, 3} {
			go func() {
				if err := p.wait(t.Context(), index); err != nil {
					t.Errorf("wait for %d: %v", index, err)
				}
				results <- index
			}()
		}
		synctest.Wait()
		for _, step := range []struct {
			publish uint64
			wakes   int
		}{{1, 0}, {3, 2}, {4, 0}, {9, 2}} {
			p.publish(storage.Position{Index: step.publish})
			synctest.Wait()
			if len(results) != step.wakes {
				t.Errorf("index %d woke %d, expected %d", step.publish, len(results), step.wakes)
			}
			for len(results) > 0 {
				if i := <-results; i > step.publish {
					t.Errorf("index %d woke a waiter for %d", step.publish, i)
				}
			}
		}
		if err := p.wait(t.Context(), 9); err != nil {
			t.Errorf("an index that is there: %v", err)
		}
	})
}

func TestWaitAppliedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p progress
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.wait(ctx, 5); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at the deadline: %v", err)
		}
		if len(p.waiters) != 0 {
			t.Errorf("%d waiters left behind", len(p.waiters))
		}
		stopped := errors.New("stopped")
		done := make(chan error, 1)
		go func() { done <- p.wait(t.Context(), 5) }()
		synctest.Wait()
		p.stop(stopped)
		p.stop(errors.New("a second reason"))
		if err := <-done; !errors.Is(err, stopped) {
			t.Errorf("when stopped: %v", err)
		}
		if err := p.wait(t.Context(), 5); !errors.Is(err, stopped) {
			t.Errorf("after it stopped: %v", err)
		}
		if err := p.wait(t.Context(), 0); err != nil {
			t.Errorf("an index that is there: %v", err)
		}
	})
}

// The heap of waiters keeps its order whatever comes and goes.
func TestWaitersKeepOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			var p progress
			type wait struct {
				index  uint64
				cancel context.CancelFunc
				done   chan error
			}
			var open []wait
			at := uint64(0)
			for range rapid.IntRange(1, 30).Draw(rt, "steps") {
				switch rapid.IntRange(0, 3).Draw(rt, "step") {
				case 0, 1:
					ctx, cancel := context.WithCancel(context.Background())
					w := wait{at + rapid.Uint64Range(1, 20).Draw(rt, "ahead"), cancel, make(chan error, 1)}
					go func() { w.done <- p.wait(ctx, w.index) }()
					open = append(open, w)
				case 2:
					if len(open) > 0 {
						i := rapid.IntRange(0, len(open)-1).Draw(rt, "cancelled")
						open[i].cancel()
						if err := <-open[i].done; !errors.Is(err, context.Canceled) {
							rt.Fatalf("cancelled: %v", err)
						}
						open = append(open[:i], open[i+1:]...)
					}
				default:
					at += rapid.Uint64Range(0, 10).Draw(rt, "by")
					p.publish(storage.Position{Index: at})
				}
				synctest.Wait()
				still := open[:0]
				for _, w := range open {
					select {
					case err := <-w.done:
						if err != nil || w.index > at {
							rt.Fatalf("a waiter for %d woke at %d: %v", w.index, at, err)
						}
						w.cancel()
					default:
						if w.index <= at {
							rt.Fatalf("a waiter for %d sleeps at %d", w.index, at)
						}
						still = append(still, w)
					}
				}
				open = still
			}
			for _, w := range open {
				w.cancel()
				<-w.done
			}
		})
	})
}
