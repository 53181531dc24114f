package authz

import (
	"fmt"
	"sync"
	"time"

	"github.com/kavachd/kavachd/ids"
)

// Decide answers one request from one version of the state. It reads nothing but its arguments (and counts by
// q.Quotas). An error is an internal limit or a fault, never an answer: ErrQuotaUnavailable, ErrTooComplex, or what
// Quotas returned.
//
// The verdict refers to q's strings and to records of src, all immutable; it may be kept as long as wanted.
func Decide(src Source, q *Request) (Verdict, error) {
	var v Verdict
	return v, decide(src, q, nil, &v)
}

// decide fills v. With a recorder it searches everything anew and counts nothing.
func decide(src Source, q *Request, rec *recorder, v *Verdict) error {
	agent := identify(src, q, v)
	if agent == nil {
		return nil
	}
	if rec == nil && ownAllows(agent, q, v) {
		return nil // the common case: no delegation is looked at, no quota drawn
	}
	s := searches.Get().(*search)
	defer s.release()
	s.src, s.q, s.at, s.rec = src, q, q.At.UnixNano(), rec
	return s.decide(agent, v)
}

// identify finds the agent and judges whether it may ask at all. It returns nil with v filled if not.
func identify(src Source, q *Request, v *Verdict) *Agent {
	at := q.At.UnixNano()
	if q.ByToken {
		var agent *Agent
		if q.TokenOK {
			agent = src.AgentByToken(q.Token)
		}
		if agent == nil || !agent.accepts(q.Token, at) {
			v.Code = InvalidToken
			return nil
		}
		v.Agent = agent
		if agent.Revoked || agent.Expired(at) {
			v.Code = InvalidToken // to its bearer; the audit entry names the agent
			return nil
		}
		return agent
	}
	var agent *Agent
	if id, err := ids.Parse(ids.PrefixAgent, q.AgentID); err == nil {
		agent = src.Agent(id)
	}
	switch {
	case agent == nil:
		v.Code, v.detail = AgentNotFound, detail{a: q.AgentID}
		return nil
	case agent.Revoked:
		v.Agent, v.Code, v.detail = agent, AgentRevoked, detail{a: agent.Name}
		return nil
	case agent.Expired(at):
		v.Agent, v.Code, v.detail = agent, AgentExpired, detail{a: agent.Name}
		return nil
	}
	v.Agent = agent
	return agent
}

// ownAllows fills v if the agent's own list allows the call and no quota is to be drawn.
func ownAllows(agent *Agent, q *Request, v *Verdict) bool {
	i := agent.perms.first(q.Action, q.Resource)
	if i < 0 {
		return false
	}
	e := agent.perms.entry(i)
	if e.flags&hasQuota != 0 {
		return false
	}
	if code, _ := e.constraints(q); code != Allowed {
		return false
	}
	v.Code, v.Grant, v.MaxStaleness = Allowed, Grant{Holder: agent, Ordinal: i}, e.staleness()
	return true
}

// searchLimit bounds the received delegations looked at in one decision. Results are memoised, so that only an agent
// with many thousands of delegations above it comes near.
const searchLimit = 200_000

// search is the state of one decision that looks beyond the agent's own list. Pooled: it lives from decide to release,
// and nothing of it is referred to by a verdict.
type search struct {
	src Source
	q   *Request
	at  int64
	rec *recorder

	// The path from the asked agent upwards: path[i] was given to holders[i]. Invariant: len(holders) = n + 1 while an
	// agent is being asked, and no agent is in it twice.
	n       int
	path    [MaxPath]*Delegation
	grants  [MaxPath]int // path[i]'s permission that matched
	holders [MaxPath + 1]*Agent
	root    Grant // the own permission at the path's end, once allowed

	via  [MaxPath + 1]denial // via[n]: what the delegation at path[n] answered; here, so that it is not allocated
	used int                 // the first so many of via have been written
	last denial

	looked int
	denied memo
	spent  []spent // grants whose quota was refused in this decision
}

// spent is a grant whose counter had nothing left.
type spent struct {
	grant   Grant
	refusal Refusal
	limit   int64
}

// denial is why an agent would not be allowed.
type denial struct {
	code   Code
	grant  Grant // the permission whose constraint failed
	depth  uint8 // delegations on the path to it, the one it is in included
	retry  time.Duration
	detail detail
	// via are the delegations on the path to it.
	via [MaxPath]*Delegation
}

