package rpc

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/cluster"
	"github.com/kavachd/kavachd/fsm"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
)

// agents serves AgentService.
type agents struct{ *api }

// CreateAgent implements AgentService.
func (s agents) CreateAgent(ctx context.Context, req *kavachv1.CreateAgentRequest) (*kavachv1.CreateAgentResponse, error) {
	warnings, err := checkPermissions(req.GetPermissions(), req.GetRejectWarnings())
	if err != nil {
		return nil, err
	}
	create, err := s.createCommand(ctx, req)
	if err != nil {
		return nil, err
	}
	if req.GetValidateOnly() {
		agent, revision, err := s.previewCreate(ctx, create)
		return &kavachv1.CreateAgentResponse{Agent: agent, Warnings: warnings, Revision: revision}, err
	}
	cmd, err := s.command(ctx, "AgentService.CreateAgent")
	if err != nil {
		return nil, err
	}
	id, err := s.newID()
	if err != nil {
		return nil, err
	}
	token, hash, err := s.newToken()
	if err != nil {
		return nil, err
	}
	create.Id, create.TokenHash = id[:], hash[:]
	cmd.Command = &raftv1.Command_CreateAgent{CreateAgent: create}
	agent, revision, err := s.writeAgent(ctx, cmd, req, req.GetIdempotency())
	if err != nil {
		return nil, err
	}
	return &kavachv1.CreateAgentResponse{Agent: agent, Token: token, Warnings: warnings, Revision: revision}, nil
}

func (s agents) createCommand(ctx context.Context, req *kavachv1.CreateAgentRequest) (*raftv1.CreateAgent, error) {
	tenant, err := tenantOf(ctx, req.GetTenant())
	if err != nil {
		return nil, err
	}
	expiry, err := storedExpiry(req.GetExpiry(), s.now())
	if err != nil {
		return nil, err
	}
	metadata, err := storedMetadata(req.GetMetadata())
	if err != nil {
		return nil, err
	}
	return &raftv1.CreateAgent{
		Tenant:      tenant,
		Owner:       req.GetOwnerId(),
		Name:        req.GetName(),
		Type:        uint32(req.GetType()),
		Permissions: storedPermissions(req.GetPermissions()),
		Expiry:      expiry,
		Metadata:    metadata,
	}, nil
}

func (s agents) previewCreate(ctx context.Context, c *raftv1.CreateAgent) (agent *kavachv1.Agent, revision string, err error) {
	revision, err = s.read(ctx, nil, func(v *cluster.View) error {
		a, err := fsm.CheckCreateAgent(v.Records, v.Now.UnixNano(), callerOf(ctx).key.Tenant, c)
		if err != nil {
			return err
		}
		agent, err = shownAgent(a, v.Now)
		return err
	})
	return agent, revision, err
}

// newToken makes an agent token. The text goes to the caller only, the hash everywhere else.
func (a *api) newToken() (string, ids.Hash, error) {
	token, err := ids.NewToken(a.random)
	if err != nil {
		return "", ids.Hash{}, err
	}
	hash, ok := ids.HashToken(token)
	if !ok {
		return "", ids.Hash{}, errNoResult
	}
	return token, hash, nil
}

// writeAgent writes a command that answers with an agent.
func (s agents) writeAgent(ctx context.Context, cmd *raftv1.Command, req proto.Message, key *kavachv1.Idempotency) (*kavachv1.Agent, string, error) {
	result, revision, err := s.write(ctx, cmd, req, key)
	if err != nil {
		return nil, "", err
	}
	stored := result.GetAgent().GetAgent()
	if stored == nil {
		return nil, "", errNoResult
	}
	agent, err := shownAgent(stored, s.now())
	return agent, revision, err
}

// agentIn finds an agent that the caller may see.
func agentIn(ctx context.Context, v *cluster.View, id ids.ID, path string) (*raftv1.Agent, error) {
	a, err := v.Records.Agent(id)
	if err != nil {
		return nil, err
	}
	if a == nil || !mine(ctx, a.GetTenant()) {
		return nil, unknown(status.AgentNotFound, path, id.Text(ids.PrefixAgent))
	}
	return a, nil
}

