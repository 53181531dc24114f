package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	nodev1 "github.com/kavachd/kavachd/gen/kavach/node/v1"
	"github.com/kavachd/kavachd/gen/kavach/node/v1/nodev1connect"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/status"
)

// leaderInfo is the part of the Raft library that names the leader.
type leaderInfo interface {
	LeaderWithID() (raft.ServerAddress, raft.ServerID)
}

// directory finds nodes: the registry first, which is replicated; gossip only where that knows nothing yet.
type directory struct {
	self    string
	own     string // this node's API address
	raft    leaderInfo
	replica *replica
	peers   *peers
	hint    func(nodeID string) string // an API address from gossip, or ""
}

// address returns the API address of a node, "" if unknown.
func (d *directory) address(nodeID string) string {
	if nodeID == d.self {
		return d.own
	}
	if n := d.replica.node(nodeID); n != nil {
		return n.GetApiAddress()
	}
	return d.hint(nodeID)
}

// leader returns the leader's id and API address; empty: not known.
func (d *directory) leader() (id, address string) {
	_, leader := d.raft.LeaderWithID()
	if leader == "" {
		return "", ""
	}
	return string(leader), d.address(string(leader))
}

// node returns a client for a node.
func (d *directory) node(nodeID string) (nodev1connect.NodeServiceClient, error) {
	a := d.address(nodeID)
	if a == "" {
		return nil, fmt.Errorf("no address known of node %s", nodeID)
	}
	return d.peers.at(a), nil
}

// confirm asks a voter for its term.
func (d *directory) confirm(ctx context.Context, voter raft.ServerID, q *nodev1.ConfirmRequest) (*nodev1.ConfirmResponse, error) {
	c, err := d.node(string(voter))
	if err != nil {
		return nil, err
	}
	return c.Confirm(ctx, q)
}

// forwarder takes a write from wherever it came to the leader.
type forwarder struct {
	self      string
	directory *directory
	proposer  *proposer
	cluster   func() clusterID
	limit     time.Duration // for a caller without a deadline
}

// propose submits here if this node leads, else hands the command to the leader, once. It tries again only on proof that
// nothing was queued, and waits while there is no leader, until the deadline.
func (f *forwarder) propose(ctx context.Context, cmd *raftv1.Command) (*raftv1.Result, uint64, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.limit)
		defer cancel()
	}
	var again backoff
	for {
		result, revision, err := f.once(ctx, cmd)
		if err == nil || !errors.Is(err, errTryAgain) {
			return result, revision, err
		}
		if !again.wait(ctx) {
			return nil, 0, noLeader(err)
		}
	}
}

// errTryAgain marks proof that a write was not queued anywhere.
var errTryAgain = errors.New("not queued")

func (f *forwarder) once(ctx context.Context, cmd *raftv1.Command) (*raftv1.Result, uint64, error) {
	result, revision, err := f.proposer.submit(ctx, cmd)
	if status.ReasonOf(err) != status.NotLeader {
		return result, revision, err
	}
	id, address := f.directory.leader()
	if id == f.self || address == "" { // this node is about to lead, or to learn who does
		return nil, 0, errors.Join(errTryAgain, err)
	}
	return f.forward(ctx, address, cmd)
}

// forward hands the command to the node at address.
func (f *forwarder) forward(ctx context.Context, address string, cmd *raftv1.Command) (*raftv1.Result, uint64, error) {
	id := f.cluster()
	a, err := f.directory.peers.at(address).Forward(ctx, &nodev1.ForwardRequest{
		Command: cmd, Hops: 1, ClusterId: id[:], Bulk: cmd.GetAppendAuditBlock() != nil,
	})
	switch {
	case err == nil:
	case neverReached(err):
		return nil, 0, errors.Join(errTryAgain, err)
	default:
		return nil, 0, outcomeUnknown(fmt.Errorf("forward to %s: %w", address, err))
	}
	if err := fromRefusal(a.GetRefusal()); err != nil {
		if r := status.ReasonOf(err); r == status.NotLeader || r == status.NodeStopping {
			return nil, 0, errors.Join(errTryAgain, err)
		}
		return nil, a.GetRevision(), err
	}
	return a.GetResult(), a.GetRevision(), nil
}

// remoteIndex asks the leader for a read index.
func (f *forwarder) remoteIndex(ctx context.Context) (readIndex, error) {
	id, address := f.directory.leader()
	if id == f.self || address == "" {
		return readIndex{}, noLeader(nil)
	}
	c := f.cluster()
	a, err := f.directory.peers.at(address).ReadIndex(ctx, &nodev1.ReadIndexRequest{ClusterId: c[:]})
	if err != nil {
		return readIndex{}, unconfirmed(fmt.Errorf("ask the leader at %s: %w", address, err))
	}
	if err := fromRefusal(a.GetRefusal()); err != nil {
		return readIndex{}, err
	}
	return readIndex{index: a.GetIndex(), term: a.GetTerm()}, nil
}
