package gossip

import (
	"fmt"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// delegate is what the library calls, some of it under its own lock: nothing here may call the library or wait.
type delegate struct {
	g    *Gossip
	meta []byte
}

var (
	_ memberlist.Delegate         = (*delegate)(nil)
	_ memberlist.EventDelegate    = (*delegate)(nil)
	_ memberlist.AliveDelegate    = (*delegate)(nil)
	_ memberlist.MergeDelegate    = (*delegate)(nil)
	_ memberlist.ConflictDelegate = (*delegate)(nil)
)

// NodeMeta implements memberlist.Delegate. Start has checked the length.
func (d *delegate) NodeMeta(int) []byte { return d.meta }

// NotifyMsg implements memberlist.Delegate. Nodes send each other nothing of their own this way.
func (*delegate) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (*delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (*delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (*delegate) MergeRemoteState([]byte, bool) {}

// NotifyJoin implements memberlist.EventDelegate.
func (d *delegate) NotifyJoin(n *memberlist.Node) { d.NotifyUpdate(n) }

// NotifyUpdate implements memberlist.EventDelegate.
func (d *delegate) NotifyUpdate(n *memberlist.Node) {
	r, err := parse(n)
	if err != nil {
		d.g.cfg.Log.Warn("gossip of a node can't be read", "node", n.Name, "error", err)
	}
	d.g.set(n.Name, r)
}

// NotifyLeave implements memberlist.EventDelegate.
func (d *delegate) NotifyLeave(n *memberlist.Node) { d.g.set(n.Name, nil) }

// NotifyAlive implements memberlist.AliveDelegate: what can't be read is ignored. Together with NotifyMerge it guards both
// ways in.
func (*delegate) NotifyAlive(n *memberlist.Node) error {
	_, err := parse(n)
	return err
}

// NotifyMerge implements memberlist.MergeDelegate.
func (*delegate) NotifyMerge(nodes []*memberlist.Node) error {
	for _, n := range nodes {
		if _, err := parse(n); err != nil {
			return err
		}
	}
	return nil
}

// NotifyConflict implements memberlist.ConflictDelegate: two nodes claim one id, so a data directory was copied.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	d.g.cfg.Log.Error("two nodes have the same id: has a data directory been copied?",
		"node", existing.Name, "address", existing.Address(), "other", other.Address())
}

// parse reads what a node says of itself. Its name is its id.
func parse(n *memberlist.Node) (*raftv1.NodeRecord, error) {
	r := &raftv1.NodeRecord{}
	if err := proto.Unmarshal(n.Meta, r); err != nil {
		return nil, fmt.Errorf("node %q: %w", n.Name, err)
	}
	if r.GetNodeId() != n.Name || n.Name == "" {
		return nil, fmt.Errorf("node %q says it is %q", n.Name, r.GetNodeId())
	}
	return r, nil
}
