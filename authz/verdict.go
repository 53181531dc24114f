package authz

import (
	"time"

	"github.com/kavachd/kavachd/ids"
)

// Verdict is the answer to a Request. It refers to immutable records and to the request's own strings, and may be kept.
type Verdict struct {
	Code  Code
	Agent *Agent // whom it is about; nil if unknown. Named for a bad token too, for the audit (SPEC 2)

	// Grant is the permission that allowed, or whose constraint denied. Its zero value: none matched.
	Grant Grant

	// Standing is the tightest quota that an allowed call drew; zero without one.
	Standing Standing
	// RetryAfter is when to ask again after RATE_LIMITED.
	RetryAfter time.Duration
	// MaxStaleness is the smallest max_staleness on the allowing path: how old the state may be that allowed (0: not at all).
	MaxStaleness time.Duration

	path   [MaxPath]*Delegation // from the agent upwards: path[0] was given to it, the last by the owner of Grant
	pathN  uint8
	detail detail
}

// Grant points at a permission in an agent's own list or in a delegation.
type Grant struct {
	Holder     *Agent      // whose own list it is in; nil for a delegated permission
	Delegation *Delegation // the delegation it is in; nil for an own permission
	Ordinal    int         // position in that list
}

// IsZero tells whether it points nowhere.
func (g Grant) IsZero() bool { return g.Holder == nil && g.Delegation == nil }

// list returns the list that it points into.
func (g Grant) list() list {
	if g.Delegation != nil {
		return g.Delegation.perms
	}
	return g.Holder.perms
}

// same tells whether two grants are the same permission of the same record, however often the record was loaded.
func (g Grant) same(o Grant) bool {
	switch {
	case g.Ordinal != o.Ordinal || (g.Holder == nil) != (o.Holder == nil):
		return false
	case g.Holder != nil:
		return g.Holder.ID == o.Holder.ID
	default:
		return g.Delegation.ID == o.Delegation.ID
	}
}

// Permission decodes the permission; the zero Permission for a zero Grant.
func (g Grant) Permission() Permission {
	if g.IsZero() {
		return Permission{}
	}
	return g.list().permission(g.Ordinal)
}

// PermissionID returns the permission's own id, "" if it has none.
func (g Grant) PermissionID() string { return g.Permission().ID }

// Allowed tells whether the call may be made.
func (v *Verdict) Allowed() bool { return v.Code == Allowed }

// Path lists the delegations that the answer rests on, from the agent upwards; empty if its own list decided.
func (v *Verdict) Path() []*Delegation { return v.path[:v.pathN:v.pathN] }

// PathIDs is Path by id.
func (v *Verdict) PathIDs() []ids.ID {
	out := make([]ids.ID, v.pathN)
	for i, d := range v.Path() {
		out[i] = d.ID
	}
	return out
}
