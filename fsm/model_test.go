package fsm

import (
	"fmt"
	"math"
	"slices"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/status"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// model is SPEC 1 and 5 once more, as dumb as can be: maps and loops over all, no index, no transaction, no record. It
// says for each command whether it is refused and why, and what agents, delegations and keys then are. Its commands are
// well formed; what is malformed is for the table tests.
type model struct {
	index       uint64
	wall        int64
	limit       int
	tokenExpiry int64
	agents      map[string]*modelAgent
	delegations []*modelDelegation
	keys        map[string]*modelKey
	remembered  map[string]*modelRequest
}

type modelAgent struct {
	tenant, owner  string
	perms          []*raftv1.Permission
	token, prev    string
	until, expires int64
	revoked        bool
	revision       uint64
}

type modelDelegation struct {
	id, from, to    string
	perms           []*raftv1.Permission
	expires         int64
	depth, maxDepth uint32
	revoked         bool
}

type modelKey struct {
	hash, tenant string
	expires      int64
	revoked      bool
}

type modelRequest struct {
	hash, token string
	expires     int64
	agent, key  string // whose secret it gave
}

func newModel() *model {
	return &model{
		limit: DefaultMaxAgentsPerOwner, tokenExpiry: int64(DefaultTokenExpiry),
		agents: map[string]*modelAgent{}, keys: map[string]*modelKey{}, remembered: map[string]*modelRequest{},
	}
}

func over(expires, wall int64) bool { return expires != 0 && wall >= expires }

// apply judges one command of the entry index at wall, and carries it out if it is not refused.
func (m *model) apply(c *raftv1.Command) status.Reason {
	scope := ""
	if !nodesOwn(c) {
		k := m.keys[string(c.GetCaller().GetKeyId())]
		if k == nil || k.revoked || over(k.expires, m.wall) {
			return status.Unauthenticated
		}
		scope = k.tenant
		if acting := c.GetCaller().GetTenant(); scope == "" {
			scope = acting
		} else if acting != "" && acting != scope {
			return status.PermissionDenied
		}
	}
	q := c.GetIdempotency()
	name := fmt.Sprintf("%x|%s|%s|%s", c.GetCaller().GetKeyId(), c.GetCaller().GetTenant(), q.GetMethod(), q.GetKey())
	if old := m.remembered[name]; q != nil && old != nil && m.wall < old.expires {
		if old.hash != string(q.GetRequestHash()) {
			return status.IdempotencyKeyReused
		}
		return m.repeat(scope, old, string(secretHash(c)))
	}
	done := &modelRequest{hash: string(q.GetRequestHash()), token: string(secretHash(c)), expires: m.wall + day}
	reason := m.execute(scope, c, done)
	if q != nil && reason == "" {
		m.remembered[name] = done
	}
	return reason
}

func (m *model) repeat(scope string, old *modelRequest, secret string) status.Reason {
	if secret == "" || secret == old.token {
		return ""
	}
	if k := m.keys[old.key]; k != nil {
		if k.revoked || k.hash != old.token {
			return status.TokenSuperseded
		}
		if m.secretInUse(secret) {
			return status.AlreadyExists
		}
		k.hash, old.token = secret, secret
		return ""
	}
	a := m.agents[old.agent]
	switch {
	case a == nil || scope != "" && scope != a.tenant:
		return status.AgentNotFound
	case a.revoked:
		return status.AgentRevoked
	case a.token != old.token:
		return status.TokenSuperseded
	case m.tokenInUse(secret):
		return status.AlreadyExists
	}
	a.token, old.token = secret, secret
	return ""
}

func (m *model) execute(scope string, c *raftv1.Command, done *modelRequest) status.Reason {
	switch c := c.GetCommand().(type) {
	case *raftv1.Command_CreateAgent:
		done.agent = string(c.CreateAgent.GetId())
		return m.create(scope, c.CreateAgent)
	case *raftv1.Command_UpdateAgent:
		return m.update(scope, c.UpdateAgent)
	case *raftv1.Command_RotateToken:
		done.agent = string(c.RotateToken.GetId())
		return m.rotate(scope, c.RotateToken)
	case *raftv1.Command_RevokeAgent:
		return m.revoke(scope, c.RevokeAgent)
	case *raftv1.Command_CreateDelegation:
		return m.delegate(scope, c.CreateDelegation)
	case *raftv1.Command_RevokeDelegation:
		return m.revokeDelegation(scope, c.RevokeDelegation)
	case *raftv1.Command_UpdateSettings:
		if scope != "" {
			return status.PermissionDenied
		}
		if n := c.UpdateSettings.GetSettings().GetMaxAgentsPerOwner(); n != 0 {
			m.limit = int(n)
		}
		return ""
	case *raftv1.Command_CreateKey:
		done.key = string(c.CreateKey.GetId())
		return m.createKey(scope, c.CreateKey)
	case *raftv1.Command_RevokeKey:
		k := m.keys[string(c.RevokeKey.GetId())]
		if k == nil || scope != "" && scope != k.tenant {
			return status.KeyNotFound
		}
		k.revoked = true
		return ""
	default:
		return "" // what nodes do on their own
	}
}

func (m *model) agent(scope string, id []byte) *modelAgent {
	if a := m.agents[string(id)]; a != nil && (scope == "" || scope == a.tenant) {
		return a
	}
	return nil
}

func (m *model) tokenInUse(token string) bool {
	for _, a := range m.agents {
		if a.token == token || a.prev == token {
			return true
		}
	}
	return false
}

func (m *model) secretInUse(hash string) bool {
	for _, k := range m.keys {
		if k.hash == hash {
			return true
		}
	}
	return false
}

func (m *model) full(tenant, owner string) bool {
	n := 0
	for _, a := range m.agents {
		if a.tenant == tenant && a.owner == owner && !a.revoked && !over(a.expires, m.wall) {
			n++
		}
	}
	return n >= m.limit
}

// ends resolves an expiry; ok is false for one that is refused.
func (m *model) ends(e *raftv1.Expiry, fallback int64) (at int64, ok bool) {
	switch e := e.GetExpiry().(type) {
	case *raftv1.Expiry_At:
		return e.At, e.At > m.wall
	case *raftv1.Expiry_Ttl:
		return m.wall + e.Ttl, e.Ttl > 0
	case *raftv1.Expiry_Never:
		return 0, true
	default:
		return fallback, true
	}
}

func (m *model) create(scope string, c *raftv1.CreateAgent) status.Reason {
	a := &modelAgent{tenant: c.GetTenant(), owner: c.GetOwner(), perms: c.GetPermissions(), token: string(c.GetTokenHash()), revision: m.index}
	var ok bool
	if a.expires, ok = m.ends(c.GetExpiry(), m.wall+m.tokenExpiry); !ok {
		return status.InvalidArgument
	}
	if scope != "" && scope != a.tenant {
		return status.PermissionDenied
	}
	if m.full(a.tenant, a.owner) {
		return status.AgentLimitExceeded
	}
	if m.tokenInUse(a.token) || m.agents[string(c.GetId())] != nil {
		return status.AlreadyExists
	}
	m.agents[string(c.GetId())] = a
	return ""
}

func (m *model) update(scope string, c *raftv1.UpdateAgent) status.Reason {
	a := m.agent(scope, c.GetId())
	switch {
	case a == nil:
		return status.AgentNotFound
	case a.revoked:
		return status.AgentRevoked
	case c.GetExpectedRevision() != 0 && c.GetExpectedRevision() != a.revision:
		return status.RevisionMismatch
	}
	expires, until := a.expires, a.until
	if c.GetExpiry() != nil {
		var ok bool
		if expires, ok = m.ends(c.GetExpiry(), m.wall+m.tokenExpiry); !ok {
			return status.InvalidArgument
		}
		if a.prev != "" && expires != 0 {
			until = min(until, expires)
		}
	}
	if over(a.expires, m.wall) && !over(expires, m.wall) && m.full(a.tenant, a.owner) {
		return status.AgentLimitExceeded
	}
	a.expires, a.until, a.revision = expires, until, m.index
	if c.GetPermissions() != nil {
		a.perms = c.GetPermissions().GetPermissions()
	}
	return ""
}

func (m *model) rotate(scope string, c *raftv1.RotateToken) status.Reason {
	a := m.agent(scope, c.GetId())
	switch {
	case a == nil:
		return status.AgentNotFound
	case a.revoked:
		return status.AgentRevoked
	case over(a.expires, m.wall):
		return status.AgentExpired
	case c.GetExpectedRevision() != 0 && c.GetExpectedRevision() != a.revision:
		return status.RevisionMismatch
	case m.tokenInUse(string(c.GetTokenHash())):
		return status.AlreadyExists
	}
	old := a.token
	a.token, a.prev, a.until, a.revision = string(c.GetTokenHash()), "", 0, m.index
	if c.GetGrace() > 0 {
		a.prev, a.until = old, m.wall+c.GetGrace()
		if a.expires != 0 {
			a.until = min(a.until, a.expires)
		}
	}
	return ""
}

func (m *model) revoke(scope string, c *raftv1.RevokeAgent) status.Reason {
	a := m.agent(scope, c.GetId())
	if a == nil {
		return status.AgentNotFound
	}
	if a.revoked {
		return ""
	}
	if c.GetExpectedRevision() != 0 && c.GetExpectedRevision() != a.revision {
		return status.RevisionMismatch
	}
	a.revoked, a.prev, a.until, a.revision = true, "", 0, m.index
	m.cascade(string(c.GetId()))
	return ""
}

func (m *model) createKey(scope string, c *raftv1.CreateKey) status.Reason {
	k := &modelKey{hash: string(c.GetHash()), tenant: c.GetTenant()}
	var ok bool
	if k.expires, ok = m.ends(c.GetExpiry(), 0); !ok {
		return status.InvalidArgument
	}
	if scope != "" && scope != k.tenant {
		return status.PermissionDenied
	}
	if m.secretInUse(k.hash) || m.keys[string(c.GetId())] != nil {
		return status.AlreadyExists
	}
	m.keys[string(c.GetId())] = k
	return ""
}

func (d *modelDelegation) live(wall int64) bool { return !d.revoked && !over(d.expires, wall) }

// covering is the depth and the smallest max_depth of the shallowest way by which the agent holds p, itself at path
// length n; depth 0: by none. Agents that are over count only if ageless.
func (m *model) covering(id string, p *raftv1.Permission, ageless bool, n int) (depth, maxDepth uint32) {
	a := m.agents[id]
	if a == nil || a.revoked || !ageless && over(a.expires, m.wall) || n > 2*len(m.delegations)+2 {
		return 0, 0
	}
	for _, own := range a.perms {
		if authz.Covers(permission(own), permission(p)) {
			return 1, math.MaxUint32
		}
	}
	for _, d := range m.delegations {
		if d.to != id || !d.live(m.wall) {
			continue
		}
		for _, q := range d.perms {
			if !authz.Covers(permission(q), permission(p)) {
				continue
			}
			above, most := m.covering(d.from, q, ageless, n+1)
			if above == 0 || above > min(most, d.maxDepth) {
				continue // inert
			}
			// The shallowest counts, but one that may be handed on goes before one that may not.
			limit := min(most, d.maxDepth)
			better := depth == 0 || depth > maxDepth && above+1 <= limit || (depth > maxDepth) == (above+1 > limit) && above+1 < depth
			if better {
				depth, maxDepth = above+1, limit
			}
		}
	}
	return depth, maxDepth
}

func (m *model) delegate(scope string, c *raftv1.CreateDelegation) status.Reason {
	from, to := m.agent(scope, c.GetFrom()), m.agent(scope, c.GetTo())
	switch {
	case from == nil || to == nil || from.tenant != to.tenant:
		return status.AgentNotFound
	case from.revoked:
		return status.AgentRevoked
	case over(from.expires, m.wall):
		return status.AgentExpired
	case to.revoked:
		return status.AgentRevoked
	case from == to:
		return status.InvalidArgument
	}
	d := &modelDelegation{
		id: string(c.GetId()), from: string(c.GetFrom()), to: string(c.GetTo()), perms: c.GetPermissions(), maxDepth: c.GetMaxDepth(),
	}
	fallback := m.wall + m.tokenExpiry
	if from.expires != 0 {
		fallback = min(fallback, from.expires)
	}
	var ok bool
	if d.expires, ok = m.ends(c.GetExpiry(), fallback); !ok {
		return status.InvalidArgument
	}
	if m.derives(d.from, d.to, nil) {
		return status.DelegationCycle
	}
	for _, p := range d.perms {
		depth, most := m.covering(d.from, p, false, 0)
		if depth == 0 {
			return status.InsufficientPermissions
		}
		if depth > min(most, d.maxDepth) {
			return status.DelegationDepthExceeded
		}
		d.depth = max(d.depth, depth)
	}
	if slices.ContainsFunc(m.delegations, func(o *modelDelegation) bool { return o.id == d.id }) {
		return status.AlreadyExists
	}
	m.delegations = append(m.delegations, d)
	return ""
}

// derives tells whether the agent has, by live delegations, anything from root.
func (m *model) derives(id, root string, seen []string) bool {
	for _, d := range m.delegations {
		if d.to == id && d.live(m.wall) && !slices.Contains(seen, d.from) &&
			(d.from == root || m.derives(d.from, root, append(seen, d.from))) {
			return true
		}
	}
	return false
}

func (m *model) revokeDelegation(scope string, c *raftv1.RevokeDelegation) status.Reason {
	for _, d := range m.delegations {
		if d.id != string(c.GetId()) || m.agent(scope, []byte(d.from)) == nil {
			continue
		}
		if !d.revoked {
			d.revoked = true
			m.cascade(d.to)
		}
		return ""
	}
	return status.DelegationNotFound
}

// cascade revokes, until nothing changes, what hung by live delegations below the agent and is covered in nothing.
func (m *model) cascade(top string) {
	var under []*modelDelegation
	for _, d := range m.delegations {
		if d.live(m.wall) && (d.from == top || m.derives(d.from, top, nil)) {
			under = append(under, d)
		}
	}
	for changed := true; changed; {
		changed = false
		for _, d := range under {
			held := slices.ContainsFunc(d.perms, func(p *raftv1.Permission) bool {
				depth, most := m.covering(d.from, p, true, 0)
				return depth != 0 && depth <= min(most, d.maxDepth)
			})
			if !held && !d.revoked {
				d.revoked, changed = true, true
			}
		}
	}
}
