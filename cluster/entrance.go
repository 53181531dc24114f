package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/transport"
	nodev1 "github.com/kavachd/kavachd/gen/kavach/node/v1"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/status"
)

// entrance is how a node gets into a cluster: it founds one, or joins one (RAFT.md decision 8 and section 5).
//
// Exactly one way makes a cluster's id: the first of Peers, in order, founds a cluster of one, once all others have
// answered that they have the same list and nothing else. Everybody else joins. A data directory that has an id never
// founds again, except to finish what a crash interrupted.
type entrance struct {
	record    *raftv1.NodeRecord // this node, as it wants to be registered
	peers     []string           // sorted
	join      []string
	replicaOn bool // stays without a vote
	random    io.Reader

	identity  *identity
	raft      *raft.Raft
	replica   *replica
	directory *directory
	propose   func(ctx context.Context, cmd *raftv1.Command) (*raftv1.Result, uint64, error)
	index     func(ctx context.Context) (readIndex, error)
	limit     time.Duration // of one call
	log       *slog.Logger

	ready   chan struct{} // closed when the node is in and current
	problem atomic.Pointer[string]
}

// hashPeers names a list of peers, whatever their order.
func hashPeers(peers []string) []byte {
	if len(peers) == 0 {
		return nil
	}
	h := sha256.Sum256([]byte(strings.Join(slices.Sorted(slices.Values(peers)), "\n")))
	return h[:]
}

// run tries until the node is in, or ctx ends.
func (e *entrance) run(ctx context.Context) {
	var again backoff
	for {
		err := e.step(ctx)
		if err == nil {
			e.report("")
			close(e.ready)
			return
		}
		if !errors.Is(err, errNextStep) {
			e.report(err.Error())
		}
		if !again.wait(ctx) {
			return
		}
	}
}

// report keeps what stands in the way, and logs it when it changes.
func (e *entrance) report(problem string) {
	if old := e.problem.Swap(&problem); (old == nil || *old != problem) && problem != "" {
		e.log.Warn("not in the cluster yet", "problem", problem)
	}
}

// why returns what stands in the way; "" if nothing does.
func (e *entrance) why() string {
	if p := e.problem.Load(); p != nil {
		return *p
	}
	return ""
}

// errNextStep says that a step is done and another follows.
var errNextStep = errors.New("next step")

func (e *entrance) step(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 4*e.limit)
	defer cancel()
	switch c, s := e.identity.get(); s {
	case stageNone:
		return e.discover(ctx)
	case stageFounding:
		return e.found(ctx, c)
	case stageJoining:
		return e.enter(ctx, c)
	case stageMember:
		return e.settle(ctx, c)
	default:
		return fmt.Errorf("unknown stage %q", s)
	}
}

// identify answers another node's question, and is how nodes agree before a cluster is founded.
func (e *entrance) identify(*nodev1.IdentifyRequest) *nodev1.IdentifyResponse {
	a := &nodev1.IdentifyResponse{
		NodeId: e.record.GetNodeId(), PeersHash: hashPeers(e.peers), RaftAddress: e.record.GetRaftAddress(),
		ApiAddress: e.record.GetApiAddress(), GossipAddress: e.record.GetGossipAddress(), Version: e.record.GetVersion(),
		HasState: e.raft.LastIndex() > 0,
	}
	if c, s := e.identity.get(); s != stageNone {
		a.ClusterId = c[:]
	}
	_, a.LeaderAddress = e.directory.leader()
	return a
}

// introduction is what a node at an address said of itself.
type introduction struct {
	address string
	answer  *nodev1.IdentifyResponse
	err     error
}

