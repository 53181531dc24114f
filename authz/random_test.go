package authz_test

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/authz/state"
	"github.com/kavachd/kavachd/ids"
)

// casesEach is how many requests one random story asks; between them the state changes.
const casesEach = 10

// oracleCases is how many random cases the engine and the oracle are compared on: 20,000, or KAVACH_ORACLE_CASES.
func oracleCases(t *testing.T) int {
	n := 20_000
	if raceEnabled {
		n = 1000 // there is little to race; the detector costs ten times as much
	}
	if s := os.Getenv("KAVACH_ORACLE_CASES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("KAVACH_ORACLE_CASES: %v", err)
		}
	}
	return n
}

// setRapid sets a flag of rapid for one test; a seed given on the command line is kept.
func setRapid(t *testing.T, name, value string) {
	f := flag.Lookup("rapid." + name)
	old := f.Value.String()
	if err := f.Value.Set(value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Value.Set(old); err != nil {
			t.Error(err)
		}
	})
}

// TestOracle compares Decide with the naive evaluator on random stories: agents with lists and received delegations in
// chains, asked by id and by token, while ancestors are revoked, expire, are narrowed and rotated in between.
func TestOracle(t *testing.T) {
	cases := oracleCases(t)
	seed := flag.Lookup("rapid.seed").Value.String()
	if seed == "0" {
		seed = strconv.FormatInt(time.Now().UnixNano()>>10, 10)
	}
	setRapid(t, "seed", seed)
	setRapid(t, "checks", strconv.Itoa((cases+casesEach-1)/casesEach))
	t.Logf("%d cases, -rapid.seed=%s", cases, seed)
	codes := map[string]int{}
	depths := map[int]int{}
	rapid.Check(t, func(t *rapid.T) {
		s := newStory(t)
		for i := range casesEach {
			if i > 0 {
				s.change()
			}
			o := s.compare()
			codes[o.code]++
			if o.allowed() {
				depths[len(o.path)]++
			}
		}
	})
	t.Logf("answers: %v; allowed by chains of length: %v", codes, depths)
	for _, code := range []string{
		"ALLOWED", "NO_MATCHING_PERMISSION", "AGENT_NOT_FOUND", "AGENT_REVOKED", "AGENT_EXPIRED", "INVALID_TOKEN", "RATE_LIMITED",
		"APPROVAL_REQUIRED", "OUTSIDE_TIME_WINDOW", "IP_NOT_ALLOWED", "ARGUMENT_NOT_ALLOWED",
	} {
		if cases >= 20_000 && codes[code] == 0 {
			t.Errorf("no case answered %s: the stories are too tame", code)
		}
	}
	if cases >= 20_000 && (depths[1] == 0 || depths[2] == 0 || depths[3] == 0) {
		t.Errorf("chains of length 1 to 3 are missing: %v", depths)
	}
}

// story is a random world with the engine's state beside it.
type story struct {
	t      *rapid.T
	w      *world
	state  *state.State
	now    time.Time
	engine *exactQuotas // what the engine drew; the oracle has its own
	made   uint64
	cyclic bool
}

// at is where stories begin; close to it lie all expiries, windows and summer time changes.
var storyStart = time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)

func newStory(t *rapid.T) *story {
	s := &story{
		t: t, w: &world{quotas: newExactQuotas()}, state: state.New(), now: storyStart, engine: newExactQuotas(),
		cyclic: rapid.IntRange(0, 9).Draw(t, "cyclic") == 0,
	}
	for i := range pick(t, "agents", 2, 3, 4, 5, 6) {
		a := &authz.AgentSpec{ID: ids.ID{15: byte(i + 1)}, Name: fmt.Sprint("agent", i), Tenant: "default", Revision: 1}
		a.Token[0] = byte(i + 1)
		a.Permissions = s.list("own", i > 1 && !s.cyclic)
		a.ExpiresAt = s.expiry()
		a.Revoked = rapid.IntRange(0, 19).Draw(t, "revoked") == 19
		s.w.agents = append(s.w.agents, a)
	}
	if rapid.Bool().Draw(t, "chain") { // a chain through all, wide enough to let calls through
		s.w.agents[0].Permissions = append(s.w.agents[0].Permissions, authz.Permission{Resource: "*", Actions: []string{"*"}})
		for i := range len(s.w.agents) - 1 {
			s.grant(i, i+1)
			d := s.w.delegations[len(s.w.delegations)-1]
			d.Permissions = append(d.Permissions, authz.Permission{
				Resource: pick(t, "wide", "*", "a:*", "*:*"), Actions: pick(t, "wide actions", []string{"*"}, []string{"r", "w"}), Constraints: s.constraints(),
			})
		}
	}
	for range pick(t, "delegations", 0, 1, 2, 3, 5, 8) {
		s.delegate()
	}
	s.publish()
	return s
}

func pick[T any](t *rapid.T, label string, of ...T) T { return rapid.SampledFrom(of).Draw(t, label) }

