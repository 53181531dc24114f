package fsm

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/ids"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

func protoSize(m protoMessage) int { return proto.Size(m) }

// Permissions returns stored permissions as authz takes them.
func Permissions(list []*raftv1.Permission) []authz.Permission {
	if len(list) == 0 {
		return nil
	}
	out := make([]authz.Permission, len(list))
	for i, p := range list {
		out[i] = permission(p)
	}
	return out
}

func permission(p *raftv1.Permission) authz.Permission {
	q := authz.Permission{
		ID: p.GetId(), Resource: p.GetResource(), Actions: p.GetActions(), MaxStaleness: time.Duration(p.GetMaxStaleness()),
		Constraints: authz.Constraints{
			RequireApproval: p.GetRequireApproval(), IPAllowlist: p.GetIpAllowlist(), MaxCallsPerHour: p.GetMaxCallsPerHour(),
		},
	}
	if p.GetQuotaScope() == quotaScopeResource {
		q.Constraints.QuotaScope = authz.ScopeResource
	}
	if p.GetWindowStart() != "" || p.GetWindowEnd() != "" || p.GetWindowZone() != "" {
		q.Constraints.TimeWindow = &authz.TimeWindow{Start: p.GetWindowStart(), End: p.GetWindowEnd(), Zone: p.GetWindowZone()}
	}
	for _, a := range p.GetArgPatterns() {
		q.Constraints.ArgPatterns = append(q.Constraints.ArgPatterns,
			authz.ArgPattern{Argument: a.GetArgument(), Pattern: a.GetPattern(), Glob: a.GetGlob()})
	}
	return q
}

// quotaScopeResource is kavach.v1.QUOTA_SCOPE_RESOURCE as Permission.quota_scope stores it.
const quotaScopeResource = 2

// permissions judges a list by authz' rules, which are those of the request's first check: what a node of another
// version let through must not reach a decision.
func (p *problems) permissions(list []*raftv1.Permission) {
	for i, q := range list {
		if q.GetQuotaScope() > quotaScopeResource {
			p.add(fieldOf(i, "constraints.quota_scope"), "unknown scope %d", q.GetQuotaScope())
		}
		if q.GetMaxStaleness() < 0 {
			p.add(fieldOf(i, "max_staleness"), "must not be negative")
		}
		if q.GetMaxCallsPerHour() < 0 {
			p.add(fieldOf(i, "constraints.max_calls_per_hour"), "must not be negative")
		}
	}
	if len(p.fields) > 0 {
		return
	}
	for _, q := range authz.Validate(Permissions(list), authz.DefaultLimits()) {
		p.add(q.Path, "%s", q.Message)
	}
}

// CompileAgent compiles a stored agent.
func CompileAgent(a *raftv1.Agent) (*authz.Agent, error) {
	spec := authz.AgentSpec{
		ID: ids.ID(a.GetId()), Tenant: a.GetTenant(), Owner: a.GetOwner(), Name: a.GetName(), Type: uint8(a.GetType()),
		Revoked: a.GetRevokedAt() != 0, ExpiresAt: a.GetExpiresAt(), Token: ids.Hash(a.GetTokenHash()),
		PrevUntil: a.GetPrevTokenUntil(), Revision: a.GetRevision(), Permissions: Permissions(a.GetPermissions()),
	}
	if prev := a.GetPrevTokenHash(); len(prev) > 0 {
		spec.PrevToken = ids.Hash(prev)
	}
	c, err := authz.Compile(spec)
	if err != nil {
		return nil, corruptf("compile agent %s: %w", agentText(a.GetId()), err)
	}
	return c, nil
}

// CompileDelegation compiles a stored delegation.
func CompileDelegation(d *raftv1.Delegation) (*authz.Delegation, error) {
	c, err := authz.CompileDelegation(authz.DelegationSpec{
		ID: ids.ID(d.GetId()), From: ids.ID(d.GetFrom()), To: ids.ID(d.GetTo()), Tenant: d.GetTenant(),
		Permissions: Permissions(d.GetPermissions()), ExpiresAt: d.GetExpiresAt(), MaxDepth: d.GetMaxDepth(), Depth: d.GetDepth(),
		Revoked: d.GetRevokedAt() != 0, Created: d.GetCreatedSeq(), Revision: d.GetRevision(),
	})
	if err != nil {
		return nil, corruptf("compile delegation %s: %w", delegationText(d.GetId()), err)
	}
	return c, nil
}

func keySpec(k *raftv1.ApiKey) authz.KeySpec {
	return authz.KeySpec{
		ID: ids.ID(k.GetId()), Tenant: k.GetTenant(), Name: k.GetName(), Role: k.GetRole(), Hash: ids.Hash(k.GetHash()),
		ExpiresAt: k.GetExpiresAt(), Revoked: k.GetRevokedAt() != 0, Revision: k.GetRevision(),
	}
}
