package authz

import "github.com/kavachd/kavachd/ids"

// memoKey is what a denial within one request depends on, beside the request: who is asked, how many delegations lie
// below, and how many may still follow above.
//
// That the agents on the path aren't asked again doesn't make it depend on who they are: once one of them is allowed,
// the search is over; and if it ends in a denial, then any way through it at no smaller allowance was a denial too.
type memoKey struct {
	agent        ids.ID
	below, above uint8
}

type memoEntry struct {
	key memoKey
	d   denial
}

// memo holds the denials of one request. A short one is scanned; a long one gets a table.
type memo struct {
	entries []memoEntry
	table   map[memoKey]int // nil while short
}

const shortMemo = 8

func (m *memo) find(key memoKey, d *denial) bool {
	if len(m.entries) > shortMemo {
		i, ok := m.table[key]
		if ok {
			*d = m.entries[i].d
		}
		return ok
	}
	for i := range m.entries {
		if m.entries[i].key == key {
			*d = m.entries[i].d
			return true
		}
	}
	return false
}

func (m *memo) add(key memoKey, d *denial) {
	m.entries = append(m.entries, memoEntry{key: key, d: *d})
	switch n := len(m.entries); {
	case n == shortMemo+1:
		if m.table == nil {
			m.table = make(map[memoKey]int)
		}
		for i := range m.entries {
			m.table[m.entries[i].key] = i
		}
	case n > shortMemo:
		m.table[key] = n - 1
	}
}

// clear forgets all. A memo that grew large is given up, so that the pool keeps nothing big.
func (m *memo) clear() {
	if len(m.entries) > 1024 {
		*m = memo{}
		return
	}
	clear(m.entries)
	m.entries = m.entries[:0]
	clear(m.table)
}
