package cluster

import (
	"context"
	"fmt"
	"sync/atomic"
)

// gate counts the requests inside a node, and lets none in once it is shut.
type gate struct {
	inside atomic.Int64
	shut   atomic.Bool
	empty  chan struct{} // has room for one token: the last one has left a shut gate
}

func newGate() *gate { return &gate{empty: make(chan struct{}, 1)} }

// enter lets a request in, or returns status.NodeStopping.
func (g *gate) enter() (leave func(), err error) {
	g.inside.Add(1) // before looking, so that close can't miss it
	if g.shut.Load() {
		g.leave()
		return nil, stopping()
	}
	return g.leave, nil
}

func (g *gate) leave() {
	if g.inside.Add(-1) == 0 && g.shut.Load() {
		select {
		case g.empty <- struct{}{}:
		default:
		}
	}
}

// close refuses what comes and waits for what is inside, until ctx ends.
func (g *gate) close(ctx context.Context) error {
	g.shut.Store(true)
	for g.inside.Load() > 0 {
		select {
		case <-g.empty:
		case <-ctx.Done():
			return fmt.Errorf("%d requests are still running: %w", g.inside.Load(), context.Cause(ctx))
		}
	}
	return nil
}
