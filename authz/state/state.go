package state

import (
	"encoding/binary"
	"math/bits"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/ids"
)

// State is the decision state with all its versions that are still looked at. Safe for concurrent use.
type State struct {
	current atomic.Pointer[root]
	// writer is held from Begin to Commit or Discard.
	writer sync.Mutex
	edits  uint64 // transactions begun; guarded by writer
}

// root is one version. Immutable once published.
type root struct {
	version     uint64
	agents      trie[authz.Agent]
	tokens      trie[authz.Agent] // by current and by previous token
	delegations trie[authz.Delegation]
	received    trie[received]
	keys        trie[authz.KeySpec]
	keyHashes   trie[authz.KeySpec]
	counts      Counts
}

// Counts is how many records a version holds.
type Counts struct{ Agents, Delegations, Keys int }

// received is all that was delegated to one agent, in order of creation. Immutable.
type received struct {
	to   ids.ID
	list []*authz.Delegation
}

// New returns an empty state, at version 0.
func New() *State {
	s := new(State)
	s.current.Store(new(root))
	return s
}

// View returns the current version. It stays as it is; hold it no longer than a request.
func (s *State) View() View { return View{r: s.current.Load()} }

// Version is the number of the current version: it grows by one with every Commit that changed something.
func (s *State) Version() uint64 { return s.current.Load().version }

// View is one version of the state. It implements authz.Source. The zero View is not usable.
type View struct{ r *root }

var _ authz.Source = View{}

// Version is this version's number.
func (v View) Version() uint64 { return v.r.version }

// Counts tells how many records there are.
func (v View) Counts() Counts { return v.r.counts }

// Agent finds an agent by id; nil if there is none.
func (v View) Agent(id ids.ID) *authz.Agent {
	tag := idTag(id)
	for _, e := range v.r.agents.leaf(tag) {
		if e.tag == tag && e.value.ID == id {
			return e.value
		}
	}
	return nil
}

// AgentByToken finds the agent whose current or previous token has this hash; nil if there is none.
func (v View) AgentByToken(h ids.Hash) *authz.Agent {
	tag := hashTag(h)
	for _, e := range v.r.tokens.leaf(tag) {
		if e.tag == tag && hasToken(e.value, h) {
			return e.value
		}
	}
	return nil
}

// Received lists the delegations to an agent in order of creation, those that are over included. Not to be changed.
func (v View) Received(to ids.ID) []*authz.Delegation {
	tag := idTag(to)
	for _, e := range v.r.received.leaf(tag) {
		if e.tag == tag && e.value.to == to {
			return e.value.list
		}
	}
	return nil
}

// Delegation finds a delegation by id; nil if there is none.
func (v View) Delegation(id ids.ID) *authz.Delegation {
	tag := idTag(id)
	for _, e := range v.r.delegations.leaf(tag) {
		if e.tag == tag && e.value.ID == id {
			return e.value
		}
	}
	return nil
}

// KeyByHash finds a caller's key; nil if there is none. Whether it is revoked or expired is for the caller to judge.
func (v View) KeyByHash(h ids.Hash) *authz.KeySpec {
	tag := hashTag(h)
	for _, e := range v.r.keyHashes.leaf(tag) {
		if e.tag == tag && e.value.Hash == h {
			return e.value
		}
	}
	return nil
}

// Key finds a caller's key by id; nil if there is none.
func (v View) Key(id ids.ID) *authz.KeySpec {
	tag := idTag(id)
	for _, e := range v.r.keys.leaf(tag) {
		if e.tag == tag && e.value.ID == id {
			return e.value
		}
	}
	return nil
}

// EachAgent calls f for every agent, in no particular order, until it returns false.
func (v View) EachAgent(f func(*authz.Agent) bool) { v.r.agents.each(f) }

// idTag spreads an id, whose first bytes are a clock. Ids are made by nodes, from randomness, so nobody can aim.
func idTag(id ids.ID) uint64 {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(id[:8])^0xa0761d6478bd642f, binary.LittleEndian.Uint64(id[8:])^0xe7037ed1a0b428db)
	return hi ^ lo
}

// hashTag takes part of a SHA-256, which is spread well already.
func hashTag(h ids.Hash) uint64 { return binary.LittleEndian.Uint64(h[:8]) }

func hasToken(a *authz.Agent, h ids.Hash) bool {
	if a.Token == h {
		return true
	}
	previous, until := a.Previous()
	return until != 0 && previous == h
}

// Txn gathers changes to the next version. Nobody sees them before Commit. For one goroutine; end it by Commit or
// Discard.
type Txn struct {
	s       *State
	next    root
	edit    uint64
	changed bool
}

// Begin starts a transaction over the current version. It waits for another one to end: there is one writer.
func (s *State) Begin() *Txn {
	s.writer.Lock()
	s.edits++
	return &Txn{s: s, next: *s.current.Load(), edit: s.edits}
}

