package fsm

import (
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// CheckCreateAgent tells whether the agent may be made, at now (Unix nanoseconds), by a caller bound to scope (empty: to
// no tenant), and returns it as it would be. The id and the token's hash are not looked at: they are there at apply
// only. A *status.Error is a refusal, any other error a fault.
func CheckCreateAgent(r *Reader, now int64, scope string, c *raftv1.CreateAgent) (*raftv1.Agent, error) {
	a := &raftv1.Agent{
		Id: c.GetId(), Tenant: c.GetTenant(), Owner: c.GetOwner(), Name: c.GetName(), Type: max(c.GetType(), 1),
		Permissions: c.GetPermissions(), Metadata: c.GetMetadata(), CreatedAt: now, UpdatedAt: now,
	}
	if a.Tenant == "" {
		a.Tenant = DefaultTenant
	}
	s, err := r.Settings()
	if err != nil {
		return nil, err
	}
	byDefault, _ := addTime(now, s.GetTokenExpiry())
	var p problems
	p.text("owner_id", a.GetOwner(), 1, maxText)
	p.tenant("tenant", a.GetTenant())
	p.text("name", a.GetName(), 1, maxText)
	p.agentType("type", a.GetType())
	p.permissions(a.GetPermissions())
	a.ExpiresAt = p.expiry(c.GetExpiry(), now, byDefault)
	p.metadata("metadata", a.GetMetadata())
	p.record("permissions", a)
	if err := p.err(); err != nil {
		return nil, err
	}
	if scope != "" && a.GetTenant() != scope {
		return nil, status.New(status.PermissionDenied, "a caller bound to the tenant %q may not make an agent in %q", scope, a.GetTenant())
	}
	return a, r.checkOwnerLimit(a.GetTenant(), a.GetOwner(), now, s.GetMaxAgentsPerOwner())
}

// checkOwnerLimit refuses one more active, unexpired agent of the owner if there are limit already. It reads as many
// index keys as the limit says, whatever the owner ever had: a right is over when the clock >= its end.
func (r *Reader) checkOwnerLimit(tenant, owner string, now int64, limit uint32) error {
	_, upper := storage.PrefixRange(storage.ActivePrefix(tenant, owner))
	n := uint32(0)
	err := r.r.Scan(storage.ActiveFrom(tenant, owner, now+1), upper, false, func(_, _ []byte) (bool, error) {
		n++
		return n < limit, nil
	})
	if err == nil && n >= limit {
		err = status.New(status.AgentLimitExceeded, "owner %q has %d active agents; max_agents_per_owner is %d", owner, n, limit).
			WithField("owner_id", "max_agents_per_owner is %d", limit)
	}
	return err
}

func (x *command) createAgent(c *raftv1.CreateAgent) (*raftv1.Result, error) {
	x.about = subject{agent: agentText(c.GetId()), owner: c.GetOwner(), tenant: c.GetTenant()}
	var p problems
	p.id("agent_id", c.GetId())
	if err := p.err(); err != nil {
		return nil, err
	}
	a, err := CheckCreateAgent(x.Reader, x.wall, x.scope, c)
	if err != nil {
		return nil, err
	}
	if err := x.checkNewToken(c.GetTokenHash()); err != nil {
		return nil, err
	}
	if old, err := x.Agent(ids.ID(a.GetId())); err != nil {
		return nil, err
	} else if old != nil {
		return nil, status.New(status.AlreadyExists, "agent %s exists", agentText(a.GetId()))
	}
	a.TokenHash, a.Revision = c.GetTokenHash(), x.index
	x.about = aboutAgent(a)
	return agentResult(a), x.putAgent(nil, a)
}

// withoutHashes is a as answers and remembered results show it.
func withoutHashes(a *raftv1.Agent) *raftv1.Agent {
	c := cloneAgent(a)
	c.TokenHash, c.PrevTokenHash = nil, nil
	return c
}

// cloneAgent copies the agent but shares what is never changed in place: permissions and byte strings.
func cloneAgent(a *raftv1.Agent) *raftv1.Agent {
	return &raftv1.Agent{
		Id: a.GetId(), Tenant: a.GetTenant(), Owner: a.GetOwner(), Name: a.GetName(), Type: a.GetType(),
		Permissions: a.GetPermissions(), RevokedAt: a.GetRevokedAt(), ExpiresAt: a.GetExpiresAt(), Metadata: a.GetMetadata(),
		CreatedAt: a.GetCreatedAt(), UpdatedAt: a.GetUpdatedAt(), RotatedAt: a.GetRotatedAt(), Revision: a.GetRevision(),
		TokenHash: a.GetTokenHash(), PrevTokenHash: a.GetPrevTokenHash(), PrevTokenUntil: a.GetPrevTokenUntil(),
	}
}
