package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/kavachd/kavachd/cluster"
	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/cmd/kavachd/internal/config"
	"github.com/kavachd/kavachd/rpc"
)

// Options is what Run needs.
type Options struct {
	// Config has been validated, but for Solo.
	Config config.Config
	// Solo makes a cluster of this one node, with no gossip; any port may then be 0.
	Solo bool
	// Log takes all logs. Required.
	Log *slog.Logger
	// Version is the program's version.
	Version string
	// Ready is called once, from another goroutine than Run's, when the node may decide; nil: nobody waits for it. ctx
	// ends when the node begins to stop. An error stops the node and is returned by Run.
	Ready func(ctx context.Context, at Addresses) error
}

// Addresses are where a running node listens.
type Addresses struct{ API, Admin string }

// errStop ends a node without an error.
var errStop = errors.New("stop was asked for")

// node is what Run puts together.
type node struct {
	opt      Options
	api      net.Listener
	raft     net.Listener
	admin    net.Listener
	node     *cluster.Node
	rpc      *rpc.Handler
	apiHTTP  *http.Server
	adminSrv *http.Server
}

// Run runs a node until ctx ends, then stops it within Config.ShutdownTimeout. It returns nil after an orderly stop,
// else the first thing that went wrong.
func Run(ctx context.Context, opt Options) (err error) {
	n := &node{opt: opt}
	if err := dataDir(opt.Config.DataDir); err != nil {
		return err
	}
	if err := n.listen(); err != nil {
		n.closeListeners()
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errStop)
	if err := n.start(ctx, cancel); err != nil {
		n.closeListeners()
		return err
	}
	group := n.serve(ctx, cancel)
	<-ctx.Done()
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) {
		cause = nil // the caller's wish
		opt.Log.Info("stopping", "bound", opt.Config.ShutdownTimeout.String())
	} else {
		opt.Log.Error("stopping", "error", cause)
	}
	stopErr := n.stop(context.WithoutCancel(ctx), cause != nil)
	for range cap(group) {
		<-group
	}
	if stopErr != nil {
		opt.Log.Warn("stop was not complete; what is left is done at the next start", "error", stopErr)
	}
	return cause
}

// dataDir makes the directory, or takes the rights of others on it away.
func dataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs its x
			return fmt.Errorf("data_dir %s is open to others, and could not be closed: %w", dir, err)
		}
	}
	return nil
}

// listen opens every listener before anything is started, so that an address in use is told at once.
func (n *node) listen() error {
	c := n.opt.Config
	for _, l := range []struct {
		key, addr string
		to        *net.Listener
	}{{"api.listen", c.API.Listen, &n.api}, {"raft.listen", c.Raft.Listen, &n.raft}, {"admin.listen", c.AdminListen, &n.admin}} {
		if l.addr == "" {
			continue
		}
		var err error
		if *l.to, err = net.Listen("tcp", l.addr); err != nil {
			return fmt.Errorf("%s: %w", l.key, err)
		}
	}
	n.api = rpc.Limit(n.api)
	return nil
}

func (n *node) closeListeners() {
	for _, l := range []net.Listener{n.api, n.raft, n.admin} {
		if l != nil {
			_ = l.Close() // it may be closed by its server already
		}
	}
}

// addresses are where the node listens.
func (n *node) addresses() Addresses {
	at := Addresses{API: n.api.Addr().String()}
	if n.admin != nil {
		at.Admin = n.admin.Addr().String()
	}
	return at
}

