package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// defaultTimeout is how long a test may take to notice.
const defaultTimeout = 60 * time.Second

// maxOverlayLines is how many lines a whole file laid over the source may change. More means that the copy is old: the
// source has moved on, and what the test would notice is the age of the copy.
const maxOverlayLines = 40

// Edit replaces one place of a source file.
type Edit struct {
	// File is the path in the repository.
	File string `yaml:"file"`
	// Find must occur exactly once in it.
	Find string `yaml:"find"`
	// Replace stands there instead; empty removes it.
	Replace string `yaml:"replace"`
}

// Mutant is one way to break the code, and the test that must notice.
type Mutant struct {
	// Name is the file's name without .yaml.
	Name string `yaml:"name"`
	// Why says which promise is broken, and how that would hurt.
	Why string `yaml:"why"`
	// Package is the package of the test, as ./cluster/raftstore.
	Package string `yaml:"package"`
	// Test is the regular expression of -run.
	Test string `yaml:"test"`
	// File, Find and Replace are one edit, the usual form.
	Edit `yaml:",inline"`
	// Edits are several.
	Edits []Edit `yaml:"edits"`
	// Overlay lays whole files over the source: path in the repository to a file beside the YAML file.
	Overlay map[string]string `yaml:"overlay"`
	// Timeout bounds the run of the test, 60 s if absent; compiling is not counted.
	Timeout time.Duration `yaml:"timeout"`
	// Env is set for the test.
	Env map[string]string `yaml:"env"`
	// Args are given to the test binary, as -rapid.checks=1000.
	Args []string `yaml:"args"`
	// Race builds the test with the race detector.
	Race bool `yaml:"race"`
	// Long leaves the mutant out of -short runs.
	Long bool `yaml:"long"`

	area string // folder below testdata/mutants
	dir  string // folder of the YAML file
}

// id names the mutant in tables.
func (m *Mutant) id() string { return m.area + "/" + m.Name }

// load reads every mutant below dir, in order of their names. All problems are reported at once.
func load(dir string) ([]*Mutant, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*.yaml"))
	if err != nil {
		return nil, fmt.Errorf("look for mutants: %w", err)
	}
	sort.Strings(paths)
	var (
		mutants  []*Mutant
		problems []error
	)
	for _, path := range paths {
		m, err := read(path)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", path, err))
			continue
		}
		mutants = append(mutants, m)
	}
	return mutants, errors.Join(problems...)
}

// read reads one mutant. An unknown key is an error.
func read(path string) (*Mutant, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m := &Mutant{dir: filepath.Dir(path)}
	m.area = filepath.Base(m.dir)
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(m); err != nil {
		return nil, err
	}
	if m.Timeout == 0 {
		m.Timeout = defaultTimeout
	}
	if m.Edit != (Edit{}) {
		m.Edits = append([]Edit{m.Edit}, m.Edits...)
	}
	return m, m.validate(strings.TrimSuffix(filepath.Base(path), ".yaml"))
}

// validate says all that is wrong with the description, short of looking at the source.
func (m *Mutant) validate(name string) error {
	var problems []error
	complain := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if m.Name != name {
		complain("name is %q, the file is called %q", m.Name, name)
	}
	if m.Why == "" {
		complain("why is missing")
	}
	if !strings.HasPrefix(m.Package, "./") {
		complain("package is %q, want a path like ./cluster/raftstore", m.Package)
	}
	if m.Test == "" {
		complain("test is missing")
	} else if _, err := regexp.Compile(m.Test); err != nil {
		complain("test: %w", err)
	}
	if m.Timeout < 0 || m.Timeout > defaultTimeout {
		complain("timeout is %s, the most is %s", m.Timeout, defaultTimeout)
	}
	if len(m.Edits) == 0 && len(m.Overlay) == 0 {
		complain("nothing to break: give file, find and replace, or edits, or overlay")
	}
	for i, e := range m.Edits {
		if e.File == "" || e.Find == "" {
			complain("edits[%d]: file and find must not be empty", i)
		}
		if e.Find == e.Replace {
			complain("edits[%d]: find and replace are the same", i)
		}
	}
	return errors.Join(problems...)
}

// errStale says that a mutant no longer fits the source.
var errStale = errors.New("stale")

// apply gives the broken files: path in the repository to content. root is the repository.
func (m *Mutant) apply(root string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for path, beside := range m.Overlay {
		source, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errStale, err)
		}
		broken, err := os.ReadFile(filepath.Join(m.dir, beside))
		if err != nil {
			return nil, err
		}
		switch n := changedLines(string(source), string(broken)); {
		case n == 0:
			return nil, fmt.Errorf("%w: the overlay of %s is the source itself", errStale, path)
		case n > maxOverlayLines:
			return nil, fmt.Errorf("%w: the overlay of %s changes %d lines, at most %d: an old copy of the source", errStale, path, n, maxOverlayLines)
		}
		files[path] = broken
	}
	for _, e := range m.Edits {
		text, ok := files[e.File]
		if !ok {
			var err error
			if text, err = os.ReadFile(filepath.Join(root, e.File)); err != nil {
				return nil, fmt.Errorf("%w: %w", errStale, err)
			}
		}
		if n := strings.Count(string(text), e.Find); n != 1 {
			return nil, fmt.Errorf("%w: the text to find occurs %d times in %s, want once: %q", errStale, n, e.File, e.Find)
		}
		files[e.File] = []byte(strings.Replace(string(text), e.Find, e.Replace, 1))
	}
	return files, nil
}

// changedLines counts the lines of either text that a longest common subsequence leaves out.
func changedLines(a, b string) int {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	row := make([]int, len(y)+1) // row[j]: length for x[:i] and y[:j]
	for i := range x {
		diagonal := 0
		for j := range y {
			above := row[j+1]
			if x[i] == y[j] {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			diagonal = above
		}
	}
	common := row[len(y)]
	return len(x) + len(y) - 2*common
}
