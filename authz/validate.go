package authz

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds that no setting changes.
const (
	maxCallsPerHour = 1_000_000_000_000
	maxMaxStaleness = 24 * time.Hour
)

// Validate names every problem of a permission list, each at its path; none: the list can be stored, compiled and
// decided by, and none of it can fail then (SPEC 3).
func Validate(perms []Permission, lim Limits) []Problem {
	v := validator{lim: lim}
	if len(perms) > lim.Permissions {
		v.add("permissions", "has %d entries; the limit is %d", len(perms), lim.Permissions)
		return v.problems // don't walk what may be of any size
	}
	seen := make(map[string]int)
	for i := range perms {
		path := fmt.Sprintf("permissions[%d]", i)
		v.permission(path, &perms[i])
		if id := perms[i].ID; id != "" {
			if first, ok := seen[id]; ok {
				v.add(path+".id", "is the id of permissions[%d] too", first)
			} else {
				seen[id] = i
			}
		}
	}
	return v.problems
}

type validator struct {
	lim      Limits
	problems []Problem
}

func (v *validator) add(path, format string, args ...any) {
	v.problems = append(v.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// text checks length and encoding of one text.
func (v *validator) text(path, s string, limit int) {
	if len(s) > limit {
		v.add(path, "has %d bytes; the limit is %d", len(s), limit)
	}
	if !utf8.ValidString(s) {
		v.add(path, "is not valid UTF-8")
	}
}

func (v *validator) permission(path string, p *Permission) {
	v.text(path+".id", p.ID, v.lim.NameBytes)
	if p.Resource == "" {
		v.add(path+".resource", "is empty")
	}
	v.text(path+".resource", p.Resource, v.lim.PatternBytes)
	switch n := len(p.Actions); {
	case n == 0:
		v.add(path+".actions", "is empty")
	case n > v.lim.Actions:
		v.add(path+".actions", "has %d entries; the limit is %d", n, v.lim.Actions)
	default:
		for i, action := range p.Actions {
			at := fmt.Sprintf("%s.actions[%d]", path, i)
			if action == "" {
				v.add(at, "is empty")
			}
			v.text(at, action, v.lim.NameBytes)
		}
	}
	if p.MaxStaleness < 0 || p.MaxStaleness > maxMaxStaleness {
		v.add(path+".max_staleness", "is %v; it must be from 0 to %v", p.MaxStaleness, maxMaxStaleness)
	}
	v.constraints(path+".constraints", &p.Constraints)
}

func (v *validator) constraints(path string, c *Constraints) {
	if n := len(c.ArgPatterns) + len(c.IPAllowlist); n > v.lim.ConstraintEntries {
		at := path + ".allowed_arg_patterns"
		if len(c.IPAllowlist) > len(c.ArgPatterns) {
			at = path + ".ip_allowlist"
		}
		v.add(at, "makes %d constraint entries in this permission; the limit is %d", n, v.lim.ConstraintEntries)
		return
	}
	for i, a := range c.ArgPatterns {
		v.argument(fmt.Sprintf("%s.allowed_arg_patterns[%d]", path, i), a)
	}
	if w := c.TimeWindow; w != nil {
		v.window(path+".time_window", w)
	}
	for i, entry := range c.IPAllowlist {
		if _, _, problem := parseAllowed(entry); problem != "" {
			v.add(fmt.Sprintf("%s.ip_allowlist[%d]", path, i), "%s", problem)
		}
	}
	if c.MaxCallsPerHour < 0 || c.MaxCallsPerHour > maxCallsPerHour {
		v.add(path+".max_calls_per_hour", "is %d; it must be from 1 to %d", c.MaxCallsPerHour, int64(maxCallsPerHour))
	}
	if c.QuotaScope > ScopeResource {
		v.add(path+".quota_scope", "is not a scope")
	}
}

func (v *validator) argument(path string, a ArgPattern) {
	v.text(path+".argument", a.Argument, v.lim.NameBytes)
	before := len(v.problems)
	v.text(path+".pattern", a.Pattern, v.lim.PatternBytes)
	if len(v.problems) > before {
		return // don't parse what is of any size
	}
	text := a.Pattern
	if a.Glob {
		text = translateGlob(text)
	}
	if err := parseExpression(text); err != nil {
		v.add(path+".pattern", "%v", err)
	}
}

func (v *validator) window(path string, w *TimeWindow) {
	if _, ok := parseClock(w.Start); !ok {
		v.add(path+".start", "is not a time from 00:00 to 23:59")
	}
	if _, ok := parseClock(w.End); !ok {
		v.add(path+".end", "is not a time from 00:00 to 23:59")
	}
	if w.Zone == "" {
		return
	}
	if _, ok := findZone(w.Zone); !ok {
		v.add(path+".time_zone", "is not an IANA time zone: %q", strings.ToValidUTF8(truncate(w.Zone, 64), "?"))
	}
}

func truncate(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
