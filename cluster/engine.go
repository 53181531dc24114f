package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/cluster/transport"
	"github.com/kavachd/kavachd/fsm"
)

const (
	// raftIO bounds one call of Raft; an install gets it once for each 256 KiB.
	raftIO = 10 * time.Second
	// raftStall is how long a peer may fall silent in the middle of a call. An install holds the main loop that long.
	raftStall = 5 * time.Second
	// raftPool is how many idle connections the library keeps to each peer.
	raftPool = 3
	// notifyRoom is the room of the library's NotifyCh, which blocks its main loop when full (RAFT.md 1.4).
	notifyRoom = 16
)

// engine is the Raft library and what it stands on. It is opened from below and closed from above.
type engine struct {
	log     *raftboltdb.BoltStore
	logs    raft.LogStore // log with its layers, as the library has it
	replica *replica
	layer   *transport.Layer
	net     *raft.NetworkTransport
	raft    *raft.Raft
	notify  chan bool
}

// registryAddresses is the library's ServerAddressProvider: the registry knows a node's new address before the
// configuration does. An error makes the library use the configuration's.
type registryAddresses struct {
	self    raft.ServerID
	own     raft.ServerAddress
	replica *replica
}

// termKey is where the library keeps the term that it has seen.
var termKey = []byte("CurrentTerm")

var errNotRegistered = errors.New("not in the registry")

// ServerAddr implements raft.ServerAddressProvider.
func (a registryAddresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if id == a.self {
		return a.own, nil
	}
	if n := a.replica.node(string(id)); n != nil {
		return transport.Address(string(id), n.GetRaftAddress()), nil
	}
	return "", errNotRegistered
}

// openEngine opens log and state, and starts Raft.
func openEngine(cfg Config, deps Deps, id *identity) (e *engine, err error) {
	e = &engine{notify: make(chan bool, notifyRoom)}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close(context.Background()), deps.RaftListener.Close())
		}
	}()
	if e.log, err = raftstore.OpenLog(filepath.Join(cfg.DataDir, raftFile)); err != nil {
		return e, fmt.Errorf("open the Raft log: %w", err)
	}
	logs, err := raftstore.Logs(e.log)
	if err != nil {
		return e, err
	}
	e.logs = logs
	if e.replica, err = openReplica(filepath.Join(cfg.DataDir, stateDir), logs, fatal(deps)); err != nil {
		return e, err
	}
	stable := raftstore.AtomicVote(e.log)
	exists, err := raft.HasExistingState(logs, stable, e.replica.store)
	if err != nil {
		return e, fmt.Errorf("look for Raft state: %w", err)
	}
	term, err := stable.GetUint64(termKey)
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return e, fmt.Errorf("read the Raft term: %w", err)
	}
	// A state counts as a snapshot, so the log's own file has to say that it knows a term: without it the node has
	// forgotten its votes.
	if _, s := id.get(); s == stageMember && (!exists || term == 0) {
		return e, errIncomplete
	}
	e.layer = transport.New(transport.Config{
		Listener: deps.RaftListener, Advertise: cfg.Address.Raft, NodeID: id.node,
		Cluster: func() (transport.Cluster, bool) { c, s := id.get(); return transport.Cluster(c), s != stageNone },
		Key:     deriveKey(cfg.JoinSecret, labelRaft), Dial: deps.Dial, Stall: raftStall, Log: deps.Log,
	})
	e.net = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider: registryAddresses{
			self: raft.ServerID(id.node), own: transport.Address(id.node, cfg.Address.Raft), replica: e.replica,
		},
		Logger: hclogger("raft-net", deps.Log), Stream: e.layer, MaxPool: raftPool, Timeout: raftIO, MsgpackUseNewTimeFormat: true,
	})
	e.raft, err = raft.NewRaft(e.config(cfg, deps.Log, id.node), e.replica.store, logs, stable, e.replica.store,
		raftstore.NoHeartbeatFastPath(e.net))
	if err != nil {
		return e, fmt.Errorf("start Raft: %w", err)
	}
	return e, nil
}

// openReplica opens the state and reads into memory what is kept there.
func openReplica(dir string, logs raft.LogStore, fatal func(error)) (*replica, error) {
	r := &replica{fatal: fatal}
	var err error
	if r.store, err = raftstore.Open(vfs.Default, dir, logs, fsm.New(), r.hooks()); err != nil {
		return nil, fmt.Errorf("open the state: %w", err)
	}
	v := r.store.Storage().View()
	if err := errors.Join(r.load(v), v.Close()); err != nil {
		return nil, errors.Join(err, r.store.Close())
	}
	return r, nil
}

// fatal ends the process, after a word in the log.
func fatal(deps Deps) func(error) {
	return func(err error) {
		deps.Log.Error("this node can't go on", "error", err)
		deps.Fatal(err)
	}
}

func (e *engine) config(cfg Config, log *slog.Logger, node string) *raft.Config {
	c := raftstore.Config(raft.ServerID(node), cfg.Timing)
	c.Logger = hclogger("raft", log)
	c.NotifyCh = e.notify
	if s := cfg.Snapshots; s != (Snapshots{}) {
		c.SnapshotInterval, c.SnapshotThreshold, c.TrailingLogs = s.Interval, s.Threshold, s.Trailing
	}
	return c
}

// committed returns the newest index that every state machine publishes, at or below what Raft knows to be committed.
func (e *engine) committed() (uint64, error) {
	applied := e.replica.applyIndex() // first: between it and the commit index the log still has every entry
	return newestPublished(e.logs, applied, e.raft.CommitIndex())
}

// newestPublished returns the index of the newest command or configuration up to commit, or applied if that is newer.
// No-ops and barriers are never published by a state machine, so nobody may wait for theirs (PROTOCOLS 0, finding 3).
func newestPublished(logs raft.LogStore, applied, commit uint64) (uint64, error) {
	for i := commit; i > applied; i-- {
		var l raft.Log
		if err := logs.GetLog(i, &l); err != nil {
			return 0, fmt.Errorf("read entry %d of the log: %w", i, err)
		}
		if l.Type == raft.LogCommand || l.Type == raft.LogConfiguration {
			return i, nil
		}
	}
	return applied, nil
}

// stopRaft ends the library's goroutines; every future that is open gets an error.
func (e *engine) stopRaft(ctx context.Context) error {
	if e.raft == nil {
		return nil
	}
	stopped := make(chan error, 1)
	go func() { stopped <- e.raft.Shutdown().Error() }()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
	}
	// The main loop hangs in a connection, most likely: an install whose sender has fallen silent.
	err := e.layer.Close()
	return errors.Join(err, <-stopped)
}

// close closes what is open, from above: transport, log, state. Raft must have stopped.
func (e *engine) close(ctx context.Context) error {
	errs := []error{e.stopRaft(ctx)}
	if e.net != nil {
		errs = append(errs, e.net.Close(), e.layer.Close())
	}
	if e.log != nil {
		errs = append(errs, e.log.Close())
	}
	if e.replica != nil {
		errs = append(errs, e.replica.store.Close())
	}
	return errors.Join(errs...)
}
