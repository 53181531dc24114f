package config

import (
	"fmt"
	"strings"
	"time"
)

// Config is what one node needs to know about itself. Default gives one that works on loopback.
type Config struct {
	// DataDir holds everything the node keeps; it is made with mode 0700.
	DataDir string

	API    Listener
	Raft   Listener
	Gossip Listener
	// Timing is fast or slow: Raft's patience, the same on all nodes.
	Timing string
	// AdminListen is where metrics and profiles are served; empty: nowhere.
	AdminListen string

	Cluster Cluster
	Log     Log

	// ShutdownTimeout bounds a graceful stop.
	ShutdownTimeout time.Duration
}

// Listener is an address to listen on and the one to tell others, empty meaning the same.
type Listener struct {
	Listen    string
	Advertise string
}

// Cluster says which nodes belong together.
type Cluster struct {
	// Peers are the API addresses of all founding members, this node's own included, the same on each of them.
	Peers []string
	// Join are API addresses of members of a cluster that exists. Exactly one of Peers and Join is set.
	Join []string
	// Replica says that the node stays without a vote.
	Replica bool
	// JoinSecret proves to the others that this node belongs to them. Never printed.
	JoinSecret string
	// JoinSecretFile is a file that holds JoinSecret; surrounding white space is cut.
	JoinSecretFile string
}

// Log says what is logged, and how.
type Log struct {
	Level  string
	Format string
}

// Default returns the table's defaults.
func Default() Config {
	var c Config
	for _, o := range options {
		if err := o.set(&c, o.Default); err != nil {
			panic(fmt.Sprintf("default of %s: %v", o.Key, err)) // a test walks the table
		}
	}
	return c
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Path is the key, as api.listen; empty if the problem is with a source as a whole.
	Path string
	// Source is where the value came from, as kavachd.yaml:7 or KAVACH_API_LISTEN.
	Source string
	// Message says what is wrong, naming the value and the bound or the other value.
	Message string
}

// String returns one line without the value of a secret.
func (p Problem) String() string {
	var b strings.Builder
	if p.Source != "" {
		b.WriteString(p.Source + ": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	return b.String() + p.Message
}

// Problems is every problem found. It is an error if it is not empty.
type Problems []Problem

// Error returns one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// err returns p as an error, nil if there is no problem.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}
