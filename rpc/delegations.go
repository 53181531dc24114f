package rpc

import (
	"context"
	"encoding/binary"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/cluster"
	"github.com/kavachd/kavachd/fsm"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
)

// delegations serves DelegationService.
type delegations struct{ *api }

// CreateDelegation implements DelegationService.
func (s delegations) CreateDelegation(ctx context.Context, req *kavachv1.CreateDelegationRequest) (*kavachv1.CreateDelegationResponse, error) {
	from, err := parseID(ids.PrefixAgent, req.GetFromAgentId(), "from_agent_id", status.AgentNotFound)
	if err != nil {
		return nil, err
	}
	to, err := parseID(ids.PrefixAgent, req.GetToAgentId(), "to_agent_id", status.AgentNotFound)
	if err != nil {
		return nil, err
	}
	warnings, err := checkPermissions(req.GetPermissions(), req.GetRejectWarnings())
	if err != nil {
		return nil, err
	}
	expiry, err := storedExpiry(req.GetExpiry(), s.now())
	if err != nil {
		return nil, err
	}
	create := &raftv1.CreateDelegation{
		From: from[:], To: to[:], Permissions: storedPermissions(req.GetPermissions()), Expiry: expiry, MaxDepth: authz.DefaultMaxDepth,
	}
	if req.MaxDepth != nil {
		create.MaxDepth = req.GetMaxDepth()
	}
	if req.GetValidateOnly() {
		return s.previewCreate(ctx, create, warnings)
	}
	cmd, err := s.command(ctx, "DelegationService.CreateDelegation")
	if err != nil {
		return nil, err
	}
	id, err := s.newID()
	if err != nil {
		return nil, err
	}
	create.Id = id[:]
	cmd.Command = &raftv1.Command_CreateDelegation{CreateDelegation: create}
	result, revision, err := s.write(ctx, cmd, req, req.GetIdempotency())
	if err != nil {
		return nil, err
	}
	stored := result.GetDelegation().GetDelegation()
	if stored == nil {
		return nil, errNoResult
	}
	d := shownDelegation(stored)
	// Just made, each permission covered: it is in force. A repeat answers what the first attempt did.
	d.Status, d.Effective = kavachv1.DelegationStatus_DELEGATION_STATUS_ACTIVE, true
	return &kavachv1.CreateDelegationResponse{Delegation: d, Warnings: warnings, Revision: revision}, nil
}

