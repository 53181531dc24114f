package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/transport"
	nodev1 "github.com/kavachd/kavachd/gen/kavach/node/v1"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/status"
)

// promotionLag is how many entries a new member may be behind the leader and yet get its vote.
const promotionLag = 1024

// membership changes the Raft configuration, on the leader. Nothing but a request of a node or an operator does so: gossip
// is only a hint.
type membership struct {
	self      string
	raft      *raft.Raft
	replica   *replica
	directory *directory
	reign     func() *reign
	propose   func(ctx context.Context, cmd *raftv1.Command) (*raftv1.Result, uint64, error)
	cluster   func() clusterID
	limit     time.Duration // of one change
	log       *slog.Logger

	mu sync.Mutex // one change at a time
}

// leading waits until this node's term is open, or returns status.NotLeader.
func (m *membership) leading(ctx context.Context) error {
	r := m.reign()
	if r == nil {
		return notLeader()
	}
	select {
	case <-r.opened:
		return nil
	case <-r.ctx.Done():
		return notLeader()
	case <-ctx.Done():
		return ended(ctx, "the leader's term is not open yet")
	}
}

func (m *membership) servers() (raft.Configuration, uint64, error) {
	f := m.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return raft.Configuration{}, 0, fmt.Errorf("read the configuration: %w", err)
	}
	return f.Configuration(), f.Index(), nil
}

// admit takes a node into the cluster, one step at a time; the node asks again until it has what it wants. The steps are
// repeatable: registry, membership without a vote, vote. It also takes a member's new addresses.
func (m *membership) admit(ctx context.Context, q *nodev1.JoinRequest) (voter bool, err error) {
	n := q.GetNode()
	if err := m.leading(ctx); err != nil {
		return false, err
	}
	if len(n.GetNodeId()) == 0 || len(n.GetNodeId()) > transport.MaxID || n.GetApiAddress() == "" || n.GetRaftAddress() == "" {
		return false, status.New(status.InvalidArgument, "a node needs an id and addresses")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.answersAs(ctx, n); err != nil {
		return false, err
	}
	if err := m.evict(ctx, n); err != nil {
		return false, err
	}
	if err := m.register(ctx, n); err != nil {
		return false, err
	}
	return m.seat(q)
}

// answersAs checks that the node is where it says and is who it says: what is registered is believed by all others.
func (m *membership) answersAs(ctx context.Context, n *raftv1.NodeRecord) error {
	if n.GetNodeId() == m.self {
		return nil
	}
	c := m.cluster()
	a, err := m.directory.peers.at(n.GetApiAddress()).Identify(ctx, &nodev1.IdentifyRequest{NodeId: m.self, ClusterId: c[:]})
	if err != nil {
		return status.New(status.NotReady, "node %s doesn't answer at %s", n.GetNodeId(), n.GetApiAddress()).Retry(retrySoon).Wrap(err)
	}
	if a.GetNodeId() != n.GetNodeId() || !bytes.Equal(a.GetClusterId(), c[:]) {
		return status.New(status.InvalidArgument, "at %s another node answers, %s", n.GetApiAddress(), a.GetNodeId())
	}
	return nil
}

// register writes the node into the registry unless it stands there already.
func (m *membership) register(ctx context.Context, n *raftv1.NodeRecord) error {
	if known := m.replica.node(n.GetNodeId()); known != nil && sameNode(known, n) {
		return nil
	}
	_, _, err := m.propose(ctx, m.command(&raftv1.RegisterNode{Node: n}))
	return err
}

func (m *membership) command(r *raftv1.RegisterNode) *raftv1.Command {
	return &raftv1.Command{
		Caller:  &raftv1.Caller{NodeId: m.self},
		Command: &raftv1.Command_RegisterNode{RegisterNode: r},
	}
}

func sameNode(a, b *raftv1.NodeRecord) bool {
	return a.GetNodeId() == b.GetNodeId() && a.GetApiAddress() == b.GetApiAddress() && a.GetRaftAddress() == b.GetRaftAddress() &&
		a.GetGossipAddress() == b.GetGossipAddress() && a.GetVersion() == b.GetVersion()
}

// evict takes out the member whose addresses n has: its data directory was wiped, and n is what came after it.
func (m *membership) evict(ctx context.Context, n *raftv1.NodeRecord) error {
	c, _, err := m.servers()
	if err != nil {
		return err
	}
	for _, s := range c.Servers {
		_, hostport, _ := transport.SplitAddress(s.Address)
		known := m.replica.node(string(s.ID))
		if string(s.ID) == n.GetNodeId() || hostport != n.GetRaftAddress() || known != nil && known.GetRaftAddress() != hostport {
			continue
		}
		if known != nil && m.answersAs(ctx, known) == nil {
			return status.New(status.InvalidArgument, "the Raft address %s belongs to member %s, which answers at %s: give node %s its own",
				hostport, s.ID, known.GetApiAddress(), n.GetNodeId())
		}
		m.log.Warn("a new node has the addresses of a member, which is gone", "node", n.GetNodeId(), "member", s.ID)
		if err := m.removeServer(ctx, string(s.ID)); err != nil {
			return err
		}
	}
	return nil
}

// seat gives the node its place in the configuration, and its vote once it has caught up.
func (m *membership) seat(q *nodev1.JoinRequest) (voter bool, err error) {
	n := q.GetNode()
	c, index, err := m.servers()
	if err != nil {
		return false, err
	}
	id, address := raft.ServerID(n.GetNodeId()), transport.Address(n.GetNodeId(), n.GetRaftAddress())
	present := false
	for _, s := range c.Servers {
		if s.ID != id {
			continue
		}
		if s.Suffrage == raft.Voter && s.Address == address {
			return true, nil
		}
		present = s.Address == address
		voter = s.Suffrage == raft.Voter
	}
	// It must have applied the configuration that holds it: only then is it sure that entries reach it.
	caughtUp := q.GetApplied() >= index && q.GetApplied()+promotionLag >= m.replica.applyIndex()
	switch {
	case voter || present && q.GetVoter() && caughtUp:
		return true, m.change("give a vote", n.GetNodeId(), m.raft.AddVoter(id, address, index, m.limit))
	case !present:
		return false, m.change("add", n.GetNodeId(), m.raft.AddNonvoter(id, address, index, m.limit))
	}
	return false, nil
}

// change waits for a change of the configuration. One that fails may be repeated: each is guarded by the index of the
// configuration it was made for.
func (m *membership) change(what, node string, f raft.IndexFuture) error {
	if err := f.Error(); err != nil {
		if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, raft.ErrLeadershipTransferInProgress) {
			return notLeader().Wrap(err)
		}
		return status.New(status.NotReady, "the configuration can't change now").Retry(retrySoon).
			Wrap(fmt.Errorf("%s %s: %w", what, node, err))
	}
	m.log.Info("configuration changed", "change", what, "member", node)
	return nil
}