func (s *story) expiry() int64 {
	switch pick(s.t, "expiry", 0, 0, 0, 1, 2) {
	case 1:
		return s.now.Add(time.Duration(rapid.IntRange(0, 3).Draw(s.t, "minutes")) * time.Minute).UnixNano()
	case 2:
		return s.now.Add(24 * time.Hour).UnixNano()
	}
	return 0
}

func (s *story) pattern(label string) string {
	return pick(s.t, label, "*", "a", "a:*", "a:b", "a:*:b", "*:b", "a:b:*", "*:*", "a:*:*", "b", "", "a::b", "*:b:*", "a:b:c", "a:**")
}

// list is a random permission list; a long one has an index.
func (s *story) list(label string, short bool) []authz.Permission {
	n := pick(s.t, label+" size", 0, 1, 1, 2, 3, 20)
	if short {
		n = min(n, rapid.IntRange(0, 1).Draw(s.t, label+" short"))
	}
	var out []authz.Permission
	for i := range n {
		p := authz.Permission{Resource: s.pattern(label), Actions: pick(s.t, "actions", []string{"r"}, []string{"w"}, []string{"*"}, []string{"w", "r"}, []string{"x", "r", "r"})}
		if n < 20 || i%4 == 0 {
			p.Constraints = s.constraints()
			p.MaxStaleness = pick(s.t, "stale", 0, 0, time.Second, time.Minute)
		}
		if pick(s.t, "has id", 0, 0, 1) == 1 {
			p.ID = fmt.Sprint("p", i)
		}
		out = append(out, p)
	}
	return out
}

func (s *story) constraints() (c authz.Constraints) {
	switch pick(s.t, "constraint", 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6) {
	case 1:
		c.ArgPatterns = []authz.ArgPattern{pick(s.t, "args",
			authz.ArgPattern{Pattern: "^s"}, authz.ArgPattern{Pattern: ".", Argument: "path"},
			authz.ArgPattern{Pattern: "src/*/x", Argument: "path", Glob: true}, authz.ArgPattern{Pattern: "s**", Glob: true},
		)}
	case 2:
		c.RequireApproval = true
	case 3:
		c.TimeWindow = pick(s.t, "window",
			&authz.TimeWindow{Start: "00:00", End: "00:31"}, &authz.TimeWindow{Start: "23:00", End: "00:32"},
			&authz.TimeWindow{Start: "01:31", End: "03:29", Zone: "Europe/Berlin"}, &authz.TimeWindow{Start: "19:30", End: "20:30", Zone: "America/New_York"})
	case 4:
		c.IPAllowlist = pick(s.t, "ips", []string{"10.0.0.0/8"}, []string{"::1", "10.1.2.3"}, []string{"2001:db8::/32", "::ffff:192.168.0.0/112"})
	case 5:
		c.MaxCallsPerHour, c.QuotaScope = int64(rapid.IntRange(1, 3).Draw(s.t, "quota")), pick(s.t, "scope", authz.ScopePermission, authz.ScopeResource)
	case 6:
		c.RequireApproval, c.IPAllowlist, c.MaxCallsPerHour = true, []string{"0.0.0.0/0"}, 1
	}
	return c
}

// delegate adds a delegation, as a rule from an earlier agent to a later one; nothing is checked, so that the decision
// has to.
func (s *story) delegate() {
	n := len(s.w.agents)
	from := rapid.IntRange(0, n-2).Draw(s.t, "from")
	to := rapid.IntRange(from+1, min(n-1, from+2)).Draw(s.t, "to")
	if s.cyclic && rapid.Bool().Draw(s.t, "backwards") {
		from, to = to, from
	}
	s.grant(from, to)
}

func (s *story) grant(from, to int) {
	s.made++
	d := &authz.DelegationSpec{
		ID: ids.ID{0: 1, 15: byte(s.made)}, From: s.w.agents[from].ID, To: s.w.agents[to].ID, Created: s.made, Tenant: "default",
		ExpiresAt: s.expiry(), MaxDepth: pick(s.t, "max depth", uint32(3), 3, 3, 1, 2, 16), Permissions: s.list("delegated", false),
		Revoked: rapid.IntRange(0, 19).Draw(s.t, "delegation revoked") == 19,
	}
	s.w.delegations = append(s.w.delegations, d)
}

// change is what may happen between two requests.
func (s *story) change() {
	a := pick(s.t, "whom", s.w.agents...)
	switch pick(s.t, "change", -1, -1, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8) {
	case 0:
		a.Revoked = !a.Revoked // the engine must not remember
	case 1:
		a.ExpiresAt = s.expiry()
	case 2:
		a.Permissions = s.list("own", false)
	case 3:
		if len(a.Permissions) > 0 {
			a.Permissions = a.Permissions[:len(a.Permissions)-1]
		}
	case 4: // rotate, perhaps with a grace
		a.PrevToken, a.PrevUntil = a.Token, 0
		if rapid.Bool().Draw(s.t, "grace") {
			a.PrevUntil = s.now.Add(2 * time.Minute).UnixNano()
		}
		a.Token[1]++
	case 5:
		s.now = s.now.Add(time.Minute)
	case 6:
		s.now = s.now.Add(pick(s.t, "leap", 29*time.Minute, time.Hour, 30*time.Second))
	case 7:
		s.delegate()
	case 8:
		if len(s.w.delegations) > 0 {
			pick(s.t, "which", s.w.delegations...).Revoked = true
		}
	default:
		return
	}
	a.Revision++
	s.publish()
}

