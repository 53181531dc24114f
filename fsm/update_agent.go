package fsm

import (
	"github.com/kavachd/kavachd/status"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// CheckUpdateAgent tells whether the change may be made, and returns the agent as it would be. See CheckCreateAgent.
func CheckUpdateAgent(r *Reader, now int64, scope string, c *raftv1.UpdateAgent) (*raftv1.Agent, error) {
	_, is, err := checkUpdateAgent(r, now, scope, c)
	return is, err
}

func checkUpdateAgent(r *Reader, now int64, scope string, c *raftv1.UpdateAgent) (was, is *raftv1.Agent, err error) {
	if was, err = r.agentIn(scope, "agent_id", c.GetId()); err != nil {
		return nil, nil, err
	}
	if was.GetRevokedAt() != 0 {
		return nil, nil, status.New(status.AgentRevoked, "agent %s is revoked", agentText(was.GetId()))
	}
	if err := checkRevision(c.GetExpectedRevision(), was.GetRevision()); err != nil {
		return nil, nil, err
	}
	s, err := r.Settings()
	if err != nil {
		return nil, nil, err
	}
	is = cloneAgent(was)
	is.UpdatedAt = now
	var p problems
	if c.Name != nil {
		is.Name = c.GetName()
		p.text("name", is.GetName(), 1, maxText)
	}
	if c.Type != nil {
		is.Type = max(c.GetType(), 1)
		p.agentType("type", is.GetType())
	}
	if c.GetPermissions() != nil {
		is.Permissions = c.GetPermissions().GetPermissions()
		p.permissions(is.GetPermissions())
	}
	if c.GetExpiry() != nil {
		byDefault, _ := addTime(now, s.GetTokenExpiry())
		is.ExpiresAt = p.expiry(c.GetExpiry(), now, byDefault)
		endGrace(is)
	}
	if c.Metadata != nil {
		is.Metadata = c.GetMetadata()
		p.metadata("metadata", is.GetMetadata())
	}
	p.record("permissions", is)
	if err := p.err(); err != nil {
		return nil, nil, err
	}
	// Who revives an agent makes one more that counts.
	if AgentStatus(was, now) == StatusExpired && AgentStatus(is, now) == StatusActive {
		err = r.checkOwnerLimit(is.GetTenant(), is.GetOwner(), now, s.GetMaxAgentsPerOwner())
	}
	return was, is, err
}

// endGrace keeps the grace of the previous token within the agent's life, so that a later extension does not wake it.
func endGrace(a *raftv1.Agent) {
	if end := a.GetExpiresAt(); end != 0 && len(a.GetPrevTokenHash()) > 0 {
		a.PrevTokenUntil = min(a.GetPrevTokenUntil(), end)
	}
}

func (x *command) updateAgent(c *raftv1.UpdateAgent) (*raftv1.Result, error) {
	was, is, err := checkUpdateAgent(x.Reader, x.wall, x.scope, c)
	x.about = x.aboutChecked(was, c.GetId())
	if err != nil {
		return nil, err
	}
	is.Revision = x.index
	return agentResult(is), x.putAgent(was, is)
}
