package authz

import (
	"fmt"

	"github.com/kavachd/kavachd/ids"
)

// Agent is a compiled agent: immutable, its texts and its permission list in one block without pointers. It holds
// nothing of an ancestor.
type Agent struct {
	// What a decision reads comes first, so that it shares a cache line.
	perms     list
	previous  *previousToken // nil: none
	Token     ids.Hash
	ExpiresAt int64 // Unix nanoseconds, 0 = never
	Revoked   bool
	Type      uint8

	ID                  ids.ID
	Name, Tenant, Owner string
	Revision            uint64
}

// previousToken is the token before the last Rotate, while its grace lasts.
type previousToken struct {
	hash  ids.Hash
	until int64
}

// Compile makes an agent's record. It fails only for permissions that Validate refuses.
func Compile(spec AgentSpec) (*Agent, error) {
	block := make([]byte, 0, 256)
	block = append(block, spec.Tenant...)
	block = append(block, spec.Owner...)
	block = append(block, spec.Name...)
	texts := len(block)
	perms, err := encodeList(nil, spec.Permissions)
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", spec.ID.Text(ids.PrefixAgent), err)
	}
	whole := string(append(block, perms...))
	tenant, owner := len(spec.Tenant), len(spec.Tenant)+len(spec.Owner)
	a := &Agent{
		Tenant: whole[:tenant], Owner: whole[tenant:owner], Name: whole[owner:texts], perms: list(whole[texts:]),
		ID: spec.ID, Token: spec.Token, ExpiresAt: spec.ExpiresAt, Revision: spec.Revision, Type: spec.Type, Revoked: spec.Revoked,
	}
	if spec.PrevUntil != 0 {
		a.previous = &previousToken{hash: spec.PrevToken, until: spec.PrevUntil}
	}
	return a, nil
}

// Previous returns the token that the last Rotate replaced and when its grace ends (Unix nanoseconds); zero if it had none.
func (a *Agent) Previous() (ids.Hash, int64) {
	if a.previous == nil {
		return ids.Hash{}, 0
	}
	return a.previous.hash, a.previous.until
}

// Expired tells whether the agent's right is over at a time: a right is over when the clock reaches its end (SPEC 4).
func (a *Agent) Expired(at int64) bool { return a.ExpiresAt != 0 && at >= a.ExpiresAt }

// accepts tells whether a token is the agent's, by the clock at.
func (a *Agent) accepts(token ids.Hash, at int64) bool {
	return a.Token == token || a.previous != nil && a.previous.hash == token && at < a.previous.until
}

// Len is the number of permissions in the agent's own list.
func (a *Agent) Len() int { return a.perms.len() }

// Permission decodes the i-th permission; addresses and prefixes come back in their canonical text.
func (a *Agent) Permission(i int) Permission { return a.perms.permission(i) }

// Permissions decodes the whole list.
func (a *Agent) Permissions() []Permission { return a.perms.permissions() }

// Delegation is a compiled delegation: immutable, like Agent.
type Delegation struct {
	Tenant string
	perms  list

	ID, From, To ids.ID
	ExpiresAt    int64 // Unix nanoseconds, 0 = never
	Created      uint64
	Revision     uint64
	MaxDepth     uint32
	Depth        uint32
	Revoked      bool
}

// CompileDelegation makes a delegation's record. It fails only for permissions that Validate refuses.
func CompileDelegation(spec DelegationSpec) (*Delegation, error) {
	block := append(make([]byte, 0, 128), spec.Tenant...)
	perms, err := encodeList(nil, spec.Permissions)
	if err != nil {
		return nil, fmt.Errorf("delegation %s: %w", spec.ID.Text(ids.PrefixDelegation), err)
	}
	whole := string(append(block, perms...))
	return &Delegation{
		Tenant: whole[:len(block)], perms: list(whole[len(block):]),
		ID: spec.ID, From: spec.From, To: spec.To, ExpiresAt: spec.ExpiresAt, Created: spec.Created, Revision: spec.Revision,
		MaxDepth: spec.MaxDepth, Depth: spec.Depth, Revoked: spec.Revoked,
	}, nil
}

// Live tells whether the delegation itself counts at a time; whether its giver still holds anything is another question.
func (d *Delegation) Live(at int64) bool { return !d.Revoked && (d.ExpiresAt == 0 || at < d.ExpiresAt) }

// Len is the number of permissions delegated.
func (d *Delegation) Len() int { return d.perms.len() }

// Permission decodes the i-th permission.
func (d *Delegation) Permission(i int) Permission { return d.perms.permission(i) }

// Permissions decodes the whole list.
func (d *Delegation) Permissions() []Permission { return d.perms.permissions() }
