package cli

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Env is what a command sees of the process it runs in.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// Environ is the environment, as os.Environ returns it.
	Environ []string
	// StdoutTTY and StderrTTY tell whether a person is likely to read along.
	StdoutTTY, StderrTTY bool
	// Version is the program's version.
	Version string
}

// System returns the Env of this process.
func System(version string) Env {
	return Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(), Version: version,
		StdoutTTY: term.IsTerminal(int(os.Stdout.Fd())), StderrTTY: term.IsTerminal(int(os.Stderr.Fd())),
	}
}

// lookup returns a variable of the environment; the last one counts, as in os/exec.
func (e Env) lookup(name string) string {
	value := ""
	for _, pair := range e.Environ {
		if n, v, ok := strings.Cut(pair, "="); ok && n == name {
			value = v
		}
	}
	return value
}

// color tells whether standard output takes color: a terminal, unless NO_COLOR or TERM=dumb says otherwise;
// CLICOLOR_FORCE overrides the terminal, not NO_COLOR.
func (e Env) color() bool {
	if e.lookup("NO_COLOR") != "" {
		return false
	}
	if force := e.lookup("CLICOLOR_FORCE"); force != "" && force != "0" {
		return true
	}
	return e.StdoutTTY && e.lookup("TERM") != "dumb"
}