func (s delegations) previewCreate(ctx context.Context, c *raftv1.CreateDelegation, warnings []*kavachv1.Warning) (*kavachv1.CreateDelegationResponse, error) {
	res := &kavachv1.CreateDelegationResponse{Warnings: warnings}
	var err error
	res.Revision, err = s.read(ctx, nil, func(v *cluster.View) error {
		d, err := fsm.CheckCreateDelegation(v.Records, v.Now.UnixNano(), callerOf(ctx).key.Tenant, c)
		if err != nil {
			return err
		}
		res.Delegation = shownDelegation(d)
		res.Delegation.Status, res.Delegation.Effective = kavachv1.DelegationStatus_DELEGATION_STATUS_ACTIVE, true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// standing fills in what the chain says of a delegation now: its status, and whether anything of it is effective. One
// whose giver or receiver has expired is expired with it; one that rests on nothing any more, for whatever reason higher
// up, is inert.
func standing(d *kavachv1.Delegation, stored *raftv1.Delegation, v *cluster.View) {
	now := v.Now.UnixNano()
	from, to := v.State.Agent(ids.ID(stored.GetFrom())), v.State.Agent(ids.ID(stored.GetTo()))
	d.Status, d.Effective = kavachv1.DelegationStatus(fsm.DelegationStatus(stored, now)), false
	if d.GetStatus() != kavachv1.DelegationStatus_DELEGATION_STATUS_ACTIVE || from == nil || to == nil || to.Revoked {
		return
	}
	if from.Expired(now) || to.Expired(now) {
		d.Status = kavachv1.DelegationStatus_DELEGATION_STATUS_EXPIRED
		return
	}
	for _, p := range rulePermissions(d.GetPermissions()) {
		c := authz.CoveredBy(v.State, from.ID, p, now)
		if c.Covered && c.Depth <= min(c.MaxDepth, stored.GetMaxDepth()) {
			d.Effective = true
			return
		}
	}
}

// GetDelegation implements DelegationService.
func (s delegations) GetDelegation(ctx context.Context, req *kavachv1.GetDelegationRequest) (*kavachv1.GetDelegationResponse, error) {
	id, err := parseID(ids.PrefixDelegation, req.GetDelegationId(), "delegation_id", status.DelegationNotFound)
	if err != nil {
		return nil, err
	}
	res := &kavachv1.GetDelegationResponse{}
	res.Revision, err = s.read(ctx, req.GetConsistency(), func(v *cluster.View) error {
		stored, err := v.Records.Delegation(id)
		if err != nil {
			return err
		}
		if stored == nil || !mine(ctx, stored.GetTenant()) {
			return unknown(status.DelegationNotFound, "delegation_id", req.GetDelegationId())
		}
		res.Delegation = shownDelegation(stored)
		standing(res.GetDelegation(), stored, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// ListDelegations implements DelegationService.
func (s delegations) ListDelegations(ctx context.Context, req *kavachv1.ListDelegationsRequest) (*kavachv1.ListDelegationsResponse, error) {
	id, err := parseID(ids.PrefixAgent, req.GetAgentId(), "agent_id", status.AgentNotFound)
	if err != nil {
		return nil, err
	}
	filter := &kavachv1.ListDelegationsRequest{AgentId: req.GetAgentId(), Direction: req.GetDirection(), Status: req.GetStatus()}
	pages, err := s.pager(ctx, "DelegationService.ListDelegations", filter, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	after, err := numberCursor(pages.cursor)
	if err != nil {
		return nil, err
	}
	res := &kavachv1.ListDelegationsResponse{}
	var next uint64
	res.Revision, err = s.read(ctx, req.GetConsistency(), func(v *cluster.View) error {
		if _, err := agentIn(ctx, v, id, "agent_id"); err != nil {
			return err
		}
		f := fsm.DelegationFilter{
			Agent: id, Direction: fsm.Direction(req.GetDirection()), Status: fsm.Status(req.GetStatus()), Now: v.Now.UnixNano(),
		}
		res.Delegations, next, err = listDelegations(v, f, after, pageSize(req.GetPageSize()))
		return err
	})
	if err != nil {
		return nil, err
	}
	if next != 0 {
		if res.NextPageToken, err = pages.token(binary.BigEndian.AppendUint64(nil, next)); err != nil {
			return nil, err
		}
	}
	return res, nil
}

func listDelegations(v *cluster.View, f fsm.DelegationFilter, after uint64, limit int) (page []*kavachv1.Delegation, next uint64, err error) {
	for size := 0; len(page) < limit && size < maxPageBytes; {
		found, next, err := v.Records.Delegations(f, after, min(listChunk, limit-len(page)))
		if err != nil {
			return nil, 0, err
		}
		for i, stored := range found {
			if size += proto.Size(stored); size > maxPageBytes && len(page) > 0 {
				if i > 0 {
					after = found[i-1].GetCreatedSeq()
				}
				return page, after, nil
			}
			d := shownDelegation(stored)
			standing(d, stored, v)
			page = append(page, d)
		}
		if after = next; next == 0 || len(found) == 0 {
			break
		}
	}
	return page, after, nil
}

// RevokeDelegation implements DelegationService.
func (s delegations) RevokeDelegation(ctx context.Context, req *kavachv1.RevokeDelegationRequest) (*kavachv1.RevokeDelegationResponse, error) {
	id, err := parseID(ids.PrefixDelegation, req.GetDelegationId(), "delegation_id", status.DelegationNotFound)
	if err != nil {
		return nil, err
	}
	cmd, err := s.command(ctx, "DelegationService.RevokeDelegation")
	if err != nil {
		return nil, err
	}
	cmd.Command = &raftv1.Command_RevokeDelegation{RevokeDelegation: &raftv1.RevokeDelegation{
		Id: id[:], ExpectedRevision: req.GetExpectedRevision(),
	}}
	result, revision, err := s.write(ctx, cmd, req, req.GetIdempotency())
	if err != nil {
		return nil, err
	}
	stored := result.GetRevoke().GetDelegation()
	if stored == nil {
		return nil, errNoResult
	}
	d := shownDelegation(stored)
	d.Status = kavachv1.DelegationStatus_DELEGATION_STATUS_REVOKED
	return &kavachv1.RevokeDelegationResponse{
		Delegation: d, DelegationsRevoked: result.GetRevoke().GetDelegationsRevoked(), Revision: revision,
	}, nil
}

// GetEffectivePermissions implements DelegationService.
func (s delegations) GetEffectivePermissions(ctx context.Context, req *kavachv1.GetEffectivePermissionsRequest) (*kavachv1.GetEffectivePermissionsResponse, error) {
	id, err := parseID(ids.PrefixAgent, req.GetAgentId(), "agent_id", status.AgentNotFound)
	if err != nil {
		return nil, err
	}
	res := &kavachv1.GetEffectivePermissionsResponse{}
	res.Revision, err = s.read(ctx, req.GetConsistency(), func(v *cluster.View) error {
		agent := v.State.Agent(id)
		if agent == nil || !mine(ctx, agent.Tenant) {
			return unknown(status.AgentNotFound, "agent_id", req.GetAgentId())
		}
		res.Permissions = nil // the evaluation may run again
		for _, held := range authz.Effective(v.State, id, v.Now.UnixNano()) {
			res.Permissions = append(res.Permissions, shownEffective(held))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

func shownEffective(held authz.Held) *kavachv1.EffectivePermission {
	out := &kavachv1.EffectivePermission{
		Permission: shownRule(held.Permission),
		Depth:      held.Depth,
		ExpiresAt:  stamp(held.ExpiresAt),
		Effective:  !held.Inert,
	}
	if !held.Delegation.IsZero() {
		out.DelegationId = held.Delegation.Text(ids.PrefixDelegation)
		out.FromAgentId = held.From.Text(ids.PrefixAgent)
	}
	for _, c := range held.Inherited {
		if shown := shownConstraints(c); shown != nil {
			out.InheritedConstraints = append(out.InheritedConstraints, shown)
		}
	}
	return out
}

// quotaError says of what a decision could not be made, where that is no fault of the node.
func quotaError(err error) error {
	switch {
	case errors.Is(err, authz.ErrQuotaUnavailable):
		return status.New(status.QuotaUnavailable, "the decision hangs on max_calls_per_hour, which this version can't enforce").Wrap(err)
	case errors.Is(err, authz.ErrTooComplex):
		return status.New(status.LimitExceeded, "the delegations to this agent are too many to search in one decision").Wrap(err)
	}
	return err
}
