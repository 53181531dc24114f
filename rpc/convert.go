package rpc

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/fsm"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
)

// stamp turns Unix nanoseconds into a timestamp; 0 is absent.
func stamp(ns int64) *timestamppb.Timestamp {
	if ns == 0 {
		return nil
	}
	return timestamppb.New(time.Unix(0, ns))
}

// idText returns the text of an id of a record, "" for none.
func idText(prefix string, raw []byte) string {
	if len(raw) != len(ids.ID{}) {
		return ""
	}
	return ids.ID(raw).Text(prefix)
}

// storedPermissions turns a list of the API into one of the log.
func storedPermissions(in []*kavachv1.Permission) []*raftv1.Permission {
	out := make([]*raftv1.Permission, len(in))
	for i, p := range in {
		c := p.GetConstraints()
		out[i] = &raftv1.Permission{
			Id:              p.GetId(),
			Resource:        p.GetResource(),
			Actions:         p.GetActions(),
			RequireApproval: c.GetRequireApproval(),
			IpAllowlist:     c.GetIpAllowlist(),
			MaxCallsPerHour: c.GetMaxCallsPerHour(),
			MaxStaleness:    int64(p.GetMaxStaleness().AsDuration()),
		}
		if c.GetQuotaScope() == kavachv1.QuotaScope_QUOTA_SCOPE_RESOURCE {
			out[i].QuotaScope = uint32(c.GetQuotaScope())
		}
		if w := c.GetTimeWindow(); w != nil {
			out[i].WindowStart, out[i].WindowEnd, out[i].WindowZone = w.GetStart(), w.GetEnd(), w.GetTimeZone()
		}
		for _, a := range c.GetAllowedArgPatterns() {
			out[i].ArgPatterns = append(out[i].ArgPatterns, &raftv1.ArgumentPattern{
				Argument: a.GetArgument(), Pattern: a.GetPattern(), Glob: a.GetSyntax() == kavachv1.PatternSyntax_PATTERN_SYNTAX_GLOB,
			})
		}
	}
	return out
}

// rulePermissions turns a list of the API into one of the rules.
func rulePermissions(in []*kavachv1.Permission) []authz.Permission {
	out := make([]authz.Permission, len(in))
	for i, p := range in {
		c := p.GetConstraints()
		out[i] = authz.Permission{
			ID:           p.GetId(),
			Resource:     p.GetResource(),
			Actions:      p.GetActions(),
			MaxStaleness: p.GetMaxStaleness().AsDuration(),
			Constraints: authz.Constraints{
				RequireApproval: c.GetRequireApproval(),
				IPAllowlist:     c.GetIpAllowlist(),
				MaxCallsPerHour: c.GetMaxCallsPerHour(),
			},
		}
		to := &out[i].Constraints
		if c.GetQuotaScope() == kavachv1.QuotaScope_QUOTA_SCOPE_RESOURCE {
			to.QuotaScope = authz.ScopeResource
		}
		if w := c.GetTimeWindow(); w != nil {
			to.TimeWindow = &authz.TimeWindow{Start: w.GetStart(), End: w.GetEnd(), Zone: w.GetTimeZone()}
		}
		for _, a := range c.GetAllowedArgPatterns() {
			to.ArgPatterns = append(to.ArgPatterns, authz.ArgPattern{
				Argument: a.GetArgument(), Pattern: a.GetPattern(), Glob: a.GetSyntax() == kavachv1.PatternSyntax_PATTERN_SYNTAX_GLOB,
			})
		}
	}
	return out
}

// shownPermissions turns a stored list into one of the API.
func shownPermissions(in []*raftv1.Permission) []*kavachv1.Permission {
	out := make([]*kavachv1.Permission, len(in))
	for i, p := range in {
		out[i] = &kavachv1.Permission{Id: p.GetId(), Resource: p.GetResource(), Actions: p.GetActions()}
		if p.GetMaxStaleness() != 0 {
			out[i].MaxStaleness = durationpb.New(time.Duration(p.GetMaxStaleness()))
		}
		c := authz.Constraints{
			RequireApproval: p.GetRequireApproval(),
			IPAllowlist:     p.GetIpAllowlist(),
			MaxCallsPerHour: p.GetMaxCallsPerHour(),
		}
		if p.GetQuotaScope() == uint32(kavachv1.QuotaScope_QUOTA_SCOPE_RESOURCE) {
			c.QuotaScope = authz.ScopeResource
		}
		if p.GetWindowStart() != "" || p.GetWindowEnd() != "" {
			c.TimeWindow = &authz.TimeWindow{Start: p.GetWindowStart(), End: p.GetWindowEnd(), Zone: p.GetWindowZone()}
		}
		for _, a := range p.GetArgPatterns() {
			c.ArgPatterns = append(c.ArgPatterns, authz.ArgPattern{Argument: a.GetArgument(), Pattern: a.GetPattern(), Glob: a.GetGlob()})
		}
		out[i].Constraints = shownConstraints(c)
	}
	return out
}