// clusterConfig translates the operator's words.
func (n *node) clusterConfig() cluster.Config {
	c := n.opt.Config
	out := cluster.Config{
		DataDir: c.DataDir, Peers: c.Cluster.Peers, Join: c.Cluster.Join, JoinSecret: []byte(c.Cluster.JoinSecret), Replica: c.Cluster.Replica,
		Limits: cluster.Limits{StopWait: c.ShutdownTimeout / 3},
		Timing: raftstore.FastProfile(), GossipBind: c.Gossip.Listen, Version: n.opt.Version,
		Address: cluster.Addresses{
			API: or(c.API.Advertise, c.API.Listen), Raft: or(c.Raft.Advertise, c.Raft.Listen), Gossip: or(c.Gossip.Advertise, c.Gossip.Listen),
		},
	}
	if c.Timing == "slow" {
		out.Timing = raftstore.SlowProfile()
	}
	if n.opt.Solo {
		out.Address = cluster.Addresses{API: n.api.Addr().String(), Raft: n.raft.Addr().String()}
		out.Peers, out.Join, out.GossipBind = []string{out.Address.API}, nil, ""
	}
	return out
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// start starts the node and builds the servers; nothing is served yet.
func (n *node) start(ctx context.Context, cancel context.CancelCauseFunc) error {
	registry, err := newMetrics()
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	cfg := n.clusterConfig()
	n.node, err = cluster.Start(context.WithoutCancel(ctx), cfg, cluster.Deps{
		RaftListener: n.raft, Now: time.Now, Random: rand.Reader, Log: n.opt.Log,
		Fatal: func(err error) { cancel(fmt.Errorf("this node can't go on: %w", err)) },
	})
	if err != nil {
		return fmt.Errorf("start the node: %w", err)
	}
	n.rpc, err = rpc.New(rpc.Config{Node: n.node, Log: n.opt.Log, JoinSecret: cfg.JoinSecret})
	if err != nil {
		return errors.Join(fmt.Errorf("start the API: %w", err), n.node.Stop(ctx))
	}
	mux := http.NewServeMux()
	path, handler := n.node.NodeHandler()
	mux.Handle(path, handler)
	mux.Handle("/", n.rpc)
	n.apiHTTP = rpc.NewServer(mux)
	n.apiHTTP.ErrorLog = slog.NewLogLogger(n.opt.Log.Handler(), slog.LevelDebug) // clients that break off, mostly
	if n.admin != nil {
		n.adminSrv = adminServer(registry)
	}
	return nil
}

// serve starts the goroutines that end with the servers and with ctx. Each sends once to the returned channel, whose
// capacity is their number.
func (n *node) serve(ctx context.Context, cancel context.CancelCauseFunc) chan struct{} {
	tasks := []func(){
		func() {
			if err := n.apiHTTP.Serve(n.api); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("api.listen: %w", err))
			}
		},
		func() { n.awaitReady(ctx, cancel) },
	}
	if n.admin != nil {
		tasks = append(tasks, func() {
			if err := n.adminSrv.Serve(n.admin); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("admin.listen: %w", err))
			}
		})
	}
	group := make(chan struct{}, len(tasks))
	for _, task := range tasks {
		go func() {
			defer func() { group <- struct{}{} }()
			task()
		}()
	}
	at := n.addresses()
	n.opt.Log.Info("started", "version", n.opt.Version, "node", n.node.ID(), "api", at.API, "raft", n.raft.Addr().String(), "admin", at.Admin, "data_dir", n.opt.Config.DataDir)
	return group
}

// patience is how long a node may be without a cluster before it says so again.
const patience = 10 * time.Second

// awaitReady tells when the node may decide, and until then every few seconds what it waits for.
func (n *node) awaitReady(ctx context.Context, cancel context.CancelCauseFunc) {
	for {
		wait, done := context.WithTimeout(ctx, patience)
		err := n.node.Ready(wait)
		done()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		n.opt.Log.Warn("not ready yet", "error", err)
	}
	n.opt.Log.Info("ready", "node", n.node.ID(), "cluster", n.node.ClusterID())
	if n.opt.Ready == nil {
		return
	}
	if err := n.opt.Ready(ctx, n.addresses()); err != nil && ctx.Err() == nil {
		cancel(err)
	}
}

// stop ends the node: leadership, requests, then the node itself. After a fatal error nothing is handed over, since
// nothing may be believed any more.
func (n *node) stop(ctx context.Context, fatal bool) error {
	ctx, cancel := context.WithTimeout(ctx, n.opt.Config.ShutdownTimeout)
	defer cancel()
	var errs []error
	if fatal {
		errs = append(errs, n.apiHTTP.Close())
	} else {
		errs = append(errs, n.handOver(ctx), n.finish(ctx))
	}
	n.rpc.Close()
	errs = append(errs, n.node.Stop(ctx))
	if n.adminSrv != nil {
		errs = append(errs, n.adminSrv.Close()) // last, so that a slow stop can be looked at
	}
	return errors.Join(errs...)
}

// handOver gives the leadership away while the others can still reach this node, so that their writes wait for less.
func (n *node) handOver(ctx context.Context) error {
	status, err := n.node.Status()
	if err != nil || status.State != "Leader" {
		return err
	}
	voters := 0
	for _, m := range status.Members {
		if m.Voter {
			voters++
		}
	}
	if voters < 2 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, n.opt.Config.ShutdownTimeout/3)
	defer cancel()
	if err := n.node.Transfer(ctx, ""); err != nil {
		return fmt.Errorf("hand over leadership: %w", err)
	}
	return nil
}

// finish lets the requests that run end, in half of the time that is left; the other half belongs to the node.
func (n *node) finish(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	err := n.apiHTTP.Shutdown(ctx)
	if err != nil {
		return errors.Join(fmt.Errorf("finish requests: %w", err), n.apiHTTP.Close())
	}
	return nil
}