// publish brings the engine's state to the world's.
func (s *story) publish() {
	txn := s.state.Begin()
	for _, a := range s.w.agents {
		c, err := authz.Compile(*a)
		if err != nil {
			s.t.Fatal(err)
		}
		txn.PutAgent(c)
	}
	for _, d := range s.w.delegations {
		c, err := authz.CompileDelegation(*d)
		if err != nil {
			s.t.Fatal(err)
		}
		txn.PutDelegation(c)
	}
	txn.Commit()
}

func (s *story) request() *authz.Request {
	q := &authz.Request{
		Action: pick(s.t, "action", "r", "r", "w", "x", "*"), At: s.now,
		Resource: pick(s.t, "resource", "a", "a:b", "a:b", "a:x:b", "a:b:c", "b", "", "a::b", "*", "a:*", "b:b:b:b", "a:**"),
		IP:       pick(s.t, "ip", "", "10.1.2.3", "10.1.2.3", "::1", "::ffff:192.168.7.7", "2001:db8::5", "nonsense"),
		Approved: rapid.Bool().Draw(s.t, "approved"),
	}
	for _, name := range []string{"path", "query"} {
		switch pick(s.t, name, 0, 1, 2, 3) {
		case 1:
			q.Args = append(q.Args, authz.Arg{Name: name})
		case 2:
			q.Args = append(q.Args, authz.Arg{Name: name, IsString: true, Value: "src/a/x"})
		case 3:
			q.Args = append(q.Args, authz.Arg{Name: name, IsString: true, Value: pick(s.t, "value", "", "tmp/src", "src/a/b/x")})
		}
	}
	a := pick(s.t, "asks", s.w.agents...)
	// The last agents are at the ends of the chains: ask for them more often.
	if rapid.Bool().Draw(s.t, "deep") {
		a = s.w.agents[len(s.w.agents)-1]
	}
	q.AgentID = a.ID.Text(ids.PrefixAgent)
	switch pick(s.t, "how", "id", "id", "id", "id", "id", "id", "id", "token", "token", "token", "old token", "bad") {
	case "bad":
		switch pick(s.t, "bad", 0, 1, 2) {
		case 0:
			q.AgentID = "nobody"
		case 1:
			q.AgentID = ids.ID{9}.Text(ids.PrefixAgent)
		case 2:
			q.ByToken, q.Token = true, a.Token // malformed text
		}
	case "token":
		q.ByToken, q.TokenOK, q.Token = true, true, a.Token
	case "old token":
		q.ByToken, q.TokenOK, q.Token = true, true, a.PrevToken
	}
	return q
}

// compare asks both.
func (s *story) compare() opinion {
	q := s.request()
	s.w.quotas.now, s.engine.now = s.now, s.now
	q.Quotas = s.engine
	explained, expected, err := authz.Explain(s.state.View(), q) // counts nothing, so it may come first
	if err != nil {
		s.t.Fatal(err)
	}
	v, err := authz.Decide(s.state.View(), q)
	if err != nil {
		s.t.Fatal(err)
	}
	o := s.w.decide(q)
	type result struct {
		Code, Reason string
		Path         []ids.ID
		Stale        time.Duration
	}
	want := result{Code: o.code, Reason: o.reason, Path: o.path, Stale: o.stale}
	got := result{Code: v.Code.String(), Reason: v.Reason(), Path: v.PathIDs(), Stale: v.MaxStaleness}
	if !v.Allowed() {
		got.Path = nil // of a denial it is informative
	} else if len(got.Path) == 0 {
		got.Path = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Fatalf("request %+v (-oracle +engine):\n%s", q, diff)
	}
	if expected.Code != v.Code || expected.Reason() != v.Reason() {
		s.t.Fatalf("Explain says %s %q, Decide %s %q", expected.Code, expected.Reason(), v.Code, v.Reason())
	}
	s.checkExplained(explained, &v)
	if diff := cmp.Diff(s.w.quotas.calls, s.engine.calls); diff != "" {
		s.t.Fatalf("quotas drawn (-oracle +engine):\n%s", diff)
	}
	return o
}

// checkExplained holds that an allowed call's explanation names the path and the own permission at its end, and a denied
// one's nothing.
func (s *story) checkExplained(rows []authz.Considered, v *authz.Verdict) {
	applies := 0
	for _, r := range rows {
		if r.Applies {
			applies++
		}
		if r.Why == "" {
			s.t.Fatalf("a grant without a reason: %+v", r)
		}
	}
	want := 0
	if v.Allowed() {
		want = len(v.Path()) + 1
	}
	if applies != want {
		s.t.Fatalf("%d grants apply, the verdict rests on %d: %+v", applies, want, rows)
	}
}
