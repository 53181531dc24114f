package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/kavachd/kavachd/authz/state"
	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/fsm"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/storage"
)

// replica is this node's copy of the replicated state: Pebble below, and above it what is kept in memory. Hooks of the
// store write it, on the applying goroutine; everybody may read.
type replica struct {
	store *raftstore.Store

	// state is the decision state: changed by entries, replaced by a restore.
	state atomic.Pointer[state.State]
	// What is read from Pebble as a whole whenever an entry changes it, before that entry's index is published.
	settings atomic.Pointer[raftv1.Settings]
	cluster  atomic.Pointer[raftv1.Cluster]
	nodes    atomic.Pointer[registry]

	fatal func(error)
}

// registry is the nodes that the cluster knows, by id (RAFT.md decision 7). Immutable.
type registry map[string]*raftv1.NodeRecord

// hooks returns what the store calls. The store doesn't exist yet then, so the readers come through arguments or later.
func (r *replica) hooks() raftstore.Hooks {
	return raftstore.Hooks{Applied: r.applied, Restored: r.load, Fatal: func(err error) { r.fatal(err) }}
}

// applied takes what a batch touched into memory. The state in Pebble is visible, its index isn't published yet: whoever
// waits for the index finds both.
func (r *replica) applied(results []raftstore.Applied) error {
	var touched fsm.Touched
	for _, a := range results {
		if f, ok := a.Result.(*fsm.Applied); ok {
			touched.Merge(f.Touched)
		}
	}
	founded := len(r.cluster.Load().GetClusterId()) > 0
	if touched.Empty() && !touched.Nodes && founded {
		return nil
	}
	v := r.store.Storage().View()
	err := r.refresh(v, touched, founded)
	if err := errors.Join(err, v.Close()); err != nil {
		// A decision state that misses a change would go on honoring what has been revoked.
		return fmt.Errorf("take applied records into memory: %w", err)
	}
	return nil
}

func (r *replica) refresh(v storage.Reader, touched fsm.Touched, founded bool) error {
	if !touched.Empty() {
		if err := fsm.Refresh(v, r.state.Load(), touched); err != nil {
			return err
		}
	}
	records := fsm.NewReader(v)
	if touched.Settings {
		if err := r.loadSettings(records); err != nil {
			return err
		}
	}
	if touched.Nodes {
		if err := r.loadNodes(records); err != nil {
			return err
		}
	}
	if !founded {
		return r.loadCluster(records)
	}
	return nil
}

// load reads everything anew: at the start and after another state has replaced this one.
func (r *replica) load(v storage.Reader) error {
	fresh := state.New()
	if err := fsm.Load(v, fresh); err != nil {
		return fmt.Errorf("load the decision state: %w", err)
	}
	records := fsm.NewReader(v)
	if err := errors.Join(r.loadSettings(records), r.loadNodes(records), r.loadCluster(records)); err != nil {
		return err
	}
	r.state.Store(fresh)
	return nil
}

func (r *replica) loadSettings(records *fsm.Reader) error {
	s, err := records.Settings()
	if err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	r.settings.Store(s)
	return nil
}

func (r *replica) loadNodes(records *fsm.Reader) error {
	list, err := records.Nodes()
	if err != nil {
		return fmt.Errorf("read the registry of nodes: %w", err)
	}
	m := make(registry, len(list))
	for _, n := range list {
		m[n.GetNodeId()] = n
	}
	r.nodes.Store(&m)
	return nil
}

func (r *replica) loadCluster(records *fsm.Reader) error {
	c, err := records.Cluster()
	if err != nil {
		return fmt.Errorf("read the cluster's record: %w", err)
	}
	r.cluster.Store(c)
	return nil
}

// node returns what the registry says of a node, nil if nothing.
func (r *replica) node(id string) *raftv1.NodeRecord { return (*r.nodes.Load())[id] }

// registered returns the registry; it must not be changed.
func (r *replica) registered() registry { return *r.nodes.Load() }

// applyIndex returns the published index.
func (r *replica) applyIndex() uint64 {
	index, _ := r.store.Applied()
	return index
}

// epoch returns the restore epoch, which rises with every restore from a backup.
func (r *replica) epoch() uint64 { return r.cluster.Load().GetRestoreEpoch() }

// wait waits until index is applied here.
func (r *replica) wait(ctx context.Context, index uint64) error {
	return r.store.WaitApplied(ctx, index)
}
