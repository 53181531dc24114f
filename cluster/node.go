package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kavachd/kavachd/audit"
	"github.com/kavachd/kavachd/authz/state"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
)

// Node is one node of a cluster. It only joins the parts together; what they do stands with them.
type Node struct {
	cfg       Config
	log       *slog.Logger
	identity  *identity
	engine    *engine
	leader    *leadership
	confirmer *confirmer
	forwarder *forwarder
	reader    *reader
	decider   *decider
	journal   *journal
	members   *membership
	entrance  *entrance
	gossip    *gossipHolder
	gate      *gate
	life      life
}

// life is the goroutines of a node.
type life struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	rounds []interface{ wait() }
}

// Start opens the data directory and begins to take part. It returns at once: founding or joining goes on in the
// background, needs NodeHandler to be served at Config.Address.API, and is awaited by Ready. The caller must Stop it.
// ctx bounds the opening only.
func Start(ctx context.Context, cfg Config, deps Deps) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.RaftListener == nil || deps.Fatal == nil {
		return nil, errors.New("cluster: Deps needs a RaftListener and Fatal")
	}
	n := &Node{cfg: cfg.withDefaults(), gate: newGate()}
	deps = deps.withDefaults()
	n.life.ctx, n.life.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := n.open(deps); err != nil {
		n.life.cancel()
		if n.identity != nil {
			err = errors.Join(err, n.identity.close())
		}
		return nil, err
	}
	n.wire(deps)
	n.run()
	return n, nil
}

// open opens what is on disk and starts Raft.
func (n *Node) open(deps Deps) (err error) {
	dir := n.cfg.DataDir
	if err := makeDataDir(dir); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if n.identity, err = openIdentity(dir, deps.Random); err != nil {
		return err
	}
	n.log = deps.Log.With("node", n.identity.node)
	deps.Log = n.log
	j, err := audit.OpenJournal(filepath.Join(dir, journalDir), audit.JournalOptions{
		NodeID: n.identity.node, Random: deps.Random, BootID: bootID(),
	})
	if err != nil {
		return fmt.Errorf("open the audit journal: %w", err)
	}
	n.journal = &journal{self: n.identity.node, journal: j}
	if n.engine, err = openEngine(n.cfg, deps, n.identity); err != nil {
		return errors.Join(err, j.Close())
	}
	return nil
}

// bootID names this start of the machine, where the kernel tells it.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// wire joins the parts.
func (n *Node) wire(deps Deps) {
	l, self, r, e := n.cfg.Limits, n.identity.node, n.engine.raft, n.engine
	n.gossip = &gossipHolder{cfg: n.cfg, log: n.log}
	dir := &directory{
		self: self, own: n.cfg.Address.API, raft: r, replica: e.replica,
		peers: newPeers(deps.Dial, nodeAuthorization(n.cfg.JoinSecret)), hint: n.gossip.apiAddress,
	}
	p := &proposer{
		queue: newQueue(l), raft: r, frame: e.replica.store.Frame, now: deps.Now, enqueue: n.cfg.Timing.Heartbeat, log: n.log,
	}
	kick := &kicker{raft: r, timeout: n.cfg.Timing.Heartbeat}
	n.leader = &leadership{raft: r, notify: e.notify, log: n.log}
	n.forwarder = &forwarder{self: self, directory: dir, proposer: p, cluster: n.identity.cluster, limit: l.WriteWait}
	n.leader.work = n.work(p, kick, l.PurgeEvery)
	n.confirmer = &confirmer{
		node: self, raft: r, reign: n.leader.current.Load, applied: e.replica.applyIndex,
		committed: e.committed, ask: dir.confirm,
		cluster: n.identity.cluster, limit: l.ConfirmWait,
	}
	own := newRounds(n.life.ctx, n.confirmer.round)
	remote := newRounds(n.life.ctx, func(ctx context.Context) (readIndex, error) {
		ctx, cancel := context.WithTimeout(ctx, l.ConfirmWait)
		defer cancel()
		return n.forwarder.remoteIndex(ctx)
	})
	n.life.rounds = []interface{ wait() }{own, remote}
	n.reader = &reader{
		replica: e.replica, now: deps.Now, revision: n.ParseRevision,
		indexes: &indexes{
			own: own, remote: remote, leads: func() bool { return n.leader.current.Load() != nil }, limit: l.ReadWait, others: n.others,
		},
	}
	n.decider = &decider{self: self, reader: n.reader, journal: n.journal.journal, settings: e.replica.settings.Load, random: deps.Random}
	n.members = &membership{
		self: self, raft: r, replica: e.replica, directory: dir, reign: n.leader.current.Load, propose: p.submit,
		cluster: n.identity.cluster, limit: l.ConfirmWait, log: n.log,
	}
	n.entrance = &entrance{
		record: n.record(), peers: slices.Sorted(slices.Values(n.cfg.Peers)), join: n.cfg.Join, replicaOn: n.cfg.Replica,
		random: deps.Random, identity: n.identity, raft: r, replica: e.replica, directory: dir, propose: n.forwarder.propose,
		index: n.reader.indexes.get, limit: l.ConfirmWait, log: n.log, ready: make(chan struct{}),
	}
	n.journal.directory, n.journal.reader, n.journal.cluster = dir, n.reader, n.identity.cluster
	n.journal.limit, n.journal.log = l.ConfirmWait, n.log
	n.journal.shipper = audit.NewShipper(n.journal.journal, ship(n.forwarder.propose, self), n.log)
}

