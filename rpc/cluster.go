package rpc

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kavachd/kavachd/cluster"
	"github.com/kavachd/kavachd/fsm"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// operations serves ClusterService.
type operations struct{ *api }

// GetClusterStatus implements ClusterService. It must answer on a node that has lost its cluster, so the caller's key is
// judged by what the node has applied.
func (s operations) GetClusterStatus(ctx context.Context, _ *kavachv1.GetClusterStatusRequest) (*kavachv1.GetClusterStatusResponse, error) {
	if err := forCluster(ctx); err != nil {
		return nil, err
	}
	st, err := s.node.Status()
	if err != nil {
		return nil, err
	}
	res := &kavachv1.GetClusterStatusResponse{
		ClusterId:      st.ClusterID,
		NodeId:         st.NodeID,
		State:          st.State,
		LeaderId:       st.LeaderID,
		LeaderAddress:  st.LeaderAddress,
		Term:           st.Term,
		CommitIndex:    st.Commit,
		AppliedIndex:   st.Applied,
		Members:        shownMembers(st.Members),
		AuditBacklog:   st.JournalBacklog,
		Ready:          st.Ready,
		NotReadyReason: st.Problem,
		Version:        st.Version,
		Time:           timestamppb.New(s.now()),
		Revision:       s.node.RevisionToken(st.Applied),
	}
	for _, d := range st.Digests {
		res.Digests = append(res.Digests, &kavachv1.TableDigest{Table: d.Table, Records: d.Records, Digest: d.Digest})
	}
	return res, nil
}

func shownMembers(in []cluster.Member) []*kavachv1.Member {
	out := make([]*kavachv1.Member, len(in))
	for i, m := range in {
		health := "unknown"
		if m.Alive {
			health = "alive"
		}
		out[i] = &kavachv1.Member{
			NodeId: m.NodeID, RaftAddress: m.RaftAddress, ApiAddress: m.APIAddress, Voter: m.Voter, Leader: m.Leader, Health: health,
		}
	}
	slices.SortFunc(out, func(a, b *kavachv1.Member) int { return strings.Compare(a.GetNodeId(), b.GetNodeId()) })
	return out
}

// members lists them, after a read as current as asked for, which also judges the caller's key.
func (s operations) members(ctx context.Context, c *kavachv1.Consistency) ([]*kavachv1.Member, string, error) {
	revision, err := s.read(ctx, c, func(*cluster.View) error { return nil })
	if err != nil {
		return nil, "", err
	}
	found, err := s.node.Members()
	if err != nil {
		return nil, "", err
	}
	return shownMembers(found), revision, nil
}

// ListMembers implements ClusterService.
func (s operations) ListMembers(ctx context.Context, req *kavachv1.ListMembersRequest) (*kavachv1.ListMembersResponse, error) {
	if err := forCluster(ctx); err != nil {
		return nil, err
	}
	found, revision, err := s.members(ctx, req.GetConsistency())
	if err != nil {
		return nil, err
	}
	return &kavachv1.ListMembersResponse{Members: found, Revision: revision}, nil
}