// ask asks all addresses at once.
func (e *entrance) ask(ctx context.Context, addresses []string) []introduction {
	ctx, cancel := context.WithTimeout(ctx, e.limit)
	defer cancel()
	q := &nodev1.IdentifyRequest{NodeId: e.record.GetNodeId(), PeersHash: hashPeers(e.peers)}
	if c, s := e.identity.get(); s != stageNone {
		q.ClusterId = c[:]
	}
	answers := make(chan introduction, len(addresses))
	for _, a := range addresses {
		go func() {
			r, err := e.directory.peers.at(a).Identify(ctx, q)
			answers <- introduction{a, r, err}
		}()
	}
	all := make([]introduction, len(addresses))
	for i := range all {
		all[i] = <-answers
	}
	slices.SortFunc(all, func(a, b introduction) int { return strings.Compare(a.address, b.address) })
	return all
}

// discover finds the cluster to join, or founds one if it is this node's turn and nobody has one.
func (e *entrance) discover(ctx context.Context) error {
	if e.raft.LastIndex() > 0 {
		return errors.New("there is Raft state but no cluster id: the data directory is not whole")
	}
	all := e.ask(ctx, slices.Concat(e.peers, e.join))
	var found clusterID
	for _, i := range all {
		if len(i.answer.GetClusterId()) != len(clusterID{}) {
			continue
		}
		c := clusterID(i.answer.GetClusterId())
		if found != (clusterID{}) && found != c {
			return fmt.Errorf("two clusters answer, %v and %v: this node can't tell which is meant", found, c)
		}
		found = c
	}
	if found != (clusterID{}) {
		if err := e.identity.set(found, stageJoining); err != nil {
			return err
		}
		e.log.Info("joining", "cluster", found)
		return errNextStep
	}
	if len(e.peers) == 0 {
		return fmt.Errorf("no member of a cluster answers at any of %v", e.join)
	}
	if err := e.unanimous(all); err != nil {
		return err
	}
	if e.peers[0] != e.record.GetApiAddress() {
		return fmt.Errorf("waiting for %s to found the cluster", e.peers[0])
	}
	var c clusterID
	if _, err := io.ReadFull(e.random, c[:]); err != nil {
		return fmt.Errorf("make a cluster id: %w", err)
	}
	if err := e.identity.set(c, stageFounding); err != nil {
		return err
	}
	e.log.Info("founding", "cluster", c)
	return errNextStep
}

// unanimous checks that every peer has answered, is empty, and has the same list.
func (e *entrance) unanimous(all []introduction) error {
	var errs []error
	mine := hashPeers(e.peers)
	for _, i := range all {
		a := i.answer
		self := i.address == e.record.GetApiAddress()
		switch {
		case i.err != nil:
			errs = append(errs, fmt.Errorf("peer %s doesn't answer: %w", i.address, i.err))
		case self != (a.GetNodeId() == e.record.GetNodeId()):
			errs = append(errs, fmt.Errorf("at %s node %s answers; this one is %s", i.address, a.GetNodeId(), e.record.GetNodeId()))
		case !bytes.Equal(a.GetPeersHash(), mine):
			errs = append(errs, fmt.Errorf("peer %s has another list of peers (%s) than this node (%s): it must be the same on all",
				i.address, shortHash(a.GetPeersHash()), shortHash(mine)))
		case a.GetHasState():
			errs = append(errs, fmt.Errorf("peer %s has Raft state but no cluster", i.address))
		}
	}
	return errors.Join(errs...)
}

func shortHash(h []byte) string {
	if len(h) < 4 {
		return "none"
	}
	return hex.EncodeToString(h[:4])
}

// found makes a cluster of one. Each part is repeatable, so a crash between them is finished by the next start.
func (e *entrance) found(ctx context.Context, c clusterID) error {
	if e.raft.LastIndex() == 0 {
		id := e.record.GetNodeId()
		err := e.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{
			Suffrage: raft.Voter, ID: raft.ServerID(id), Address: transport.Address(id, e.record.GetRaftAddress()),
		}}}).Error()
		if err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
	}
	if len(e.replica.cluster.Load().GetClusterId()) == 0 {
		_, _, err := e.propose(ctx, &raftv1.Command{
			Caller:  &raftv1.Caller{NodeId: e.record.GetNodeId()},
			Command: &raftv1.Command_InitCluster{InitCluster: &raftv1.InitCluster{ClusterId: c[:]}},
		})
		if err != nil && status.ReasonOf(err) != status.AlreadyBootstrapped {
			return fmt.Errorf("write the cluster's record: %w", err)
		}
	}
	if err := e.identity.set(c, stageMember); err != nil {
		return err
	}
	return errNextStep
}

