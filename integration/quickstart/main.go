package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// bound is how long all of it may take.
const bound = 3 * time.Minute

// options are the flags.
type options struct {
	keep bool
	bin  string
	dir  string
}

func main() {
	var opt options
	flag.BoolVar(&opt.keep, "keep", false, "leave the cluster up")
	flag.StringVar(&opt.bin, "bin", "", "the kavachd to run (default: it is built)")
	flag.StringVar(&opt.dir, "dir", "", "a new folder for everything (default: a temporary one)")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "quickstart: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, opt, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nquickstart: %v\n", err)
		os.Exit(1)
	}
}

// run does it all. The processes are stopped and the folder is removed before it returns, unless they are to be kept and
// all went well.
func run(ctx context.Context, opt options, w io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	dir, err := makeDir(opt.dir)
	if err != nil {
		return err
	}
	c := &trio{dir: dir, out: w}
	kept := false
	defer func() {
		if !kept {
			err = errors.Join(err, c.stop(), os.RemoveAll(dir))
		}
	}()
	p := printer{w: w, color: colored(w)}
	p.title("kavachd quickstart: three nodes on loopback")
	if c.bin, err = binary(ctx, opt.bin, dir, w); err != nil {
		return err
	}
	began := time.Now()
	if err := c.start(ctx); err != nil {
		return explain(ctx, err)
	}
	if err := c.bootstrap(ctx); err != nil {
		return explain(ctx, err)
	}
	p.nodes(c.nodes)
	story := &story{trio: c, print: &p}
	if err := story.tell(ctx); err != nil {
		return explain(ctx, err)
	}
	p.done(len(story.checks), time.Since(began))
	if opt.keep {
		kept = true
		c.release()
		p.kept(c)
	}
	return nil
}

// explain names Ctrl-C and the bound, which otherwise look like failed calls.
func explain(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("it took longer than %s: %w", bound, err)
	case ctx.Err() != nil:
		return errors.New("interrupted; all is stopped and removed")
	}
	return err
}

// makeDir makes the folder; one that is there already is not touched.
func makeDir(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "kavachd-quickstart-")
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("--dir must be a new folder: %w", err)
	}
	return filepath.Abs(dir)
}

// binary returns the kavachd to run, built from this module if none is given.
func binary(ctx context.Context, given, dir string, w io.Writer) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	mod, err := output(ctx, "", "go", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	fmt.Fprintln(w, "  building kavachd; the first time takes a minute or two")
	bin := filepath.Join(dir, "kavachd")
	_, err = output(ctx, filepath.Dir(strings.TrimSpace(mod)), "go", "build", "-o", bin, "./cmd/kavachd")
	return bin, err
}
