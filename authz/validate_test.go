package authz_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kavachd/kavachd/authz"
)

func good() authz.Permission { return authz.Permission{Resource: "mcp:*", Actions: []string{"read"}} }

func with(change func(*authz.Permission)) []authz.Permission {
	p := good()
	change(&p)
	return []authz.Permission{p}
}

// TestValidate names each fault by its path.
func TestValidate(t *testing.T) {
	long := strings.Repeat("x", 1025)
	many := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprint("a", i))
		}
		return out
	}
	for name, c := range map[string]struct {
		perms []authz.Permission
		want  []string // "path: part of the message"
	}{
		"good":     {perms: []authz.Permission{good(), good()}},
		"no list":  {},
		"too many": {perms: make([]authz.Permission, 10_001), want: []string{"permissions: the limit is 10000"}},
		"as many as there may be": {perms: func() []authz.Permission {
			out := make([]authz.Permission, 10_000)
			for i := range out {
				out[i] = good()
			}
			return out
		}()},
		"empty resource": {perms: with(func(p *authz.Permission) { p.Resource = "" }), want: []string{"permissions[0].resource: is empty"}},
		"long resource":  {perms: with(func(p *authz.Permission) { p.Resource = long }), want: []string{"permissions[0].resource: has 1025 bytes; the limit is 1024"}},
		"not UTF-8":      {perms: with(func(p *authz.Permission) { p.Resource = "a\xff" }), want: []string{"permissions[0].resource: is not valid UTF-8"}},
		"no actions":     {perms: with(func(p *authz.Permission) { p.Actions = nil }), want: []string{"permissions[0].actions: is empty"}},
		"65 actions":     {perms: with(func(p *authz.Permission) { p.Actions = many(65) }), want: []string{"permissions[0].actions: has 65 entries; the limit is 64"}},
		"bad actions": {perms: with(func(p *authz.Permission) { p.Actions = []string{"ok", "", long[:257]} }), want: []string{
			"permissions[0].actions[1]: is empty", "permissions[0].actions[2]: has 257 bytes; the limit is 256",
		}},
		"id twice": {
			perms: []authz.Permission{{ID: "x", Resource: "a", Actions: []string{"r"}}, good(), {ID: "x", Resource: "b", Actions: []string{"r"}}},
			want:  []string{"permissions[2].id: is the id of permissions[0] too"},
		},
		"long id":   {perms: with(func(p *authz.Permission) { p.ID = long[:257] }), want: []string{"permissions[0].id: has 257 bytes"}},
		"staleness": {perms: with(func(p *authz.Permission) { p.MaxStaleness = -time.Second }), want: []string{"permissions[0].max_staleness: is -1s"}},
		"bad expression": {perms: with(func(p *authz.Permission) {
			p.Constraints.ArgPatterns = []authz.ArgPattern{{Pattern: "^ok$"}, {Pattern: "("}, {Pattern: `(?=x)`}, {Pattern: "(", Glob: true}}
		}), want: []string{
			"permissions[0].constraints.allowed_arg_patterns[1].pattern: is not an RE2 expression",
			"permissions[0].constraints.allowed_arg_patterns[2].pattern: is not an RE2 expression",
		}},
		"huge expression": {perms: with(func(p *authz.Permission) {
			p.Constraints.ArgPatterns = []authz.ArgPattern{{Pattern: strings.Repeat("[a-z]{1000}", 3)}}
		}), want: []string{"permissions[0].constraints.allowed_arg_patterns[0].pattern: instructions; the limit is 2048"}},
		"long pattern": {perms: with(func(p *authz.Permission) {
			p.Constraints.ArgPatterns = []authz.ArgPattern{{Pattern: long, Argument: long}}
		}), want: []string{
			"permissions[0].constraints.allowed_arg_patterns[0].argument: has 1025 bytes; the limit is 256",
			"permissions[0].constraints.allowed_arg_patterns[0].pattern: has 1025 bytes; the limit is 1024",
		}},
		"window": {perms: with(func(p *authz.Permission) {
			p.Constraints.TimeWindow = &authz.TimeWindow{Start: "24:00", End: "9:00", Zone: "Europe/Atlantis"}
		}), want: []string{
			"permissions[0].constraints.time_window.start: is not a time", "permissions[0].constraints.time_window.end: is not a time",
			"permissions[0].constraints.time_window.time_zone: is not an IANA time zone",
		}},
		"zone in the wrong case, or the machine's": {perms: []authz.Permission{
			with(func(p *authz.Permission) {
				p.Constraints.TimeWindow = &authz.TimeWindow{Start: "00:00", End: "23:59", Zone: "europe/berlin"}
			})[0],
			with(func(p *authz.Permission) {
				p.Constraints.TimeWindow = &authz.TimeWindow{Start: "00:00", End: "23:59", Zone: "Local"}
			})[0],
		}, want: []string{"permissions[0].constraints.time_window.time_zone: is not", "permissions[1].constraints.time_window.time_zone: is not"}},
		"allowlist": {perms: with(func(p *authz.Permission) {
			p.Constraints.IPAllowlist = []string{"10.0.0.1", "10.0.0.0/33", "010.1.2.3", "fe80::1%eth0", "::ffff:0.0.0.0/90", "", "2001:db8::/32", " 10.0.0.1"}
		}), want: []string{
			"permissions[0].constraints.ip_allowlist[1]: is neither", "permissions[0].constraints.ip_allowlist[2]: is neither",
			"permissions[0].constraints.ip_allowlist[3]: has an IPv6 zone", "permissions[0].constraints.ip_allowlist[4]: is an IPv4-mapped prefix",
			"permissions[0].constraints.ip_allowlist[5]: is neither", "permissions[0].constraints.ip_allowlist[7]: is neither",
		}},
		"33 entries": {perms: with(func(p *authz.Permission) {
			p.Constraints.IPAllowlist = many(20)
			p.Constraints.ArgPatterns = make([]authz.ArgPattern, 13)
		}), want: []string{"permissions[0].constraints.ip_allowlist: makes 33 constraint entries in this permission; the limit is 32"}},
		"quota": {perms: with(func(p *authz.Permission) { p.Constraints.MaxCallsPerHour, p.Constraints.QuotaScope = -1, 7 }), want: []string{
			"permissions[0].constraints.max_calls_per_hour: is -1", "permissions[0].constraints.quota_scope: is not a scope",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := authz.Validate(c.perms, authz.DefaultLimits())
			for i := range max(len(got), len(c.want)) {
				if i >= len(got) || i >= len(c.want) {
					t.Fatalf("got %v, want %v", got, c.want)
				}
				path, message, _ := strings.Cut(c.want[i], ": ")
				if got[i].Path != path || !strings.Contains(got[i].Message, message) {
					t.Errorf("problem %d: %v, want %s", i, got[i], c.want[i])
				}
			}
			if len(got) == 0 {
				if _, err := authz.Compile(authz.AgentSpec{Permissions: c.perms}); err != nil {
					t.Errorf("Compile refuses what Validate accepts: %v", err)
				}
			}
		})
	}
}