// Commit publishes the changes as one version, in one step. Without changes there is no new version.
func (t *Txn) Commit() {
	if t.changed {
		next := t.next
		next.version++
		t.s.current.Store(&next)
	}
	t.end()
}

// Discard drops the changes.
func (t *Txn) Discard() { t.end() }

func (t *Txn) end() {
	s := t.s
	*t = Txn{} // a use after the end fails at once
	s.writer.Unlock()
}

// View reads the transaction's own changes. Not to be used after the transaction's next change or end.
func (t *Txn) View() View { return View{r: &t.next} }

// Clear removes everything: a restore begins with it.
func (t *Txn) Clear() {
	t.next = root{version: t.next.version}
	t.changed = true
}

// PutAgent adds an agent or replaces the one of that id.
func (t *Txn) PutAgent(a *authz.Agent) {
	old := t.View().Agent(a.ID)
	if old == nil {
		t.next.counts.Agents++
	} else {
		t.dropTokens(old)
	}
	same := func(o *authz.Agent) bool { return o.ID == a.ID }
	t.next.agents.put(t.edit, idTag(a.ID), a, same)
	t.next.tokens.put(t.edit, hashTag(a.Token), a, same)
	if previous, until := a.Previous(); until != 0 {
		t.next.tokens.put(t.edit, hashTag(previous), a, same)
	}
	t.changed = true
}

// DeleteAgent removes an agent, if there is one.
func (t *Txn) DeleteAgent(id ids.ID) {
	old := t.View().Agent(id)
	if old == nil {
		return
	}
	t.dropTokens(old)
	t.next.agents.remove(t.edit, idTag(id), func(o *authz.Agent) bool { return o.ID == id })
	t.next.counts.Agents--
	t.changed = true
}

func (t *Txn) dropTokens(old *authz.Agent) {
	same := func(o *authz.Agent) bool { return o.ID == old.ID }
	t.next.tokens.remove(t.edit, hashTag(old.Token), same)
	if previous, until := old.Previous(); until != 0 {
		t.next.tokens.remove(t.edit, hashTag(previous), same)
	}
}

// PutDelegation adds a delegation or replaces the one of that id.
func (t *Txn) PutDelegation(d *authz.Delegation) {
	if old := t.View().Delegation(d.ID); old == nil {
		t.next.counts.Delegations++
	} else {
		t.setReceived(old.To, without(t.View().Received(old.To), d.ID))
	}
	t.next.delegations.put(t.edit, idTag(d.ID), d, func(o *authz.Delegation) bool { return o.ID == d.ID })
	list := t.View().Received(d.To)
	i := sort.Search(len(list), func(i int) bool { return list[i].Created > d.Created })
	grown := append(make([]*authz.Delegation, 0, len(list)+1), list[:i]...)
	t.setReceived(d.To, append(append(grown, d), list[i:]...))
	t.changed = true
}

// DeleteDelegation removes a delegation, if there is one.
func (t *Txn) DeleteDelegation(id ids.ID) {
	old := t.View().Delegation(id)
	if old == nil {
		return
	}
	t.setReceived(old.To, without(t.View().Received(old.To), id))
	t.next.delegations.remove(t.edit, idTag(id), func(o *authz.Delegation) bool { return o.ID == id })
	t.next.counts.Delegations--
	t.changed = true
}

func (t *Txn) setReceived(to ids.ID, list []*authz.Delegation) {
	same := func(o *received) bool { return o.to == to }
	if len(list) == 0 {
		t.next.received.remove(t.edit, idTag(to), same)
		return
	}
	t.next.received.put(t.edit, idTag(to), &received{to: to, list: list}, same)
}

// without copies a list and leaves one out.
func without(list []*authz.Delegation, id ids.ID) []*authz.Delegation {
	kept := make([]*authz.Delegation, 0, len(list))
	for _, d := range list {
		if d.ID != id {
			kept = append(kept, d)
		}
	}
	return kept
}

// PutKey adds a caller's key or replaces the one of that id.
func (t *Txn) PutKey(k authz.KeySpec) {
	if old := t.View().Key(k.ID); old == nil {
		t.next.counts.Keys++
	} else {
		t.dropKeyHash(old)
	}
	same := func(o *authz.KeySpec) bool { return o.ID == k.ID }
	t.next.keys.put(t.edit, idTag(k.ID), &k, same)
	t.next.keyHashes.put(t.edit, hashTag(k.Hash), &k, same)
	t.changed = true
}

// DeleteKey removes a caller's key, if there is one.
func (t *Txn) DeleteKey(id ids.ID) {
	old := t.View().Key(id)
	if old == nil {
		return
	}
	t.dropKeyHash(old)
	t.next.keys.remove(t.edit, idTag(id), func(o *authz.KeySpec) bool { return o.ID == id })
	t.next.counts.Keys--
	t.changed = true
}

func (t *Txn) dropKeyHash(old *authz.KeySpec) {
	t.next.keyHashes.remove(t.edit, hashTag(old.Hash), func(o *authz.KeySpec) bool { return o.ID == old.ID })
}
