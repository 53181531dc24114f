package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// reclaim is how long after a node's death another address may take its name: without it a node that crashed can't come
// back under a new address (RAFT.md 6).
const reclaim = 10 * time.Second

// rejoinEvery is how often the addresses that the cluster knows are tried again.
const rejoinEvery = 30 * time.Second

// leaveTime bounds how long Stop tells others that it was on purpose.
const leaveTime = time.Second

// Config is what a Gossip needs.
type Config struct {
	// Node is what this node says of itself; its gossip address is where others reach Bind. At most memberlist.MetaMaxSize
	// bytes in all.
	Node *raftv1.NodeRecord
	// Bind is the host:port to listen at.
	Bind string
	// Key encrypts; all nodes share it.
	Key [32]byte
	// Label names the cluster.
	Label string
	// Known returns gossip addresses of other nodes that the cluster knows.
	Known func() []string
	// Log takes the library's log.
	Log *slog.Logger
	// RejoinEvery is for tests; 0: 30 s.
	RejoinEvery time.Duration
}

// Gossip is this node's part.
type Gossip struct {
	list *memberlist.Memberlist
	cfg  Config
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	alive map[string]*raftv1.NodeRecord // by id; this node too
}

// Start listens and begins to tell. The caller must Stop it.
func Start(cfg Config) (*Gossip, error) {
	meta, err := proto.Marshal(cfg.Node)
	if err != nil {
		return nil, fmt.Errorf("encode what gossip says of this node: %w", err)
	}
	if len(meta) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("what gossip says of this node has %d bytes, the limit is %d", len(meta), memberlist.MetaMaxSize)
	}
	if cfg.RejoinEvery == 0 {
		cfg.RejoinEvery = rejoinEvery
	}
	g := &Gossip{cfg: cfg, alive: map[string]*raftv1.NodeRecord{}}
	c := memberlist.DefaultLANConfig()
	if err := addresses(c, cfg); err != nil {
		return nil, err
	}
	d := &delegate{g: g, meta: meta}
	c.Name = cfg.Node.GetNodeId()
	c.SecretKey = cfg.Key[:]
	c.Label = cfg.Label
	c.DeadNodeReclaimTime = reclaim
	c.Delegate, c.Events, c.Alive, c.Merge, c.Conflict = d, d, d, d, d
	c.Logger = newLogger(cfg.Log)
	if g.list, err = memberlist.Create(c); err != nil {
		return nil, fmt.Errorf("gossip at %s: %w", cfg.Bind, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	g.wg.Go(func() { g.rejoin(ctx) })
	return g, nil
}

func addresses(c *memberlist.Config, cfg Config) (err error) {
	if c.BindAddr, c.BindPort, err = split(cfg.Bind); err != nil {
		return err
	}
	host, port, err := split(cfg.Node.GetGossipAddress())
	if err != nil {
		return err
	}
	c.AdvertisePort = port
	if net.ParseIP(host) != nil {
		c.AdvertiseAddr = host
		return nil
	}
	found, err := net.DefaultResolver.LookupIPAddr(context.Background(), host)
	if err != nil {
		return fmt.Errorf("resolve the gossip address: %w", err)
	}
	c.AdvertiseAddr = found[0].IP.String()
	return nil
}

func split(hostport string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(hostport)
	if err != nil {
		return "", 0, fmt.Errorf("gossip address: %w", err)
	}
	if port, err = strconv.Atoi(p); err != nil {
		return "", 0, fmt.Errorf("gossip address %q: %w", hostport, err)
	}
	return host, port, nil
}

// Stop tells the others, and ends everything.
func (g *Gossip) Stop() error {
	g.stop()
	g.wg.Wait()
	if err := g.list.Leave(leaveTime); err != nil { // they find out anyhow
		g.cfg.Log.Debug("gossip leave", "error", err)
	}
	return g.list.Shutdown()
}

// Alive returns what a node says of itself, nil if it isn't known to be alive. The record must not be changed.
func (g *Gossip) Alive(nodeID string) *raftv1.NodeRecord {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.alive[nodeID]
}

// rejoin tries the addresses that the cluster knows and gossip doesn't see alive: at once, then now and then.
func (g *Gossip) rejoin(ctx context.Context) {
	t := time.NewTicker(g.cfg.RejoinEvery)
	defer t.Stop()
	for {
		if missing := g.missing(); len(missing) > 0 {
			if _, err := g.list.Join(missing); err != nil {
				g.cfg.Log.Debug("gossip rejoin", "error", err)
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (g *Gossip) missing() []string {
	known := g.cfg.Known()
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(known, func(a string) bool {
		if a == "" || a == g.cfg.Node.GetGossipAddress() {
			return true
		}
		for _, n := range g.alive {
			if n.GetGossipAddress() == a {
				return true
			}
		}
		return false
	})
}

func (g *Gossip) set(id string, n *raftv1.NodeRecord) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n == nil {
		delete(g.alive, id)
		return
	}
	g.alive[id] = n
}
