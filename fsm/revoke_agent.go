package fsm

import raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"

// CheckRevokeAgent tells whether the agent may be revoked: one that is already, always. See CheckCreateAgent.
func CheckRevokeAgent(r *Reader, scope string, c *raftv1.RevokeAgent) (*raftv1.Agent, error) {
	a, err := r.agentIn(scope, "agent_id", c.GetId())
	if err != nil || a.GetRevokedAt() != 0 {
		return a, err
	}
	return a, checkRevision(c.GetExpectedRevision(), a.GetRevision())
}

// revokeAgent ends the agent, every grace, and what derives from it. A repeat changes nothing. The current token still
// leads to the agent, so that the audit entry of whoever presents it can name it.
func (x *command) revokeAgent(c *raftv1.RevokeAgent) (*raftv1.Result, error) {
	a, err := CheckRevokeAgent(x.Reader, x.scope, c)
	x.about = x.aboutChecked(a, c.GetId())
	if err != nil {
		return nil, err
	}
	n := 0
	if a.GetRevokedAt() == 0 {
		if a, n, err = x.endAgent(a); err != nil {
			return nil, err
		}
	}
	return &raftv1.Result{Result: &raftv1.Result_Revoke{Revoke: &raftv1.RevokeResult{
		Agent: withoutHashes(a), DelegationsRevoked: uint32(n),
	}}}, nil
}

// endAgent marks the agent revoked and ends what is no longer covered below it.
func (x *command) endAgent(was *raftv1.Agent) (is *raftv1.Agent, delegations int, err error) {
	is = cloneAgent(was)
	is.PrevTokenHash, is.PrevTokenUntil = nil, 0
	is.RevokedAt, is.UpdatedAt, is.Revision = x.wall, x.wall, x.index
	if err := x.putAgent(was, is); err != nil {
		return nil, 0, err
	}
	n, err := x.cascade(is.GetTenant(), is.GetId())
	return is, n, err
}