// shownRule turns a permission of the rules into one of the API.
func shownRule(p authz.Permission) *kavachv1.Permission {
	out := &kavachv1.Permission{Id: p.ID, Resource: p.Resource, Actions: p.Actions, Constraints: shownConstraints(p.Constraints)}
	if p.MaxStaleness != 0 {
		out.MaxStaleness = durationpb.New(p.MaxStaleness)
	}
	return out
}

// shownConstraints returns nil for constraints that narrow nothing.
func shownConstraints(c authz.Constraints) *kavachv1.Constraints {
	if len(c.ArgPatterns) == 0 && !c.RequireApproval && c.TimeWindow == nil && len(c.IPAllowlist) == 0 &&
		c.MaxCallsPerHour == 0 && c.QuotaScope == authz.ScopePermission {
		return nil
	}
	out := &kavachv1.Constraints{RequireApproval: c.RequireApproval, IpAllowlist: c.IPAllowlist}
	for _, a := range c.ArgPatterns {
		syntax := kavachv1.PatternSyntax_PATTERN_SYNTAX_RE2
		if a.Glob {
			syntax = kavachv1.PatternSyntax_PATTERN_SYNTAX_GLOB
		}
		out.AllowedArgPatterns = append(out.AllowedArgPatterns, &kavachv1.ArgumentPattern{Argument: a.Argument, Pattern: a.Pattern, Syntax: syntax})
	}
	if w := c.TimeWindow; w != nil {
		out.TimeWindow = &kavachv1.TimeWindow{Start: w.Start, End: w.End, TimeZone: w.Zone}
	}
	if c.MaxCallsPerHour != 0 {
		out.MaxCallsPerHour = &c.MaxCallsPerHour
		out.QuotaScope = kavachv1.QuotaScope_QUOTA_SCOPE_PERMISSION
	}
	if c.QuotaScope == authz.ScopeResource {
		out.QuotaScope = kavachv1.QuotaScope_QUOTA_SCOPE_RESOURCE
	}
	return out
}

// checkPermissions refuses a list that breaks a rule, with the path of every field at fault, and returns its warnings,
// or refuses those too if the request says so. The state machine checks again.
func checkPermissions(in []*kavachv1.Permission, rejectWarnings bool) ([]*kavachv1.Warning, error) {
	rules := rulePermissions(in)
	if problems := authz.Validate(rules, authz.DefaultLimits()); len(problems) > 0 {
		e := status.New(status.InvalidArgument, "")
		for i, p := range problems {
			if i == maxViolations {
				e = e.WithField("permissions", "and %d more problems", len(problems)-i)
				break
			}
			e = e.WithField(p.Path, "%s", p.Message)
		}
		return nil, describe(e)
	}
	found := authz.Warnings(rules)
	warnings := make([]*kavachv1.Warning, len(found))
	for i, w := range found {
		warnings[i] = &kavachv1.Warning{Field: w.Path, Reason: w.Reason, Message: w.Message}
	}
	if !rejectWarnings || len(found) == 0 {
		return warnings, nil
	}
	e := status.New(status.WarningsRejected, "")
	for i, w := range found {
		if i == maxViolations {
			break
		}
		e = e.WithField(w.Path, "%s: %s", w.Reason, w.Message)
	}
	return nil, describe(e)
}

// storedExpiry turns an expiry of the API into one of the log; nil stays nil.
func storedExpiry(e *kavachv1.Expiry, now time.Time) (*raftv1.Expiry, error) {
	switch e := e.GetExpiry().(type) {
	case *kavachv1.Expiry_At:
		ns, err := nanos(e.At, "expiry.at")
		if err != nil {
			return nil, err
		}
		if ns <= now.UnixNano() {
			return nil, invalid("expiry.at", "%s lies in the past", e.At.AsTime().Format(time.RFC3339Nano))
		}
		return &raftv1.Expiry{Expiry: &raftv1.Expiry_At{At: ns}}, nil
	case *kavachv1.Expiry_Ttl:
		return &raftv1.Expiry{Expiry: &raftv1.Expiry_Ttl{Ttl: int64(e.Ttl.AsDuration())}}, nil
	case *kavachv1.Expiry_Never:
		return &raftv1.Expiry{Expiry: &raftv1.Expiry_Never{Never: true}}, nil
	default:
		return nil, nil
	}
}

