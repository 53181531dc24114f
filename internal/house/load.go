package house

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Finding is one place that breaks a rule.
type Finding struct {
	Path string // in the repository, with slashes
	Line int    // 0 when the finding is about the file or folder as a whole
	Text string
}

func (f Finding) String() string {
	if f.Line == 0 {
		return f.Path + ": " + f.Text
	}
	return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.Text)
}

// File is one parsed Go file.
type File struct {
	Path   string // in the repository, with slashes
	Test   bool
	Syntax *ast.File
	Lines  int
}

// Package is one package of the module, its own tests included.
type Package struct {
	Dir   string // in the repository, with slashes; "." at the top
	Name  string
	Files []*File
	Types *types.Package // of the files that are not tests
	Info  *types.Info
}

// Product yields the files that are not tests.
func (p *Package) Product() []*File {
	return slices.DeleteFunc(slices.Clone(p.Files), func(f *File) bool { return f.Test })
}

// Module is the whole source, without generated code.
type Module struct {
	Root     string
	Path     string // as go.mod says
	Fset     *token.FileSet
	Packages []*Package
}

// generated is where code of programs lies, and pinned is a folder that git ignores; no rule of the house is about them.
const (
	generated = "gen"
	pinned    = "internal/warm"
)

// listed is what the go command tells of a package.
type listed struct {
	Dir, ImportPath, Name, Export                      string
	GoFiles, TestGoFiles, XTestGoFiles, IgnoredGoFiles []string
	Module                                             *struct{ Path, Dir string }
	DepOnly                                            bool
	Error                                              *struct{ Err string }
}

// Load parses and checks the types of every package of the module in root. It compiles what is not in the build cache.
func Load(root string) (*Module, error) {
	cmd := exec.CommandContext(context.Background(), "go", "list", "-e", "-export", "-deps",
		"-json=Dir,ImportPath,Name,Export,GoFiles,TestGoFiles,XTestGoFiles,IgnoredGoFiles,Module,DepOnly,Error", "./...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w\n%s", root, err, stderr.String())
	}
	m := &Module{Root: root, Fset: token.NewFileSet()}
	exports := map[string]string{}
	var own []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("answer of go list: %w", err)
		}
		if p.Error != nil {
			return nil, fmt.Errorf("%s does not compile: %s", p.ImportPath, p.Error.Err)
		}
		exports[p.ImportPath] = p.Export
		if !p.DepOnly {
			m.Path = p.Module.Path
			own = append(own, p)
		}
	}
	compiled := importer.ForCompiler(m.Fset, "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("no compiled form of %s", path)
		}
		return os.Open(exports[path])
	})
	for _, l := range own {
		p, err := m.load(l, compiled)
		if err != nil {
			return nil, err
		}
		if p != nil {
			m.Packages = append(m.Packages, p)
		}
	}
	return m, nil
}

// load parses one package; nil for one that no rule is about.
func (m *Module) load(l listed, compiled types.Importer) (*Package, error) {
	dir, err := filepath.Rel(m.Root, l.Dir)
	if err != nil {
		return nil, err
	}
	p := &Package{Dir: filepath.ToSlash(dir), Name: l.Name}
	if within(p.Dir, generated) || within(p.Dir, pinned) {
		return nil, nil
	}
	var product []*ast.File
	for _, name := range slices.Concat(l.GoFiles, l.IgnoredGoFiles, l.TestGoFiles, l.XTestGoFiles) {
		path := filepath.Join(l.Dir, name)
		src, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		syntax, err := parser.ParseFile(m.Fset, path, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		f := &File{
			Path:   filepath.ToSlash(filepath.Join(dir, name)),
			Test:   strings.HasSuffix(name, "_test.go"),
			Syntax: syntax,
			Lines:  bytes.Count(src, []byte("\n")),
		}
		p.Files = append(p.Files, f)
		if slices.Contains(l.GoFiles, name) {
			product = append(product, syntax)
		}
	}
	p.Info = &types.Info{
		Types:      map[ast.Expr]types.TypeAndValue{},
		Uses:       map[*ast.Ident]types.Object{},
		Defs:       map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}
	conf := types.Config{Importer: compiled}
	p.Types, err = conf.Check(l.ImportPath, m.Fset, product, p.Info)
	if err != nil {
		return nil, fmt.Errorf("check the types of %s: %w", p.Dir, err)
	}
	return p, nil
}

// at makes a finding of a place in the source.
func (m *Module) at(pos token.Pos, format string, args ...any) Finding {
	place := m.Fset.Position(pos)
	path, err := filepath.Rel(m.Root, place.Filename)
	if err != nil {
		path = place.Filename
	}
	return Finding{Path: filepath.ToSlash(path), Line: place.Line, Text: fmt.Sprintf(format, args...)}
}

// in returns the packages in or below one of the folders.
func (m *Module) in(folders ...string) []*Package {
	var found []*Package
	for _, p := range m.Packages {
		if slices.ContainsFunc(folders, func(f string) bool { return within(p.Dir, f) }) {
			found = append(found, p)
		}
	}
	return found
}

// within tells whether a path is a folder or lies below it.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// object returns the package path and the name of what an identifier means; of a method, Type.Method.
func (p *Package) object(id *ast.Ident) (pkg, name string) {
	obj := p.Info.Uses[id]
	if obj == nil || obj.Pkg() == nil {
		return "", ""
	}
	name = obj.Name()
	fn, ok := obj.(*types.Func)
	if !ok || fn.Signature().Recv() == nil {
		return obj.Pkg().Path(), name
	}
	t := fn.Signature().Recv().Type()
	if ptr, ok := t.(*types.Pointer); ok {
		t = ptr.Elem()
	}
	if named, ok := types.Unalias(t).(*types.Named); ok {
		name = named.Obj().Name() + "." + name
	}
	return obj.Pkg().Path(), name
}

// inspect walks over the product files of a package.
func (p *Package) inspect(visit func(f *File, n ast.Node)) {
	for _, f := range p.Product() {
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			if n != nil {
				visit(f, n)
			}
			return true
		})
	}
}
