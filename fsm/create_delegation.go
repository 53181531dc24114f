package fsm

import (
	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// maxReceived bounds the live delegations that one agent has received (SPEC 9).
const maxReceived = 1000

// CheckCreateDelegation tells whether the delegation may be made (SPEC 5), and returns it as it would be; the id is not
// looked at. See CheckCreateAgent.
func CheckCreateDelegation(r *Reader, now int64, scope string, c *raftv1.CreateDelegation) (*raftv1.Delegation, error) {
	from, err := r.agentIn(scope, "from_agent_id", c.GetFrom())
	if err != nil {
		return nil, err
	}
	to, err := r.agentIn(from.GetTenant(), "to_agent_id", c.GetTo()) // one of another tenant is not found
	if err != nil {
		return nil, err
	}
	switch AgentStatus(from, now) {
	case StatusRevoked:
		return nil, status.New(status.AgentRevoked, "the giver %s is revoked", agentText(from.GetId())).WithField("from_agent_id", "revoked")
	case StatusExpired:
		return nil, status.New(status.AgentExpired, "the giver %s is expired", agentText(from.GetId())).WithField("from_agent_id", "expired")
	}
	if to.GetRevokedAt() != 0 { // an expired one may be revived, and receives
		return nil, status.New(status.AgentRevoked, "the receiver %s is revoked", agentText(to.GetId())).WithField("to_agent_id", "revoked")
	}
	d, err := newDelegation(r, now, c, from)
	if err != nil {
		return nil, err
	}
	if err := r.checkCycle(d, now); err != nil {
		return nil, err
	}
	if err := r.checkReceived(d, now); err != nil {
		return nil, err
	}
	return d, r.checkCoverage(d, now)
}

// newDelegation checks the fields and resolves the expiry: absent, that of the giver, at the latest the default.
func newDelegation(r *Reader, now int64, c *raftv1.CreateDelegation, from *raftv1.Agent) (*raftv1.Delegation, error) {
	s, err := r.Settings()
	if err != nil {
		return nil, err
	}
	fallback, _ := addTime(now, s.GetTokenExpiry())
	if end := from.GetExpiresAt(); end != 0 {
		fallback = min(fallback, end)
	}
	d := &raftv1.Delegation{
		Id: c.GetId(), Tenant: from.GetTenant(), From: c.GetFrom(), To: c.GetTo(), Permissions: c.GetPermissions(),
		MaxDepth: c.GetMaxDepth(), CreatedAt: now,
	}
	var p problems
	if ids.ID(d.GetFrom()) == ids.ID(d.GetTo()) {
		p.add("to_agent_id", "an agent can't delegate to itself")
	}
	if len(d.GetPermissions()) == 0 {
		p.add("permissions", "is empty")
	}
	p.permissions(d.GetPermissions())
	d.ExpiresAt = p.expiry(c.GetExpiry(), now, fallback)
	if d.GetMaxDepth() < 1 || d.GetMaxDepth() > authz.MaxPath {
		p.add("max_depth", "%d is not between 1 and %d", d.GetMaxDepth(), authz.MaxPath)
	}
	p.record("permissions", d)
	return d, p.err()
}

// checkCycle refuses a receiver from whom the giver, by live delegations, itself derives. Whether an agent on the way
// is expired does not matter: it may be revived, and two chains that feed each other would then stand.
func (r *Reader) checkCycle(d *raftv1.Delegation, now int64) error {
	to := ids.ID(d.GetTo())
	queue := []ids.ID{ids.ID(d.GetFrom())}
	seen := map[ids.ID]struct{}{queue[0]: {}}
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		edges, err := r.liveEdges(storage.LiveReceivedFrom(d.GetTenant(), id, now+1), storage.LiveReceivedPrefix(d.GetTenant(), id))
		if err != nil {
			return err
		}
		for _, e := range edges {
			above, err := must(r, storage.DelegationKey(d.GetTenant(), e.id), &raftv1.Delegation{})
			if err != nil {
				return err
			}
			giver := ids.ID(above.GetFrom())
			if giver == to {
				return status.New(status.DelegationCycle, "the giver itself derives from %s, by %s", agentText(d.GetTo()), delegationText(above.GetId())).
					WithField("to_agent_id", "the giver derives from it")
			}
			if _, ok := seen[giver]; !ok {
				seen[giver] = struct{}{}
				queue = append(queue, giver)
			}
		}
	}
	return nil
}

// checkReceived keeps the live delegations of one receiver within SPEC 9's limit. It reads at most as many keys.
func (r *Reader) checkReceived(d *raftv1.Delegation, now int64) error {
	to := ids.ID(d.GetTo())
	_, upper := storage.PrefixRange(storage.LiveReceivedPrefix(d.GetTenant(), to))
	n := 0
	err := r.r.Scan(storage.LiveReceivedFrom(d.GetTenant(), to, now+1), upper, false, func(_, _ []byte) (bool, error) {
		n++
		return n < maxReceived, nil
	})
	if err == nil && n >= maxReceived {
		err = status.New(status.LimitExceeded, "agent %s has received %d live delegations, the limit", agentText(d.GetTo()), maxReceived).
			WithField("to_agent_id", "%d live delegations received is the limit", maxReceived)
	}
	return err
}

// checkCoverage refuses what the giver does not effectively hold, and what would lie too deep, and sets the depth: that
// of the permission which lies deepest.
func (r *Reader) checkCoverage(d *raftv1.Delegation, now int64) error {
	src := newSource(r, now, false)
	for i, p := range d.GetPermissions() {
		c := authz.CoveredBy(src, ids.ID(d.GetFrom()), permission(p), now)
		if src.err != nil {
			return src.err
		}
		if !c.Covered {
			return status.New(status.InsufficientPermissions, "the giver holds no permission that covers %q", p.GetResource()).
				WithField(fieldOf(i, "resource"), "no permission of the giver covers it with its actions")
		}
		if limit := min(c.MaxDepth, d.GetMaxDepth(), authz.MaxPath); c.Depth > limit {
			return status.New(status.DelegationDepthExceeded, "the delegation of %q would have depth %d, the limit on its path is %d", p.GetResource(), c.Depth, limit).
				WithField(fieldOf(i, "resource"), "depth %d, the limit is %d", c.Depth, limit)
		}
		d.Depth = max(d.GetDepth(), c.Depth)
	}
	return nil
}

func (x *command) createDelegation(c *raftv1.CreateDelegation) (*raftv1.Result, error) {
	x.about = x.aboutChecked(nil, c.GetFrom())
	x.about.resource = "delegation:" + delegationText(c.GetId())
	var p problems
	p.id("delegation_id", c.GetId())
	if err := p.err(); err != nil {
		return nil, err
	}
	d, err := CheckCreateDelegation(x.Reader, x.wall, x.scope, c)
	if err != nil {
		return nil, err
	}
	if old, err := x.Delegation(ids.ID(d.GetId())); err != nil {
		return nil, err
	} else if old != nil {
		return nil, status.New(status.AlreadyExists, "delegation %s exists", delegationText(d.GetId()))
	}
	d.CreatedSeq, d.Revision = x.index<<16|uint64(x.position), x.index
	return delegationResult(d), x.putDelegation(nil, d)
}

func delegationResult(d *raftv1.Delegation) *raftv1.Result {
	return &raftv1.Result{Result: &raftv1.Result_Delegation{Delegation: &raftv1.DelegationResult{Delegation: d}}}
}
