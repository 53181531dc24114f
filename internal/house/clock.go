package house

import (
	"go/ast"
	"slices"
	"strconv"
)

// layers are the packages below cluster: time, randomness, ids and tokens come to them as arguments.
var layers = []string{"ids", "status", "authz", "audit", "fsm", "lease", "ratelimit", "storage"}

// pure are those of them that must not even wait.
var pure = []string{"ids", "status", "authz", "audit/block", "fsm", "lease", "storage"}

// readsClock are the functions of package time that say what time it is.
var readsClock = []string{"Now", "Since", "Until"}

// waits are the functions of package time that let time pass.
var waits = []string{"After", "AfterFunc", "NewTimer", "NewTicker", "Sleep", "Tick"}

// randomness are the packages that make it.
var randomness = []string{"math/rand", "math/rand/v2", "crypto/rand"}

// Clock finds clocks and randomness below cluster.
func Clock(m *Module) []Finding {
	var found []Finding
	for _, p := range m.in(layers...) {
		p.inspect(func(f *File, n ast.Node) {
			switch n := n.(type) {
			case *ast.ImportSpec:
				path, err := strconv.Unquote(n.Path.Value)
				if err == nil && slices.Contains(randomness, path) {
					found = append(found, m.at(n.Pos(), "randomness comes in as an argument: no %s here", path))
				}
			case *ast.Ident:
				pkg, name := p.object(n)
				if pkg != "time" {
					return
				}
				if slices.Contains(readsClock, name) {
					found = append(found, m.at(n.Pos(), "the time comes in as an argument: no time.%s here", name))
				}
				if slices.Contains(waits, name) && slices.ContainsFunc(pure, func(d string) bool { return within(p.Dir, d) }) {
					found = append(found, m.at(n.Pos(), "this package waits for nothing: no time.%s here", name))
				}
			}
		})
	}
	return found
}

// Sleep finds product code that sleeps where it could await a condition.
func Sleep(m *Module) []Finding {
	var found []Finding
	for _, p := range m.Packages {
		p.inspect(func(f *File, n ast.Node) {
			if id, ok := n.(*ast.Ident); ok {
				if pkg, name := p.object(id); pkg == "time" && name == "Sleep" {
					found = append(found, m.at(n.Pos(), "product code does not sleep: await a condition, with a timer and a context"))
				}
			}
		})
	}
	return found
}
