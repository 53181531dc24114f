package cluster

import (
	"log/slog"
	"sync"

	"github.com/kavachd/kavachd/cluster/gossip"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// gossipHolder holds gossip, which begins only when the node has a cluster, and may be off. What it says is a hint.
type gossipHolder struct {
	cfg Config
	log *slog.Logger

	mu      sync.Mutex
	gossip  *gossip.Gossip // nil: off, not begun, or over
	problem string
}

func (h *gossipHolder) start(self *raftv1.NodeRecord, label string, r *replica) {
	if h.cfg.GossipBind == "" {
		return
	}
	g, err := gossip.Start(gossip.Config{
		Node: self, Bind: h.cfg.GossipBind, Key: deriveKey(h.cfg.JoinSecret, labelGossip), Label: label, Log: h.log,
		Known: func() []string {
			var known []string
			for _, n := range r.registered() {
				known = append(known, n.GetGossipAddress())
			}
			return known
		},
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil { // decisions and writes don't need it
		h.log.Error("no gossip", "error", err)
		h.problem = "no gossip: " + err.Error()
		return
	}
	h.gossip = g
}

func (h *gossipHolder) stop() error {
	h.mu.Lock()
	g := h.gossip
	h.gossip = nil
	h.mu.Unlock()
	if g == nil {
		return nil
	}
	return g.Stop()
}

// alive returns what gossip says of a node, nil if nothing.
func (h *gossipHolder) alive(node string) *raftv1.NodeRecord {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gossip == nil {
		return nil
	}
	return h.gossip.Alive(node)
}

func (h *gossipHolder) apiAddress(node string) string { return h.alive(node).GetApiAddress() }

func (h *gossipHolder) why() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.problem
}
