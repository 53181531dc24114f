package authz

import (
	"slices"

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

// Effective lists what an agent holds at a time (Unix nanoseconds): its own list in order, then what it received, in
// order of creation, without what is revoked or expired. Nothing for an agent that is unknown, revoked or expired.
func Effective(src Source, id ids.ID, at int64) []Held {
	agent := src.Agent(id)
	if agent == nil || agent.Revoked || agent.Expired(at) {
		return nil
	}
	var held []Held
	for i := range agent.Len() {
		held = append(held, Held{Permission: agent.Permission(i), ExpiresAt: agent.ExpiresAt})
	}
	c := coverer{src: src, at: at, known: make(map[grantKey]basis)}
	c.enter(agent)
	for _, d := range src.Received(id) {
		if !d.Live(at) {
			continue
		}
		for i := range d.Len() {
			b := c.delegated(d, i)
			h := Held{
				Permission: d.Permission(i), Inherited: b.inherited, Delegation: d.ID, From: d.From, Depth: b.Depth,
				ExpiresAt: sooner(agent.ExpiresAt, sooner(d.ExpiresAt, b.ExpiresAt)), Inert: !b.valid(),
			}
			if !b.Covered {
				h.Depth = d.Depth
			}
			held = append(held, h)
		}
	}
	return held
}

// CoveredBy tells whether one permission that an agent effectively holds at a time (Unix nanoseconds), own or received,
// covers p (SPEC 5). An agent that is unknown, revoked or expired holds nothing.
func CoveredBy(src Source, from ids.ID, p Permission, at int64) Coverage {
	c := coverer{src: src, at: at, known: make(map[grantKey]basis)}
	return c.cover(src.Agent(from), p).Coverage
}

// basis is what a permission rests on.
type basis struct {
	Coverage
	inherited []Constraints
}

// valid tells whether a delegation that rests on it counts.
func (b *basis) valid() bool { return b.Covered && b.Depth <= b.MaxDepth }

// betterThan prefers a basis that may be handed on, then the shallower one.
func (b *basis) betterThan(o *basis) bool {
	switch {
	case !o.Covered || b.valid() != o.valid():
		return !o.Covered || b.valid()
	default:
		return b.Depth < o.Depth
	}
}

// coverer is one question about holdings, in one version of the state.
type coverer struct {
	src   Source
	at    int64
	path  []ids.ID // the agents being asked
	known map[grantKey]basis
	cuts  int // how often an agent on the path was not asked again
}

type grantKey struct {
	delegation ids.ID
	ordinal    int
}

func (c *coverer) enter(a *Agent) { c.path = append(c.path, a.ID) }
func (c *coverer) leave()         { c.path = c.path[:len(c.path)-1] }

func (c *coverer) onPath(id ids.ID) bool { return slices.Contains(c.path, id) }

// cover finds the best basis of p among what an agent holds.
func (c *coverer) cover(agent *Agent, p Permission) (best basis) {
	if agent == nil || agent.Revoked || agent.Expired(c.at) || len(c.path) > MaxPath {
		return basis{}
	}
	if i := agent.perms.covering(p, 0); i >= 0 {
		return basis{
			Coverage:  Coverage{Covered: true, Depth: 1, MaxDepth: MaxPath, ExpiresAt: agent.ExpiresAt},
			inherited: []Constraints{agent.Permission(i).Constraints},
		}
	}
	c.enter(agent)
	defer c.leave()
	for _, d := range c.src.Received(agent.ID) {
		if !d.Live(c.at) {
			continue
		}
		for i := d.perms.covering(p, 0); i >= 0; i = d.perms.covering(p, i+1) {
			b := c.delegated(d, i)
			if !b.valid() {
				continue
			}
			on := basis{Coverage: Coverage{
				Covered: true, Depth: b.Depth + 1, MaxDepth: b.MaxDepth, ExpiresAt: sooner(agent.ExpiresAt, sooner(d.ExpiresAt, b.ExpiresAt)),
			}}
			if on.betterThan(&best) {
				on.inherited = append([]Constraints{d.Permission(i).Constraints}, b.inherited...)
				best = on
			}
		}
	}
	return best
}

// delegated finds what a delegation's i-th permission rests on: its giver's best cover of it as a whole. MaxDepth
// includes the delegation's own.
func (c *coverer) delegated(d *Delegation, i int) basis {
	key := grantKey{delegation: d.ID, ordinal: i}
	if b, ok := c.known[key]; ok {
		return b
	}
	if c.onPath(d.From) {
		c.cuts++
		return basis{}
	}
	before := c.cuts
	b := c.cover(c.src.Agent(d.From), d.Permission(i))
	if b.Covered {
		b.MaxDepth = min(b.MaxDepth, d.MaxDepth)
	}
	if c.cuts == before { // else the answer may be another from elsewhere; live delegations have no cycle, so this is rare
		c.known[key] = b
	}
	return b
}

// sooner is the earlier of two ends, 0 being never.
func sooner(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// covering returns the ordinal of the first permission from the given one on that covers p, -1 if none does.
func (l list) covering(p Permission, from int) int {
	n := l.len()
	if at := l.u32(4); at != 0 && len(p.Actions) > 0 && from == 0 {
		// Whether one action is covered tells much at a small cost: not at all, or by a permission that covers the rest too.
		i := l.index(int(at)).covering(p.Actions[0], p.Resource)
		if i < 0 || l.entry(i).covers(p) {
			return i
		}
		from = i + 1
	}
	for i := from; i < n; i++ {
		if l.entry(i).covers(p) {
			return i
		}
	}
	return -1
}

func (e entry) covers(p Permission) bool {
	if !coversPattern(e.resource, p.Resource) {
		return false
	}
	for _, action := range p.Actions {
		if !e.grants(action) {
			return false
		}
	}
	return true
}
