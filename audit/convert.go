package audit

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/ids"
)

// ToAPI returns an entry as the API shows it.
func ToAPI(f Found) *kavachv1.AuditEntry {
	e := f.Entry
	out := &kavachv1.AuditEntry{
		AuditId:        idText(ids.PrefixAudit, e.GetId()),
		Time:           timestamppb.New(time.Unix(0, e.GetTime())),
		NodeId:         e.GetNodeId(),
		Kind:           kavachv1.AuditKind(e.GetKind()),
		AgentId:        e.GetAgentId(),
		OwnerId:        e.GetOwner(),
		Tenant:         e.GetTenant(),
		Action:         e.GetAction(),
		Resource:       e.GetResource(),
		ParametersJson: string(e.GetParameters()),
		Result:         kavachv1.AuditResult(e.GetResult()),
		ReasonCode:     kavachv1.ReasonCode(e.GetReasonCode()),
		Reason:         e.GetReason(),
		Grant:          grant(e),
		ApprovalId:     e.GetApprovalId(),
		Duration:       durationpb.New(time.Duration(e.GetDuration())),
		Revision:       e.GetRevision(),
		CallerKeyId:    idText(ids.PrefixKey, e.GetCallerKey()),
		RequestId:      e.GetRequestId(),
		Unreplicated:   f.Unreplicated,
		Count:          e.GetCount(),
		Refusal:        e.GetRefusal(),
	}
	if e.GetIp() != "" || e.GetUserAgent() != "" || e.GetTrace() != "" {
		out.Context = &kavachv1.CallContext{Ip: e.GetIp(), UserAgent: e.GetUserAgent(), Trace: e.GetTrace()}
	}
	return out
}

// grant is nil where no permission matched.
func grant(e *raftv1.AuditEntry) *kavachv1.Grant {
	if e.GetPermissionResource() == "" && len(e.GetPath()) == 0 {
		return nil
	}
	g := &kavachv1.Grant{
		PermissionIndex: e.GetPermissionIndex(), PermissionId: e.GetPermissionId(), Resource: e.GetPermissionResource(),
	}
	for _, p := range e.GetPath() {
		g.DelegationIds = append(g.DelegationIds, idText(ids.PrefixDelegation, p))
	}
	return g
}

// idText is the text of a stored id; of none, or of what is no id, the empty one.
func idText(prefix string, b []byte) string {
	if len(b) != len(ids.ID{}) {
		return ""
	}
	return ids.ID(b).Text(prefix)
}

// FilterFromAPI reads a filter of the API, which must be valid. Nil: everything.
func FilterFromAPI(f *kavachv1.AuditFilter) Filter {
	out := Filter{
		AgentID: f.GetAgentId(), Owner: f.GetOwnerId(), Tenant: f.GetTenant(), Result: uint32(f.GetResult()),
		Actions: f.GetActions(), ResourcePattern: f.GetResourcePattern(), Kind: uint32(f.GetKind()),
	}
	if f.GetSince() != nil {
		out.Since = f.GetSince().AsTime().UnixNano()
	}
	if f.GetUntil() != nil {
		out.Until = f.GetUntil().AsTime().UnixNano()
	}
	return out
}
