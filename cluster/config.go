package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/kavachd/kavachd/cluster/raftstore"
)

// MinJoinSecret is the shortest join secret in bytes. All keys between nodes derive from it.
const MinJoinSecret = 16

// Config is what a node is told by its operator. All members of a cluster must agree on JoinSecret, Timing and Peers.
type Config struct {
	// DataDir holds all that the node keeps. It belongs to one process at a time.
	DataDir string
	// Address is where others reach this node.
	Address Addresses
	// Peers are the API addresses of all founding members, this node's own included, and equal on all of them: the first
	// in order founds the cluster once every one of them has answered that it has none. Exactly one of Peers and Join is set.
	Peers []string
	// Join are API addresses of members of a cluster that exists. A node that has Join never founds one.
	Join []string
	// JoinSecret is shared by all members; at least MinJoinSecret bytes.
	JoinSecret []byte
	// Replica says that the node stays without a vote.
	Replica bool
	// Timing is Raft's; zero: raftstore.FastProfile.
	Timing raftstore.Profile
	// Limits bound queues and waiting; zero fields: defaults.
	Limits Limits
	// Snapshots is when the log is cut; zero: raftstore's own figures.
	Snapshots Snapshots
	// GossipBind is where gossip listens, host:port; empty: no gossip.
	GossipBind string
	// Version is the program's version.
	Version string
}

// Snapshots says when the log is cut: every Interval if more than Threshold entries have come, leaving Trailing behind.
type Snapshots struct {
	Interval            time.Duration
	Threshold, Trailing uint64
}

// Addresses are host:port where a node is reached. API is also where nodes call each other.
type Addresses struct{ API, Raft, Gossip string }

// Limits bound what a node queues and how long it waits.
type Limits struct {
	// ControlQueue and BulkQueue are how many commands wait for the proposer; more are QUEUE_FULL at once.
	ControlQueue, BulkQueue int
	// EntryBytes and EntryCommands bound what is gathered into one Raft entry.
	EntryBytes, EntryCommands int
	// WriteWait bounds a write whose caller set no deadline, ReadWait the wait for a read index.
	WriteWait, ReadWait time.Duration
	// ConfirmWait bounds one round of Confirm.
	ConfirmWait time.Duration
	// StopWait bounds each step of a graceful stop.
	StopWait time.Duration
	// PurgeEvery is how often a leader lets expired records go; negative: never.
	PurgeEvery time.Duration
}

// DefaultLimits returns the limits that a Config without any gets.
func DefaultLimits() Limits {
	return Limits{
		ControlQueue: 4096, BulkQueue: 64,
		EntryBytes: 128 << 10, EntryCommands: 1024,
		WriteWait: 10 * time.Second, ReadWait: 5 * time.Second, ConfirmWait: 2 * time.Second, StopWait: 10 * time.Second,
		PurgeEvery: time.Minute,
	}
}

// Deps are the world outside: sockets, clock, randomness, log, and the end of the process.
type Deps struct {
	// RaftListener takes connections of other nodes' Raft. The node closes it. Required.
	RaftListener net.Listener
	// Dial opens every connection to another node; nil: net.Dialer.
	Dial DialFunc
	// Now is the wall clock; nil: time.Now.
	Now func() time.Time
	// Random is where ids come from; nil: crypto/rand.
	Random io.Reader
	// Log takes all logs; nil: discarded.
	Log *slog.Logger
	// Fatal must end the process: the node can't go on. If it returns, as in tests, the node applies nothing more. Required.
	Fatal func(error)
}

// DialFunc opens a connection, as net.Dialer.DialContext.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// withDefaults fills in what is left out.
func (d Deps) withDefaults() Deps {
	if d.Dial == nil {
		d.Dial = (&net.Dialer{Timeout: dialTime}).DialContext
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Random == nil {
		d.Random = rand.Reader
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return d
}

// dialTime bounds the opening of a connection.
const dialTime = 5 * time.Second

// withDefaults fills in what is left out.
func (c Config) withDefaults() Config {
	if c.Timing == (raftstore.Profile{}) {
		c.Timing = raftstore.FastProfile()
	}
	d := DefaultLimits()
	l := &c.Limits
	for _, f := range []struct {
		v *int
		d int
	}{
		{&l.ControlQueue, d.ControlQueue},
		{&l.BulkQueue, d.BulkQueue},
		{&l.EntryBytes, d.EntryBytes},
		{&l.EntryCommands, d.EntryCommands},
	} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	for _, f := range []struct{ v, d *time.Duration }{
		{&l.WriteWait, &d.WriteWait},
		{&l.ReadWait, &d.ReadWait},
		{&l.ConfirmWait, &d.ConfirmWait},
		{&l.StopWait, &d.StopWait},
		{&l.PurgeEvery, &d.PurgeEvery},
	} {
		if *f.v == 0 {
			*f.v = *f.d
		}
	}
	return c
}

// Validate returns every problem of the configuration, joined; nil if there is none.
func (c Config) Validate() error {
	var errs []error
	problem := func(path, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
	}
	if c.DataDir == "" {
		problem("data_dir", "must be set")
	}
	if len(c.JoinSecret) < MinJoinSecret {
		problem("join_secret", "has %d bytes, needs at least %d", len(c.JoinSecret), MinJoinSecret)
	}
	checkAddress(problem, "address.api", c.Address.API)
	checkAddress(problem, "address.raft", c.Address.Raft)
	if c.GossipBind != "" {
		checkAddress(problem, "address.gossip", c.Address.Gossip)
		checkAddress(problem, "gossip_bind", c.GossipBind)
	}
	switch {
	case len(c.Peers) > 0 && len(c.Join) > 0:
		problem("peers", "peers and join exclude each other: peers found a cluster, join enters one that exists")
	case len(c.Peers) == 0 && len(c.Join) == 0:
		problem("peers", "one of peers and join must be set")
	case len(c.Peers) > 0 && !slices.Contains(c.Peers, c.Address.API):
		problem("peers", "%v doesn't list this node's own address.api %q", c.Peers, c.Address.API)
	}
	for i, p := range c.Peers {
		checkAddress(problem, fmt.Sprintf("peers[%d]", i), p)
		if slices.Index(c.Peers, p) != i {
			problem(fmt.Sprintf("peers[%d]", i), "%q stands twice", p)
		}
	}
	for i, p := range c.Join {
		checkAddress(problem, fmt.Sprintf("join[%d]", i), p)
	}
	if l := c.Limits; l.EntryBytes > MaxCommand {
		problem("limits.entry_bytes", "%d is above %d, which is what an entry takes", l.EntryBytes, MaxCommand)
	}
	if c.Replica && len(c.Peers) > 0 {
		problem("replica", "a founding member has a vote")
	}
	return errors.Join(errs...)
}

func checkAddress(problem func(path, format string, args ...any), path, address string) {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" || port == "0" {
		problem(path, "%q is no host:port that others could reach", address)
	}
}
