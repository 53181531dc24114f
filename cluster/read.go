package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/kavachd/kavachd/authz/state"
	"github.com/kavachd/kavachd/status"
)

// reader serves reads from this node's own state, once it is proved to be current.
type reader struct {
	replica *replica
	indexes *indexes
	now     func() time.Time
	// revision parses a token of AtLeast.
	revision func(token string) (uint64, error)
}

// read confirms what level asks for, and evaluates.
//
// Until read leases arrive each level is served as fresh: a read index that was confirmed after the call began, then
// applied >= that index, then the evaluation on one version. So no answer misses a write that was acknowledged before it
// was asked for, on any node.
func (r *reader) read(ctx context.Context, level Level, eval func(*View) error) (Served, error) {
	if err := r.current(ctx, level); err != nil {
		return Served{}, err
	}
	revision, err := r.replica.evaluate(r.now, eval)
	if err != nil {
		return Served{}, err
	}
	return Served{Revision: revision, Consistency: level.served()}, nil
}

// current waits until this node's state is what level asks for.
func (r *reader) current(ctx context.Context, level Level) error {
	var wanted uint64
	if level.Consistency == AtLeast {
		var err error
		if wanted, err = r.revision(level.Revision); err != nil {
			return err
		}
	}
	ri, err := r.indexes.get(ctx)
	if err != nil {
		return err
	}
	if err := r.replica.wait(ctx, ri.index); err != nil {
		return behind(ctx, ri.index, err)
	}
	if wanted > ri.index {
		return r.atLeast(ctx, wanted)
	}
	return nil
}

// atLeast waits for a revision that the leader hadn't applied yet.
func (r *reader) atLeast(ctx context.Context, wanted uint64) error {
	ctx, cancel := context.WithTimeout(ctx, r.indexes.limit)
	defer cancel()
	if err := r.replica.wait(ctx, wanted); err != nil {
		if ctx.Err() == nil {
			return behind(ctx, wanted, err)
		}
		return status.New(status.RevisionAhead, "revision %d is not applied here yet, %d is", wanted, r.replica.applyIndex()).
			Retry(retrySoon).Wrap(err)
	}
	return nil
}

// behind is for a node that knows which index it needs and doesn't get there.
func behind(ctx context.Context, index uint64, err error) error {
	if ctx.Err() != nil {
		return ended(ctx, "index %d is not applied here in time", index).Retry(retrySoon).Wrap(err)
	}
	return status.New(status.NotReady, "this node can't apply").Wrap(fmt.Errorf("wait for index %d: %w", index, err))
}

// served names the level that an answer has; every one is at least fresh.
func (l Level) served() Consistency {
	if l.Consistency == StaleOK {
		return Fresh
	}
	return l.Consistency
}

// local returns the decision state as it is here, without any proof that it is current.
func (r *reader) local() (state.View, uint64, time.Time) {
	at := r.replica.applyIndex()
	return r.replica.state.Load().View(), at, r.now()
}

// Pinned is one version of the state that stays open, for exports. The holder closes it.
type Pinned struct {
	View
	Served Served
	lazy   *lazyReader
}

// Close lets the version go.
func (p *Pinned) Close() error { return p.lazy.close() }

// pin is read without an end: the caller closes what it gets.
func (r *reader) pin(ctx context.Context, level Level) (*Pinned, error) {
	if err := r.current(ctx, level); err != nil {
		return nil, err
	}
	v, lazy, err := r.replica.pin(r.now)
	if err != nil {
		return nil, err
	}
	return &Pinned{View: *v, Served: Served{Revision: v.Revision, Consistency: level.served()}, lazy: lazy}, nil
}
