package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/gen/kavach/v1/kavachv1connect"
)

const (
	// size is how many nodes there are.
	size = 3
	// readyBound is how long they may take to find each other, on a busy machine.
	readyBound = 90 * time.Second
	// stopBound is how long a node may take to end before it is killed.
	stopBound = 20 * time.Second
	// poll is the pause between two questions whether a node is ready.
	poll = 25 * time.Millisecond
)

// trio is the three processes and what they keep.
type trio struct {
	dir   string
	bin   string
	out   io.Writer
	key   string // the admin key
	nodes []*node
}

// node is one process.
type node struct {
	number            int
	api, raft, gossip string
	id                string
	leader            bool
	pid               int
	cmd               *exec.Cmd
	log               *os.File
	exited            chan struct{} // closed when the process has ended
	exit              error         // set before exited is closed

	agents  kavachv1connect.AgentServiceClient
	decide  kavachv1connect.AuthorizationServiceClient
	delegs  kavachv1connect.DelegationServiceClient
	audit   kavachv1connect.AuditServiceClient
	cluster kavachv1connect.ClusterServiceClient
	access  kavachv1connect.AccessServiceClient
}

func (n *node) name() string { return fmt.Sprintf("node %d", n.number) }

func (c *trio) keyFile() string { return filepath.Join(c.dir, "admin.key") }

// start starts the nodes and waits until each may decide.
func (c *trio) start(ctx context.Context) error {
	ports, err := freePorts(size * 3)
	if err != nil {
		return err
	}
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	if err := os.WriteFile(filepath.Join(c.dir, "join-secret"), []byte(hex.EncodeToString(random[:])+"\n"), 0o600); err != nil {
		return err
	}
	var peers []string
	for i := range size {
		n := &node{number: i + 1, api: ports[3*i], raft: ports[3*i+1], gossip: ports[3*i+2]}
		n.connect(c)
		c.nodes = append(c.nodes, n)
		peers = append(peers, n.api)
	}
	for _, n := range c.nodes {
		if err := c.spawn(n, peers); err != nil {
			return fmt.Errorf("%s: %w", n.name(), err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readyBound)
	defer cancel()
	for _, n := range c.nodes {
		if err := c.awaitReady(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// freePorts asks the system for addresses that nobody listens on. Between this and the node's own listening somebody else
// may take one; the node then says so and ends.
func freePorts(n int) ([]string, error) {
	var addrs []string
	var open []net.Listener // until the end, so that no address comes twice
	var err error
	for range n {
		l, listenErr := net.Listen("tcp", "127.0.0.1:0")
		if listenErr != nil {
			err = listenErr
			break
		}
		open = append(open, l)
		addrs = append(addrs, l.Addr().String())
	}
	for _, l := range open {
		err = errors.Join(err, l.Close())
	}
	return addrs, err
}

// spawn writes a node's configuration and starts it.
func (c *trio) spawn(n *node, peers []string) error {
	base := filepath.Join(c.dir, fmt.Sprintf("node%d", n.number))
	config := fmt.Sprintf(`# Written by the quickstart. docs/configuration.md has every setting.
data_dir: %q
api: {listen: %q}
raft: {listen: %q}
gossip: {listen: %q}
admin: {listen: ""}
cluster:
  peers: [%s]
  join_secret_file: %q
log: {format: json}
`, base, n.api, n.raft, n.gossip, strings.Join(quoted(peers), ", "), filepath.Join(c.dir, "join-secret"))
	if err := os.WriteFile(base+".yaml", []byte(config), 0o600); err != nil {
		return err
	}
	var err error
	if n.log, err = os.OpenFile(base+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return err
	}
	// Not CommandContext: a context would kill it, and a node is to be stopped in order.
	n.cmd = exec.Command(c.bin, "server", "--config", base+".yaml")
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	n.cmd.SysProcAttr = ownGroup()
	n.cmd.Env = environment()
	if err := n.cmd.Start(); err != nil {
		return errors.Join(err, n.log.Close())
	}
	n.pid = n.cmd.Process.Pid
	n.exited = make(chan struct{})
	go func() { // ends with the process, which stop awaits
		n.exit = n.cmd.Wait()
		close(n.exited)
	}()
	return os.WriteFile(base+".pid", fmt.Appendln(nil, n.pid), 0o600)
}

// environment is this program's without KAVACH_ variables, which would change the nodes.
func environment() []string {
	var env []string
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "KAVACH_") {
			env = append(env, pair)
		}
	}
	return env
}

func quoted(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = fmt.Sprintf("%q", s)
	}
	return out
}

// awaitReady asks until the node may decide, or has ended.
func (c *trio) awaitReady(ctx context.Context, n *node) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		why := n.readiness(ctx)
		if why == "" {
			return nil
		}
		select {
		case <-n.exited:
			return fmt.Errorf("%s ended by itself (%w):\n%s", n.name(), n.exit, c.tail(n))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %s: %s\n%s", n.name(), readyBound, why, c.tail(n))
		case <-ticker.C:
		}
	}
}

