package vectors

import (
	"strings"
	"time"

	"github.com/kavachd/kavachd/authz"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

func value(s *string, otherwise string) string {
	if s == nil {
		return otherwise
	}
	return *s
}

func agentType(name string) uint32 {
	return uint32(kavachv1.AgentType_value["AGENT_TYPE_"+strings.ToUpper(name)])
}

func typeName(t uint32) string {
	return strings.ToLower(strings.TrimPrefix(kavachv1.AgentType(t).String(), "AGENT_TYPE_"))
}

// timestamp writes Unix nanoseconds as the recording does; never is null.
func timestamp(ns int64) any {
	if ns == 0 {
		return nil
	}
	return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000Z")
}

// permissions reads the original's notation; every quota counts by resource, as the original's do.
func permissions(in []Permission) []*raftv1.Permission {
	var out []*raftv1.Permission
	for _, p := range in {
		r := &raftv1.Permission{Resource: p.Resource, Actions: p.Actions}
		if c := p.Constraints; c != nil {
			for _, pattern := range c.AllowedArgPatterns {
				r.ArgPatterns = append(r.ArgPatterns, &raftv1.ArgumentPattern{Pattern: pattern})
			}
			r.RequireApproval = c.RequireApproval != nil && *c.RequireApproval
			if c.TimeWindow != nil {
				r.WindowStart, r.WindowEnd = c.TimeWindow.Start, c.TimeWindow.End
			}
			r.IpAllowlist = c.IPAllowlist
			if c.MaxCallsPerHour != nil {
				r.MaxCallsPerHour, r.QuotaScope = *c.MaxCallsPerHour, uint32(kavachv1.QuotaScope_QUOTA_SCOPE_RESOURCE)
			}
		}
		out = append(out, r)
	}
	return out
}

// recorded writes a permission in the original's notation.
func recorded(p authz.Permission) Permission {
	out := Permission{Resource: p.Resource, Actions: p.Actions}
	c, set := &Constraints{IPAllowlist: p.Constraints.IPAllowlist}, len(p.Constraints.IPAllowlist) > 0
	for _, a := range p.Constraints.ArgPatterns {
		c.AllowedArgPatterns, set = append(c.AllowedArgPatterns, a.Pattern), true
	}
	if p.Constraints.RequireApproval {
		yes := true
		c.RequireApproval, set = &yes, true
	}
	if w := p.Constraints.TimeWindow; w != nil {
		c.TimeWindow, set = &TimeWindow{Start: w.Start, End: w.End}, true
	}
	if n := p.Constraints.MaxCallsPerHour; n > 0 {
		c.MaxCallsPerHour, set = &n, true
	}
	if set {
		out.Constraints = c
	}
	return out
}
