package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of the settings.
const (
	// MinJoinSecret is the shortest join secret, in bytes.
	MinJoinSecret = 16
	// MaxPeers is the largest cluster that may form by itself.
	MaxPeers = 9
	// MinShutdown and MaxShutdown bound a graceful stop.
	MinShutdown = time.Second
	MaxShutdown = 10 * time.Minute
)

// Validate returns every problem, in the order of the table; none if the configuration can be run.
func (c *Config) Validate() Problems { return c.validate(false) }

// ValidateSolo is Validate for a node that is a cluster of its own: it has no peers, and any port may be 0.
func (c *Config) ValidateSolo() Problems { return c.validate(true) }

func (c *Config) validate(solo bool) Problems {
	v := validator{zeroPort: solo}
	if c.DataDir == "" {
		v.fail("data_dir", "is empty; give a directory")
	}
	v.listener("api", c.API)
	v.listener("raft", c.Raft)
	v.listener("gossip", c.Gossip)
	if c.AdminListen != "" {
		v.address("admin.listen", c.AdminListen)
	}
	v.distinct(map[string]string{
		"api.listen": c.API.Listen, "raft.listen": c.Raft.Listen, "gossip.listen": c.Gossip.Listen, "admin.listen": c.AdminListen,
	})
	if !solo {
		v.members(c)
	}
	v.secret(c)
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		v.fail("log.level", "is %q; it must be debug, info, warn or error", c.Log.Level)
	}
	if !slices.Contains([]string{"text", "json"}, c.Log.Format) {
		v.fail("log.format", "is %q; it must be text or json", c.Log.Format)
	}
	if !slices.Contains([]string{"fast", "slow"}, c.Timing) {
		v.fail("raft.timing", "is %q; it must be fast or slow", c.Timing)
	}
	if c.ShutdownTimeout < MinShutdown || c.ShutdownTimeout > MaxShutdown {
		v.fail("shutdown_timeout", "is %s; it must be from %s to %s", c.ShutdownTimeout, MinShutdown, MaxShutdown)
	}
	return v.problems
}

type validator struct {
	zeroPort bool
	problems Problems
}

func (v *validator) fail(path, format string, args ...any) {
	v.problems = append(v.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

func (v *validator) listener(name string, l Listener) {
	v.address(name+".listen", l.Listen)
	if l.Advertise != "" {
		v.address(name+".advertise", l.Advertise)
	}
}

// address accepts an address and a port. Until the traffic is encrypted, a node speaks on loopback only.
func (v *validator) address(path, text string) {
	host, portText, err := net.SplitHostPort(text)
	if err != nil {
		v.fail(path, "is %q; it must be an address and a port, as 127.0.0.1:7400", text)
		return
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 && !v.zeroPort {
		v.fail(path, "has port %q; it must be from 1 to 65535", portText)
	}
	addr, err := netip.ParseAddr(host)
	if host == "localhost" {
		return
	}
	if err != nil {
		v.fail(path, "has host %q; this version needs a loopback address, such as 127.0.0.1 or [::1]", host)
		return
	}
	if !addr.IsLoopback() {
		v.fail(path, "is %s, which other machines can reach; this version has no TLS yet and speaks on loopback only, such as 127.0.0.1 or [::1]", text)
	}
}

// distinct refuses two listeners on one address; port 0 is never the same.
func (v *validator) distinct(listeners map[string]string) {
	order := []string{"api.listen", "raft.listen", "gossip.listen", "admin.listen"}
	for i, path := range order {
		for _, other := range order[:i] {
			_, port, err := net.SplitHostPort(listeners[path])
			if listeners[path] == listeners[other] && err == nil && port != "0" {
				v.fail(path, "is %s, and so is %s; each needs its own", listeners[path], other)
			}
		}
	}
}

// members checks how the node finds the others.
func (v *validator) members(c *Config) {
	peers, join := c.Cluster.Peers, c.Cluster.Join
	own := c.API.Advertise
	if own == "" {
		own = c.API.Listen
	}
	switch {
	case len(peers) > 0 && len(join) > 0:
		v.fail("cluster.join", "is %s, and cluster.peers is %s; peers form a cluster, join enters one that exists: give one of the two", strings.Join(join, ","), strings.Join(peers, ","))
	case len(peers) == 0 && len(join) == 0:
		v.fail("cluster.peers", "is empty, and so is cluster.join; give peers (all founding members) to form a cluster, or join to enter one that exists")
	case len(peers) > MaxPeers:
		v.fail("cluster.peers", "has %d addresses; at most %d nodes can form a cluster", len(peers), MaxPeers)
	case len(peers) > 0 && !slices.Contains(peers, own):
		v.fail("cluster.peers", "is %s, without this node's own API address, which is %s", strings.Join(peers, ","), own)
	}
	if c.Cluster.Replica && len(peers) > 0 {
		v.fail("cluster.replica", "is true, and cluster.peers is set; a founding member has a vote")
	}
	v.addresses("cluster.peers", peers)
	v.addresses("cluster.join", join)
}

func (v *validator) secret(c *Config) {
	switch size := len(c.Cluster.JoinSecret); {
	case size == 0:
		v.fail("cluster.join_secret", "is empty; it must have at least %d bytes. Make one with: head -c 32 /dev/urandom | base64", MinJoinSecret)
	case size < MinJoinSecret:
		v.fail("cluster.join_secret", "has %d bytes; it must have at least %d", size, MinJoinSecret)
	}
}

func (v *validator) addresses(path string, list []string) {
	for i, addr := range list {
		one := fmt.Sprintf("%s[%d]", path, i)
		v.address(one, addr)
		if first := slices.Index(list, addr); first != i {
			v.fail(one, "is %s, and so is %s[%d]", addr, path, first)
		}
	}
}
