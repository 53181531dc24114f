package fsm

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// maxScanned bounds the records that one page looks at, so that a filter which matches little can't hold a reader for
// long. A page may so be short, or empty, and yet have a next one.
const maxScanned = 10_000

// Status is what an agent or a delegation is at a time. It is derived, never stored.
type Status uint8

// The statuses. StatusAny is for filters.
const (
	StatusAny Status = iota
	StatusActive
	StatusRevoked
	StatusExpired
)

// AgentStatus tells what a is at now, in Unix nanoseconds. A right is over when the clock >= its end (SPEC 4).
func AgentStatus(a *raftv1.Agent, now int64) Status {
	return statusAt(a.GetRevokedAt(), a.GetExpiresAt(), now)
}

// DelegationStatus tells what d is at now, its chain apart.
func DelegationStatus(d *raftv1.Delegation, now int64) Status {
	return statusAt(d.GetRevokedAt(), d.GetExpiresAt(), now)
}

// KeyStatus tells what k is at now.
func KeyStatus(k *raftv1.ApiKey, now int64) Status {
	return statusAt(k.GetRevokedAt(), k.GetExpiresAt(), now)
}

func statusAt(revokedAt, expiresAt, now int64) Status {
	switch {
	case revokedAt != 0:
		return StatusRevoked
	case expiresAt != 0 && now >= expiresAt:
		return StatusExpired
	default:
		return StatusActive
	}
}

// AgentFilter selects agents; what is zero selects all.
type AgentFilter struct {
	Tenant     string
	Owner      string
	Status     Status // judged at Now
	Now        int64
	Type       uint32
	NamePrefix string
}

func (f AgentFilter) matches(a *raftv1.Agent) bool {
	return (f.Tenant == "" || a.GetTenant() == f.Tenant) &&
		(f.Owner == "" || a.GetOwner() == f.Owner) &&
		(f.Status == StatusAny || AgentStatus(a, f.Now) == f.Status) &&
		(f.Type == 0 || a.GetType() == f.Type) &&
		strings.HasPrefix(a.GetName(), f.NamePrefix)
}

// Agents returns at most limit agents in order of their ids, those behind after. next is what to give as after for the
// following page; zero: this was the last.
func (r *Reader) Agents(f AgentFilter, after ids.ID, limit int) (page []*raftv1.Agent, next ids.ID, err error) {
	err = r.scanAgents(f, after, func(id ids.ID, load func() (*raftv1.Agent, error), scanned int) (bool, error) {
		if len(page) == limit || scanned > maxScanned {
			return false, nil
		}
		a, err := load()
		if err != nil {
			return false, err
		}
		next = id
		if f.matches(a) {
			page = append(page, a)
		}
		return true, nil
	}, func() { next = ids.ID{} })
	return page, next, err
}

// scanAgents walks the narrowest index that f allows: an owner's agents, a tenant's, or all. done runs if it came to
// the end.
func (r *Reader) scanAgents(f AgentFilter, after ids.ID, fn func(ids.ID, func() (*raftv1.Agent, error), int) (bool, error), done func()) error {
	var lower, upper []byte
	switch {
	case f.Tenant != "" && f.Owner != "":
		lower, upper = storage.PrefixRange(storage.OwnedPrefix(f.Tenant, f.Owner))
		lower = behind(after, lower, storage.OwnedKey(f.Tenant, f.Owner, after))
	case f.Tenant != "":
		lower, upper = storage.PrefixRange(storage.AgentPrefix(f.Tenant))
		lower = behind(after, lower, storage.AgentKey(f.Tenant, after))
	default:
		lower, upper = storage.Range(storage.TableAgentTenant)
		lower = behind(after, lower, storage.AgentTenantKey(after))
	}
	scanned, more := 0, true
	err := r.r.Scan(lower, upper, false, func(key, value []byte) (bool, error) {
		scanned++
		id, load, err := r.agentAt(key, value)
		if err != nil {
			return false, err
		}
		more, err = fn(id, load, scanned)
		return more, err
	})
	if err == nil && more {
		done()
	}
	return err
}

// agentAt reads a key of one of the three tables that scanAgents walks.
func (r *Reader) agentAt(key, value []byte) (id ids.ID, load func() (*raftv1.Agent, error), err error) {
	a := &raftv1.Agent{}
	var tenant string
	switch key[0] {
	case storage.TableOwned:
		tenant, _, id, err = storage.ParseOwnedKey(key)
	case storage.TableAgentTenant:
		tenant = string(value)
		id, err = storage.ParseAgentTenantKey(key)
	default:
		_, id, err = storage.ParseAgentKey(key)
		load = func() (*raftv1.Agent, error) { return a, unmarshal(value, a) }
	}
	if err != nil {
		return id, nil, corruptf("%s: %w", storage.PrintKey(key), err)
	}
	if load == nil {
		load = func() (*raftv1.Agent, error) { return must(r, storage.AgentKey(tenant, id), a) }
	}
	return id, load, nil
}