// record is this node as it registers itself.
func (n *Node) record() *raftv1.NodeRecord {
	a := n.cfg.Address
	return &raftv1.NodeRecord{
		NodeId: n.identity.node, RaftAddress: a.Raft, ApiAddress: a.API, GossipAddress: a.Gossip, Version: n.cfg.Version,
	}
}

// work is what a leader does in one term.
func (n *Node) work(p *proposer, k *kicker, purgeEvery time.Duration) func(*reign) {
	return func(r *reign) {
		var wg sync.WaitGroup
		wg.Go(func() { p.reign(r.ctx, n.identity.node, r.term, r.open, n.kickUnlessAlone(k)) })
		wg.Go(func() { purge(r, p.submit, n.identity.node, purgeEvery, n.log) })
		wg.Wait()
		k.wait()
	}
}

// kickUnlessAlone kicks if there is anybody to be told.
func (n *Node) kickUnlessAlone(k *kicker) func() {
	return func() {
		if f := n.engine.raft.GetConfiguration(); f.Error() == nil && len(f.Configuration().Servers) > 1 {
			k.kick()
		}
	}
}

// run starts what goes on in the background.
func (n *Node) run() {
	ctx := n.life.ctx
	n.life.wg.Go(func() { n.leader.run(ctx) })
	n.life.wg.Go(func() { n.entrance.run(ctx) })
	n.life.wg.Go(func() {
		if err := n.journal.shipper.Run(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("audit entries are no longer shipped", "error", err)
		}
	})
	n.life.wg.Go(func() {
		select {
		case <-n.entrance.ready:
			n.gossip.start(n.record(), n.ClusterID(), n.engine.replica)
		case <-ctx.Done():
		}
	})
}

// Ready waits until this node is a member of a cluster and has applied the state that the cluster had then. When ctx ends
// first it returns status.NotReady, with what stands in the way.
func (n *Node) Ready(ctx context.Context) error {
	select {
	case <-n.entrance.ready:
		return nil
	case <-n.life.ctx.Done():
		return stopping()
	case <-ctx.Done():
		return status.New(status.NotReady, "not in a cluster yet: %s", n.entrance.why()).Retry(retrySoon).Wrap(context.Cause(ctx))
	}
}

// NodeHandler serves the node protocol. Mount it at the returned path of the server at Config.Address.API.
func (n *Node) NodeHandler() (path string, h http.Handler) {
	s := &service{
		gate: n.gate, identity: n.identity, entrance: n.entrance, members: n.members, confirm: n.confirmer.answer,
		own: n.reader.indexes.own, proposer: n.forwarder.proposer, leader: n.forwarder.directory.leader, journal: n.journal,
	}
	return s.handler(nodeAuthorization(n.cfg.JoinSecret))
}

// Propose has the leader put cmd into the log, from whichever node this is, and returns its result and the index of the
// entry (of the first attempt, for a repeat). cmd must not be changed any more. A refusal by the state machine is a
// *status.Error. On the way there NoLeader, QueueFull, CommandTooLarge, DeadlineExceeded, Canceled and NodeStopping mean that
// nothing was done. OutcomeUnknown means what it says, and is resolved by a repeat with the same idempotency key.
func (n *Node) Propose(ctx context.Context, cmd *raftv1.Command) (*raftv1.Result, uint64, error) {
	leave, err := n.gate.enter()
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	return n.forwarder.propose(ctx, cmd)
}

