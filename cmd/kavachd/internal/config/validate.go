package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Bounds of the settings.
const (
	// MinJoinSecret is the shortest join secret, in bytes.
	MinJoinSecret = 16
	// MaxBootstrapExpect is the largest cluster that may form by itself.
	MaxBootstrapExpect = 9
	// MinShutdown and MaxShutdown bound a graceful stop.
	MinShutdown = time.Second
	MaxShutdown = 10 * time.Minute
)

// Validate returns every problem, in the order of the table; none if the configuration can be run.
func (c *Config) Validate() Problems {
	var v validator
	if c.DataDir == "" {
		v.fail("data_dir", "is empty; give a directory")
	}
	v.listener("api", c.API, true)
	v.listener("raft", c.Raft, false)
	v.listener("gossip", c.Gossip, false)
	if c.AdminListen != "" {
		v.address("admin.listen", c.AdminListen, true)
	}
	v.distinct(map[string]string{
		"api.listen": c.API.Listen, "raft.listen": c.Raft.Listen, "gossip.listen": c.Gossip.Listen, "admin.listen": c.AdminListen,
	})
	v.cluster(c)
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		v.fail("log.level", "is %q; it must be debug, info, warn or error", c.Log.Level)
	}
	if !slices.Contains([]string{"text", "json"}, c.Log.Format) {
		v.fail("log.format", "is %q; it must be text or json", c.Log.Format)
	}
	if c.ShutdownTimeout < MinShutdown || c.ShutdownTimeout > MaxShutdown {
		v.fail("shutdown_timeout", "is %s; it must be from %s to %s", c.ShutdownTimeout, MinShutdown, MaxShutdown)
	}
	return v.problems
}

type validator struct{ problems Problems }

func (v *validator) fail(path, format string, args ...any) {
	v.problems = append(v.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

func (v *validator) listener(name string, l Listener, zeroPort bool) {
	v.address(name+".listen", l.Listen, zeroPort)
	if l.Advertise != "" {
		v.address(name+".advertise", l.Advertise, false)
	}
}

// address accepts an address and a port. Until the traffic is encrypted, a node speaks on loopback only.
func (v *validator) address(path, text string, zeroPort bool) {
	host, portText, err := net.SplitHostPort(text)
	if err != nil {
		v.fail(path, "is %q; it must be an address and a port, as 127.0.0.1:7400", text)
		return
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 && !zeroPort {
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

func (v *validator) cluster(c *Config) {
	n := c.Cluster.BootstrapExpect
	if n < 0 || n > MaxBootstrapExpect {
		v.fail("cluster.bootstrap_expect", "is %d; it must be from 0 to %d", n, MaxBootstrapExpect)
	}
	if n != 1 && len(c.Cluster.Join) == 0 {
		v.fail("cluster.join", "is empty, and cluster.bootstrap_expect is %d: give the other nodes' API addresses, or 1 for a cluster of one node", n)
	}
	for i, addr := range c.Cluster.Join {
		v.address(fmt.Sprintf("cluster.join[%d]", i), addr, false)
	}
	switch size := len(c.Cluster.JoinSecret); {
	case size == 0:
		v.fail("cluster.join_secret", "is empty; it must have at least %d bytes. Make one with: head -c 32 /dev/urandom | base64", MinJoinSecret)
	case size < MinJoinSecret:
		v.fail("cluster.join_secret", "has %d bytes; it must have at least %d", size, MinJoinSecret)
	}
}