// behind returns the lower bound of a page: first, or right behind the key of the cursor.
func behind(after ids.ID, first, cursor []byte) []byte {
	if after.IsZero() {
		return first
	}
	return storage.After(cursor)
}

// Direction says which side an agent is on.
type Direction uint8

// The directions.
const (
	Both Direction = iota
	Given
	Received
)

// DelegationFilter selects the delegations of an agent.
type DelegationFilter struct {
	Agent     ids.ID
	Direction Direction
	Status    Status // judged at Now
	Now       int64
}

// Delegations returns at most limit delegations in order of their creation, those whose created_seq is above after.
// next is what to give as after for the following page; 0: this was the last. An unknown agent has none.
func (r *Reader) Delegations(f DelegationFilter, after uint64, limit int) (page []*raftv1.Delegation, next uint64, err error) {
	tenant, err := r.r.Get(storage.AgentTenantKey(f.Agent))
	if err != nil || tenant == nil {
		return nil, 0, err
	}
	edges, cut, err := r.edges(string(tenant), f, after)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range edges {
		if len(page) == limit {
			return page, next, nil
		}
		d, err := must(r, storage.DelegationKey(string(tenant), e.id), &raftv1.Delegation{})
		if err != nil {
			return nil, 0, err
		}
		next = e.created
		if f.Status == StatusAny || DelegationStatus(d, f.Now) == f.Status {
			page = append(page, d)
		}
	}
	if !cut {
		next = 0
	}
	return page, next, nil
}

// edge is one delegation as an index names it.
type edge struct {
	created uint64
	id      ids.ID
}

// edges merges what the agent gave and received, in order of creation, from behind after. If a list is longer than
// maxScanned it is cut there, and the merge ends where the cut list that ends first does.
func (r *Reader) edges(tenant string, f DelegationFilter, after uint64) (all []edge, cut bool, err error) {
	last := ^uint64(0)
	for _, prefix := range [][]byte{storage.GivenPrefix(tenant, f.Agent), storage.ReceivedPrefix(tenant, f.Agent)} {
		given := prefix[0] == storage.TableGiven
		if given && f.Direction == Received || !given && f.Direction == Given {
			continue
		}
		list, more, err := r.edgesFrom(prefix, after, maxScanned)
		if err != nil {
			return nil, false, err
		}
		if more {
			cut, last = true, min(last, list[len(list)-1].created)
		}
		all = append(all, list...)
	}
	all = slices.DeleteFunc(all, func(e edge) bool { return e.created > last })
	slices.SortFunc(all, compareEdges)
	return all, cut, nil
}

func compareEdges(a, b edge) int { return cmp.Compare(a.created, b.created) }

// edgesFrom reads at most limit keys of TableGiven or TableReceived; more tells that there are others.
func (r *Reader) edgesFrom(prefix []byte, after uint64, limit int) (list []edge, more bool, err error) {
	lower, upper := storage.PrefixRange(prefix)
	if after != 0 {
		lower = storage.After(append(slices.Clip(prefix), storage.UintValue(after)...))
	}
	err = r.r.Scan(lower, upper, false, func(key, value []byte) (bool, error) {
		if more = len(list) >= limit; more {
			return false, nil
		}
		_, _, created, err := storage.ParseReceivedKey(key)
		if prefix[0] == storage.TableGiven {
			_, _, created, err = storage.ParseGivenKey(key)
		}
		if err != nil || len(value) != len(ids.ID{}) {
			return false, corruptf("%s: malformed", storage.PrintKey(key))
		}
		list = append(list, edge{created, ids.ID(value)})
		return true, nil
	})
	return list, more, err
}

// Keys returns at most limit API keys in order of their ids, those behind after; of one tenant if scope is not empty.
// next is what to give as after for the following page; zero: this was the last.
func (r *Reader) Keys(scope string, after ids.ID, limit int) (page []*raftv1.ApiKey, next ids.ID, err error) {
	lower, upper := storage.Range(storage.TableKeyTenant)
	lower = behind(after, lower, storage.KeyTenantKey(after))
	more := true
	err = r.r.Scan(lower, upper, false, func(key, tenant []byte) (bool, error) {
		if more = len(page) < limit; !more {
			return false, nil
		}
		id, err := storage.ParseKeyTenantKey(key)
		if err != nil {
			return false, corruptf("%s: %w", storage.PrintKey(key), err)
		}
		next = id
		if scope != "" && string(tenant) != scope {
			return true, nil
		}
		k, err := must(r, storage.APIKeyKey(string(tenant), id), &raftv1.ApiKey{})
		page = append(page, k)
		return true, err
	})
	if more {
		next = ids.ID{}
	}
	return page, next, err
}