// TestWarnings covers lists with and without an index.
func TestWarnings(t *testing.T) {
	approval := authz.Constraints{RequireApproval: true}
	for name, c := range map[string]struct {
		perms []authz.Permission
		want  []string
	}{
		"none":        {perms: []authz.Permission{{Resource: "a:b", Actions: []string{"r"}}, {Resource: "a:*", Actions: []string{"r"}}}},
		"same":        {perms: []authz.Permission{good(), good()}, want: []string{"permissions[1] UNREACHABLE_PERMISSION"}},
		"wider first": {perms: []authz.Permission{{Resource: "*", Actions: []string{"*"}}, {Resource: "a:*", Actions: []string{"r"}}}, want: []string{"permissions[1] UNREACHABLE_PERMISSION"}},
		"by two": {perms: []authz.Permission{
			{Resource: "a:*", Actions: []string{"r"}}, {Resource: "*", Actions: []string{"w"}}, {Resource: "a:b", Actions: []string{"w", "r"}},
		}, want: []string{"permissions[2] UNREACHABLE_PERMISSION"}},
		"a constraint for nothing": {perms: []authz.Permission{
			{Resource: "d:*", Actions: []string{"*"}}, {Resource: "d:prod", Actions: []string{"run"}, Constraints: approval},
		}, want: []string{"permissions[1] UNREACHABLE_PERMISSION", "permissions[1].constraints SHADOWED_CONSTRAINT"}},
		"a constraint for one action only": {perms: []authz.Permission{
			{Resource: "d:*", Actions: []string{"read"}}, {Resource: "d:prod", Actions: []string{"read", "run"}, Constraints: approval},
		}, want: []string{"permissions[1].constraints SHADOWED_CONSTRAINT"}},
		"the same constraint": {perms: []authz.Permission{
			{Resource: "d:*", Actions: []string{"read"}, Constraints: approval}, {Resource: "d:prod", Actions: []string{"read", "run"}, Constraints: approval},
		}},
		"actions never cover the wildcard": {perms: []authz.Permission{{Resource: "*", Actions: []string{"r"}}, {Resource: "a", Actions: []string{"*"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			list := func(warnings []authz.Warning) (out []string) {
				for _, w := range warnings {
					out = append(out, w.Path+" "+w.Reason)
				}
				return out
			}
			if diff := cmp.Diff(c.want, list(authz.Warnings(c.perms))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			long := append([]authz.Permission(nil), c.perms...)
			for i := range 20 { // behind, so that the paths stay; now there is an index
				long = append(long, authz.Permission{Resource: fmt.Sprint("zz:", i), Actions: []string{"zz"}})
			}
			var want []string
			want = append(want, c.want...)
			got := list(authz.Warnings(long))
			for i, w := range got {
				if i >= len(want) && strings.HasPrefix(w, "permissions["+fmt.Sprint(len(c.perms))) {
					got = got[:i] // "*" first makes the padding unreachable too
					break
				}
			}
			if name == "wider first" {
				got = got[:min(len(got), len(want))]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("with an index -want +got:\n%s", diff)
			}
		})
	}
}

// TestCovers is language inclusion, each pair in both directions.
func TestCovers(t *testing.T) {
	for _, c := range []struct {
		a, b         string
		aCovB, bCovA bool
	}{
		{"a", "a", true, true},
		{"*", "a:b", true, false},
		{"*", "*:*", true, true}, // every resource has a first segment
		{"*", "*:*:*", true, false},
		{"a:*", "a", true, false},
		{"a:*", "a:b:*", true, false},
		{"a:*", "a:*:*", true, false},
		{"a:*:b", "a:x:b", true, false},
		{"a:*:b", "a:*", false, true},
		{"a:*:b", "a:*:c", false, false},
		{"mcp:github", "mcp:github:*", false, true},
		{"*:b", "a:*", false, false},
		{"*:b:*", "a:b", true, false},
		{"", "*", false, true},
		{"a:**", "a:*", false, true},
		{"a:", "a", false, false},
	} {
		p := func(r string) authz.Permission { return authz.Permission{Resource: r, Actions: []string{"r"}} }
		if got := authz.Covers(p(c.a), p(c.b)); got != c.aCovB {
			t.Errorf("%q covers %q: %v", c.a, c.b, got)
		}
		if got := authz.Covers(p(c.b), p(c.a)); got != c.bCovA {
			t.Errorf("%q covers %q: %v", c.b, c.a, got)
		}
	}
	actions := func(outer, inner []string) bool {
		return authz.Covers(authz.Permission{Resource: "a", Actions: outer}, authz.Permission{Resource: "a", Actions: inner})
	}
	if !actions([]string{"*"}, []string{"r", "*"}) || actions([]string{"r", "w"}, []string{"*"}) || !actions([]string{"r", "w"}, []string{"w"}) || actions([]string{"r"}, []string{"r", "w"}) {
		t.Error("actions are not compared as sets")
	}
}

// TestWindowsAcrossSummerTime judges windows by the local clock on the days when it jumps.
func TestWindowsAcrossSummerTime(t *testing.T) {
	for _, c := range []struct {
		window authz.TimeWindow
		at     string
		open   bool
	}{
		{authz.TimeWindow{Start: "09:00", End: "17:00"}, "2026-01-15T17:00:59.999Z", true}, // inclusive to the minute
		{authz.TimeWindow{Start: "09:00", End: "17:00"}, "2026-01-15T17:01:00Z", false},
		{authz.TimeWindow{Start: "09:00", End: "17:00"}, "2026-01-15T08:59:59.999Z", false},
		{authz.TimeWindow{Start: "22:00", End: "06:00"}, "2026-01-15T23:00:00Z", true},
		{authz.TimeWindow{Start: "22:00", End: "06:00"}, "2026-01-15T06:00:59Z", true},
		{authz.TimeWindow{Start: "22:00", End: "06:00"}, "2026-01-15T06:01:00Z", false},
		{authz.TimeWindow{Start: "12:00", End: "12:00"}, "2026-01-15T12:00:30Z", true},
		{authz.TimeWindow{Start: "01:59", End: "01:59", Zone: "Europe/Berlin"}, "2026-03-29T00:59:59Z", true},
		{authz.TimeWindow{Start: "02:00", End: "02:59", Zone: "Europe/Berlin"}, "2026-03-29T01:00:00Z", false}, // that hour does not exist
		{authz.TimeWindow{Start: "03:00", End: "03:00", Zone: "Europe/Berlin"}, "2026-03-29T01:00:00Z", true},
		{authz.TimeWindow{Start: "02:30", End: "02:30", Zone: "Europe/Berlin"}, "2026-10-25T00:30:00Z", true}, // twice that day
		{authz.TimeWindow{Start: "02:30", End: "02:30", Zone: "Europe/Berlin"}, "2026-10-25T01:30:00Z", true},
		{authz.TimeWindow{Start: "00:00", End: "00:29", Zone: "Asia/Kathmandu"}, "2026-01-15T18:15:00Z", true}, // +05:45
		{authz.TimeWindow{Start: "09:00", End: "09:00", Zone: "America/New_York"}, "2045-07-01T13:00:00Z", true},
		{authz.TimeWindow{Start: "00:00", End: "00:00"}, "1969-12-31T23:59:30Z", false},
	} {
		at, err := time.Parse(time.RFC3339Nano, c.at)
		if err != nil {
			t.Fatal(err)
		}
		s, id := stateOf(t, []authz.Permission{{Resource: "a", Actions: []string{"r"}, Constraints: authz.Constraints{TimeWindow: &c.window}}})
		v, err := authz.Decide(s.View(), &authz.Request{AgentID: id.Text("agt"), Action: "r", Resource: "a", At: at})
		if err != nil || v.Allowed() != c.open {
			t.Errorf("%+v at %s: %s %v", c.window, c.at, v.Code, err)
		}
	}
}