// RemoveMember implements ClusterService.
func (s operations) RemoveMember(ctx context.Context, req *kavachv1.RemoveMemberRequest) (*kavachv1.RemoveMemberResponse, error) {
	if err := s.operate(ctx, "ClusterService.RemoveMember", req.GetNodeId(), func() error {
		return s.node.Remove(ctx, req.GetNodeId())
	}); err != nil {
		return nil, err
	}
	left, revision, err := s.members(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &kavachv1.RemoveMemberResponse{Members: left, Revision: revision}, nil
}

// TransferLeadership implements ClusterService.
func (s operations) TransferLeadership(ctx context.Context, req *kavachv1.TransferLeadershipRequest) (*kavachv1.TransferLeadershipResponse, error) {
	if err := s.operate(ctx, "ClusterService.TransferLeadership", req.GetNodeId(), func() error {
		return s.node.Transfer(ctx, req.GetNodeId())
	}); err != nil {
		return nil, err
	}
	st, err := s.node.Status()
	if err != nil {
		return nil, err
	}
	return &kavachv1.TransferLeadershipResponse{LeaderId: st.LeaderID, Revision: s.node.RevisionToken(st.Applied)}, nil
}

// operate does what an operator asks, which is no command: the caller's key is judged by a confirmed read before, and
// the act has its audit entry before it is answered, done or not.
func (s operations) operate(ctx context.Context, method, nodeID string, do func() error) error {
	if err := forCluster(ctx); err != nil {
		return err
	}
	began := s.now()
	if _, err := s.read(ctx, nil, func(*cluster.View) error { return nil }); err != nil {
		return err
	}
	err := do()
	act := s.act(ctx, method, began)
	act.Resource = "node:" + nodeID
	if err != nil {
		refuse(act, err)
	}
	if auditErr := s.note(act); auditErr != nil {
		return auditErr
	}
	return err
}

// GetSettings implements ClusterService.
func (s operations) GetSettings(ctx context.Context, req *kavachv1.GetSettingsRequest) (*kavachv1.GetSettingsResponse, error) {
	res := &kavachv1.GetSettingsResponse{}
	var err error
	res.Revision, err = s.read(ctx, req.GetConsistency(), func(v *cluster.View) error {
		stored, err := v.Records.Settings()
		if err != nil {
			return err
		}
		res.Settings = shownSettings(stored)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// UpdateSettings implements ClusterService.
func (s operations) UpdateSettings(ctx context.Context, req *kavachv1.UpdateSettingsRequest) (*kavachv1.UpdateSettingsResponse, error) {
	update, err := settingsCommand(req)
	if err != nil {
		return nil, err
	}
	if req.GetValidateOnly() {
		res := &kavachv1.UpdateSettingsResponse{}
		res.Revision, err = s.read(ctx, nil, func(v *cluster.View) error {
			stored, err := fsm.CheckUpdateSettings(v.Records, callerOf(ctx).key.Tenant, update)
			if err != nil {
				return err
			}
			res.Settings = shownSettings(stored)
			return nil
		})
		if err != nil {
			return nil, err
		}
		return res, nil
	}
	cmd, err := s.command(ctx, "ClusterService.UpdateSettings")
	if err != nil {
		return nil, err
	}
	cmd.Command = &raftv1.Command_UpdateSettings{UpdateSettings: update}
	result, revision, err := s.write(ctx, cmd, req, req.GetIdempotency())
	if err != nil {
		return nil, err
	}
	if result.GetSettings() == nil {
		return nil, errNoResult
	}
	return &kavachv1.UpdateSettingsResponse{Settings: shownSettings(result.GetSettings()), Revision: revision}, nil
}

// settingsCommand takes what the mask names. A named value must be one that makes sense; the schema bounds the values
// that are set, and zero is none of them.
func settingsCommand(req *kavachv1.UpdateSettingsRequest) (*raftv1.UpdateSettings, error) {
	in := req.GetSettings()
	mask, err := fieldsOf(in, req.GetUpdateMask(),
		"token_expiry", "max_agents_per_owner", "audit_policy", "approval_ttl", "purge_after", "max_clock_skew")
	if err != nil {
		return nil, err
	}
	out := &raftv1.Settings{}
	for _, f := range []struct {
		name string
		from int64
		to   *int64
	}{
		{"token_expiry", int64(in.GetTokenExpiry().AsDuration()), &out.TokenExpiry},
		{"approval_ttl", int64(in.GetApprovalTtl().AsDuration()), &out.ApprovalTtl},
		{"purge_after", int64(in.GetPurgeAfter().AsDuration()), &out.PurgeAfter},
		{"max_clock_skew", int64(in.GetMaxClockSkew().AsDuration()), &out.MaxClockSkew},
	} {
		if !mask[f.name] {
			continue
		}
		if f.from <= 0 {
			return nil, invalid("settings."+f.name, "must be positive")
		}
		*f.to = f.from
	}
	if mask["max_agents_per_owner"] {
		if out.MaxAgentsPerOwner = in.GetMaxAgentsPerOwner(); in.GetMaxAgentsPerOwner() == 0 {
			return nil, invalid("settings.max_agents_per_owner", "must be at least 1")
		}
	}
	if mask["audit_policy"] {
		if out.AuditPolicy = uint32(in.GetAuditPolicy()); in.GetAuditPolicy() == 0 {
			return nil, invalid("settings.audit_policy", "must be said, since update_mask names it")
		}
	}
	return &raftv1.UpdateSettings{Settings: out, ExpectedRevision: req.GetExpectedRevision()}, nil
}
