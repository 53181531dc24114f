package authz

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"sync/atomic"
)

// maxProgram bounds the size of one compiled expression, in instructions. Together with the 64 KiB of arguments it
// bounds the time of a decision: RE2 takes at most program x text steps.
const maxProgram = 2048

// parseExpression checks an RE2 expression, its size included, without compiling it.
func parseExpression(pattern string) error {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return fmt.Errorf("is not an RE2 expression: %w", err)
	}
	if size := programSize(tree); size > maxProgram {
		return fmt.Errorf("compiles to about %d instructions; the limit is %d", size, maxProgram)
	}
	return nil
}

// programSize estimates the instructions of an expression from its tree, where repetitions are not unrolled yet. It
// never underestimates by more than a constant factor, and it can't overflow: the parser bounds counts to 1,000.
func programSize(re *syntax.Regexp) int {
	size := 1
	for _, sub := range re.Sub {
		size += programSize(sub)
	}
	switch re.Op {
	case syntax.OpLiteral:
		size += len(re.Rune)
	case syntax.OpRepeat:
		times := re.Max
		if times < 0 {
			times = re.Min + 1
		}
		size = size*max(times, 1) + 1
	}
	return size
}

// translateGlob makes the expression of a glob: "**" any text, "*" any text without '/', everything else itself; the
// whole value must match.
func translateGlob(glob string) string {
	var b strings.Builder
	b.WriteString(`\A(?s:`)
	for glob != "" {
		switch {
		case strings.HasPrefix(glob, "**"):
			b.WriteString(`.*`)
			glob = strings.TrimLeft(glob, "*") // "***" is no wider than "**"
		case glob[0] == '*':
			b.WriteString(`[^/]*`)
			glob = glob[1:]
		default:
			i := strings.IndexByte(glob, '*')
			if i < 0 {
				i = len(glob)
			}
			b.WriteString(regexp.QuoteMeta(glob[:i]))
			glob = glob[i:]
		}
	}
	b.WriteString(`)\z`)
	return b.String()
}

// expression is a compiled argument pattern.
type expression struct {
	pattern string
	glob    bool
	re      *regexp.Regexp
	cost    int64 // bytes, roughly
}

// The cache's bounds. A record holds the text of its patterns only, so that a million agents with an expression each
// don't hold a million programs; those in use are here.
const (
	expressionSets   = 4096 // of two
	expressionBudget = 32 << 20
)

// expressions interns compiled patterns: same text, same program, whatever agents hold it. Readers take no lock.
type expressions struct {
	slots [2 * expressionSets]atomic.Pointer[expression]
	write struct {
		sync.Mutex
		total int64 // invariant: the sum of the costs in slots
		hand  int   // where eviction goes on
	}
}

var interned expressions

// get returns the compiled pattern. It panics on one that Validate refuses; records hold none.
func (c *expressions) get(pattern string, glob bool) *regexp.Regexp {
	set := 2 * (hashText(pattern) % expressionSets)
	for _, i := range [...]uint32{set, set + 1} {
		if e := c.slots[i].Load(); e != nil && e.pattern == pattern && e.glob == glob {
			return e.re
		}
	}
	return c.add(set, pattern, glob)
}

func (c *expressions) add(set uint32, pattern string, glob bool) *regexp.Regexp {
	text := pattern
	if glob {
		text = translateGlob(pattern)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		panic(fmt.Sprintf("authz: a stored pattern does not parse: %v", err))
	}
	e := &expression{
		pattern: strings.Clone(pattern), // the record's text must not outlive the record through us
		glob:    glob,
		re:      regexp.MustCompile(text),
		cost:    int64(1024 + 100*programSize(tree)),
	}
	c.write.Lock()
	defer c.write.Unlock()
	slot := set
	if c.slots[slot].Load() != nil && (c.slots[set+1].Load() == nil || c.write.hand&1 == 1) {
		slot++
	}
	c.write.hand++
	if old := c.slots[slot].Swap(e); old != nil {
		c.write.total -= old.cost
	}
	c.write.total += e.cost
	for c.write.total > expressionBudget {
		c.write.hand = (c.write.hand + 1) % len(c.slots)
		if uint32(c.write.hand) == slot {
			continue
		}
		if old := c.slots[c.write.hand].Swap(nil); old != nil {
			c.write.total -= old.cost
		}
	}
	return e.re
}

// hashText is FNV-1a with a final mix. It is fixed, so that equal records are equal bytes. Who makes it collide slows
// down the decisions about the agent whose list he writes, to a search of that list.
func hashText(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return mix(h)
}

func mix(h uint32) uint32 {
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}