// nanos returns Unix nanoseconds of a timestamp; an absent one is 0. Records hold the years 1970 to 2262.
func nanos(t *timestamppb.Timestamp, path string) (int64, error) {
	if t == nil {
		return 0, nil
	}
	if err := t.CheckValid(); err != nil || t.GetSeconds() < 0 || t.GetSeconds() >= 9_223_372_036 {
		return 0, invalid(path, "must lie in the years 1970 to 2262")
	}
	return t.AsTime().UnixNano(), nil
}

// maxMetadataBytes is SPEC 9's limit, of the canonical text.
const maxMetadataBytes = 16 << 10

// storedMetadata returns the canonical text of metadata; empty for none.
func storedMetadata(s *structpb.Struct) ([]byte, error) {
	if s == nil || len(s.GetFields()) == 0 {
		return nil, nil
	}
	raw, _, err := canonicalStruct(s)
	if err != nil {
		return nil, jsonProblem("metadata", err)
	}
	if len(raw) > maxMetadataBytes {
		return nil, invalid("metadata", "has %d bytes as JSON, the limit is %d", len(raw), maxMetadataBytes)
	}
	return raw, nil
}

func shownMetadata(raw []byte) (*structpb.Struct, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	s := &structpb.Struct{}
	if err := protojson.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("stored metadata: %w", err)
	}
	return s, nil
}

// shownAgent turns a stored agent into the API's, as it is at now.
func shownAgent(a *raftv1.Agent, now time.Time) (*kavachv1.Agent, error) {
	metadata, err := shownMetadata(a.GetMetadata())
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", idText(ids.PrefixAgent, a.GetId()), err)
	}
	return &kavachv1.Agent{
		AgentId:     idText(ids.PrefixAgent, a.GetId()),
		OwnerId:     a.GetOwner(),
		Tenant:      a.GetTenant(),
		Name:        a.GetName(),
		Type:        kavachv1.AgentType(a.GetType()),
		Permissions: shownPermissions(a.GetPermissions()),
		Status:      kavachv1.AgentStatus(fsm.AgentStatus(a, now.UnixNano())),
		ExpiresAt:   stamp(a.GetExpiresAt()),
		Metadata:    metadata,
		CreatedAt:   stamp(a.GetCreatedAt()),
		UpdatedAt:   stamp(a.GetUpdatedAt()),
		RotatedAt:   stamp(a.GetRotatedAt()),
		Revision:    a.GetRevision(),
	}, nil
}

// shownDelegation turns a stored delegation into the API's. Its status and whether it is effective are the chain's to
// say: see standing.
func shownDelegation(d *raftv1.Delegation) *kavachv1.Delegation {
	return &kavachv1.Delegation{
		DelegationId: idText(ids.PrefixDelegation, d.GetId()),
		FromAgentId:  idText(ids.PrefixAgent, d.GetFrom()),
		ToAgentId:    idText(ids.PrefixAgent, d.GetTo()),
		Tenant:       d.GetTenant(),
		Permissions:  shownPermissions(d.GetPermissions()),
		ExpiresAt:    stamp(d.GetExpiresAt()),
		MaxDepth:     d.GetMaxDepth(),
		Depth:        d.GetDepth(),
		CreatedAt:    stamp(d.GetCreatedAt()),
		RevokedAt:    stamp(d.GetRevokedAt()),
		Revision:     d.GetRevision(),
	}
}

func shownKey(k *raftv1.ApiKey) *kavachv1.ApiKey {
	return &kavachv1.ApiKey{
		KeyId:     idText(ids.PrefixKey, k.GetId()),
		Name:      k.GetName(),
		Role:      k.GetRole(),
		Tenant:    k.GetTenant(),
		ExpiresAt: stamp(k.GetExpiresAt()),
		CreatedAt: stamp(k.GetCreatedAt()),
		RevokedAt: stamp(k.GetRevokedAt()),
		Revision:  k.GetRevision(),
	}
}

func shownSettings(s *raftv1.Settings) *kavachv1.Settings {
	return &kavachv1.Settings{
		TokenExpiry:       durationpb.New(time.Duration(s.GetTokenExpiry())),
		MaxAgentsPerOwner: s.GetMaxAgentsPerOwner(),
		AuditPolicy:       kavachv1.AuditPolicy(s.GetAuditPolicy()),
		ApprovalTtl:       durationpb.New(time.Duration(s.GetApprovalTtl())),
		PurgeAfter:        durationpb.New(time.Duration(s.GetPurgeAfter())),
		MaxClockSkew:      durationpb.New(time.Duration(s.GetMaxClockSkew())),
		Revision:          s.GetRevision(),
	}
}
