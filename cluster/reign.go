package cluster

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// reign is this node's leadership in one term. All leader-only work belongs to one and ends with it (RAFT.md decision
// 11): a boolean can't tell a leader from one that lost its term and won another.
type reign struct {
	term uint64
	ctx  context.Context // ends with the reign
	// base is the index of the term's LeaderEpoch, once applied in this term; 0: not yet. Everything that any older leader
	// ever acknowledged is below it (PROTOCOLS R1).
	base   atomic.Uint64
	opened chan struct{} // closed when base is set
}

func (r *reign) open(base uint64) {
	r.base.Store(base)
	close(r.opened)
}

// termState is the part of the Raft library that tells who leads.
type termState interface {
	State() raft.RaftState
	CurrentTerm() uint64
}

// leadership follows the Raft library and runs work for each term that this node leads, one after the other.
type leadership struct {
	raft   termState
	notify <-chan bool // the library's NotifyCh: it blocks the main loop when nobody reads
	work   func(r *reign)
	log    *slog.Logger

	current atomic.Pointer[reign]
}

// run ends with ctx, after the work of the last reign.
func (l *leadership) run(ctx context.Context) {
	wake := make(chan struct{}, 1)
	read := make(chan struct{})
	go func() { // never blocks, so that the library's main loop never does
		defer close(read)
		for {
			select {
			case <-l.notify:
			case <-ctx.Done():
				return
			}
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}()
	end := func() {}
	for ctx.Err() == nil {
		cur := l.current.Load()
		switch term, leads := l.leads(); {
		case cur != nil && (!leads || term != cur.term):
			end()
			end = func() {}
			continue
		case cur == nil && leads:
			end = l.begin(ctx, term)
		}
		select {
		case <-wake:
		case <-ctx.Done():
		}
	}
	end()
	<-read
}

// leads returns the term that this node leads, if any. Between the two readings of the term the state belongs to it.
func (l *leadership) leads() (term uint64, leads bool) {
	for {
		before := l.raft.CurrentTerm()
		state := l.raft.State()
		if l.raft.CurrentTerm() == before {
			return before, state == raft.Leader
		}
	}
}

// begin starts a reign. The function it returns ends it and waits for its work.
func (l *leadership) begin(ctx context.Context, term uint64) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	r := &reign{term: term, ctx: ctx, opened: make(chan struct{})}
	done := make(chan struct{})
	l.log.Info("leading", "term", term)
	l.current.Store(r)
	go func() {
		defer close(done)
		l.work(r)
	}()
	return func() {
		cancel()
		<-done
		l.current.CompareAndSwap(r, nil)
		l.log.Info("no longer leading", "term", term)
	}
}
