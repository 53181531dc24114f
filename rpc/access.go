package rpc

import (
	"context"
	"crypto/subtle"

	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/cluster"
	"github.com/kavachd/kavachd/fsm"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
)

// access serves AccessService.
type access struct{ *api }

// Bootstrap implements AccessService. The join secret opens it, or a peer address on loopback without a secret; a wrong
// secret does not, wherever it comes from. Behind a proxy on the same machine every peer is on loopback.
func (s access) Bootstrap(ctx context.Context, req *kavachv1.BootstrapRequest) (*kavachv1.BootstrapResponse, error) {
	if !s.mayBootstrap(callerOf(ctx), req.GetJoinSecret()) {
		return nil, status.New(status.Unauthenticated, "the first key needs the cluster's join secret, or a call from loopback")
	}
	if err := s.unbootstrapped(ctx); err != nil {
		return nil, err
	}
	cmd, err := s.command(ctx, "AccessService.Bootstrap")
	if err != nil {
		return nil, err
	}
	cmd.Caller.KeyId = nil // there is none yet
	id, secret, hash, err := s.newKey()
	if err != nil {
		return nil, err
	}
	name := req.GetName()
	if name == "" {
		name = "admin"
	}
	cmd.Command = &raftv1.Command_BootstrapKey{BootstrapKey: &raftv1.BootstrapKey{Id: id[:], Name: name, Hash: hash[:]}}
	key, revision, err := s.writeKey(ctx, cmd, req, nil)
	if err != nil {
		return nil, err
	}
	return &kavachv1.BootstrapResponse{Key: key, Secret: secret, Revision: revision}, nil
}

// unbootstrapped refuses before anything is proposed: callers without a key must not be able to fill the log and the
// trail. Apply judges again.
func (s access) unbootstrapped(ctx context.Context) error {
	_, err := s.node.Read(ctx, cluster.Level{}, func(v *cluster.View) error {
		c, err := v.Records.Cluster()
		if err == nil && c.GetKeyBootstrapped() {
			err = status.New(status.AlreadyBootstrapped, "the first key has been made already")
		}
		return err
	})
	return err
}

func (s access) mayBootstrap(c *caller, secret string) bool {
	if secret != "" {
		return len(s.secret) > 0 && subtle.ConstantTimeCompare([]byte(secret), s.secret) == 1
	}
	ip, ok := peerIP(c.peer)
	return ok && ip.IsLoopback()
}

// newKey makes an API key. The text goes to the caller only.
func (s access) newKey() (id ids.ID, secret string, hash ids.Hash, err error) {
	if id, err = s.newID(); err != nil {
		return ids.ID{}, "", ids.Hash{}, err
	}
	if secret, err = ids.NewKey(s.random); err != nil {
		return ids.ID{}, "", ids.Hash{}, err
	}
	hash, ok := ids.HashKey(secret)
	if !ok {
		return ids.ID{}, "", ids.Hash{}, errNoResult
	}
	return id, secret, hash, nil
}

func (s access) writeKey(ctx context.Context, cmd *raftv1.Command, req proto.Message, key *kavachv1.Idempotency) (*kavachv1.ApiKey, string, error) {
	result, revision, err := s.write(ctx, cmd, req, key)
	if err != nil {
		return nil, "", err
	}
	if result.GetKey() == nil {
		return nil, "", errNoResult
	}
	return shownKey(result.GetKey()), revision, nil
}

// CreateApiKey implements AccessService.
func (s access) CreateApiKey(ctx context.Context, req *kavachv1.CreateApiKeyRequest) (*kavachv1.CreateApiKeyResponse, error) { //nolint:revive // the name is the schema's
	expiry, err := storedExpiry(req.GetExpiry(), s.now())
	if err != nil {
		return nil, err
	}
	cmd, err := s.command(ctx, "AccessService.CreateApiKey")
	if err != nil {
		return nil, err
	}
	id, secret, hash, err := s.newKey()
	if err != nil {
		return nil, err
	}
	cmd.Command = &raftv1.Command_CreateKey{CreateKey: &raftv1.CreateKey{
		Id: id[:], Tenant: callerOf(ctx).key.Tenant, Name: req.GetName(), Role: fsm.RoleAdmin, Hash: hash[:], Expiry: expiry,
	}}
	key, revision, err := s.writeKey(ctx, cmd, req, req.GetIdempotency())
	if err != nil {
		return nil, err
	}
	return &kavachv1.CreateApiKeyResponse{Key: key, Secret: secret, Revision: revision}, nil
}

// ListApiKeys implements AccessService.
func (s access) ListApiKeys(ctx context.Context, req *kavachv1.ListApiKeysRequest) (*kavachv1.ListApiKeysResponse, error) { //nolint:revive // the name is the schema's
	pages, err := s.pager(ctx, "AccessService.ListApiKeys", &kavachv1.ListApiKeysRequest{}, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	after, err := idCursor(pages.cursor)
	if err != nil {
		return nil, err
	}
	res := &kavachv1.ListApiKeysResponse{}
	var next ids.ID
	res.Revision, err = s.read(ctx, req.GetConsistency(), func(v *cluster.View) error {
		found, n, err := v.Records.Keys(callerOf(ctx).key.Tenant, after, pageSize(req.GetPageSize()))
		if err != nil {
			return err
		}
		next, res.Keys = n, nil
		for _, k := range found {
			res.Keys = append(res.Keys, shownKey(k))
		}
		return nil
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

// RevokeApiKey implements AccessService.
func (s access) RevokeApiKey(ctx context.Context, req *kavachv1.RevokeApiKeyRequest) (*kavachv1.RevokeApiKeyResponse, error) { //nolint:revive // the name is the schema's
	id, err := parseID(ids.PrefixKey, req.GetKeyId(), "key_id", status.KeyNotFound)
	if err != nil {
		return nil, err
	}
	cmd, err := s.command(ctx, "AccessService.RevokeApiKey")
	if err != nil {
		return nil, err
	}
	cmd.Command = &raftv1.Command_RevokeKey{RevokeKey: &raftv1.RevokeKey{Id: id[:]}}
	key, revision, err := s.writeKey(ctx, cmd, req, req.GetIdempotency())
	if err != nil {
		return nil, err
	}
	return &kavachv1.RevokeApiKeyResponse{Key: key, Revision: revision}, nil
}
