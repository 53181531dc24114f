package fsm

import (
	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// CheckCreateKey tells whether the API key may be made, and returns it as it would be; the id and the secret's hash are
// not looked at. A caller bound to a tenant makes keys of that tenant only. See CheckCreateAgent.
func CheckCreateKey(now int64, scope string, c *raftv1.CreateKey) (*raftv1.ApiKey, error) {
	k := &raftv1.ApiKey{Id: c.GetId(), Tenant: c.GetTenant(), Name: c.GetName(), Role: c.GetRole(), CreatedAt: now}
	if k.Role == "" {
		k.Role = RoleAdmin
	}
	var p problems
	if k.GetTenant() != "" {
		p.tenant("tenant", k.GetTenant())
	}
	p.text("name", k.GetName(), 1, maxText)
	if k.GetRole() != RoleAdmin {
		p.add("role", "unknown role")
	}
	k.ExpiresAt = p.expiry(c.GetExpiry(), now, 0)
	if err := p.err(); err != nil {
		return nil, err
	}
	if scope != "" && k.GetTenant() != scope {
		return nil, status.New(status.PermissionDenied, "a caller bound to the tenant %q may make keys of that tenant only", scope)
	}
	return k, nil
}

func (x *command) createKey(c *raftv1.CreateKey) (*raftv1.Result, error) {
	x.about = subject{tenant: c.GetTenant(), resource: "key:" + keyText(c.GetId())}
	k, err := CheckCreateKey(x.wall, x.scope, c)
	if err != nil {
		return nil, err
	}
	if err := x.checkNewKey(c.GetId(), c.GetHash()); err != nil {
		return nil, err
	}
	k.Hash, k.Revision = c.GetHash(), x.index
	return keyResult(k), x.putKey(nil, k)
}

// checkNewKey refuses an id or a secret that is taken.
func (r *Reader) checkNewKey(id, hash []byte) error {
	var p problems
	p.id("key_id", id)
	if err := p.err(); err != nil {
		return err
	}
	if err := r.checkNewSecret(hash); err != nil {
		return err
	}
	old, err := r.Key(ids.ID(id))
	if err == nil && old != nil {
		err = status.New(status.AlreadyExists, "API key %s exists", keyText(id))
	}
	return err
}

// CheckRevokeKey tells whether the API key may be revoked: one that is already, always. See CheckCreateAgent.
func CheckRevokeKey(r *Reader, scope string, c *raftv1.RevokeKey) (*raftv1.ApiKey, error) {
	return r.keyIn(scope, "key_id", c.GetId())
}

func (x *command) revokeKey(c *raftv1.RevokeKey) (*raftv1.Result, error) {
	x.about = subject{resource: "key:" + keyText(c.GetId())}
	was, err := CheckRevokeKey(x.Reader, x.scope, c)
	if err != nil {
		return nil, err
	}
	x.about.tenant = was.GetTenant()
	if was.GetRevokedAt() != 0 {
		return keyResult(was), nil
	}
	is := proto.CloneOf(was)
	is.RevokedAt, is.Revision = x.wall, x.index
	return keyResult(is), x.putKey(was, is)
}

// bootstrapKey makes the first admin key, once in a cluster's life. Whether the caller may is the node's to judge (the
// join secret, or loopback): it has no key to be judged by.
func (x *command) bootstrapKey(c *raftv1.BootstrapKey) (*raftv1.Result, error) {
	x.about = subject{resource: "key:" + keyText(c.GetId())}
	cluster, err := x.Cluster()
	if err != nil {
		return nil, err
	}
	if cluster.GetKeyBootstrapped() {
		return nil, status.New(status.AlreadyBootstrapped, "the first key has been made already")
	}
	name := c.GetName()
	if name == "" {
		name = RoleAdmin
	}
	k, err := CheckCreateKey(x.wall, "", &raftv1.CreateKey{Id: c.GetId(), Name: name, Role: RoleAdmin})
	if err != nil {
		return nil, err
	}
	if err := x.checkNewKey(c.GetId(), c.GetHash()); err != nil {
		return nil, err
	}
	k.Hash, k.Revision = c.GetHash(), x.index
	cluster.KeyBootstrapped = true
	if err := x.setRecord(storage.ClusterKey(), cluster); err != nil {
		return nil, err
	}
	return keyResult(k), x.putKey(nil, k)
}

// keyResult is the answer that shows k, without the hash of its secret.
func keyResult(k *raftv1.ApiKey) *raftv1.Result {
	shown := proto.CloneOf(k)
	shown.Hash = nil
	return &raftv1.Result{Result: &raftv1.Result_Key{Key: shown}}
}
