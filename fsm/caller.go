package fsm

import (
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// RoleAdmin is the one role until roles come.
const RoleAdmin = "admin"

// CheckCaller judges the right of a command's caller as it is now: the key exists, is not revoked and not expired, and
// may act in the tenant. It returns the tenant to which the caller is bound; empty: any. Only what nodes do on their
// own needs no key. It runs at apply, where the log decides, whatever the node that took the request had seen (SPEC 4).
func CheckCaller(r *Reader, now int64, c *raftv1.Command) (scope string, err error) {
	caller := c.GetCaller()
	if len(caller.GetKeyId()) == 0 {
		if nodesOwn(c) {
			return caller.GetTenant(), nil
		}
		return "", status.New(status.Unauthenticated, "the command names no API key")
	}
	if len(caller.GetKeyId()) != len(ids.ID{}) {
		return "", status.New(status.Unauthenticated, "the API key is unknown")
	}
	id := ids.ID(caller.GetKeyId())
	k, err := r.Key(id)
	if err != nil {
		return "", err
	}
	if k == nil {
		return "", status.New(status.Unauthenticated, "the API key is unknown")
	}
	switch KeyStatus(k, now) {
	case StatusRevoked:
		return "", status.New(status.Unauthenticated, "the API key %s is revoked", id.Text(ids.PrefixKey))
	case StatusExpired:
		return "", status.New(status.Unauthenticated, "the API key %s is expired", id.Text(ids.PrefixKey))
	}
	if k.GetRole() != RoleAdmin {
		return "", status.New(status.PermissionDenied, "the role %q may not change anything", k.GetRole())
	}
	return scopeOf(k.GetTenant(), caller.GetTenant())
}

// scopeOf narrows a key's tenant by the one that the caller acts in.
func scopeOf(bound, acting string) (string, error) {
	if bound != "" && acting != "" && bound != acting {
		return "", status.New(status.PermissionDenied, "the API key is bound to the tenant %q and can't act in %q", bound, acting)
	}
	if bound != "" {
		return bound, nil
	}
	return acting, nil
}

// nodesOwn tells whether c is of the kinds that nodes propose without a caller.
func nodesOwn(c *raftv1.Command) bool {
	switch c.GetCommand().(type) {
	case *raftv1.Command_LeaderEpoch, *raftv1.Command_RegisterNode, *raftv1.Command_AppendAuditBlock,
		*raftv1.Command_PurgeExpired, *raftv1.Command_InitCluster, *raftv1.Command_BootstrapKey:
		return true
	default:
		return false
	}
}

// clusterWide refuses a caller who is bound to a tenant what concerns the whole cluster.
func clusterWide(scope, what string) error {
	if scope != "" {
		return status.New(status.PermissionDenied, "a caller bound to the tenant %q may not %s", scope, what)
	}
	return nil
}
