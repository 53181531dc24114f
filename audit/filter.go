package audit

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"

	"github.com/kavachd/kavachd/authz"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/ids"
)

// Filter is met by entries that meet everything that is given.
type Filter struct {
	AgentID, Owner, Tenant string
	Result                 uint32   // kavach.v1.AuditResult; 0: any
	Actions                []string // one of them; none: any
	ResourcePattern        string   // as a permission's resource; empty: any
	Since, Until           int64    // both included, Unix nanoseconds; 0: any
	Kind                   uint32   // kavach.v1.AuditKind; 0: any
}

// Match tells whether e meets the filter.
func (f Filter) Match(e *raftv1.AuditEntry) bool {
	return (f.AgentID == "" || f.AgentID == e.GetAgentId()) &&
		(f.Owner == "" || f.Owner == e.GetOwner()) &&
		(f.Tenant == "" || f.Tenant == e.GetTenant()) &&
		(f.Result == 0 || f.Result == e.GetResult()) &&
		(f.Kind == 0 || f.Kind == e.GetKind()) &&
		(f.Since == 0 || e.GetTime() >= f.Since) &&
		(f.Until == 0 || e.GetTime() <= f.Until) &&
		(len(f.Actions) == 0 || slices.Contains(f.Actions, e.GetAction())) &&
		(f.ResourcePattern == "" || authz.Match(f.ResourcePattern, e.GetResource()))
}

// literals are bytes that stand in the encoding of every entry that meets the filter.
func (f Filter) literals() (l [][]byte) {
	for _, s := range []string{f.AgentID, f.Owner, f.Tenant} {
		if s != "" {
			l = append(l, []byte(s))
		}
	}
	if len(f.Actions) == 1 {
		l = append(l, []byte(f.Actions[0]))
	}
	return l
}

// The kinds of terms of the sparse index, as storage numbers them.
const (
	termTime   uint8 = 1 // every block, with an empty value
	termAgent  uint8 = 2
	termOwner  uint8 = 3
	termTenant uint8 = 4
	termResult uint8 = 5 // the value in decimal
)

// term is what the fewest blocks have of what every wanted entry has, as far as can be said without looking.
func (f Filter) term() (kind uint8, value string) {
	switch {
	case f.AgentID != "":
		return termAgent, f.AgentID
	case f.Owner != "":
		return termOwner, f.Owner
	case f.Result > 1: // denials are fewer than the entries of most tenants
		return termResult, strconv.FormatUint(uint64(f.Result), 10)
	case f.Tenant != "":
		return termTenant, f.Tenant
	case f.Result != 0:
		return termResult, strconv.FormatUint(uint64(f.Result), 10)
	}
	return termTime, ""
}

// Position is an entry's place in the order of all entries: time, then id.
type Position struct {
	Time int64
	ID   ids.ID
}

func positionOf(e *raftv1.AuditEntry) (p Position) {
	p.Time = e.GetTime()
	copy(p.ID[:], e.GetId())
	return p
}

func (p Position) compare(o Position) int {
	return cmp.Or(cmp.Compare(p.Time, o.Time), bytes.Compare(p.ID[:], o.ID[:]))
}
