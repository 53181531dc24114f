package house

import (
	"slices"
	"strconv"
	"strings"
)

// arrow says what a package may import of ours. Arrows point down only.
type arrow struct {
	from string   // a package; with /... the packages below it too
	to   []string // packages; with /... the packages below too
}

// graph is the whole import graph: a package that is not in it is red, so that a new one is a decision.
var graph = []arrow{
	{from: "ids"},
	{from: "status"},
	{from: "authz", to: []string{"ids"}},
	{from: "authz/state", to: []string{"authz", "ids"}},
	{from: "storage", to: []string{"ids", "status", "gen/kavach/raft/v1"}},
	{from: "audit/block", to: []string{"ids", "status", "gen/kavach/raft/v1"}},
	{from: "fsm", to: []string{"storage", "authz", "authz/state", "audit/block", "ids", "status", "gen/kavach/v1", "gen/kavach/raft/v1"}},
	{from: "audit", to: []string{"audit/block", "fsm", "storage", "authz", "ids", "status", "gen/kavach/v1", "gen/kavach/raft/v1"}},
	{from: "cluster/raftstore/...", to: []string{"cluster/raftstore", "storage", "ids", "status"}},
	{from: "cluster/transport", to: []string{"cluster/raftstore", "ids", "status"}},
	{from: "cluster/gossip", to: []string{"ids", "status", "gen/kavach/raft/v1"}},
	{from: "cluster", to: []string{
		"cluster/raftstore", "cluster/transport", "cluster/gossip", "fsm", "audit", "audit/block", "authz", "authz/state",
		"storage", "ids", "status", "gen/kavach/...",
	}},
	{from: "cluster/clustertest", to: []string{"cluster", "cluster/raftstore", "authz", "fsm", "ids", "status", "gen/kavach/..."}},
	{from: "rpc", to: []string{"cluster", "audit", "fsm", "authz", "authz/state", "ids", "status", "gen/kavach/..."}},
	{from: "client/...", to: []string{"ids", "status", "gen/kavach/v1/..."}},
	{from: "cmd/...", to: []string{
		"cmd/...", "rpc", "cluster", "cluster/...", "client", "audit", "authz", "ids", "status", "storage", "gen/kavach/...",
	}},
	{from: "integration/...", to: []string{
		"integration/...", "client", "cluster", "cluster/clustertest", "rpc", "audit", "authz", "authz/state", "fsm", "ids",
		"status", "gen/kavach/...",
	}},
	{from: "integration/vectors", to: []string{
		"audit", "audit/block", "authz", "authz/state", "fsm", "storage", "ids", "status", "gen/kavach/...",
	}},
	{from: "integration/vectors", to: []string{ // a replica without Raft and wire
		"audit", "audit/block", "authz", "authz/state", "fsm", "storage", "ids", "status", "gen/kavach/...",
	}},
	{from: "tools/...", to: []string{"gen/kavach/..."}},
	{from: "internal/house"},
}

// never holds for tests too: what a folder must not import, whatever else changes.
var never = []struct {
	from, to, why string
}{
	{"authz", "cluster", "a decision must not know how the state came here"},
	{"authz", "rpc", "a decision must not know who asks"},
	{"fsm", "cluster", "the state machine must not know how its entries were agreed on"},
	{"fsm", "rpc", "the state machine must not know the wire"},
	{"storage", "cluster", "the store must not know who writes"},
	{"storage", "rpc", "the store must not know the wire"},
	{"rpc", "storage", "rpc knows no key of the store"},
	{"", "cmd", "nothing imports the program"},
}

// matches tells whether a package is meant by a pattern of the graph.
func matches(pattern, pkg string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return within(pkg, below)
	}
	return pattern == pkg
}

// arrowOf finds the entry for a package: the longest that matches.
func arrowOf(pkg string) *arrow {
	var found *arrow
	for i, a := range graph {
		if matches(a.from, pkg) && (found == nil || len(a.from) > len(found.from)) {
			found = &graph[i]
		}
	}
	return found
}

// Imports checks every import of ours against the graph.
func Imports(m *Module) []Finding {
	var found []Finding
	for _, p := range m.Packages {
		a := arrowOf(p.Dir)
		if a == nil {
			found = append(found, Finding{Path: p.Dir, Text: "this package is not in the graph of internal/house/imports.go"})
			continue
		}
		for _, f := range p.Files {
			for _, spec := range f.Syntax.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					continue // the parser has seen it
				}
				to, ours := strings.CutPrefix(path, m.Path+"/")
				if !ours {
					continue
				}
				for _, n := range never {
					if (n.from == "" && !within(p.Dir, n.to) || n.from != "" && within(p.Dir, n.from)) && within(to, n.to) {
						found = append(found, m.at(spec.Pos(), "%s never imports %s: %s", p.Dir, to, n.why))
					}
				}
				allowed := to == p.Dir || slices.ContainsFunc(a.to, func(t string) bool { return matches(t, to) })
				if !f.Test && !allowed {
					found = append(found, m.at(spec.Pos(), "%s must not import %s", p.Dir, to))
				}
			}
		}
	}
	return found
}

// forbidden are modules with the same job as one that we use, and a trap.
var forbidden = map[string]string{
	"github.com/armon/go-metrics":   "hashicorp/go-metrics reports; two registries lose half of the figures",
	"github.com/google/cel-go":      "it moved to cel.dev/cel-go",
	"connectrpc.com/connect/v2":     "the API is served by connect v1",
	"github.com/golang/protobuf":    "google.golang.org/protobuf is what the generated code uses",
	"github.com/pkg/errors":         "the standard library wraps errors",
	"github.com/boltdb/bolt":        "go.etcd.io/bbolt is the one that is kept",
	"github.com/stretchr/testify":   "tests compare with go-cmp",
	"github.com/cockroachdb/pebble": "storage is on pebble/v2",
}

// Modules finds imports of modules that must not be used.
func Modules(m *Module) []Finding {
	var found []Finding
	for _, p := range m.Packages {
		for _, f := range p.Files {
			for _, spec := range f.Syntax.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					continue
				}
				for module, why := range forbidden {
					next := strings.TrimPrefix(path, module)
					major := strings.HasPrefix(next, "/v2")
					if within(path, module) && !(major && !strings.HasSuffix(module, "/v2")) {
						found = append(found, m.at(spec.Pos(), "%s must not be used: %s", module, why))
					}
				}
			}
		}
	}
	return found
}
