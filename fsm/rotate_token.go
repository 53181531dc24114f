package fsm

import (
	"github.com/kavachd/kavachd/status"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// CheckRotateToken tells whether the token may be replaced. See CheckCreateAgent; the hash is not looked at.
func CheckRotateToken(r *Reader, now int64, scope string, c *raftv1.RotateToken) (*raftv1.Agent, error) {
	a, err := r.agentIn(scope, "agent_id", c.GetId())
	if err != nil {
		return nil, err
	}
	switch AgentStatus(a, now) {
	case StatusRevoked:
		return nil, status.New(status.AgentRevoked, "agent %s is revoked", agentText(a.GetId()))
	case StatusExpired:
		return nil, status.New(status.AgentExpired, "agent %s is expired", agentText(a.GetId()))
	}
	var p problems
	if c.GetGrace() < 0 {
		p.add("grace_period", "must not be negative")
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return a, checkRevision(c.GetExpectedRevision(), a.GetRevision())
}

// rotateToken makes the new token the agent's. With a grace the old one becomes the one previous token, whose time ends
// with the agent's at the latest; an earlier previous token is dead in any case.
func (x *command) rotateToken(c *raftv1.RotateToken) (*raftv1.Result, error) {
	was, err := CheckRotateToken(x.Reader, x.wall, x.scope, c)
	x.about = x.aboutChecked(was, c.GetId())
	if err != nil {
		return nil, err
	}
	if err := x.checkNewToken(c.GetTokenHash()); err != nil {
		return nil, err
	}
	is := cloneAgent(was)
	is.TokenHash, is.PrevTokenHash, is.PrevTokenUntil = c.GetTokenHash(), nil, 0
	if c.GetGrace() > 0 {
		is.PrevTokenHash = was.GetTokenHash()
		is.PrevTokenUntil, _ = addTime(x.wall, c.GetGrace())
		endGrace(is)
	}
	is.UpdatedAt, is.RotatedAt, is.Revision = x.wall, x.wall, x.index
	return agentResult(is), x.putAgent(was, is)
}