// Read evaluates eval on one version of the state that is as current as level asks for. eval may run more than once and
// must have no side effects; its error comes back as it is. Errors of the way there: ReadIndexUnavailable, RevisionAhead,
// DeadlineExceeded, Canceled, NodeStopping, NotReady; InvalidArgument and RevisionUnknown for a bad AtLeast.
func (n *Node) Read(ctx context.Context, level Level, eval func(v *View) error) (Served, error) {
	leave, err := n.gate.enter()
	if err != nil {
		return Served{}, err
	}
	defer leave()
	return n.reader.read(ctx, level, eval)
}

// Pin is Read without an end, for exports: the caller closes what it gets, before Stop.
func (n *Node) Pin(ctx context.Context, level Level) (*Pinned, error) {
	leave, err := n.gate.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	return n.reader.pin(ctx, level)
}

// Local returns this node's decision state as it is, its index and the time. Nothing proves that it is current: it serves
// to find an API key before a write, which is checked again when it is applied.
func (n *Node) Local() (state.View, uint64, time.Time) { return n.reader.local() }

// Decide authenticates the caller, by the hash of its API key, and decides about checks, all in one version of the state,
// then appends exactly one audit entry for each check that the audit policy wants, then answers. Besides Read's errors:
// Unauthenticated; QuotaUnavailable for a decision that hangs on a quota; AuditUnavailable, and then nothing is answered.
func (n *Node) Decide(ctx context.Context, level Level, caller ids.Hash, checks []Check) (Decided, error) {
	leave, err := n.gate.enter()
	if err != nil {
		return Decided{}, err
	}
	defer leave()
	return n.decider.decide(ctx, level, caller, checks)
}

// Journal is this node's audit journal, for the node's own acts.
func (n *Node) Journal() *audit.Journal { return n.journal.journal }

// QueryAudit returns a page of the audit trail: the replicated part, and what stands in the journals of live nodes only.
func (n *Node) QueryAudit(ctx context.Context, level Level, q audit.Query) (*audit.Page, Served, error) {
	leave, err := n.gate.enter()
	if err != nil {
		return nil, Served{}, err
	}
	defer leave()
	return n.journal.query(ctx, level, q)
}

// AuditEntry returns one entry of the trail, nil if there is none.
func (n *Node) AuditEntry(ctx context.Context, level Level, id ids.ID) (*audit.Found, Served, error) {
	leave, err := n.gate.enter()
	if err != nil {
		return nil, Served{}, err
	}
	defer leave()
	return n.journal.get(ctx, level, id)
}

// ExportAudit writes all entries that match to w, oldest first, and returns how many, and the nodes whose newest entries
// may be missing.
func (n *Node) ExportAudit(ctx context.Context, w io.Writer, f audit.Format, filter audit.Filter) (uint64, []string, error) {
	leave, err := n.gate.enter()
	if err != nil {
		return 0, nil, err
	}
	defer leave()
	return n.journal.export(ctx, w, f, filter)
}

// ID returns the node's id.
func (n *Node) ID() string { return n.identity.node }

// ClusterID returns the cluster's id in hex, empty before the node has one.
func (n *Node) ClusterID() string {
	if c := n.identity.cluster(); c != (clusterID{}) {
		return c.String()
	}
	return ""
}

// RevisionToken returns the token that names index in this cluster's history.
func (n *Node) RevisionToken(index uint64) string {
	return revisionToken(n.identity.cluster(), n.engine.replica.epoch(), index)
}

// ParseRevision returns the index that token names. It returns status.InvalidArgument for what is no token, and
// status.RevisionUnknown for one of another cluster or history.
func (n *Node) ParseRevision(token string) (uint64, error) {
	return parseRevision(n.identity.cluster(), n.engine.replica.epoch(), token)
}

// DeriveKey returns the cluster's key for a purpose, the same on every node. It derives from the join secret.
func (n *Node) DeriveKey(label string) [32]byte { return deriveKey(n.cfg.JoinSecret, label) }