// enter asks the leader to take this node in, until it has the place it wants.
func (e *entrance) enter(ctx context.Context, c clusterID) error {
	in, err := e.callJoin(ctx, c)
	if err != nil {
		return err
	}
	servers := e.raft.GetConfiguration()
	if err := servers.Error(); err != nil {
		return err
	}
	if !contains(servers.Configuration(), e.record.GetNodeId()) {
		return errors.New("the leader has taken this node in; waiting for the log")
	}
	if !in && !e.replicaOn {
		return errors.New("catching up before the vote")
	}
	if err := e.identity.set(c, stageMember); err != nil {
		return err
	}
	return errNextStep
}

// callJoin asks the leader once, and returns whether this node has its vote.
func (e *entrance) callJoin(ctx context.Context, c clusterID) (voter bool, err error) {
	address, err := e.findLeader(ctx, c)
	if err != nil {
		return false, err
	}
	a, err := e.directory.peers.at(address).Join(ctx, &nodev1.JoinRequest{
		Node: e.record, Voter: !e.replicaOn, ClusterId: c[:], Applied: e.replica.applyIndex(),
	})
	if err != nil {
		return false, fmt.Errorf("join through %s: %w", address, err)
	}
	if err := fromRefusal(a.GetRefusal()); err != nil {
		return false, fmt.Errorf("join through %s: %w", address, err)
	}
	return a.GetVoter(), nil
}

// findLeader asks everybody it has heard of who leads this cluster.
func (e *entrance) findLeader(ctx context.Context, c clusterID) (address string, err error) {
	if _, a := e.directory.leader(); a != "" {
		return a, nil
	}
	known := slices.Concat(e.peers, e.join)
	for _, n := range e.replica.registered() {
		known = append(known, n.GetApiAddress())
	}
	slices.Sort(known)
	var errs []error
	for _, i := range e.ask(ctx, slices.Compact(known)) {
		switch {
		case i.err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", i.address, i.err))
		case bytes.Equal(i.answer.GetClusterId(), c[:]) && i.answer.GetLeaderAddress() != "":
			return i.answer.GetLeaderAddress(), nil
		}
	}
	return "", errors.Join(append([]error{fmt.Errorf("nobody names a leader of cluster %v", c)}, errs...)...)
}

// settle brings a member up to date: its addresses in the registry, its vote, the state that the cluster has now.
func (e *entrance) settle(ctx context.Context, c clusterID) error {
	if recorded := e.replica.cluster.Load().GetClusterId(); len(recorded) > 0 && !bytes.Equal(recorded, c[:]) {
		return fmt.Errorf("the state belongs to cluster %x, the data directory to %v", recorded, c)
	}
	if !e.settled() {
		// First of all: at new addresses nobody can reach this node before the leader knows them. Where the state here is
		// merely behind, asking once too often does no harm.
		if _, err := e.callJoin(ctx, c); err != nil {
			return err
		}
	}
	ri, err := e.index(ctx)
	if err != nil {
		return err
	}
	if err := e.replica.wait(ctx, ri.index); err != nil {
		return err
	}
	if !e.settled() {
		return errNextStep
	}
	return nil
}

// settled tells whether registry and configuration say of this node what it wants them to say.
func (e *entrance) settled() bool {
	known := e.replica.node(e.record.GetNodeId())
	if known == nil || !sameNode(known, e.record) {
		return false
	}
	f := e.raft.GetConfiguration()
	if f.Error() != nil {
		return false
	}
	address := transport.Address(e.record.GetNodeId(), e.record.GetRaftAddress())
	for _, s := range f.Configuration().Servers {
		if string(s.ID) == e.record.GetNodeId() {
			return s.Address == address && (s.Suffrage == raft.Voter || e.replicaOn)
		}
	}
	return false
}
