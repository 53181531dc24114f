package fsm

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// initCluster gives the cluster its id, once. The same id again is a repeat.
func (x *command) initCluster(c *raftv1.InitCluster) (*raftv1.Result, error) {
	var p problems
	p.id("cluster_id", c.GetClusterId())
	if err := p.err(); err != nil {
		return nil, err
	}
	cluster, err := x.Cluster()
	if err != nil {
		return nil, err
	}
	if old := cluster.GetClusterId(); len(old) > 0 {
		if !bytes.Equal(old, c.GetClusterId()) {
			return nil, status.New(status.AlreadyBootstrapped, "the cluster is %x", old)
		}
		return clusterResult(cluster), nil
	}
	cluster.ClusterId, cluster.CreatedAt = c.GetClusterId(), x.wall
	return clusterResult(cluster), x.setRecord(storage.ClusterKey(), cluster)
}

func clusterResult(c *raftv1.Cluster) *raftv1.Result {
	return &raftv1.Result{Result: &raftv1.Result_Cluster{Cluster: c}}
}

// leaderEpoch opens the term of a leader. It is refused for another term than its entry's, and for one below the newest
// that was opened; the newest again is a repeat.
func (x *command) leaderEpoch(c *raftv1.LeaderEpoch) (*raftv1.Result, error) {
	var p problems
	p.text("node_id", c.GetNodeId(), 1, maxText)
	if err := p.err(); err != nil {
		return nil, err
	}
	cluster, err := x.Cluster()
	if err != nil {
		return nil, err
	}
	if c.GetTerm() != x.term || c.GetTerm() < cluster.GetLeaderTerm() {
		return nil, status.New(status.NotLeader, "epoch of term %d in term %d; the newest is %d", c.GetTerm(), x.term, cluster.GetLeaderTerm())
	}
	if c.GetTerm() == cluster.GetLeaderTerm() {
		return emptyResult(), nil
	}
	cluster.LeaderTerm = c.GetTerm()
	return emptyResult(), x.setRecord(storage.ClusterKey(), cluster)
}

// registerNode writes a node into the registry, or takes it out. What changes nothing writes nothing.
func (x *command) registerNode(c *raftv1.RegisterNode) (*raftv1.Result, error) {
	n := c.GetNode()
	x.about = subject{resource: "node:" + n.GetNodeId()}
	var p problems
	p.text("node.node_id", n.GetNodeId(), 1, maxText)
	p.text("node.raft_address", n.GetRaftAddress(), 0, maxText)
	p.text("node.api_address", n.GetApiAddress(), 0, maxText)
	p.text("node.gossip_address", n.GetGossipAddress(), 0, maxText)
	p.text("node.version", n.GetVersion(), 0, maxText)
	if err := p.err(); err != nil {
		return nil, err
	}
	was, err := x.Node(n.GetNodeId())
	if err != nil {
		return nil, err
	}
	is := proto.CloneOf(n)
	is.Revision = was.GetRevision()
	if c.GetRemove() && was == nil || !c.GetRemove() && was != nil && proto.Equal(was, is) {
		return emptyResult(), nil
	}
	is.Revision = x.index
	x.touched.Nodes = true
	return emptyResult(), x.put(storage.NodeKey(n.GetNodeId()), is, c.GetRemove())
}
