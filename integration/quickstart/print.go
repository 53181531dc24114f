package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"
)

// printer writes for people: one block a step, names in one column, texts in the next.
type printer struct {
	w     io.Writer
	color bool
	steps int
}

// colored tells whether w is a terminal that takes color.
func colored(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

const (
	bold, green, red, dim, reset = "\x1b[1m", "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
)

func (p *printer) paint(style, text string) string {
	if !p.color {
		return text
	}
	return style + text + reset
}

func (p *printer) title(text string) {
	fmt.Fprintf(p.w, "%s\n\n", p.paint(bold, text))
}

func (p *printer) nodes(nodes []*node) {
	for _, n := range nodes {
		role := "follower"
		if n.leader {
			role = "leader"
		}
		fmt.Fprintf(p.w, "  %s  %-21s  %-8s  %s\n", n.name(), n.api, role, p.paint(dim, n.id))
	}
}

// step begins a block.
func (p *printer) step(text string) {
	p.steps++
	fmt.Fprintf(p.w, "\n%s\n", p.paint(bold, fmt.Sprintf("%2d. %s", p.steps, text)))
}

// call writes what a node was asked and what it answered.
func (p *printer) call(n *node, took time.Duration, asked, answered string) {
	fmt.Fprintf(p.w, "      asked     %s\n", asked)
	style := reset
	switch {
	case strings.HasPrefix(answered, "ALLOWED"):
		style = green
	case strings.HasPrefix(answered, "DENIED"), strings.HasPrefix(answered, "refused"):
		style = red
	}
	fmt.Fprintf(p.w, "      answered  %s  %s\n", p.paint(style, answered), p.paint(dim, fmt.Sprintf("(%s = %s, %s)", n.name(), n.id[:min(8, len(n.id))], took.Round(100*time.Microsecond))))
}

// rows writes an aligned table under a step.
func (p *printer) rows(rows [][]string) {
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for r, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			if i == len(row)-1 {
				b.WriteString(cell)
				break
			}
			fmt.Fprintf(&b, "%-*s  ", width[i], cell)
		}
		line := b.String()
		if r == 0 {
			line = p.paint(dim, line)
		}
		fmt.Fprintf(p.w, "        %s\n", line)
	}
}

func (p *printer) done(checks int, took time.Duration) {
	fmt.Fprintf(p.w, "\n%s\n", p.paint(green, fmt.Sprintf("All as expected: %d checks in %d steps, %s.", checks, p.steps, took.Round(100*time.Millisecond))))
}

// kept says how to go on with a cluster that runs on.
func (p *printer) kept(c *trio) {
	var addrs, pids []string
	for _, n := range c.nodes {
		addrs = append(addrs, n.api)
		pids = append(pids, fmt.Sprint(n.pid))
	}
	fmt.Fprintf(p.w, `
The cluster runs on. To use it:

  export KAVACH_ADDR=%s
  export KAVACH_TOKEN_FILE=%s
  %s cluster status --each

To stop it and remove what it keeps:

  kill %s
  rm -r %s
`, strings.Join(addrs, ","), c.keyFile(), c.bin, strings.Join(pids, " "), c.dir)
	fmt.Fprintf(p.w, "\nLogs are in %s.\n", filepath.Join(c.dir, "node*.log"))
}
