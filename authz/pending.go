package authz

import "github.com/kavachd/kavachd/ids"

// Agent is a compiled agent: compact, immutable.
type Agent struct {
	ID                  ids.ID
	Tenant, Owner, Name string
	Type                uint8
	Revoked             bool
	ExpiresAt           int64
	Token, PrevToken    ids.Hash
	PrevUntil           int64
	Revision            uint64
}

// Len is the number of permissions.
func (a *Agent) Len() int { panic("pending") }

// Permission decodes the i-th permission.
func (a *Agent) Permission(i int) Permission { panic("pending") }

// Permissions decodes all.
func (a *Agent) Permissions() []Permission { panic("pending") }

// Delegation is a compiled delegation: compact, immutable.
type Delegation struct {
	ID, From, To ids.ID
	Tenant       string
	ExpiresAt    int64
	MaxDepth     uint32
	Depth        uint32
	Revoked      bool
	Created      uint64
	Revision     uint64
}

// Len is the number of permissions.
func (d *Delegation) Len() int { panic("pending") }

// Permission decodes the i-th permission.
func (d *Delegation) Permission(i int) Permission { panic("pending") }

// Permissions decodes all.
func (d *Delegation) Permissions() []Permission { panic("pending") }

// Compile makes the record. It never fails for what Validate accepted.
func Compile(spec AgentSpec) (*Agent, error) { panic("pending") }

// CompileDelegation makes the record.
func CompileDelegation(spec DelegationSpec) (*Delegation, error) { panic("pending") }

// Validate names every problem of a list.
func Validate(perms []Permission, lim Limits) []Problem { panic("pending") }

// Warnings remarks on permissions that can't be reached or whose constraint is shadowed.
func Warnings(perms []Permission) []Warning { panic("pending") }

// Covers is language inclusion of pattern and actions.
func Covers(outer, inner Permission) bool { panic("pending") }

// Match tells whether the pattern covers the resource.
func Match(pattern, resource string) bool { panic("pending") }

// Decide decides.
func Decide(src Source, q *Request) (Verdict, error) { panic("pending") }

// Considered is one grant that Explain looked at.
type Considered struct {
	Grant   Grant
	Depth   int
	Applies bool
	Code    Code
	Why     string
}

// Explain decides without counting, and tells every grant considered.
func Explain(src Source, q *Request) ([]Considered, Verdict, error) { panic("pending") }

// Effective lists what an agent holds at a time.
func Effective(src Source, id ids.ID, at int64) []Held { panic("pending") }

// CoveredBy tells whether the agent effectively holds p.
func CoveredBy(src Source, from ids.ID, p Permission, at int64) Coverage { panic("pending") }

// Reason is the sentence of the answer; "" if allowed.
func (v *Verdict) Reason() string { panic("pending") }

// Permission decodes the permission it points at.
func (g Grant) Permission() Permission { panic("pending") }

type detail struct{}
