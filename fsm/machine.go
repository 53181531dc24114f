package fsm

import (
	"slices"

	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// Machine applies entries. It keeps nothing: the state is the transaction's.
type Machine struct{}

// New returns a Machine.
func New() *Machine { return &Machine{} }

// Applied is what an entry yields: the same on every node.
type Applied struct {
	Index, Term uint64
	// Wall is the stamp that the entry was judged by: its own, or the newest before if that is later.
	Wall int64
	// Outcomes has one for each command, in order.
	Outcomes []Outcome
	Touched  Touched
}

// Outcome is what one command yields. Exactly one of Result and Refused is set.
type Outcome struct {
	// Revision of the result: the entry's index, or that of the first attempt if this is a repeat.
	Revision uint64
	Result   *raftv1.Result
	// Refused is a business refusal: deterministic, recorded in the audit trail, and no fault.
	Refused *status.Error
}

// Touched names what the decision state has to read again: see Refresh. In order of the first touch, without repeats.
type Touched struct {
	Agents      []TouchedAgent
	Delegations []ids.ID
	Keys        []ids.ID
	Settings    bool
	Nodes       bool
	// AuditBlocks is true if blocks were taken. The decision state has none; those who follow the trail wake up.
	AuditBlocks bool
}

// TouchedAgent names an agent that was made, changed or purged.
type TouchedAgent struct {
	Tenant string
	ID     ids.ID
}

// Empty tells whether the decision state stays as it is.
func (t Touched) Empty() bool {
	return len(t.Agents) == 0 && len(t.Delegations) == 0 && len(t.Keys) == 0 && !t.Settings
}

// Merge adds what another entry touched.
func (t *Touched) Merge(o Touched) {
	t.Agents = append(t.Agents, o.Agents...)
	t.Delegations = append(t.Delegations, o.Delegations...)
	t.Keys = append(t.Keys, o.Keys...)
	t.Settings = t.Settings || o.Settings
	t.Nodes = t.Nodes || o.Nodes
	t.AuditBlocks = t.AuditBlocks || o.AuditBlocks
	t.compact()
}

// compact drops repeats. A cascade may touch very many, hence the sets.
func (t *Touched) compact() {
	t.Agents, t.Delegations, t.Keys = distinct(t.Agents), distinct(t.Delegations), distinct(t.Keys)
}

func distinct[T comparable](list []T) []T {
	if len(list) < 2 {
		return list
	}
	seen := make(map[T]struct{}, len(list))
	return slices.DeleteFunc(list, func(v T) bool {
		_, again := seen[v]
		seen[v] = struct{}{}
		return again
	})
}

// Apply applies the payload of one Raft entry to tx. A returned error is a *Fault: the transaction must be dropped and
// the node stopped. The result is an *Applied.
func (m *Machine) Apply(tx *storage.Tx, index, term uint64, payload []byte) (any, error) {
	a, f := m.apply(tx, index, term, payload)
	if f != nil {
		return nil, f
	}
	return a, nil
}