var searches = sync.Pool{New: func() any { return new(search) }}

func (s *search) release() {
	s.denied.clear()
	clear(s.spent)
	clear(s.path[:])
	clear(s.holders[:])
	clear(s.via[:s.used])
	s.src, s.q, s.rec, s.root, s.last, s.spent = nil, nil, nil, Grant{}, denial{}, s.spent[:0]
	s.n, s.used, s.looked = 0, 0, 0
	searches.Put(s)
}

// decide asks for the agent until an answer stands. A refused quota makes its grant deny, and everything is asked
// again: a giver may still be allowed by another grant. Each round spends one more grant, so it ends.
func (s *search) decide(agent *Agent, v *Verdict) error {
	for {
		s.last = denial{}
		d := &s.last
		if s.rec != nil {
			s.rec.reset()
		}
		allowed, err := s.ask(agent, MaxPath, d)
		if err != nil {
			return err
		}
		if !allowed {
			v.Code, v.Grant, v.RetryAfter, v.detail = d.code, d.grant, d.retry, d.detail
			v.path, v.pathN = d.via, d.depth
			return nil
		}
		drawn, err := s.draw(v)
		if err != nil {
			return err
		}
		if !drawn {
			s.denied.clear()
			s.n = 0
			continue
		}
		v.Code, v.Grant, v.MaxStaleness = Allowed, s.grantAllowed(), s.staleness()
		copy(v.path[:], s.path[:s.n])
		v.pathN = uint8(s.n)
		return nil
	}
}

// ask tells whether an agent, which is neither revoked nor expired, would be allowed this call: by its own list, or by
// what it received (SPEC 5). above is how many delegations may still be added to the path. If not, d says why.
func (s *search) ask(agent *Agent, above int, d *denial) (bool, error) {
	s.holders[s.n] = agent
	key := memoKey{agent: agent.ID, below: uint8(s.n), above: uint8(above)}
	if s.denied.find(key, d) {
		if int(d.depth) >= s.n { // the memo's way up, but this search's way down
			copy(d.via[:s.n], s.path[:s.n])
		}
		return false, nil
	}
	if s.own(agent, d) {
		return true, nil
	}
	via := &s.via[s.n]
	s.used = max(s.used, s.n+1)
	var shown denial // the first received denial that says more than "nothing matches"
	for _, del := range s.src.Received(agent.ID) {
		if s.looked++; s.looked > searchLimit {
			return false, ErrTooComplex
		}
		*via = denial{}
		allowed, err := s.received(del, above, via)
		if allowed || err != nil {
			return allowed, err
		}
		if shown.code == 0 && via.code != 0 && via.code != NoMatchingPermission {
			shown = *via
		}
	}
	if d.code == NoMatchingPermission && shown.code != 0 {
		*d = shown
	}
	s.denied.add(key, d)
	return false, nil
}

// own asks the agent's own list: the first match decides alone.
func (s *search) own(agent *Agent, d *denial) bool {
	i := agent.perms.first(s.q.Action, s.q.Resource)
	if i < 0 {
		d.code, d.detail = NoMatchingPermission, detail{a: agent.Name, b: s.q.Action, c: s.q.Resource}
		s.rec.own(s, agent, -1, d)
		return false
	}
	s.root = Grant{Holder: agent, Ordinal: i}
	allowed := s.permits(s.root, agent.perms.entry(i), d)
	s.rec.own(s, agent, i, d)
	return allowed
}

// received asks one received delegation: it must count, match, hold its own constraints, and its giver must be allowed
// this same call now. d stays zero if it doesn't count or doesn't match.
func (s *search) received(del *Delegation, above int, d *denial) (bool, error) {
	if why := s.counts(del, above); why != "" {
		s.rec.skipped(s, del, why)
		return false, nil
	}
	i := del.perms.first(s.q.Action, s.q.Resource)
	if i < 0 {
		s.rec.skipped(s, del, whyNoMatch)
		return false, nil
	}
	giver := s.src.Agent(del.From)
	if why := s.asks(giver); why != "" {
		s.rec.skipped(s, del, why)
		return false, nil
	}
	s.path[s.n], s.grants[s.n] = del, i
	s.n++
	if !s.permits(Grant{Delegation: del, Ordinal: i}, del.perms.entry(i), d) {
		s.rec.judged(s, i, d)
		s.n--
		return false, nil
	}
	s.rec.passed(s, i, giver)
	allowed, err := s.ask(giver, min(above, int(del.MaxDepth)-(s.n-1))-1, d)
	if !allowed {
		s.rec.failed(d)
		s.n--
	}
	return allowed, err
}

