package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code, err := command(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	os.Exit(code)
}

// options are the flags.
type options struct {
	root, area string
	name       *regexp.Regexp
	short      bool
}

func parse(args []string, out io.Writer) (options, error) {
	var (
		o    options
		name string
	)
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.root, "root", ".", "the repository")
	flags.StringVar(&o.area, "area", "", "only this folder below testdata/mutants")
	flags.StringVar(&name, "name", "", "only mutants whose area/name matches this expression")
	flags.BoolVar(&o.short, "short", false, "leave out the mutants that call themselves long")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	if o.name, err = regexp.Compile(name); err != nil {
		return o, fmt.Errorf("-name: %w", err)
	}
	if o.root, err = filepath.Abs(o.root); err != nil {
		return o, err
	}
	return o, nil
}

// command gives the exit code: 0 all caught, 1 some were not, 2 it could not be told.
func command(ctx context.Context, args []string, out io.Writer) (int, error) {
	o, err := parse(args, out)
	if err != nil {
		return 2, err
	}
	all, err := load(filepath.Join(o.root, "testdata", "mutants"))
	if err != nil {
		return 2, err
	}
	var chosen []*Mutant
	for _, m := range all {
		if (o.area == "" || m.area == o.area) && o.name.MatchString(m.id()) && (!o.short || !m.Long) {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		return 2, fmt.Errorf("no mutant chosen, of %d", len(all))
	}
	tmp, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return 2, err
	}
	defer os.RemoveAll(tmp)

	r := newRunner(o.root, tmp)
	fmt.Fprintf(out, "%-48s %-10s %9s  %s\n", "mutant", "verdict", "time", "noticed by")
	var bad []Result
	for _, m := range chosen {
		res, err := r.run(ctx, m)
		if err != nil {
			return 2, err
		}
		fmt.Fprintf(out, "%-48s %-10s %9s  %s\n", m.id(), res.Verdict, res.Took.Round(time.Millisecond), res.By)
		if res.Verdict != Caught {
			bad = append(bad, res)
		}
	}
	for _, res := range bad {
		fmt.Fprintf(out, "\n%s: %s (%s, %s)\n%s\n", res.Mutant.id(), res.Verdict, res.Mutant.Package, res.Mutant.Test,
			indent(tail(res.Detail, 40)))
	}
	fmt.Fprintf(out, "\n%d of %d mutants caught\n", len(chosen)-len(bad), len(chosen))
	if len(bad) > 0 {
		return 1, nil
	}
	return 0, nil
}

func indent(text string) string { return "    " + strings.ReplaceAll(text, "\n", "\n    ") }
