package fsm

import (
	"time"

	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// Bounds of the settings. What makes no sense is refused when it is set, never when it is used (SPEC 1).
const (
	maxLifetime       = int64(3650 * 24 * time.Hour)
	maxAgentsPerOwner = 1_000_000
	maxAuditPolicy    = 3 // kavach.v1.AUDIT_POLICY_OFF
)

// CheckUpdateSettings tells whether the settings may be changed so, and returns them as they would be, defaults left
// out. Zero fields stay. See CheckCreateAgent.
func CheckUpdateSettings(r *Reader, scope string, c *raftv1.UpdateSettings) (*raftv1.Settings, error) {
	if err := clusterWide(scope, "change settings"); err != nil {
		return nil, err
	}
	s := &raftv1.Settings{}
	if _, err := r.get(storage.SettingsKey(""), s); err != nil {
		return nil, err
	}
	if err := checkRevision(c.GetExpectedRevision(), s.GetRevision()); err != nil {
		return nil, err
	}
	n := c.GetSettings()
	var p problems
	p.setting("settings.token_expiry", &s.TokenExpiry, n.GetTokenExpiry(), int64(time.Millisecond), maxLifetime)
	p.count("settings.max_agents_per_owner", &s.MaxAgentsPerOwner, n.GetMaxAgentsPerOwner(), maxAgentsPerOwner)
	p.count("settings.audit_policy", &s.AuditPolicy, n.GetAuditPolicy(), maxAuditPolicy)
	p.setting("settings.approval_ttl", &s.ApprovalTtl, n.GetApprovalTtl(), int64(time.Second), int64(7*24*time.Hour))
	p.setting("settings.purge_after", &s.PurgeAfter, n.GetPurgeAfter(), int64(time.Hour), maxLifetime)
	p.setting("settings.max_clock_skew", &s.MaxClockSkew, n.GetMaxClockSkew(), int64(time.Millisecond), int64(time.Minute))
	return s, p.err()
}

func (p *problems) setting(path string, at *int64, v, lowest, highest int64) {
	if v == 0 {
		return
	}
	if v < lowest || v > highest {
		p.add(path, "%s is not between %s and %s", time.Duration(v), time.Duration(lowest), time.Duration(highest))
		return
	}
	*at = v
}

func (p *problems) count(path string, at *uint32, v, highest uint32) {
	if v == 0 {
		return
	}
	if v > highest {
		p.add(path, "%d is not between 1 and %d", v, highest)
		return
	}
	*at = v
}

func (x *command) updateSettings(c *raftv1.UpdateSettings) (*raftv1.Result, error) {
	s, err := CheckUpdateSettings(x.Reader, x.scope, c)
	if err != nil {
		return nil, err
	}
	s.Revision = x.index
	x.touched.Settings = true
	if err := x.put(storage.SettingsKey(""), s, false); err != nil {
		return nil, err
	}
	shown, err := x.Settings()
	return &raftv1.Result{Result: &raftv1.Result_Settings{Settings: shown}}, err
}
