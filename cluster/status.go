package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/transport"
	nodev1 "github.com/kavachd/kavachd/gen/kavach/node/v1"
	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"
)

// Status is what a node knows of itself and of the cluster, from its own state: it asks nobody.
type Status struct {
	NodeID    string
	ClusterID string // hex; empty: none yet
	Version   string
	// State is what Raft says of this node: Leader, Follower, Candidate, Shutdown.
	State string
	Term  uint64
	// LeaderID and LeaderAddress (of its API) are empty when no leader is known.
	LeaderID, LeaderAddress string
	// Ready says that the node has come in; Problem, what stands in the way, or what else is wrong.
	Ready   bool
	Problem string
	// Applied is the index of the state that answers; Commit is what Raft knows to be committed.
	Applied, Commit uint64
	// Digests of the replicated tables that have records: equal on all nodes at one Applied index of a command.
	Digests []TableDigest
	// Installs is how many states this process has received whole, because the log it needed was gone.
	Installs uint64
	// JournalBacklog is how many audit entries are not yet replicated.
	JournalBacklog uint64
	Members        []Member
}

// TableDigest is what one table holds.
type TableDigest struct {
	Table   string
	Records uint64
	Digest  string // hexadecimal
}

// Member is one node of the Raft configuration.
type Member struct {
	NodeID                                 string
	APIAddress, RaftAddress, GossipAddress string
	Version                                string
	Voter                                  bool
	Leader                                 bool
	// Alive is a hint from gossip, or true for this node itself.
	Alive bool
}

// Status returns what this node knows. It asks nobody.
func (n *Node) Status() (Status, error) {
	leave, err := n.gate.enter()
	if err != nil {
		return Status{}, err
	}
	defer leave()
	members, err := n.members.list(n.gossip)
	if err != nil {
		return Status{}, err
	}
	applied, digests, err := n.engine.replica.digests()
	if err != nil {
		return Status{}, status.New(status.Internal, "the state can't be read").Wrap(err)
	}
	s := Status{
		NodeID: n.ID(), ClusterID: n.ClusterID(), Version: n.cfg.Version,
		State: n.engine.raft.State().String(), Term: n.engine.raft.CurrentTerm(),
		Problem: n.entrance.why(), Applied: applied, Commit: n.engine.raft.CommitIndex(), Digests: digests,
		Installs: n.engine.replica.store.Installs(), JournalBacklog: n.journal.journal.Backlog().Entries, Members: members,
	}
	s.LeaderID, s.LeaderAddress = n.forwarder.directory.leader()
	select {
	case <-n.entrance.ready:
		s.Ready = true
	default:
	}
	if s.Problem == "" {
		s.Problem = n.gossip.why()
	}
	return s, nil
}

// digests returns what each replicated table holds, and the index of the version they describe.
func (r *replica) digests() (applied uint64, digests []TableDigest, err error) {
	v := r.store.Storage().View()
	sums, err := v.Digests()
	applied, _ = v.Applied()
	if err := errors.Join(err, v.Close()); err != nil {
		return 0, nil, err
	}
	for _, t := range storage.Tables() {
		if s, ok := sums[t.Letter]; ok {
			digests = append(digests, TableDigest{Table: t.Name, Records: s.Records, Digest: s.Digest.String()})
		}
	}
	return applied, digests, nil
}

// Members returns the Raft configuration with what the registry and gossip know of each member.
func (n *Node) Members() ([]Member, error) {
	leave, err := n.gate.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	return n.members.list(n.gossip)
}

func (m *membership) list(hints *gossipHolder) ([]Member, error) {
	c, _, err := m.servers()
	if err != nil {
		return nil, status.New(status.NotReady, "the configuration can't be read").Wrap(err)
	}
	leader, _ := m.directory.leader()
	all := make([]Member, 0, len(c.Servers))
	for _, s := range c.Servers {
		id := string(s.ID)
		_, raftAddress, _ := transport.SplitAddress(s.Address)
		a := Member{
			NodeID: id, RaftAddress: raftAddress, Voter: s.Suffrage == raft.Voter, Leader: id == leader,
			Alive: id == m.self || hints.alive(id) != nil,
		}
		if r := m.replica.node(id); r != nil {
			a.APIAddress, a.RaftAddress, a.GossipAddress, a.Version = r.GetApiAddress(), r.GetRaftAddress(), r.GetGossipAddress(), r.GetVersion()
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.NodeID, b.NodeID) })
	return all, nil
}

// alone tells whether there is no other voter.
func (m *membership) alone() bool {
	c, _, err := m.servers()
	return err == nil && !slices.ContainsFunc(c.Servers, func(s raft.Server) bool { return s.Suffrage == raft.Voter && string(s.ID) != m.self })
}

// others returns the API addresses of the other members, for callers that this node can't serve.
func (n *Node) others() []string {
	var all []string
	for id, r := range n.engine.replica.registered() {
		if id != n.identity.node && r.GetApiAddress() != "" {
			all = append(all, r.GetApiAddress())
		}
	}
	slices.Sort(all)
	return all
}

// Transfer hands leadership to the voter target, or, if empty, to the best one that answers. It may be called on any
// node, and returns when another node leads.
func (n *Node) Transfer(ctx context.Context, target string) error {
	return n.onLeader(ctx, func(ctx context.Context) error { return n.members.transfer(ctx, target) },
		func(ctx context.Context, address string, c clusterID) error {
			a, err := n.forwarder.directory.peers.at(address).Transfer(ctx, &nodev1.TransferRequest{ClusterId: c[:], Target: target})
			return errors.Join(err, fromRefusal(a.GetRefusal()))
		})
}

// Remove takes a member out of configuration and registry. It may be called on any node. The removed node must be wiped
// before it joins again.
func (n *Node) Remove(ctx context.Context, nodeID string) error {
	return n.onLeader(ctx, func(ctx context.Context) error { return n.members.remove(ctx, nodeID) },
		func(ctx context.Context, address string, c clusterID) error {
			a, err := n.forwarder.directory.peers.at(address).Remove(ctx, &nodev1.RemoveRequest{ClusterId: c[:], NodeId: nodeID})
			return errors.Join(err, fromRefusal(a.GetRefusal()))
		})
}

// onLeader does an operator's work on the leader, wherever that is. All of it may be repeated.
func (n *Node) onLeader(ctx context.Context, here func(context.Context) error, there func(ctx context.Context, address string, c clusterID) error) error {
	leave, err := n.gate.enter()
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Limits.WriteWait)
	defer cancel()
	var again backoff
	for {
		err := here(ctx)
		if status.ReasonOf(err) == status.NotLeader {
			if id, address := n.forwarder.directory.leader(); address != "" && id != n.identity.node {
				err = there(ctx, address, n.identity.cluster())
			}
		}
		switch r := status.ReasonOf(err); {
		case err == nil:
			return nil
		case r != status.NotLeader && r != status.NotReady && r != status.Internal:
			return err
		}
		if !again.wait(ctx) {
			return noLeader(err)
		}
	}
}
