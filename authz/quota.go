package authz

import (
	"errors"
	"slices"
	"time"

	"github.com/kavachd/kavachd/ids"
)

// ErrQuotaUnavailable says that the call hangs on a quota and the request brought no Quotas. It is an error, not a
// denial: nobody knows whether the call may pass.
var ErrQuotaUnavailable = errors.New("the decision needs a quota, and none can be drawn here")

// ErrTooComplex says that the search through received delegations was given up. An internal limit, never a denial.
var ErrTooComplex = errors.New("the delegations to this agent are too many to search in one decision")

// Draw is one call to be counted by one counter (SPEC 3, Quota).
//
// The counter's identity is (Holder, PermissionID) or, without one, (Holder, Pattern, Actions); for a delegated
// permission (Holder, Receiver, Pattern, Actions), Holder being the giver; and, in scope RESOURCE, Resource.
// The limit and the scope are no part of it.
type Draw struct {
	Holder       ids.ID
	Receiver     ids.ID // zero for an agent's own permission
	PermissionID string // "" for a delegated permission
	Pattern      string
	Actions      []string // sorted, without repeats
	Scope        QuotaScope
	Resource     string // the requested one
	Limit        int64  // calls in any trailing hour
}

// Refusal tells which draw was refused and why.
type Refusal struct {
	Draw       int   // index into the draws
	Used       int64 // calls counted in the trailing hour; more than Limit after it was lowered
	RetryAfter time.Duration
}

// Standing is where a counter stands after a draw.
type Standing struct {
	Limit     int64
	Remaining int64         // a lower bound
	Reset     time.Duration // until the counter is full again
}

// Quotas draws from counters. Take draws every one or none: it answers ok, or the first draw refused. Peek tells what
// Take would answer and counts nothing. An error means that nobody knows, and nothing was drawn.
type Quotas interface {
	Take(draws []Draw) (Standing, Refusal, bool, error)
	Peek(draws []Draw) (Standing, Refusal, bool, error)
}

// newDraw describes the draw for a grant with a quota.
func newDraw(g Grant, resource string) Draw {
	p := g.Permission()
	d := Draw{
		Pattern: p.Resource, Actions: slices.Compact(slices.Sorted(slices.Values(p.Actions))),
		Scope: p.Constraints.QuotaScope, Resource: resource, Limit: p.Constraints.MaxCallsPerHour,
	}
	if g.Delegation != nil {
		d.Holder, d.Receiver = g.Delegation.From, g.Delegation.To
	} else {
		d.Holder, d.PermissionID = g.Holder.ID, p.ID
	}
	return d
}
