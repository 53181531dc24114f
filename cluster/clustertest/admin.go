package clustertest

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/ids"
)

// Admin is an admin key of a cluster, and the commands that it gives.
type Admin struct {
	// Secret is the key's text, Hash its hash.
	Secret string
	Hash   ids.Hash
	Caller *raftv1.Caller

	tb testing.TB
}

// Admin makes the cluster's first key through any node. Call it once.
func (c *Cluster) Admin() *Admin {
	c.tb.Helper()
	secret, err := ids.NewKey(rand.Reader)
	if err != nil {
		c.tb.Fatal(err)
	}
	hash, _ := ids.HashKey(secret)
	a := &Admin{Secret: secret, Hash: hash, tb: c.tb}
	n := c.Running()[0]
	a.Caller = &raftv1.Caller{NodeId: n.ID()}
	id := a.NewID()
	ctx, cancel := context.WithTimeout(c.ctx, Patience)
	defer cancel()
	_, revision, err := n.Propose(ctx, &raftv1.Command{
		Caller:  a.Caller,
		Command: &raftv1.Command_BootstrapKey{BootstrapKey: &raftv1.BootstrapKey{Id: id[:], Name: "admin", Hash: hash[:]}},
	})
	if err != nil {
		c.tb.Fatalf("make the admin key: %v", err)
	}
	a.Caller = &raftv1.Caller{KeyId: id[:], KeyRevision: revision, NodeId: n.ID()}
	return a
}

// NewID makes an id.
func (a *Admin) NewID() ids.ID {
	id, err := ids.New(time.Now(), rand.Reader)
	if err != nil {
		a.tb.Fatal(err)
	}
	return id
}

// Token makes a token's hash.
func (a *Admin) Token() ids.Hash {
	token, err := ids.NewToken(rand.Reader)
	if err != nil {
		a.tb.Fatal(err)
	}
	h, _ := ids.HashToken(token)
	return h
}

// CreateAgent is a command that makes an agent that may do what permissions say. Each has an owner of its own, so that no
// limit is met.
func (a *Admin) CreateAgent(permissions ...*raftv1.Permission) (id ids.ID, token ids.Hash, cmd *raftv1.Command) {
	id, token = a.NewID(), a.Token()
	return id, token, a.command(&raftv1.Command{Command: &raftv1.Command_CreateAgent{CreateAgent: &raftv1.CreateAgent{
		Id: id[:], Tenant: "default", Owner: "owner-" + id.Text(ids.PrefixAgent), Name: "agent", Type: 1,
		Permissions: permissions, TokenHash: token[:], Expiry: &raftv1.Expiry{Expiry: &raftv1.Expiry_Never{Never: true}},
	}}}, "AgentService.CreateAgent")
}

// Rotate is a command that gives an agent a new token.
func (a *Admin) Rotate(id ids.ID) (token ids.Hash, cmd *raftv1.Command) {
	token = a.Token()
	return token, a.command(&raftv1.Command{Command: &raftv1.Command_RotateToken{
		RotateToken: &raftv1.RotateToken{Id: id[:], TokenHash: token[:]},
	}}, "AgentService.RotateAgentToken")
}

// Revoke is a command that ends an agent.
func (a *Admin) Revoke(id ids.ID) *raftv1.Command {
	return a.command(&raftv1.Command{Command: &raftv1.Command_RevokeAgent{RevokeAgent: &raftv1.RevokeAgent{Id: id[:]}}}, "AgentService.RevokeAgent")
}

// command adds who asks, what the audit says, and an idempotency key of its own.
func (a *Admin) command(c *raftv1.Command, method string) *raftv1.Command {
	id := a.NewID()
	hash := make([]byte, 32)
	if _, err := rand.Read(hash); err != nil {
		a.tb.Fatal(err)
	}
	c.Caller = a.Caller
	c.Audit = &raftv1.AuditInfo{Id: id[:], Method: method}
	c.Idempotency = &raftv1.IdempotencyKey{Key: id.Text("idem"), Method: method, RequestHash: hash}
	return c
}

// Allow is a permission for one resource pattern and actions.
func Allow(resource string, actions ...string) *raftv1.Permission {
	return &raftv1.Permission{Resource: resource, Actions: actions}
}

// RevokeKey is a command that ends an API key.
func (a *Admin) RevokeKey(id []byte) *raftv1.Command {
	return a.command(&raftv1.Command{Command: &raftv1.Command_RevokeKey{RevokeKey: &raftv1.RevokeKey{Id: id}}}, "AccessService.RevokeKey")
}

// Settings is a command that changes settings; zero fields stay.
func (a *Admin) Settings(s *raftv1.Settings) *raftv1.Command {
	return a.command(&raftv1.Command{Command: &raftv1.Command_UpdateSettings{
		UpdateSettings: &raftv1.UpdateSettings{Settings: s},
	}}, "ClusterService.UpdateSettings")
}
