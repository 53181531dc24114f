package rpc

import (
	"context"
	"time"

	"github.com/kavachd/kavachd/audit"
	"github.com/kavachd/kavachd/authz/state"
	"github.com/kavachd/kavachd/cluster"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/ids"
)

// Node is what the API stands on; *cluster.Node satisfies it. All methods are safe for concurrent use. An error that a
// caller may see is a *status.Error in the chain; every other one is masked.
type Node interface {
	Reader
	Writer
	Decider
	Trail
	Operator

	// ID is the node's id, ClusterID the cluster's; empty before it has one.
	ID() string
	ClusterID() string
	// DeriveKey returns the cluster's key for a purpose, the same on every node.
	DeriveKey(label string) [32]byte
	// RevisionToken returns the token that names index in this cluster's history.
	RevisionToken(index uint64) string
}

// Reader reads the node's own state.
type Reader interface {
	// Local returns the decision state as this node has it, its index and the time, without any proof that it is current.
	Local() (state.View, uint64, time.Time)
	// Read runs eval on one version of the state that is as current as level asks. eval may run more than once.
	Read(ctx context.Context, level cluster.Level, eval func(*cluster.View) error) (cluster.Served, error)
}

// Writer changes the cluster's state.
type Writer interface {
	// Propose returns the result of cmd and the index of its entry, or the state machine's refusal.
	Propose(ctx context.Context, cmd *raftv1.Command) (*raftv1.Result, uint64, error)
}

// Decider answers checks from one version of the state, in which the caller's key is good, and journals each answer
// before it returns. It returns an error, never a denial, when it can't.
type Decider interface {
	Decide(ctx context.Context, level cluster.Level, caller ids.Hash, checks []cluster.Check) (cluster.Decided, error)
}

// Trail reads and extends the audit trail.
type Trail interface {
	// Journal takes the entries of this node's own acts.
	Journal() *audit.Journal
	// QueryAudit returns a page of the whole cluster's entries.
	QueryAudit(ctx context.Context, level cluster.Level, q audit.Query) (*audit.Page, cluster.Served, error)
	// AuditEntry returns one entry, nil if there is none.
	AuditEntry(ctx context.Context, level cluster.Level, id ids.ID) (*audit.Found, cluster.Served, error)
}

// Operator shows and steers the cluster.
type Operator interface {
	Status() (cluster.Status, error)
	Members() ([]cluster.Member, error)
	Transfer(ctx context.Context, target string) error
	Remove(ctx context.Context, nodeID string) error
}

var _ Node = (*cluster.Node)(nil)
