package state

import (
	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/ids"
)

// State is the decision state.
type State struct{}

// View is one version of it; the root is immutable, so that a View never changes.
type View struct{}

// Txn gathers changes.
type Txn struct{}

// New returns an empty state.
func New() *State { panic("pending") }

// View returns the current version.
func (s *State) View() View { panic("pending") }

// Version is the current version's number.
func (s *State) Version() uint64 { panic("pending") }

// Version is this view's number.
func (v View) Version() uint64 { panic("pending") }

// Agent implements authz.Source.
func (v View) Agent(ids.ID) *authz.Agent { panic("pending") }

// AgentByToken implements authz.Source.
func (v View) AgentByToken(ids.Hash) *authz.Agent { panic("pending") }

// Received implements authz.Source.
func (v View) Received(ids.ID) []*authz.Delegation { panic("pending") }

// Delegation finds a delegation.
func (v View) Delegation(ids.ID) *authz.Delegation { panic("pending") }

// KeyByHash finds a caller's key.
func (v View) KeyByHash(ids.Hash) *authz.KeySpec { panic("pending") }

// Begin starts the one writer's transaction.
func (s *State) Begin() *Txn { panic("pending") }

// PutAgent adds or replaces.
func (t *Txn) PutAgent(*authz.Agent) { panic("pending") }

// DeleteAgent removes.
func (t *Txn) DeleteAgent(ids.ID) { panic("pending") }

// PutDelegation adds or replaces.
func (t *Txn) PutDelegation(*authz.Delegation) { panic("pending") }

// DeleteDelegation removes.
func (t *Txn) DeleteDelegation(ids.ID) { panic("pending") }

// PutKey adds or replaces.
func (t *Txn) PutKey(authz.KeySpec) { panic("pending") }

// DeleteKey removes.
func (t *Txn) DeleteKey(ids.ID) { panic("pending") }

// Commit publishes.
func (t *Txn) Commit() { panic("pending") }