// GetAgent implements AgentService.
func (s agents) GetAgent(ctx context.Context, req *kavachv1.GetAgentRequest) (*kavachv1.GetAgentResponse, error) {
	id, err := parseID(ids.PrefixAgent, req.GetAgentId(), "agent_id", status.AgentNotFound)
	if err != nil {
		return nil, err
	}
	res := &kavachv1.GetAgentResponse{}
	res.Revision, err = s.read(ctx, req.GetConsistency(), func(v *cluster.View) error {
		a, err := agentIn(ctx, v, id, "agent_id")
		if err != nil {
			return err
		}
		res.Agent, err = shownAgent(a, v.Now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// ListAgents implements AgentService. A page ends early when it grows large, or when the filter matches little; its
// token leads on.
func (s agents) ListAgents(ctx context.Context, req *kavachv1.ListAgentsRequest) (*kavachv1.ListAgentsResponse, error) {
	tenant, err := tenantOf(ctx, req.GetTenant())
	if err != nil {
		return nil, err
	}
	filter := &kavachv1.ListAgentsRequest{
		OwnerId: req.GetOwnerId(), Tenant: tenant, Status: req.GetStatus(), Type: req.GetType(), NamePrefix: req.GetNamePrefix(),
	}
	pages, err := s.pager(ctx, "AgentService.ListAgents", filter, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	after, err := idCursor(pages.cursor)
	if err != nil {
		return nil, err
	}
	res := &kavachv1.ListAgentsResponse{}
	var next ids.ID
	res.Revision, err = s.read(ctx, req.GetConsistency(), func(v *cluster.View) error {
		f := fsm.AgentFilter{
			Tenant: tenant, Owner: req.GetOwnerId(), Status: fsm.Status(req.GetStatus()), Now: v.Now.UnixNano(),
			Type: uint32(req.GetType()), NamePrefix: req.GetNamePrefix(),
		}
		res.Agents, next, err = listAgents(v, f, after, pageSize(req.GetPageSize()))
		return err
	})
	if err != nil {
		return nil, err
	}
	if !next.IsZero() {
		if res.NextPageToken, err = pages.token(next[:]); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// listChunk is how many records are read at once: their sizes are known only then, and 10,000 permissions are large.
const listChunk = 32

func listAgents(v *cluster.View, f fsm.AgentFilter, after ids.ID, limit int) (page []*kavachv1.Agent, next ids.ID, err error) {
	for size := 0; len(page) < limit && size < maxPageBytes; {
		found, next, err := v.Records.Agents(f, after, min(listChunk, limit-len(page)))
		if err != nil {
			return nil, ids.ID{}, err
		}
		for i, stored := range found {
			if size += proto.Size(stored); size > maxPageBytes && len(page) > 0 {
				if i > 0 { // else the page ends where the chunk before did
					after = ids.ID(found[i-1].GetId())
				}
				return page, after, nil
			}
			agent, err := shownAgent(stored, v.Now)
			if err != nil {
				return nil, ids.ID{}, err
			}
			page = append(page, agent)
		}
		if after = next; next.IsZero() || len(found) == 0 {
			break
		}
	}
	return page, after, nil
}

// UpdateAgent implements AgentService.
func (s agents) UpdateAgent(ctx context.Context, req *kavachv1.UpdateAgentRequest) (*kavachv1.UpdateAgentResponse, error) {
	update, warnings, err := s.updateCommand(req)
	if err != nil {
		return nil, err
	}
	if req.GetValidateOnly() {
		res := &kavachv1.UpdateAgentResponse{Warnings: warnings}
		res.Revision, err = s.read(ctx, nil, func(v *cluster.View) error {
			a, err := fsm.CheckUpdateAgent(v.Records, v.Now.UnixNano(), callerOf(ctx).key.Tenant, update)
			if err != nil {
				return err
			}
			res.Agent, err = shownAgent(a, v.Now)
			return err
		})
		return res, err
	}
	cmd, err := s.command(ctx, "AgentService.UpdateAgent")
	if err != nil {
		return nil, err
	}
	cmd.Command = &raftv1.Command_UpdateAgent{UpdateAgent: update}
	agent, revision, err := s.writeAgent(ctx, cmd, req, req.GetIdempotency())
	if err != nil {
		return nil, err
	}
	return &kavachv1.UpdateAgentResponse{Agent: agent, Warnings: warnings, Revision: revision}, nil
}

func (s agents) updateCommand(req *kavachv1.UpdateAgentRequest) (*raftv1.UpdateAgent, []*kavachv1.Warning, error) {
	id, err := parseID(ids.PrefixAgent, req.GetAgentId(), "agent_id", status.AgentNotFound)
	if err != nil {
		return nil, nil, err
	}
	mask, err := fieldsOf(req, req.GetUpdateMask(), "name", "type", "permissions", "expiry", "metadata")
	if err != nil {
		return nil, nil, err
	}
	u := &raftv1.UpdateAgent{Id: id[:], ExpectedRevision: req.GetExpectedRevision()}
	warnings := []*kavachv1.Warning{}
	if mask["name"] {
		if req.GetName() == "" {
			return nil, nil, invalid("name", "must have 1 to 256 bytes")
		}
		u.Name = &req.Name
	}
	if mask["type"] {
		if req.GetType() == kavachv1.AgentType_AGENT_TYPE_UNSPECIFIED {
			return nil, nil, invalid("type", "must be said, since update_mask names it")
		}
		u.Type = new(uint32(req.GetType()))
	}
	if mask["permissions"] {
		if warnings, err = checkPermissions(req.GetPermissions(), req.GetRejectWarnings()); err != nil {
			return nil, nil, err
		}
		u.Permissions = &raftv1.PermissionList{Permissions: storedPermissions(req.GetPermissions())}
	}
	if mask["expiry"] {
		expiry, err := storedExpiry(req.GetExpiry(), s.now())
		if err != nil {
			return nil, nil, err
		}
		if expiry == nil {
			return nil, nil, invalid("expiry", "must be said, since update_mask names it")
		}
		u.Expiry = expiry
	}
	if mask["metadata"] {
		if u.Metadata, err = storedMetadata(req.GetMetadata()); err != nil {
			return nil, nil, err
		}
		if u.Metadata == nil {
			u.Metadata = []byte{} // set, and empty
		}
	}
	return u, warnings, nil
}

// RevokeAgent implements AgentService.
func (s agents) RevokeAgent(ctx context.Context, req *kavachv1.RevokeAgentRequest) (*kavachv1.RevokeAgentResponse, error) {
	id, err := parseID(ids.PrefixAgent, req.GetAgentId(), "agent_id", status.AgentNotFound)
	if err != nil {
		return nil, err
	}
	cmd, err := s.command(ctx, "AgentService.RevokeAgent")
	if err != nil {
		return nil, err
	}
	cmd.Command = &raftv1.Command_RevokeAgent{RevokeAgent: &raftv1.RevokeAgent{Id: id[:], ExpectedRevision: req.GetExpectedRevision()}}
	result, revision, err := s.write(ctx, cmd, req, req.GetIdempotency())
	if err != nil {
		return nil, err
	}
	revoked := result.GetRevoke()
	if revoked.GetAgent() == nil {
		return nil, errNoResult
	}
	agent, err := shownAgent(revoked.GetAgent(), s.now())
	if err != nil {
		return nil, err
	}
	return &kavachv1.RevokeAgentResponse{Agent: agent, DelegationsRevoked: revoked.GetDelegationsRevoked(), Revision: revision}, nil
}

// RotateAgentToken implements AgentService.
func (s agents) RotateAgentToken(ctx context.Context, req *kavachv1.RotateAgentTokenRequest) (*kavachv1.RotateAgentTokenResponse, error) {
	id, err := parseID(ids.PrefixAgent, req.GetAgentId(), "agent_id", status.AgentNotFound)
	if err != nil {
		return nil, err
	}
	cmd, err := s.command(ctx, "AgentService.RotateAgentToken")
	if err != nil {
		return nil, err
	}
	token, hash, err := s.newToken()
	if err != nil {
		return nil, err
	}
	cmd.Command = &raftv1.Command_RotateToken{RotateToken: &raftv1.RotateToken{
		Id: id[:], ExpectedRevision: req.GetExpectedRevision(), TokenHash: hash[:], Grace: int64(req.GetGracePeriod().AsDuration()),
	}}
	result, revision, err := s.write(ctx, cmd, req, req.GetIdempotency())
	if err != nil {
		return nil, err
	}
	stored := result.GetAgent().GetAgent()
	if stored == nil {
		return nil, errNoResult
	}
	agent, err := shownAgent(stored, s.now())
	if err != nil {
		return nil, err
	}
	return &kavachv1.RotateAgentTokenResponse{
		Agent: agent, Token: token, PreviousValidUntil: stamp(stored.GetPrevTokenUntil()), Revision: revision,
	}, nil
}