// readiness returns why the node may not decide, empty if it may.
func (n *node) readiness(ctx context.Context) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.api+"/readyz", http.NoBody)
	if err != nil {
		return err.Error()
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	err = errors.Join(err, res.Body.Close())
	if err != nil {
		return err.Error()
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Sprintf("%s: %s", res.Status, bytes.TrimSpace(body))
	}
	return ""
}

// tail returns the last lines of a node's log.
func (c *trio) tail(n *node) string {
	data, err := os.ReadFile(n.log.Name())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-12):], "\n  ")
}

// connect makes the clients of a node. The admin key is added once it is there.
func (n *node) connect(c *trio) {
	base := "http://" + n.api
	option := connect.WithInterceptors(bearer(func() string { return c.key }))
	n.agents = kavachv1connect.NewAgentServiceClient(http.DefaultClient, base, option)
	n.decide = kavachv1connect.NewAuthorizationServiceClient(http.DefaultClient, base, option)
	n.delegs = kavachv1connect.NewDelegationServiceClient(http.DefaultClient, base, option)
	n.audit = kavachv1connect.NewAuditServiceClient(http.DefaultClient, base, option)
	n.cluster = kavachv1connect.NewClusterServiceClient(http.DefaultClient, base, option)
	n.access = kavachv1connect.NewAccessServiceClient(http.DefaultClient, base, option)
}

// bearer adds the key to every call.
type bearer func() string

func (key bearer) set(h http.Header) {
	if k := key(); k != "" {
		h.Set("Authorization", "Bearer "+k)
	}
}

func (key bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		key.set(req.Header())
		return next(ctx, req)
	}
}

func (key bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		key.set(conn.RequestHeader())
		return conn
	}
}

func (key bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// bootstrap makes the first admin key and learns the nodes' ids.
func (c *trio) bootstrap(ctx context.Context) error {
	res, err := c.nodes[0].access.Bootstrap(ctx, &kavachv1.BootstrapRequest{Name: "quickstart"})
	if err != nil {
		return fmt.Errorf("make the first admin key: %w", err)
	}
	c.key = res.GetSecret()
	if err := os.WriteFile(c.keyFile(), []byte(c.key+"\n"), 0o600); err != nil {
		return err
	}
	for _, n := range c.nodes {
		status, err := n.cluster.GetClusterStatus(ctx, &kavachv1.GetClusterStatusRequest{})
		if err != nil {
			return fmt.Errorf("status of %s: %w", n.name(), err)
		}
		n.id = status.GetNodeId()
		n.leader = status.GetLeaderId() == n.id
	}
	return nil
}

// stop ends the processes, first in order, then by force.
func (c *trio) stop() error {
	var errs []error
	for _, n := range c.nodes {
		if n.exited != nil {
			_ = n.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		}
	}
	timer := time.NewTimer(stopBound)
	defer timer.Stop()
	for _, n := range c.nodes {
		if n.exited == nil {
			continue
		}
		select {
		case <-n.exited:
		case <-timer.C:
			errs = append(errs, fmt.Errorf("%s did not stop within %s and was killed:\n%s", n.name(), stopBound, c.tail(n)))
			timer.Reset(0) // the others have had the same time
			_ = n.cmd.Process.Kill()
			<-n.exited
		}
		if n.exit != nil && len(errs) == 0 {
			errs = append(errs, fmt.Errorf("%s did not stop in order (%w):\n%s", n.name(), n.exit, c.tail(n)))
		}
		_ = n.log.Close() // nothing is written through it here
	}
	return errors.Join(errs...)
}

// release lets the processes outlive this one.
func (c *trio) release() {
	for _, n := range c.nodes {
		_ = n.log.Close() // the node has its own
	}
}

// output runs a command and returns what it prints; what it complains of is in the error.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, complaints.String())
	}
	return string(out), nil
}
