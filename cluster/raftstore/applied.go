package raftstore

import (
	"container/heap"
	"context"
	"fmt"
	"sync"

	"github.com/kavachd/kavachd/storage"
)

// progress is the published applied position, and who waits for it. Safe for concurrent use.
type progress struct {
	mu      sync.Mutex
	at      storage.Position
	end     error // no further position will come
	waiters waiterHeap
}

// waiter waits for one index. done is closed when it is reached or progress has ended.
type waiter struct {
	index uint64
	done  chan struct{}
	place int // in the heap, -1 once taken out
}

// get returns the published position.
func (p *progress) get() storage.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

// publish moves the position, and wakes those whose index it reaches. A restore may move it by any distance.
func (p *progress) publish(at storage.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = at
	for len(p.waiters) > 0 && p.waiters[0].index <= at.Index {
		close(heap.Pop(&p.waiters).(*waiter).done)
	}
}

// stop ends all waiting, now and later, with err. The first reason stays.
func (p *progress) stop(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end == nil {
		p.end = err
	}
	for len(p.waiters) > 0 {
		close(heap.Pop(&p.waiters).(*waiter).done)
	}
}

// wait returns once index is published, ctx is done, or progress has ended.
func (p *progress) wait(ctx context.Context, index uint64) error {
	p.mu.Lock()
	if ready, err := p.ready(index); ready {
		p.mu.Unlock()
		return err
	}
	w := &waiter{index: index, done: make(chan struct{})}
	heap.Push(&p.waiters, w)
	p.mu.Unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.place >= 0 {
		heap.Remove(&p.waiters, w.place)
	}
	if ready, err := p.ready(index); ready {
		return err
	}
	return fmt.Errorf("wait for index %d, applied is %d: %w", index, p.at.Index, context.Cause(ctx))
}

// ready tells whether there is nothing to wait for, and why. The caller holds mu.
func (p *progress) ready(index uint64) (bool, error) {
	switch {
	case p.at.Index >= index:
		return true, nil
	case p.end != nil:
		return true, fmt.Errorf("wait for index %d, applied is %d: %w", index, p.at.Index, p.end)
	}
	return false, nil
}

// waiterHeap is a heap.Interface, lowest index first.
type waiterHeap []*waiter

func (h waiterHeap) Len() int           { return len(h) }
func (h waiterHeap) Less(i, j int) bool { return h[i].index < h[j].index }

func (h waiterHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *waiterHeap) Push(x any) {
	w := x.(*waiter)
	w.place = len(*h)
	*h = append(*h, w)
}

// Pop implements heap.Interface.
func (h *waiterHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	w.place = -1
	*h = old[:len(old)-1]
	return w
}
