package house

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// keyFile is the one place where a key of the replicated state is spelled.
const keyFile = "storage/keys.go"

// storePackage is where the types with those methods live.
const storePackage = "storage"

// keyMethods take keys: how many of their first arguments are one.
var keyMethods = map[string]int{"Get": 1, "Set": 1, "Delete": 1, "Scan": 2}

// Keys finds keys that are spelled elsewhere: bytes that begin with a letter of a table, and literals given to the
// store as a key.
func Keys(m *Module) []Finding {
	var found []Finding
	for _, p := range m.Packages {
		k := &keys{m: m, p: p}
		p.inspect(func(f *File, n ast.Node) {
			if f.Path != keyFile {
				k.visit(n)
			}
		})
		found = append(found, k.found...)
	}
	return found
}

type keys struct {
	m     *Module
	p     *Package
	found []Finding
}

func (k *keys) add(pos token.Pos, text string) {
	f := k.m.at(pos, "%s", text)
	if !slices.Contains(k.found, f) {
		k.found = append(k.found, f)
	}
}

func (k *keys) visit(n ast.Node) {
	switch n := n.(type) {
	case *ast.CompositeLit:
		tables := len(n.Elts) > 1 && !slices.ContainsFunc(n.Elts, func(e ast.Expr) bool { return !k.isLetter(e) }) // a list of tables
		if isBytes(k.p.Info.TypeOf(n)) && len(n.Elts) > 0 && k.isLetter(n.Elts[0]) && !tables {
			k.add(n.Pos(), "bytes that begin with the letter of a table: make keys in "+keyFile)
		}
	case *ast.CallExpr:
		if id, ok := n.Fun.(*ast.Ident); ok && id.Name == "append" && len(n.Args) > 1 && slices.ContainsFunc(n.Args[1:], k.isLetter) {
			k.add(n.Pos(), "the letter of a table put into bytes: make keys in "+keyFile)
		}
		k.call(n)
	}
}

// isLetter is true for a constant of keys.go named Table…, and in storage for a character too.
func (k *keys) isLetter(e ast.Expr) bool {
	e = ast.Unparen(e)
	if lit, ok := e.(*ast.BasicLit); ok {
		return lit.Kind == token.CHAR && within(k.p.Dir, storePackage)
	}
	var id *ast.Ident
	switch e := e.(type) {
	case *ast.Ident:
		id = e
	case *ast.SelectorExpr:
		id = e.Sel
	default:
		return false
	}
	pkg, name := k.p.object(id)
	return pkg == k.m.Path+"/"+storePackage && strings.HasPrefix(name, "Table")
}

// call finds literals among the keys that a method of the store is given.
func (k *keys) call(n *ast.CallExpr) {
	sel, ok := n.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	s := k.p.Info.Selections[sel]
	if s == nil || s.Obj().Pkg() == nil || s.Obj().Pkg().Path() != k.m.Path+"/"+storePackage {
		return
	}
	for _, arg := range n.Args[:min(keyMethods[sel.Sel.Name], len(n.Args))] {
		ast.Inspect(arg, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			if k.isSpelled(e) {
				k.add(e.Pos(), "a key spelled where it is used: make keys in "+keyFile)
			}
			return true
		})
	}
}

// isSpelled is true for []byte{1, …} and []byte("…").
func (k *keys) isSpelled(e ast.Expr) bool {
	if !isBytes(k.p.Info.TypeOf(e)) {
		return false
	}
	switch e := e.(type) {
	case *ast.CompositeLit:
		return len(e.Elts) > 0
	case *ast.CallExpr:
		return len(e.Args) == 1 && k.p.Info.Types[e.Fun].IsType() && k.p.Info.Types[e.Args[0]].Value != nil
	}
	return false
}

func isBytes(t types.Type) bool {
	if t == nil {
		return false
	}
	s, ok := t.Underlying().(*types.Slice)
	if !ok {
		return false
	}
	b, ok := s.Elem().Underlying().(*types.Basic)
	return ok && b.Kind() == types.Uint8
}