// remove takes a member out of configuration and registry. The leader doesn't remove itself: it hands over first, and
// the caller comes back to the new one.
func (m *membership) remove(ctx context.Context, node string) error {
	if err := m.leading(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c, _, err := m.servers()
	if err != nil {
		return err
	}
	if !contains(c, node) && m.replica.node(node) == nil {
		return status.New(status.MemberNotFound, "no member %q", node)
	}
	if len(c.Servers) == 1 && contains(c, node) {
		return status.New(status.InvalidArgument, "%q is the only member", node)
	}
	if node == m.self {
		if err := m.handOver(ctx, ""); err != nil {
			return err
		}
		return notLeader()
	}
	return m.removeServer(ctx, node)
}

func contains(c raft.Configuration, node string) bool {
	for _, s := range c.Servers {
		if string(s.ID) == node {
			return true
		}
	}
	return false
}

// removeServer takes the vote first: what has none can't disturb.
func (m *membership) removeServer(ctx context.Context, node string) error {
	c, index, err := m.servers()
	if err != nil {
		return err
	}
	if contains(c, node) {
		if err := m.change("remove", node, m.raft.RemoveServer(raft.ServerID(node), index, m.limit)); err != nil {
			return err
		}
	}
	if m.replica.node(node) == nil {
		return nil
	}
	_, _, err = m.propose(ctx, m.command(&raftv1.RegisterNode{Node: &raftv1.NodeRecord{NodeId: node}, Remove: true}))
	return err
}

// transfer hands leadership to target, or to the best voter that answers, and returns when another node leads.
func (m *membership) transfer(ctx context.Context, target string) error {
	if err := m.leading(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.handOver(ctx, target)
}

func (m *membership) handOver(ctx context.Context, target string) error {
	if target == m.self {
		return nil
	}
	s, err := m.successor(ctx, target)
	if err != nil {
		return err
	}
	if err := m.raft.LeadershipTransferToServer(s.ID, s.Address).Error(); err != nil {
		return status.New(status.NotReady, "leadership could not be handed to %s", s.ID).Retry(retrySoon).Wrap(err)
	}
	// Success means only that this node stopped leading (RAFT.md 1.5).
	var again backoff
	for {
		if id, _ := m.directory.leader(); id != "" && id != m.self {
			return nil
		}
		if !again.wait(ctx) {
			return ended(ctx, "this node has stopped leading; no other leader is known yet")
		}
	}
}

// successor asks the voters and returns the one that has applied most. The library would pick one without asking whether
// it is there (RAFT.md 1.5).
func (m *membership) successor(ctx context.Context, target string) (raft.Server, error) {
	ctx, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	c, _, err := m.servers()
	if err != nil {
		return raft.Server{}, err
	}
	type candidate struct {
		server  raft.Server
		applied uint64
		err     error
	}
	answers := make(chan candidate, len(c.Servers))
	asked := 0
	id := m.cluster()
	q := &nodev1.ConfirmRequest{ClusterId: id[:], Term: m.raft.CurrentTerm()}
	for _, s := range c.Servers {
		if s.Suffrage != raft.Voter || string(s.ID) == m.self || target != "" && string(s.ID) != target {
			continue
		}
		asked++
		go func() {
			a, err := m.directory.confirm(ctx, s.ID, q)
			answers <- candidate{s, a.GetApplied(), err}
		}()
	}
	if asked == 0 {
		if target != "" {
			return raft.Server{}, status.New(status.MemberNotFound, "no other voter %q", target)
		}
		return raft.Server{}, status.New(status.NotReady, "there is no other voter")
	}
	var best candidate
	var errs []error
	for range asked {
		a := <-answers
		if a.err != nil {
			errs = append(errs, a.err)
		} else if best.server.ID == "" || a.applied > best.applied {
			best = a
		}
	}
	if best.server.ID == "" {
		return raft.Server{}, status.New(status.NotReady, "no other voter answers").Retry(retrySoon).Wrap(errors.Join(errs...))
	}
	return best.server, nil
}
