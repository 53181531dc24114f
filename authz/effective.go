package authz

import (
	"github.com/kavachd/kavachd/ids"
)

// Held is one permission that an agent holds (SPEC 5, GetEffectivePermissions).
type Held struct {
	Permission Permission // with its own constraints
	// Inherited are the constraints of the ancestors' permissions that it rests on, from the nearest giver upwards.
	// The decision asks each giver anew, so these describe, they don't decide.
	Inherited  []Constraints
	Delegation ids.ID // the received delegation it comes from; zero for an own permission
	From       ids.ID // that delegation's giver
	Depth      uint32 // 0 for an own permission
	ExpiresAt  int64  // the smallest on the path, the agent's and the givers' own included; 0 = never
	Inert      bool   // the giver doesn't cover it as a whole any more, or it lies too deep (effective: false)
}

// Coverage is what CoveredBy found.
type Coverage struct {
	Covered bool
	// Depth of a delegation that hands the permission on: 1 if the giver's own list covers it, else 1 + the depth of
	// the shallowest received grant that covers it and may be handed on (if none may, of the shallowest).
	Depth uint32
	// MaxDepth is the smallest max_depth above it: the delegation is refused if Depth > MaxDepth or > its own max_depth.
	MaxDepth  uint32
	ExpiresAt int64 // the smallest on the path; 0 = never
}
