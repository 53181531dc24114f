package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Option is one row of the table: a setting with its names in every source.
type Option struct {
	// Key is the path in the file, parts joined by dots.
	Key string
	// Default is the text of the default, as a flag would have it.
	Default string
	// Doc is one or two sentences for the operator.
	Doc string
	// Secret values are masked wherever they are shown, and have no flag: a command line can be read by others.
	Secret bool
	// field returns a pointer to the value: *string, *bool, *time.Duration or *[]string.
	field func(*Config) any
}

// options is the table. The order is that of the documentation.
var options = []Option{
	{
		Key: "data_dir", Default: "/var/lib/kavachd",
		Doc:   "Directory of everything that the node keeps. It is made with mode 0700 if it is not there. It must not be shared between nodes.",
		field: func(c *Config) any { return &c.DataDir },
	},
	{
		Key: "api.listen", Default: "127.0.0.1:7400",
		Doc:   "Address of the API and of the calls between nodes.",
		field: func(c *Config) any { return &c.API.Listen },
	},
	{
		Key: "api.advertise", Default: "",
		Doc:   "Address that clients and other nodes reach the API by. Empty: the one it listens on.",
		field: func(c *Config) any { return &c.API.Advertise },
	},
	{
		Key: "raft.listen", Default: "127.0.0.1:7401",
		Doc:   "Address of the replication between nodes.",
		field: func(c *Config) any { return &c.Raft.Listen },
	},
	{
		Key: "raft.advertise", Default: "",
		Doc:   "Address that other nodes reach the replication by. Empty: the one it listens on.",
		field: func(c *Config) any { return &c.Raft.Advertise },
	},
	{
		Key: "raft.timing", Default: "fast",
		Doc:   "How soon a leader counts as lost: fast (below a second, for a good network) or slow (for machines under heavy load). The same on all nodes.",
		field: func(c *Config) any { return &c.Timing },
	},
	{
		Key: "gossip.listen", Default: "127.0.0.1:7402",
		Doc:   "Address of the gossip between nodes, TCP and UDP.",
		field: func(c *Config) any { return &c.Gossip.Listen },
	},
	{
		Key: "gossip.advertise", Default: "",
		Doc:   "Address that other nodes reach the gossip by. Empty: the one it listens on.",
		field: func(c *Config) any { return &c.Gossip.Advertise },
	},
	{
		Key: "admin.listen", Default: "127.0.0.1:7403",
		Doc:   "Address of /metrics and /debug/pprof/, without authentication, so on loopback only. Empty: not served.",
		field: func(c *Config) any { return &c.AdminListen },
	},
	{
		Key: "cluster.peers", Default: "",
		Doc:   "API addresses of all founding members, this node's own included, the same list on each of them. They form a new cluster once every one has answered that it has none. One address makes a cluster of one node. A node that belongs to a cluster already is not changed by it.",
		field: func(c *Config) any { return &c.Cluster.Peers },
	},
	{
		Key: "cluster.join", Default: "",
		Doc:   "API addresses of members of a cluster that exists, for a node that joins it. Such a node never forms a cluster of its own. Give either this or cluster.peers.",
		field: func(c *Config) any { return &c.Cluster.Join },
	},
	{
		Key: "cluster.replica", Default: "false",
		Doc:   "Whether a joining node stays without a vote: it answers, and never counts for a majority.",
		field: func(c *Config) any { return &c.Cluster.Replica },
	},
	{
		Key: "cluster.join_secret", Default: "", Secret: true,
		Doc:   "Secret shared by all nodes, at least 16 bytes. A node without it can't join, and it makes the first admin key. Better kept in a file.",
		field: func(c *Config) any { return &c.Cluster.JoinSecret },
	},
	{
		Key: "cluster.join_secret_file", Default: "",
		Doc:   "File that holds the join secret. White space around it is cut.",
		field: func(c *Config) any { return &c.Cluster.JoinSecretFile },
	},
	{
		Key: "log.level", Default: "info",
		Doc:   "What is logged: debug, info, warn or error, and what is worse.",
		field: func(c *Config) any { return &c.Log.Level },
	},
	{
		Key: "log.format", Default: "text",
		Doc:   "How it is logged: text or json, on standard error.",
		field: func(c *Config) any { return &c.Log.Format },
	},
	{
		Key: "shutdown_timeout", Default: "30s",
		Doc:   "Bound of a graceful stop: requests are finished, leadership is handed over, the audit journal is shipped. What is left of the journal is shipped after the next start.",
		field: func(c *Config) any { return &c.ShutdownTimeout },
	},
}

// Options returns the table, for flags and documentation.
func Options() []Option { return append([]Option(nil), options...) }

// Env returns the name of the environment variable, as KAVACH_API_LISTEN.
func (o Option) Env() string {
	return "KAVACH_" + strings.ToUpper(strings.ReplaceAll(o.Key, ".", "_"))
}

// Flag returns the name of the flag without dashes, as api-listen; empty for a secret.
func (o Option) Flag() string {
	if o.Secret {
		return ""
	}
	return strings.NewReplacer(".", "-", "_", "-").Replace(o.Key)
}

// Kind returns the type of the value, for people.
func (o Option) Kind() string {
	switch o.field(&Config{}).(type) {
	case *bool:
		return "true or false"
	case *time.Duration:
		return "duration"
	case *[]string:
		return "list"
	default:
		return "text"
	}
}

// set parses text into the field.
func (o Option) set(c *Config, text string) error {
	switch p := o.field(c).(type) {
	case *string:
		*p = text
	case *bool:
		switch text {
		case "true", "false":
			*p = text == "true"
		default:
			return fmt.Errorf("%q is not true or false", text)
		}
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 30s or 5m", text)
		}
		*p = d
	case *[]string:
		*p = splitList(text)
	default:
		return fmt.Errorf("no way to set a %T", p)
	}
	return nil
}

// get returns the field's value as text, as set takes it.
func (o Option) get(c *Config) string {
	switch p := o.field(c).(type) {
	case *string:
		return *p
	case *bool:
		return strconv.FormatBool(*p)
	case *time.Duration:
		return p.String()
	case *[]string:
		return strings.Join(*p, ",")
	default:
		return fmt.Sprintf("%v", p)
	}
}

// splitList splits at commas, cuts white space and leaves out what is empty.
func splitList(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}
