package authz_test

import (
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kavachd/kavachd/authz"
)

// FuzzPattern compares Match and Covers with the oracle's regular expressions, by text and by index.
func FuzzPattern(f *testing.F) {
	for _, s := range [][3]string{{"a:*", "a", "*"}, {"*:b", "a:b", "a:b:c"}, {"a:*:b", "a::b", "a:*"}, {"*", "", "*:*"}, {"a:**", "a:*", ":"}} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, a, b, resource string) {
		if len(a)+len(b)+len(resource) > 500 || !validText(a) || !validText(b) || !validText(resource) { // the oracle needs text
			return
		}
		got := authz.Match(a, resource)
		if want := oracleMatch(a, resource); got != want {
			t.Fatalf("Match(%q, %q) = %v", a, resource, got)
		}
		p := func(r string) authz.Permission { return authz.Permission{Resource: r, Actions: []string{"r"}} }
		if authz.Covers(p(a), p(b)) && oracleMatch(b, resource) && !got {
			t.Fatalf("%q covers %q, but not its resource %q", a, b, resource)
		}
		perms := []authz.Permission{p(a), p(b)}
		for range 20 { // with an index
			perms = append(perms, authz.Permission{Resource: "zz:zz:zz", Actions: []string{"zz"}})
		}
		s, id := stateOf(t, perms)
		v, err := authz.Decide(s.View(), &authz.Request{AgentID: id.Text("agt"), Action: "r", Resource: resource, At: benchTime})
		if err != nil || v.Allowed() != (got || oracleMatch(b, resource)) || v.Allowed() && v.Grant.Ordinal == 0 != got {
			t.Fatalf("%q, %q in an index on %q: %s %d %v", a, b, resource, v.Code, v.Grant.Ordinal, err)
		}
		delete(oracleExpressions, a)
		delete(oracleExpressions, b)
	})
}

// FuzzCIDR compares allowlists with package net, and holds that what is refused is refused by Compile too.
func FuzzCIDR(f *testing.F) {
	for _, s := range [][2]string{{"10.0.0.0/8", "10.1.2.3"}, {"::1", "::1"}, {"::ffff:10.0.0.0/104", "10.9.9.9"}, {"10.1.2.3", "::ffff:10.1.2.3"}, {"fe80::1%eth0", "fe80::1"}, {"1.2.3.4/33", ""}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, entry, ip string) {
		p := authz.Permission{Resource: "a", Actions: []string{"r"}, Constraints: authz.Constraints{IPAllowlist: []string{entry}}}
		problems := authz.Validate([]authz.Permission{p}, authz.DefaultLimits())
		if _, err := authz.Compile(authz.AgentSpec{Permissions: []authz.Permission{p}}); (err == nil) != (len(problems) == 0) {
			t.Fatalf("Validate %v, Compile %v", problems, err)
		}
		if len(problems) > 0 {
			return
		}
		if _, _, err := net.ParseCIDR(entry); err != nil && net.ParseIP(entry) == nil {
			t.Fatalf("%q is accepted, but package net can't read it", entry)
		}
		s, id := stateOf(t, []authz.Permission{p})
		v, err := authz.Decide(s.View(), &authz.Request{AgentID: id.Text("agt"), Action: "r", Resource: "a", IP: ip, At: benchTime})
		if want := oracleAddress([]string{entry}, ip); err != nil || v.Allowed() != want {
			t.Fatalf("%q in %q: %s, want %v (%v)", ip, entry, v.Code, want, err)
		}
	})
}

// FuzzTimeWindow compares windows with formatted local times.
func FuzzTimeWindow(f *testing.F) {
	f.Add("09:00", "17:00", "UTC", int64(1_768_478_400))
	f.Add("22:00", "06:00", "Europe/Berlin", int64(1_774_746_000))
	f.Add("00:00", "24:00", "America/New_York", int64(-1))
	f.Add("01:00", "01:59", "Australia/Lord_Howe", int64(1_775_000_000))
	f.Fuzz(func(t *testing.T, start, end, zone string, unix int64) {
		w := &authz.TimeWindow{Start: start, End: end, Zone: zone}
		p := authz.Permission{Resource: "a", Actions: []string{"r"}, Constraints: authz.Constraints{TimeWindow: w}}
		problems := authz.Validate([]authz.Permission{p}, authz.DefaultLimits())
		if _, err := authz.Compile(authz.AgentSpec{Permissions: []authz.Permission{p}}); (err == nil) != (len(problems) == 0) {
			t.Fatalf("Validate %v, Compile %v", problems, err)
		}
		clock := regexp.MustCompile(`\A([01]\d|2[0-3]):[0-5]\d\z`)
		if len(problems) == 0 != (clock.MatchString(start) && clock.MatchString(end) && knownZone(zone)) {
			t.Fatalf("%+v: %v", w, problems)
		}
		if len(problems) > 0 || unix < -1<<33 || unix > 1<<35 {
			return
		}
		at := time.Unix(unix, 0)
		s, id := stateOf(t, []authz.Permission{p})
		v, err := authz.Decide(s.View(), &authz.Request{AgentID: id.Text("agt"), Action: "r", Resource: "a", At: at})
		if want := oracleWindow(w, at); err != nil || v.Allowed() != want {
			t.Fatalf("%+v at %v: %s, want %v (%v)", w, at.UTC(), v.Code, want, err)
		}
	})
}