// counts tells why a delegation doesn't count here, "" if it does.
func (s *search) counts(del *Delegation, above int) string {
	switch {
	case del.Revoked:
		return "the delegation is revoked"
	case !del.Live(s.at):
		return "the delegation has expired"
	case above < 1 || s.n+1 > int(del.MaxDepth):
		return "the path would be longer than the smallest max_depth on it"
	}
	return ""
}

// asks tells why a giver can't be asked, "" if it can.
func (s *search) asks(giver *Agent) string {
	switch {
	case giver == nil:
		return "its giver does not exist"
	case giver.Revoked:
		return "its giver is revoked"
	case giver.Expired(s.at):
		return "its giver has expired"
	}
	for _, holder := range s.holders[:s.n+1] {
		if holder.ID == giver.ID {
			return "its giver is on the path already"
		}
	}
	return ""
}

// permits judges the constraints of a permission that matched, the quota only if it was refused before.
func (s *search) permits(g Grant, e entry, d *denial) bool {
	code, text := e.constraints(s.q)
	if code == Allowed && e.flags&hasQuota != 0 {
		for i := range s.spent {
			if sp := &s.spent[i]; sp.grant.same(g) {
				code, d.retry = RateLimited, sp.refusal.RetryAfter
				text = detail{a: s.q.Resource, x: sp.refusal.Used, y: sp.limit}
			}
		}
	}
	if code == Allowed {
		return true
	}
	d.code, d.grant, d.detail, d.depth = code, g, text, uint8(s.n)
	copy(d.via[:], s.path[:s.n])
	return false
}

// grantAllowed is the grant that the answer names: the agent's own permission, or that of the delegation it received.
func (s *search) grantAllowed() Grant {
	if s.n == 0 {
		return s.root
	}
	return Grant{Delegation: s.path[0], Ordinal: s.grants[0]}
}

// draw takes one call from every counter on the allowing path, all or none, and tells whether that worked; if not, the
// grant that has nothing left is spent. The root comes first: a giver answers before its receiver's own quota does.
func (s *search) draw(v *Verdict) (bool, error) {
	var draws []Draw
	var grants []Grant
	if e := s.root.Holder.perms.entry(s.root.Ordinal); e.flags&hasQuota != 0 {
		grants = append(grants, s.root)
	}
	for i := s.n - 1; i >= 0; i-- {
		if e := s.path[i].perms.entry(s.grants[i]); e.flags&hasQuota != 0 {
			grants = append(grants, Grant{Delegation: s.path[i], Ordinal: s.grants[i]})
		}
	}
	if len(grants) == 0 {
		return true, nil
	}
	if s.q.Quotas == nil {
		return false, ErrQuotaUnavailable
	}
	for _, g := range grants {
		draws = append(draws, newDraw(g, s.q.Resource))
	}
	take := s.q.Quotas.Take
	if s.rec != nil {
		take = s.q.Quotas.Peek
	}
	standing, refusal, ok, err := take(draws)
	if err != nil {
		return false, fmt.Errorf("draw from quotas: %w", err)
	}
	if ok {
		v.Standing = standing
		return true, nil
	}
	if refusal.Draw < 0 || refusal.Draw >= len(draws) {
		return false, fmt.Errorf("quota refused draw %d of %d", refusal.Draw, len(draws))
	}
	s.spent = append(s.spent, spent{grant: grants[refusal.Draw], refusal: refusal, limit: draws[refusal.Draw].Limit})
	return false, nil
}

// staleness is the smallest on the path.
func (s *search) staleness() time.Duration {
	smallest := s.root.Holder.perms.entry(s.root.Ordinal).staleness()
	for i := range s.n {
		smallest = min(smallest, s.path[i].perms.entry(s.grants[i]).staleness())
	}
	return smallest
}
