package cluster

import (
	"context"
	"net/http"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// Node is one node of a cluster.
type Node struct{ cluster clusterID }

// Start opens the data directory and begins to take part. It returns at once: founding or joining goes on in the
// background, needs NodeHandler to be served at Config.Address.API, and is awaited by Ready. The caller must Stop it.
func Start(ctx context.Context, cfg Config, deps Deps) (*Node, error) { return nil, cfg.Validate() }

// Ready waits until this node is a member of a cluster and has applied the state that the cluster had then. When ctx ends
// first it returns status.NotReady, with what stands in the way.
func (n *Node) Ready(ctx context.Context) error { return ctx.Err() }

// Stop ends the node: intake, leadership, journal, Raft, transport, log, store, in this order. Each step has
// Limits.StopWait; what a step could not finish is in the error, and the next step still runs.
func (n *Node) Stop(ctx context.Context) error { return ctx.Err() }

// NodeHandler serves the node protocol. Mount it at the returned path of the server at Config.Address.API.
func (n *Node) NodeHandler() (path string, h http.Handler) { return "", nil }

// Propose has the leader put cmd into the log, from whichever node this is, and returns its result and the index of the
// entry. A refusal by the state machine is a *status.Error. See errors.go for those of the way there: NOT_LEADER,
// NO_LEADER, QUEUE_FULL, COMMAND_TOO_LARGE and DEADLINE_EXCEEDED mean not done; OUTCOME_UNKNOWN means what it says, and is
// resolved by a repeat with the same idempotency key.
func (n *Node) Propose(ctx context.Context, cmd *raftv1.Command) (*raftv1.Result, uint64, error) {
	return nil, 0, ctx.Err()
}

// ID returns the node's id.
func (n *Node) ID() string { return "" }

// ClusterID returns the cluster's id in hex, empty before the node has one.
func (n *Node) ClusterID() string { return "" }

// RevisionToken returns the token that names index in this cluster's history.
func (n *Node) RevisionToken(index uint64) string { return revisionToken(n.cluster, 0, index) }

// ParseRevision returns the index that token names. It returns status.InvalidArgument for what is no token, and
// status.RevisionUnknown for one of another cluster or history.
func (n *Node) ParseRevision(token string) (uint64, error) { return parseRevision(n.cluster, 0, token) }

// DeriveKey returns the cluster's key for a purpose, the same on every node. It derives from the join secret.
func (n *Node) DeriveKey(label string) [32]byte { return [32]byte{} }

// Status returns what this node knows. It asks nobody.
func (n *Node) Status() (Status, error) { return Status{}, nil }

// Members returns the Raft configuration with what the registry and gossip know of each member.
func (n *Node) Members() ([]Member, error) { return nil, nil }

// Transfer hands leadership to the voter target, or, if empty, to the best reachable one. It may be called on any node.
// It returns when another node leads.
func (n *Node) Transfer(ctx context.Context, target string) error { return ctx.Err() }

// Remove takes a member out of the configuration and the registry. It may be called on any node. The removed node must
// be wiped before it joins again.
func (n *Node) Remove(ctx context.Context, nodeID string) error { return ctx.Err() }
