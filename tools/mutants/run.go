package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Verdict says what became of a mutant. Only caught is good.
type Verdict string

// The verdicts.
const (
	Caught   Verdict = "caught"
	Survived Verdict = "SURVIVED"   // the test passed on the broken source
	Broken   Verdict = "NO BUILD"   // the broken source does not compile: that proves nothing
	Stale    Verdict = "STALE"      // the place in the source is gone
	Hung     Verdict = "TOO SLOW"   // the test did not end in time
	BaseRed  Verdict = "RED BEFORE" // the test fails on the source as it is
	NoTest   Verdict = "NO TEST"    // the expression matches no test
)

// Result is one line of the table.
type Result struct {
	Mutant  *Mutant
	Verdict Verdict
	Took    time.Duration // of the mutated test, without compiling
	By      string        // the test that failed
	Detail  string        // output, for verdicts that are not good
}

// runner builds and runs tests. It is not safe for concurrent use.
type runner struct {
	root  string // the repository
	tmp   string // everything that is built
	built int
	bases map[string]Result // by package, test, environment and arguments
	bins  map[string]string // unbroken test binaries, by package and mode
}

func newRunner(root, tmp string) *runner {
	return &runner{root: root, tmp: tmp, bases: map[string]Result{}, bins: map[string]string{}}
}

// run judges one mutant.
func (r *runner) run(ctx context.Context, m *Mutant) (Result, error) {
	res := Result{Mutant: m}
	files, err := m.apply(r.root)
	if errors.Is(err, errStale) {
		res.Verdict, res.Detail = Stale, err.Error()
		return res, nil
	}
	if err != nil {
		return res, fmt.Errorf("mutant %s: %w", m.id(), err)
	}
	base, err := r.base(ctx, m)
	if err != nil {
		return res, err
	}
	if base.Verdict != "" {
		res.Verdict, res.Detail = base.Verdict, base.Detail
		return res, nil
	}
	overlay, err := r.overlay(files)
	if err != nil {
		return res, err
	}
	binary, output, err := r.build(ctx, m, "-overlay", overlay)
	if err != nil {
		return res, err
	}
	if binary == "" {
		res.Verdict, res.Detail = Broken, output
		return res, nil
	}
	out, err := r.test(ctx, binary, m)
	if err != nil {
		return res, err
	}
	res.Took = out.took
	res.By = out.failed
	switch {
	case out.hung:
		res.Verdict, res.Detail = Hung, fmt.Sprintf("no end after %s", m.Timeout)
	case out.ran == 0:
		res.Verdict, res.Detail = NoTest, out.text
	case out.passed:
		res.Verdict, res.Detail = Survived, m.Why
	default:
		res.Verdict = Caught
	}
	return res, os.Remove(binary)
}

// base runs the test on the source as it is, once for all mutants that name the same one. An empty verdict is good.
func (r *runner) base(ctx context.Context, m *Mutant) (Result, error) {
	key := fmt.Sprint(m.Package, m.Test, m.Env, m.Args, m.Race)
	if res, ok := r.bases[key]; ok {
		return res, nil
	}
	mode := fmt.Sprint(m.Package, m.Race)
	res := Result{}
	if r.bins[mode] == "" {
		binary, output, err := r.build(ctx, m)
		if err != nil {
			return res, err
		}
		if binary == "" {
			return Result{Verdict: BaseRed, Detail: output}, nil
		}
		r.bins[mode] = binary
	}
	out, err := r.test(ctx, r.bins[mode], m)
	if err != nil {
		return res, err
	}
	switch {
	case out.ran == 0:
		res.Verdict, res.Detail = NoTest, fmt.Sprintf("%s has no test that matches %s", m.Package, m.Test)
	case !out.passed:
		res.Verdict, res.Detail = BaseRed, out.text
	}
	r.bases[key] = res
	return res, nil
}

// overlay writes the broken files and the list that the go command reads.
func (r *runner) overlay(files map[string][]byte) (string, error) {
	dir, err := os.MkdirTemp(r.tmp, "overlay")
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for i, path := range slices.Sorted(maps.Keys(files)) {
		broken := filepath.Join(dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(broken, files[path], 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(r.root, path)] = broken
	}
	raw, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "overlay.json")
	return list, os.WriteFile(list, raw, 0o600)
}

// build compiles the mutant's test. An empty path means that it does not compile, and output says why.
func (r *runner) build(ctx context.Context, m *Mutant, flags ...string) (binary, output string, err error) {
	r.built++
	binary = filepath.Join(r.tmp, fmt.Sprintf("%d.test", r.built))
	args := append([]string{"test", "-c", "-ldflags=-s -w", "-o", binary}, flags...) // without symbols it links faster
	if m.Race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, m.Package)...)
	cmd.Dir = r.root
	out, err := cmd.CombinedOutput()
	var failed *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", "", ctx.Err()
	case errors.As(err, &failed):
		return "", string(out), nil
	case err != nil:
		return "", "", fmt.Errorf("run the go command: %w", err)
	}
	if _, err := os.Stat(binary); errors.Is(err, fs.ErrNotExist) { // a package without tests
		return "", string(out), nil
	}
	return binary, "", nil
}

// outcome is what a run of a test binary showed.
type outcome struct {
	passed bool
	hung   bool
	ran    int    // tests begun
	failed string // the first that failed
	took   time.Duration
	text   string
}

var (
	begun = regexp.MustCompile(`(?m)^=== RUN   (\S+)`)
	red   = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
)

// test runs a compiled test in the folder of its package, as the go command would.
func (r *runner) test(ctx context.Context, binary string, m *Mutant) (outcome, error) {
	run, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	args := append([]string{"-test.run", m.Test, "-test.count=1", "-test.v", "-test.failfast"}, m.Args...)
	cmd := exec.CommandContext(run, binary, args...)
	cmd.Dir = filepath.Join(r.root, m.Package)
	cmd.Env = os.Environ()
	for _, k := range slices.Sorted(maps.Keys(m.Env)) {
		cmd.Env = append(cmd.Env, k+"="+m.Env[k])
	}
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	o := outcome{took: time.Since(start), text: out.String()}
	if ctx.Err() != nil {
		return o, ctx.Err()
	}
	o.hung = run.Err() != nil
	o.passed = err == nil
	names := begun.FindAllStringSubmatch(o.text, -1)
	o.ran = len(names)
	if f := red.FindStringSubmatch(o.text); f != nil {
		o.failed = f[1]
	} else if !o.passed && o.ran > 0 {
		o.failed = names[o.ran-1][1] // the process ended inside it: a panic, a fatal error, an exit
	}
	var failed *exec.ExitError
	if err != nil && !o.hung && !errors.As(err, &failed) {
		return o, fmt.Errorf("run the test of %s: %w", m.id(), err)
	}
	return o, nil
}

// tail gives the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}
