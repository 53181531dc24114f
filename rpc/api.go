package rpc

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/cluster"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
)

const (
	// defaultPageSize is the size of a page that says nothing of it; the schema bounds the rest.
	defaultPageSize = 100
	// maxPageBytes bounds what one page holds: it ends early, with a token for the rest, before it grows beyond what
	// clients take (gRPC: 4 MiB).
	maxPageBytes = 3 << 20
)

// api is what the services share.
type api struct {
	*notary
	pages  *pageTokens
	secret []byte // the join secret; empty: loopback only
}

func (a *api) newID() (ids.ID, error) { return ids.New(a.now(), a.random) }

// level reads the consistency that a request asks for.
func level(c *kavachv1.Consistency) cluster.Level {
	switch l := c.GetLevel().(type) {
	case *kavachv1.Consistency_AtLeast:
		return cluster.Level{Consistency: cluster.AtLeast, Revision: l.AtLeast}
	case *kavachv1.Consistency_Fresh:
		return cluster.Level{Consistency: cluster.Fresh}
	case *kavachv1.Consistency_Settled:
		return cluster.Level{Consistency: cluster.Settled}
	case *kavachv1.Consistency_StaleOk:
		return cluster.Level{Consistency: cluster.StaleOK, MaxStaleness: l.StaleOk.AsDuration()}
	default:
		return cluster.Level{}
	}
}

// servedLevel names what was served.
func servedLevel(s cluster.Served) kavachv1.ConsistencyLevel {
	switch s.Consistency {
	case cluster.Fresh:
		return kavachv1.ConsistencyLevel_CONSISTENCY_LEVEL_FRESH
	case cluster.Settled:
		return kavachv1.ConsistencyLevel_CONSISTENCY_LEVEL_SETTLED
	case cluster.StaleOK:
		return kavachv1.ConsistencyLevel_CONSISTENCY_LEVEL_STALE
	default:
		return kavachv1.ConsistencyLevel_CONSISTENCY_LEVEL_LEASED
	}
}

// read runs eval on a version of the state in which the caller's key is good, and returns that version's revision token.
func (a *api) read(ctx context.Context, c *kavachv1.Consistency, eval func(*cluster.View) error) (string, error) {
	hash := callerOf(ctx).hash
	served, err := a.node.Read(ctx, level(c), func(v *cluster.View) error {
		if err := cluster.Usable(v.State.KeyByHash(hash), v.Now); err != nil {
			return err
		}
		return eval(v)
	})
	if err != nil {
		return "", err
	}
	return a.node.RevisionToken(served.Revision), nil
}

// write proposes a command, made repeatable if the request has an idempotency key, and returns its result and revision.
func (a *api) write(ctx context.Context, cmd *raftv1.Command, req proto.Message, key *kavachv1.Idempotency) (*raftv1.Result, string, error) {
	if key != nil {
		hash, err := requestHash(req)
		if err != nil {
			return nil, "", err
		}
		cmd.Idempotency = &raftv1.IdempotencyKey{Key: key.GetKey(), Method: cmd.GetAudit().GetMethod(), RequestHash: hash[:]}
	}
	result, revision, err := a.node.Propose(ctx, cmd)
	if err != nil {
		return nil, "", err
	}
	return result, a.node.RevisionToken(revision), nil
}

// requestHash hashes a request without its idempotency key, the same for every encoding it came in.
func requestHash(req proto.Message) ([sha256.Size]byte, error) {
	m := req.ProtoReflect()
	field := m.Descriptor().Fields().ByName("idempotency")
	if field == nil {
		return [sha256.Size]byte{}, fmt.Errorf("%s has no idempotency key", m.Descriptor().FullName())
	}
	key := m.Get(field)
	m.Clear(field)
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	m.Set(field, key)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("hash the request: %w", err)
	}
	return sha256.Sum256(raw), nil
}

// tenantOf settles the tenant of a request: the caller's, where the request names none. A caller that is bound to a
// tenant can't name another.
func tenantOf(ctx context.Context, asked string) (string, error) {
	bound := callerOf(ctx).key.Tenant
	if bound == "" || asked == bound {
		return asked, nil
	}
	if asked == "" {
		return bound, nil
	}
	return "", status.New(status.PermissionDenied, "the API key is bound to the tenant %q", bound).
		WithField("tenant", "is not the tenant of the API key")
}

// mine tells whether the caller may see records of a tenant.
func mine(ctx context.Context, tenant string) bool {
	bound := callerOf(ctx).key.Tenant
	return bound == "" || bound == tenant
}

// forCluster refuses a caller who is bound to a tenant what concerns the cluster as a whole.
func forCluster(ctx context.Context) error {
	if bound := callerOf(ctx).key.Tenant; bound != "" {
		return status.New(status.PermissionDenied, "the API key is bound to the tenant %q, and this concerns the whole cluster", bound)
	}
	return nil
}

// pageSize returns the wanted size of a page.
func pageSize(asked int32) int {
	if asked == 0 {
		return defaultPageSize
	}
	return int(asked)
}

// errNoResult is for a result of another kind than its command's: a defect.
var errNoResult = errors.New("the state machine's result is not that of the command")

// parseID reads an id of a record. Malformed text names nothing, so it is answered as unknown.
func parseID(prefix, text, path string, notFound status.Reason) (ids.ID, error) {
	id, err := ids.Parse(prefix, text)
	if err != nil || id.IsZero() {
		return ids.ID{}, unknown(notFound, path, text)
	}
	return id, nil
}

func unknown(reason status.Reason, path, text string) *status.Error {
	return status.New(reason, "%s %q not found", path, text).WithField(path, "not found")
}
