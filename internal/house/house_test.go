package house

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// onModule makes a check of parsed source one of a repository.
func onModule(check func(*Module) []Finding) func(*Module) ([]Finding, error) {
	return func(m *Module) ([]Finding, error) { return check(m), nil }
}

// onText makes a check of text one of a repository.
func onText(check func(root string) ([]Finding, error)) func(*Module) ([]Finding, error) {
	return func(m *Module) ([]Finding, error) { return check(m.Root) }
}

// rules is every rule of the house. The name is what broken source and exceptions call it.
var rules = []struct {
	name  string
	check func(*Module) ([]Finding, error)
}{
	{"imports", onModule(Imports)},
	{"modules", onModule(Modules)},
	{"clock", onModule(Clock)},
	{"sleep", onModule(Sleep)},
	{"deterministic", onModule(Deterministic)},
	{"keys", onModule(Keys)},
	{"docs", onModule(Docs)},
	{"leaks", onModule(Leaks)},
	{"sizes", onModule(Sizes)},
	{"skips", onModule(Skips)},
	{"verify", onModule(Verify)},
	{"codes", onModule(Codes)},
	{"init", onModule(Globals)},
	{"words", onText(Words)},
	{"api", onText(API)},
	{"encodings", onText(Encodings)},
}

// loaded is the repository, parsed once for all rules.
var loaded = sync.OnceValues(func() (*Module, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	return Load(root)
})

// TestHouse holds the repository to every rule.
func TestHouse(t *testing.T) {
	m, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Packages) == 0 {
		t.Fatal("no package found")
	}
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			found, err := rule.check(m)
			if err != nil {
				t.Fatal(err)
			}
			found, unused := without(rule.name, found, exceptions)
			for _, f := range found {
				t.Error(f)
			}
			for _, e := range unused {
				t.Errorf("the exception of %s from %s is no longer needed", e.Path, e.Rule)
			}
		})
	}
}

// wanted is a line of broken source that says which rule must find it, and what the rule must say.
var wanted = regexp.MustCompile(`want:(\w+) "([^"]*)"`)

// TestRulesFindBrokenSource shows that every rule can fail: in testdata/bad it finds exactly the places that say so.
func TestRulesFindBrokenSource(t *testing.T) {
	root, err := filepath.Abs("testdata/bad")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	// What is about a whole file or folder can't be said on a line of it.
	want := map[string][]string{
		"docs":    {"sub: no doc.go", "fsm/doc.go: the package comment has"},
		"leaks":   {"fsm: no test file", "rpc: no test file", "storage: no test file", "sub: no test file"},
		"sizes":   {"storage/long.go: 702 lines"},
		"imports": {"sub: this package is not in the graph"},
	}
	err = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		for i, line := range strings.Split(string(text), "\n") {
			for _, w := range wanted.FindAllStringSubmatch(line, -1) {
				want[w[1]] = append(want[w[1]], fmt.Sprintf("%s:%d: %s", filepath.ToSlash(rel), i+1, w[2]))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			found, err := rule.check(m)
			if err != nil {
				t.Fatal(err)
			}
			if len(want[rule.name]) == 0 {
				t.Fatal("no broken source for this rule")
			}
			for _, w := range want[rule.name] {
				i := slices.IndexFunc(found, func(f Finding) bool { return strings.HasPrefix(f.String(), w) })
				if i < 0 {
					t.Errorf("not found: %s", w)
					continue
				}
				found = slices.Delete(found, i, i+1)
			}
			for _, f := range found {
				t.Errorf("found although nothing is wrong: %s", f)
			}
		})
	}
}

func TestExceptions(t *testing.T) {
	found := []Finding{{Path: "a.go", Line: 1, Text: "x"}, {Path: "b.go", Line: 2, Text: "x"}}
	list := []Exception{{Rule: "clock", Path: "a.go"}, {Rule: "clock", Path: "gone.go"}, {Rule: "sleep", Path: "b.go"}}
	rest, unused := without("clock", found, list)
	if diff := cmp.Diff(found[1:], rest); diff != "" {
		t.Errorf("rest (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(list[1:2], unused); diff != "" {
		t.Errorf("unused (-want +got):\n%s", diff)
	}
}

// TestExceptionsHaveReasons: a reason is what makes an exception one.
func TestExceptionsHaveReasons(t *testing.T) {
	for _, e := range exceptions {
		if len(strings.Fields(e.Why)) < 4 {
			t.Errorf("%s: the reason %q is too short to be one", e.Path, e.Why)
		}
		if !slices.ContainsFunc(rules, func(r struct {
			name  string
			check func(*Module) ([]Finding, error)
		},
		) bool {
			return r.name == e.Rule
		}) {
			t.Errorf("%s: there is no rule %q", e.Path, e.Rule)
		}
	}
}