func knownZone(zone string) bool {
	if zone == "Local" {
		return false
	}
	_, err := time.LoadLocation(zone)
	return err == nil
}

// FuzzArguments compares expressions and globs with package regexp and a glob matcher that tries everything.
func FuzzArguments(f *testing.F) {
	f.Add("^a+$", "", false, "aaa")
	f.Add("src/*/x", "path", true, "src/a/x")
	f.Add("**/*.go", "path", true, "a/b/c.go")
	f.Add("(", "", false, "")
	f.Add(".{1000}", "q", false, "x\xffy")
	f.Fuzz(func(t *testing.T, pattern, argument string, glob bool, value string) {
		if glob && (len(value) > 24 || strings.Count(pattern, "*") > 4) {
			return // the oracle is exponential
		}
		a := authz.ArgPattern{Pattern: pattern, Argument: argument, Glob: glob}
		p := authz.Permission{Resource: "a", Actions: []string{"r"}, Constraints: authz.Constraints{ArgPatterns: []authz.ArgPattern{a}}}
		problems := authz.Validate([]authz.Permission{p}, authz.DefaultLimits())
		agent, err := authz.Compile(authz.AgentSpec{ID: numbered(1), Permissions: []authz.Permission{p}})
		if len(problems) > 0 {
			return // Compile may be wider: it has no limits of length
		}
		if err != nil {
			t.Fatalf("Compile refuses %+v: %v", a, err)
		}
		if !strings.Contains(value, "\xff") && glob && !validText(value) {
			return // a glob's '*' is a character for the engine and a byte for the oracle
		}
		want := glob && oracleGlob(pattern, value)
		if !glob {
			want = regexp.MustCompile(pattern).MatchString(value)
		}
		q := &authz.Request{AgentID: numbered(1).Text("agt"), Action: "r", Resource: "a", At: benchTime, Args: []authz.Arg{{Name: argument, Value: value, IsString: true}}}
		v, err := authz.Decide(&plainSource{agents: []*authz.Agent{agent}}, q)
		if err != nil || v.Allowed() != want {
			t.Fatalf("%+v on %q: %s, want %v (%v)", a, value, v.Code, want, err)
		}
	})
}

func validText(s string) bool { return strings.ToValidUTF8(s, "") == s }

// FuzzRecord compiles permissions of any text and decodes them again: nothing may be lost or mixed up.
func FuzzRecord(f *testing.F) {
	f.Add("a:*", "r", "w", "id", "x+", "arg", "10.0.0.0/8", int64(5), int64(7), uint8(31), uint8(1))
	f.Add("", "", "*", "", "", "", "::1", int64(0), int64(0), uint8(0), uint8(30))
	f.Fuzz(func(t *testing.T, resource, action, other, id, pattern, argument, ip string, quota, stale int64, flags, copies uint8) {
		p := authz.Permission{ID: id, Resource: resource, Actions: []string{action, other}, MaxStaleness: time.Duration(stale)}
		c := &p.Constraints
		if flags&1 != 0 {
			c.ArgPatterns = []authz.ArgPattern{{Pattern: pattern, Argument: argument, Glob: flags&2 != 0}}
		}
		c.RequireApproval = flags&4 != 0
		if flags&8 != 0 {
			c.TimeWindow = &authz.TimeWindow{Start: "01:02", End: "23:59", Zone: "Asia/Kathmandu"}
		}
		if flags&16 != 0 {
			c.IPAllowlist = []string{ip, "10.0.0.0/8"}
		}
		c.MaxCallsPerHour = quota
		if flags&32 != 0 {
			c.QuotaScope = authz.ScopeResource
		}
		var perms []authz.Permission
		for i := range int(copies%40) + 1 {
			q := p
			if i%2 == 1 {
				q.Constraints = authz.Constraints{}
			}
			perms = append(perms, q)
		}
		if stale < 0 || quota < 0 {
			return
		}
		spec := authz.AgentSpec{ID: numbered(1), Tenant: id, Owner: action, Name: other, Permissions: perms}
		agent, err := authz.Compile(spec)
		if err != nil {
			return
		}
		got := agent.Permissions()
		for i := range got {
			got[i].Constraints.IPAllowlist, perms[i].Constraints.IPAllowlist = nil, nil // canonical text may differ
		}
		if diff := cmp.Diff(perms, got); diff != "" || agent.Tenant != id || agent.Owner != action || agent.Name != other {
			t.Fatalf("-spec +decoded:\n%s", diff)
		}
	})
}
