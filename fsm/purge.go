package fsm

import (
	"bytes"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

const (
	// changesKept is how long the changelog is kept.
	changesKept = 24 * time.Hour
	// maxPurge bounds the records that one command lets go.
	maxPurge = 10_000
)

// purge is a PurgeExpired under way: what may still go.
type purge struct {
	x    *command
	left int
	gone int
}

// purgeExpired lets records go whose time is over by the entry's wall stamp: remembered requests, the changelog,
// delegations, agents (purge_after behind their end). Only ending an expired agent may end more than the limit says:
// what derives from it must not outlive it.
func (x *command) purgeExpired(c *raftv1.PurgeExpired) (*raftv1.Result, error) {
	var problem problems
	if c.GetLimit() < 1 || c.GetLimit() > maxPurge {
		problem.add("limit", "%d is not between 1 and %d", c.GetLimit(), maxPurge)
	}
	if err := problem.err(); err != nil {
		return nil, err
	}
	s, err := x.Settings()
	if err != nil {
		return nil, err
	}
	p := &purge{x: x, left: int(c.GetLimit())}
	ended := x.wall - s.GetPurgeAfter()
	for _, step := range []func() error{
		p.requests,
		p.changes,
		func() error { return p.queue(storage.TableDelegationPurge, ended, p.delegationKey) },
		func() error { return p.queue(storage.TableAgentPurge, ended, p.agentKey) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &raftv1.Result{Result: &raftv1.Result_Purge{Purge: &raftv1.PurgeResult{
		Purged: uint32(p.gone), More: p.left <= 0,
	}}}, nil
}

func (p *purge) count() { p.left--; p.gone++ }

// due collects at most as many keys of a queue as may still go, from its front. over tells whether a key's time is.
func (p *purge) due(table byte, over func(key, value []byte) (bool, error)) (keys [][]byte, err error) {
	lower, upper := storage.Range(table)
	err = p.x.r.Scan(lower, upper, false, func(key, value []byte) (bool, error) {
		if len(keys) >= p.left {
			return false, nil
		}
		ok, err := over(key, value)
		if err != nil {
			return false, corruptf("%s: %w", storage.PrintKey(key), err)
		}
		if ok {
			keys = append(keys, bytes.Clone(key))
		}
		return ok, nil
	})
	return keys, err
}

func (p *purge) requests() error {
	keys, err := p.due(storage.TableIdempotencyExpiry, func(key, _ []byte) (bool, error) {
		at, _, err := storage.ParseIdempotencyExpiryKey(key)
		return at <= p.x.wall, err
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		_, q, err := storage.ParseIdempotencyExpiryKey(key)
		if err != nil {
			return corruptf("%s: %w", storage.PrintKey(key), err)
		}
		if err := p.x.delete(key); err != nil {
			return err
		}
		if err := p.x.delete(storage.IdempotencyKey(q)); err != nil {
			return err
		}
		p.count()
	}
	return nil
}

func (p *purge) changes() error {
	keys, err := p.due(storage.TableChange, func(_, value []byte) (bool, error) {
		c := &raftv1.Change{}
		err := unmarshal(value, c)
		return c.GetWall() <= p.x.wall-int64(changesKept), err
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := p.x.delete(key); err != nil {
			return err
		}
		p.count()
	}
	return nil
}

// queue purges what stands in a queue up to the moment ended.
func (p *purge) queue(table byte, ended int64, one func(key []byte) error) error {
	keys, err := p.due(table, func(key, _ []byte) (bool, error) {
		if table == storage.TableAgentPurge {
			at, _, err := storage.ParseAgentPurgeKey(key)
			return at <= ended, err
		}
		at, _, err := storage.ParseDelegationPurgeKey(key)
		return at <= ended, err
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		if p.left <= 0 {
			return nil
		}
		if err := one(key); err != nil {
			return err
		}
	}
	return nil
}

func (p *purge) delegationKey(key []byte) error {
	_, id, err := storage.ParseDelegationPurgeKey(key)
	if err != nil {
		return corruptf("%s: %w", storage.PrintKey(key), err)
	}
	return p.delegation(id)
}

func (p *purge) delegation(id ids.ID) error {
	d, err := p.x.Delegation(id)
	if err != nil {
		return err
	}
	if d == nil {
		return corruptf("the delegation %s is queued or indexed, but is not there", id.Text(ids.PrefixDelegation))
	}
	p.count()
	return p.x.putDelegation(d, nil)
}

// agentKey lets an agent go, after all delegations that it gave or received. If these are more than may go now, the
// agent stays in the queue and a later command goes on.
func (p *purge) agentKey(key []byte) error {
	_, id, err := storage.ParseAgentPurgeKey(key)
	if err != nil {
		return corruptf("%s: %w", storage.PrintKey(key), err)
	}
	a, err := p.x.Agent(id)
	if err != nil {
		return err
	}
	if a == nil {
		return corruptf("the agent %s is queued, but is not there", id.Text(ids.PrefixAgent))
	}
	if a.GetRevokedAt() == 0 { // long expired: it ends for good, and what derives from it
		if a, err = p.endExpired(a); err != nil {
			return err
		}
	}
	for _, prefix := range [][]byte{storage.GivenPrefix(a.GetTenant(), id), storage.ReceivedPrefix(a.GetTenant(), id)} {
		edges, _, err := p.x.edgesFrom(prefix, 0, max(p.left, 0))
		if err != nil {
			return err
		}
		for _, e := range edges {
			if err := p.delegation(e.id); err != nil {
				return err
			}
		}
	}
	if p.left <= 0 {
		return nil
	}
	p.count()
	return p.x.putAgent(a, nil)
}

// endExpired revokes an agent as of the moment at which it expired, so that it keeps its place in the queue.
func (p *purge) endExpired(was *raftv1.Agent) (*raftv1.Agent, error) {
	is := proto.CloneOf(was)
	is.PrevTokenHash, is.PrevTokenUntil = nil, 0
	is.RevokedAt, is.UpdatedAt, is.Revision = was.GetExpiresAt(), p.x.wall, p.x.index
	if err := p.x.putAgent(was, is); err != nil {
		return nil, err
	}
	n, err := p.x.cascade(is.GetTenant(), is.GetId())
	p.left, p.gone = p.left-n, p.gone+n
	return is, err
}
