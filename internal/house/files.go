package house

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// maxLines is the longest that a file of source may be; above 500 look twice.
const maxLines = 700

// minDocWords is the least that a doc.go says: what the package owns, what it must not know, who may call what at once,
// and what a crash leaves do not fit in less.
const minDocWords = 40

// Docs finds packages whose doc.go is missing or says too little.
func Docs(m *Module) []Finding {
	var found []Finding
	for _, p := range m.Packages {
		i := slices.IndexFunc(p.Files, func(f *File) bool { return strings.HasSuffix("/"+f.Path, "/doc.go") })
		if i < 0 {
			found = append(found, Finding{Path: p.Dir, Text: "no doc.go"})
			continue
		}
		f := p.Files[i]
		if n := len(strings.Fields(f.Syntax.Doc.Text())); n < minDocWords {
			found = append(found, Finding{Path: f.Path, Text: fmt.Sprintf(
				"the package comment has %d words, at least %d: what it owns, must not know, concurrency, what a crash leaves", n, minDocWords)})
		}
	}
	return found
}

// Leaks finds packages whose tests do not watch for goroutines that outlive them.
func Leaks(m *Module) []Finding {
	var found []Finding
	for _, p := range m.Packages {
		watched := strings.HasSuffix(p.Name, "test") && len(p.Product()) == len(p.Files) // helps the tests of others, has none
		for _, f := range p.Files {
			if f.Test {
				ast.Inspect(f.Syntax, func(n ast.Node) bool {
					if sel, ok := n.(*ast.SelectorExpr); ok && isNamed(sel.X, "goleak") && sel.Sel.Name == "VerifyTestMain" {
						watched = true
					}
					return true
				})
			}
		}
		if !watched {
			found = append(found, Finding{Path: p.Dir, Text: "no test file calls goleak.VerifyTestMain"})
		}
	}
	return found
}

func isNamed(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// Sizes finds files that are too long to be of one subject.
func Sizes(m *Module) []Finding {
	var found []Finding
	for _, p := range m.Packages {
		for _, f := range p.Files {
			if f.Lines > maxLines {
				found = append(found, Finding{Path: f.Path, Text: fmt.Sprintf("%d lines, at most %d: a file is of one subject", f.Lines, maxLines)})
			}
		}
	}
	return found
}

// Skips finds tests that can choose not to run.
func Skips(m *Module) []Finding {
	var found []Finding
	for _, p := range m.Packages {
		for _, f := range p.Files {
			if !f.Test {
				continue
			}
			ast.Inspect(f.Syntax, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				sel, ok := call.Fun.(*ast.SelectorExpr)
				if ok && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) && isOneOf(sel.X, "t", "b", "f", "tb", "rt") {
					found = append(found, m.at(call.Pos(), "a test that is skipped proves nothing"))
				}
				return true
			})
		}
	}
	return found
}

func isOneOf(e ast.Expr, names ...string) bool {
	id, ok := e.(*ast.Ident)
	return ok && slices.Contains(names, id.Name)
}

// Verify finds calls of raft.VerifyLeader, whose yes is no proof (docs/raft.md, section 0). Tests may show that.
func Verify(m *Module) []Finding {
	var found []Finding
	for _, p := range m.Packages {
		p.inspect(func(_ *File, n ast.Node) {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "VerifyLeader" {
				found = append(found, m.at(n.Pos(), "VerifyLeader is no proof of leadership: take a quorum round of our own"))
			}
		})
	}
	return found
}

// codesFile is the one place that turns a reason into a code of the wire.
const codesFile = "rpc/errors.go"

// connectPackage has the codes.
const connectPackage = "connectrpc.com/connect"

// Codes finds other places that do.
func Codes(m *Module) []Finding {
	var found []Finding
	for _, p := range m.in("authz", "audit", "cluster", "fsm", "rpc", "status", "storage") {
		p.inspect(func(f *File, n ast.Node) {
			id, ok := n.(*ast.Ident)
			if !ok || f.Path == codesFile {
				return
			}
			pkg, name := p.object(id)
			if _, constant := p.Info.Uses[id].(*types.Const); constant && pkg == connectPackage && strings.HasPrefix(name, "Code") {
				found = append(found, m.at(n.Pos(), "codes of the wire are chosen in %s alone", codesFile))
			}
		})
	}
	return found
}

// Globals finds init functions in product code: they run before anything can fail well.
func Globals(m *Module) []Finding {
	var found []Finding
	for _, p := range m.Packages {
		for _, f := range p.Product() {
			for _, d := range f.Syntax.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					found = append(found, m.at(fn.Pos(), "no init: what it does belongs to a function that can fail"))
				}
			}
		}
	}
	return found
}

// unread are the folders that no rule about text is about.
var unread = []string{
	".git", ".cache", ".dev", "bin", "dist", generated, "third_party", "models", "testdata/vectors", pinned,
	"internal/house/testdata",
}

// unwanted are words that must not stand in the repository. They are put together here so that this file may.
var unwanted = []struct {
	word *regexp.Regexp
	why  string
}{
	{regexp.MustCompile(`\bTO` + `DO\b|\bFIX` + `ME\b|\bXX` + `X\b`), "do it or file an issue"},
	{regexp.MustCompile(`(^|[\s"'(=:` + "`" + `])/(wo` + `rk|ro` + `ot|ho` + `me)/`), "a path of somebody's machine"},
	{regexp.MustCompile(`\b(HEL` + `PERS|CONTR` + `ACTS|ISS` + `UE[0-9]+)\.md\b`), "a note that is not in the repository"},
	{regexp.MustCompile(`\b(pro` + `xy\.golang\.org|su` + `m\.golang\.org|deb\.deb` + `ian\.org|registry\.np` + `mjs\.org|pypi\.o` + `rg)\b`), "the host of a registry"},
}

// Words finds text that must not stand anywhere in the repository.
func Words(root string) ([]Finding, error) {
	var found []Finding
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if slices.Contains(unread, rel) || d.Name() == "rapid" && strings.HasSuffix(filepath.Dir(rel), "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || strings.HasSuffix(rel, "go.sum") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return nil // not a text
		}
		for i, line := range strings.Split(string(text), "\n") {
			for _, u := range unwanted {
				if w := u.word.FindString(line); w != "" {
					found = append(found, Finding{Path: rel, Line: i + 1, Text: strings.TrimSpace(w) + ": " + u.why})
				}
			}
		}
		return nil
	})
	return found, err
}
