package client

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"
)

// health is what is known of a node.
type health int

// The healths, in the order in which nodes are asked.
const (
	well     health = iota // answered last time, or wasn't asked yet
	doubtful               // refused for a reason of its own, or took too long
	gone                   // can't be reached
)

func (h health) String() string { return [...]string{"well", "doubtful", "gone"}[h] }

// EndpointStatus is what a Client knows of a node.
type EndpointStatus struct {
	// Endpoint is its URL.
	Endpoint string
	// Health is well; doubtful: it refused or took too long; or gone: it can't be reached.
	Health string
	// Failures are the attempts that failed since the last that didn't, by the node's fault.
	Failures int
	// InFlight are the attempts under way.
	InFlight int
}

// endpoint is one node. All but addr belongs to the pool's lock.
type endpoint struct {
	addr     address
	health   health
	failures int
	inFlight int
	watched  bool // invariant: a goroutine of the pool probes it, and only one
}

// pool chooses nodes, and watches over those that are not well.
type pool struct {
	log     *slog.Logger
	probe   func(ctx context.Context, a address) health
	backoff backoff // between probes

	ctx      context.Context // ends the watchers
	stop     context.CancelFunc
	watchers sync.WaitGroup

	mu struct {
		sync.Mutex
		closed    bool
		endpoints []*endpoint
		turn      int // where the next choice begins, among equals
	}
}

func newPool(addrs []address, log *slog.Logger, b backoff, probe func(context.Context, address) health) *pool {
	p := &pool{log: log, probe: probe, backoff: b}
	p.ctx, p.stop = context.WithCancel(context.Background())
	for _, a := range addrs {
		if !slices.ContainsFunc(p.mu.endpoints, func(e *endpoint) bool { return e.addr == a }) {
			p.mu.endpoints = append(p.mu.endpoints, &endpoint{addr: a})
		}
	}
	return p
}

// close ends the watchers.
func (p *pool) close() {
	p.mu.Lock()
	p.mu.closed = true // none begins any more
	p.mu.Unlock()
	p.stop()
	p.watchers.Wait()
}

// status returns what is known of every node, in the order of the configuration.
func (p *pool) status() []EndpointStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]EndpointStatus, 0, len(p.mu.endpoints))
	for _, e := range p.mu.endpoints {
		all = append(all, EndpointStatus{e.addr.String(), e.health.String(), e.failures, e.inFlight})
	}
	return all
}

// pick chooses a node that is not in tried: one of hints if it is well, else the healthiest, of those the one with the
// fewest attempts under way (so that a node that hangs is avoided before its first timeout), else in turn. A node that is
// gone is chosen only if all are. untried is how many could be chosen, this one included; nil: none is left.
// The caller must release what it got.
func (p *pool) pick(tried []*endpoint, hints []string) (best *endpoint, untried int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.mu.endpoints
	allGone := !slices.ContainsFunc(all, func(e *endpoint) bool { return e.health != gone })
	p.mu.turn++
	for i := range all {
		e := all[(i+p.mu.turn)%len(all)]
		if slices.Contains(tried, e) || e.health == gone && !allGone {
			continue
		}
		untried++
		if best == nil || before(e, best, hints) {
			best = e
		}
	}
	if best != nil {
		best.inFlight++
	}
	return best, untried
}

// before tells whether a is asked rather than b.
func before(a, b *endpoint, hints []string) bool {
	if a.health != b.health {
		return a.health < b.health
	}
	if ha, hb := slices.Contains(hints, a.addr.host), slices.Contains(hints, b.addr.host); ha != hb {
		return ha
	}
	return a.inFlight < b.inFlight
}

// verdict is what an attempt says about the node.
type verdict int

const (
	unsaid   verdict = iota // nothing
	answered                // it does its work
	refused                 // it answers, but can't serve
	slow                    // no answer in the attempt's time
	broken                  // no connection, or one that broke
)

// release ends an attempt at e.
func (p *pool) release(e *endpoint, v verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.inFlight--
	switch v {
	case unsaid:
		return
	case answered:
		e.failures = 0
		p.set(e, well)
		return
	case refused:
		p.set(e, doubtful)
	case slow:
		p.set(e, max(e.health, doubtful))
	case broken:
		p.set(e, gone)
	}
	e.failures++
	if e.watched || p.mu.closed {
		return
	}
	e.watched = true
	p.watchers.Go(func() { p.watch(e) })
}

// set changes a node's health. The lock is held.
func (p *pool) set(e *endpoint, h health) {
	if e.health == h {
		return
	}
	level := slog.LevelWarn
	if h == well {
		level = slog.LevelInfo
	}
	p.log.Log(p.ctx, level, "a node's health changed", "endpoint", e.addr.String(), "was", e.health.String(), "is", h.String())
	e.health = h
}

// watch probes a node until it is well, at once and then less and less often.
func (p *pool) watch(e *endpoint) {
	for n := 0; ; n++ {
		h := p.probe(p.ctx, e.addr)
		p.mu.Lock()
		if p.ctx.Err() == nil {
			p.set(e, h)
		}
		if e.health == well || p.ctx.Err() != nil {
			e.watched = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		if !wait(p.ctx, p.backoff.delay(n)) {
			p.mu.Lock()
			e.watched = false
			p.mu.Unlock()
			return
		}
	}
}

// learn adds a node that another has named, if there is room.
func (p *pool) learn(a address) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := slices.ContainsFunc(p.mu.endpoints, func(e *endpoint) bool { return e.addr.host == a.host })
	if known || len(p.mu.endpoints) >= maxEndpoints {
		return
	}
	p.mu.endpoints = append(p.mu.endpoints, &endpoint{addr: a})
}

// readiness asks a node whether it may decide. It needs no key and sends none.
func readiness(c *http.Client, limit time.Duration) func(ctx context.Context, a address) health {
	return func(ctx context.Context, a address) health {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.String()+"/readyz", http.NoBody)
		if err != nil {
			return gone
		}
		res, err := c.Do(req)
		if err != nil {
			return gone
		}
		defer func() { _ = res.Body.Close() }() // there is nothing in it
		if res.StatusCode >= http.StatusInternalServerError {
			return doubtful
		}
		return well // whatever stands before the node may hide /readyz
	}
}
