package house

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strconv"
)

// deterministic are the folders whose code must give the same result on every node, from the same input.
var deterministic = []string{"fsm"}

// localPackages tell of this machine or make chance, and so make nodes differ.
var localPackages = []string{
	"crypto/rand", "math/rand", "math/rand/v2", "net", "net/http", "os", "os/exec", "os/user", "reflect", "runtime",
	"syscall", "unsafe", "google.golang.org/protobuf/encoding/protojson", "google.golang.org/protobuf/encoding/prototext",
}

// Deterministic finds what could make two nodes differ: clocks, randomness, the order of maps, floating point,
// goroutines, and anything of this machine.
func Deterministic(m *Module) []Finding {
	var found []Finding
	for _, p := range m.in(deterministic...) {
		d := &determinism{m: m, p: p, sorted: map[ast.Node]bool{}}
		p.inspect(func(_ *File, n ast.Node) { d.visit(n) })
		found = append(found, d.found...)
	}
	return found
}

type determinism struct {
	m      *Module
	p      *Package
	sorted map[ast.Node]bool // calls of maps.Keys whose result is sorted at once
	found  []Finding
}

func (d *determinism) add(pos token.Pos, format string, args ...any) {
	f := d.m.at(pos, format, args...)
	if !slices.Contains(d.found, f) {
		d.found = append(d.found, f)
	}
}

func (d *determinism) visit(n ast.Node) {
	switch n := n.(type) {
	case *ast.ImportSpec:
		if path, err := strconv.Unquote(n.Path.Value); err == nil && slices.Contains(localPackages, path) {
			d.add(n.Pos(), "%s can make nodes differ", path)
		}
	case *ast.RangeStmt:
		if isMap(d.p.Info.TypeOf(n.X)) {
			d.add(n.Pos(), "the order of a map differs from node to node: range over slices.Sorted(maps.Keys(…))")
		}
	case *ast.GoStmt:
		d.add(n.Pos(), "apply is one goroutine")
	case *ast.SelectStmt:
		d.add(n.Pos(), "select chooses by chance")
	case *ast.CallExpr:
		d.call(n)
	case *ast.Ident:
		d.ident(n)
	case ast.Expr:
		d.float(n)
	}
}

// call remembers the calls whose result is put in order at once.
func (d *determinism) call(n *ast.CallExpr) {
	if pkg, name := d.callee(n); pkg == "slices" && (name == "Sorted" || name == "SortedFunc" || name == "SortedStableFunc") {
		d.sorted[ast.Unparen(n.Args[0])] = true
	}
	pkg, name := d.callee(n)
	if pkg == "maps" && (name == "Keys" || name == "Values" || name == "All") && !d.sorted[n] {
		d.add(n.Pos(), "the order of maps.%s differs from node to node: sort it at once by slices.Sorted", name)
	}
	d.float(n)
}

// callee says which package-level function is called.
func (d *determinism) callee(n *ast.CallExpr) (pkg, name string) {
	fun := ast.Unparen(n.Fun)
	if ix, ok := fun.(*ast.IndexExpr); ok {
		fun = ix.X
	}
	switch fun := fun.(type) {
	case *ast.SelectorExpr:
		return d.p.object(fun.Sel)
	case *ast.Ident:
		return d.p.object(fun)
	}
	return "", ""
}

func (d *determinism) ident(n *ast.Ident) {
	pkg, name := d.p.object(n)
	switch {
	case pkg == "time" && slices.Contains(slices.Concat(readsClock, waits, []string{"Local", "Time.Local", "LoadLocation"}), name):
		d.add(n.Pos(), "time.%s differs from node to node", name)
	case pkg == "sync" && name == "Map.Range":
		d.add(n.Pos(), "the order of sync.Map.Range differs from node to node")
	case pkg == "google.golang.org/protobuf/proto" && name == "Marshal":
		d.add(n.Pos(), "proto.Marshal promises no order: use MarshalOptions{Deterministic: true}")
	}
	d.float(n)
}

// float finds floating point that is more than a constant.
func (d *determinism) float(e ast.Expr) {
	tv, ok := d.p.Info.Types[e]
	if !ok || tv.Value != nil {
		return
	}
	if b, ok := tv.Type.Underlying().(*types.Basic); ok && b.Info()&(types.IsFloat|types.IsComplex) != 0 {
		d.add(e.Pos(), "floating point may round differently from machine to machine")
	}
}

// isMap is true for maps and for type parameters that may be one.
func isMap(t types.Type) bool {
	if t == nil {
		return false
	}
	if _, ok := t.Underlying().(*types.Map); ok {
		return true
	}
	p, ok := types.Unalias(t).(*types.TypeParam)
	if !ok {
		return false
	}
	constraint, ok := p.Constraint().Underlying().(*types.Interface)
	if !ok {
		return false
	}
	for embedded := range constraint.EmbeddedTypes() {
		u, ok := embedded.(*types.Union)
		if !ok {
			u = types.NewUnion([]*types.Term{types.NewTerm(false, embedded)})
		}
		for term := range u.Terms() {
			if _, ok := term.Type().Underlying().(*types.Map); ok {
				return true
			}
		}
	}
	return false
}
