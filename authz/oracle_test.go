package authz_test

import (
	"fmt"
	"net"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/ids"
)

// This file is the second evaluator: SPEC 1 to 5 written down as they read, over plain lists, by regular expressions,
// text comparison and package net. It is slow and shares nothing with the engine but the types of its input.

// world is a state as the oracle sees it.
type world struct {
	agents      []*authz.AgentSpec
	delegations []*authz.DelegationSpec // in order of creation
	quotas      *exactQuotas
}

func (w *world) agent(id ids.ID) *authz.AgentSpec {
	for _, a := range w.agents {
		if a.ID == id {
			return a
		}
	}
	return nil
}

// opinion is the oracle's answer.
type opinion struct {
	code   string
	reason string
	path   []ids.ID
	draws  []authz.Draw
	stale  time.Duration
}

func (o opinion) allowed() bool { return o.code == "ALLOWED" }

// decide answers a request and draws the quotas.
func (w *world) decide(q *authz.Request) opinion {
	var a *authz.AgentSpec
	now := q.At.UnixNano()
	if q.ByToken {
		for _, x := range w.agents {
			if q.TokenOK && (x.Token == q.Token || x.PrevUntil != 0 && x.PrevToken == q.Token && now < x.PrevUntil) {
				a = x
			}
		}
		if a == nil || a.Revoked || over(a.ExpiresAt, now) {
			return opinion{code: "INVALID_TOKEN", reason: "Invalid or expired agent token"}
		}
	} else {
		for _, x := range w.agents {
			if x.ID.Text("agt") == q.AgentID {
				a = x
			}
		}
		switch {
		case a == nil:
			return opinion{code: "AGENT_NOT_FOUND", reason: fmt.Sprintf("Agent \"%s\" not found", q.AgentID)}
		case a.Revoked:
			return opinion{code: "AGENT_REVOKED", reason: fmt.Sprintf("Agent \"%s\" is revoked", a.Name)}
		case over(a.ExpiresAt, now):
			return opinion{code: "AGENT_EXPIRED", reason: fmt.Sprintf("Agent \"%s\" is expired", a.Name)}
		}
	}
	o := w.ask(a, q, nil)
	if o.allowed() {
		for _, d := range o.draws {
			w.quotas.count(d)
		}
	}
	return o
}

func over(end, now int64) bool { return end != 0 && now >= end }

// ask is SPEC 2 and 5: the own list, then what was received. below are the delegations between the request's agent and
// this one.
func (w *world) ask(a *authz.AgentSpec, q *authz.Request, below []*authz.DelegationSpec) opinion {
	own := w.list(a.Permissions, a.ID, ids.ID{}, q)
	if own.allowed() {
		return own
	}
	if own.code == "NO_MATCHING_PERMISSION" {
		own.reason = fmt.Sprintf("No permission grants agent \"%s\" access to \"%s\" on \"%s\"", a.Name, q.Action, q.Resource)
	}
	inherited := ""
	var inheritedReason string
	for _, d := range w.delegations {
		if d.To != a.ID || d.Revoked || over(d.ExpiresAt, q.At.UnixNano()) {
			continue
		}
		chain := append(append([]*authz.DelegationSpec(nil), below...), d)
		if !w.chainHolds(chain, q) {
			continue
		}
		r := w.delegated(d, q, chain)
		if r.allowed() {
			return r
		}
		if inherited == "" && r.code != "NO_MATCHING_PERMISSION" {
			inherited, inheritedReason = r.code, r.reason
		}
	}
	if own.code == "NO_MATCHING_PERMISSION" && inherited != "" {
		return opinion{code: inherited, reason: inheritedReason}
	}
	return own
}

// chainHolds judges what a chain needs apart from its permissions: its length within every max_depth on it, a giver
// that lives, and no agent twice.
func (w *world) chainHolds(chain []*authz.DelegationSpec, q *authz.Request) bool {
	for _, d := range chain {
		if len(chain) > int(d.MaxDepth) || len(chain) > 16 {
			return false
		}
	}
	giver := w.agent(chain[len(chain)-1].From)
	if giver == nil || giver.Revoked || over(giver.ExpiresAt, q.At.UnixNano()) {
		return false
	}
	for _, d := range chain {
		if d.To == giver.ID {
			return false
		}
	}
	return true
}

// delegated asks one delegation: its own list, its giver, its quota.
func (w *world) delegated(d *authz.DelegationSpec, q *authz.Request, chain []*authz.DelegationSpec) opinion {
	quotas := w.quotas
	w.quotas = nil // the delegation's own quota comes last, when all else allows
	own := w.list(d.Permissions, d.From, d.To, q)
	w.quotas = quotas
	if !own.allowed() {
		return own
	}
	up := w.ask(w.agent(d.From), q, chain)
	if !up.allowed() {
		return up
	}
	for _, draw := range own.draws {
		if used := w.quotas.used(draw); used >= draw.Limit {
			return rateLimited(used, draw)
		}
	}
	return opinion{
		code: "ALLOWED", path: append([]ids.ID{d.ID}, up.path...), draws: append(own.draws, up.draws...), stale: min(own.stale, up.stale),
	}
}

func rateLimited(used int64, d authz.Draw) opinion {
	return opinion{code: "RATE_LIMITED", reason: fmt.Sprintf("Rate limit exceeded: %d/%d calls per hour for resource \"%s\"", used, d.Limit, d.Resource)}
}

// list is first match, then the constraints in the order of SPEC 3.
func (w *world) list(perms []authz.Permission, holder, receiver ids.ID, q *authz.Request) opinion {
	for _, p := range perms {
		if !oracleMatch(p.Resource, q.Resource) || !oracleHas(p.Actions, q.Action) {
			continue
		}
		if o := oracleConstraints(p.Constraints, q); !o.allowed() {
			return o
		}
		o := opinion{code: "ALLOWED", stale: p.MaxStaleness}
		if p.Constraints.MaxCallsPerHour > 0 {
			d := authz.Draw{
				Holder: holder, Receiver: receiver, PermissionID: p.ID, Pattern: p.Resource, Actions: oracleSet(p.Actions),
				Scope: p.Constraints.QuotaScope, Resource: q.Resource, Limit: p.Constraints.MaxCallsPerHour,
			}
			if receiver != (ids.ID{}) {
				d.PermissionID = ""
			}
			if w.quotas != nil {
				if used := w.quotas.used(d); used >= d.Limit {
					return rateLimited(used, d)
				}
			}
			o.draws = []authz.Draw{d}
		}
		return o
	}
	return opinion{code: "NO_MATCHING_PERMISSION"}
}

func oracleSet(actions []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, a := range actions {
		if !seen[a] {
			seen[a] = true
			out = append(out, a)
		}
	}
	sort.Strings(out)
	return out
}

func oracleHas(actions []string, action string) bool {
	for _, a := range actions {
		if a == "*" || a == action {
			return true
		}
	}
	return false
}

var oracleExpressions = map[string]*regexp.Regexp{}

// oracleMatch spells a pattern as a regular expression over the resource.
func oracleMatch(pattern, resource string) bool {
	re, ok := oracleExpressions[pattern]
	if !ok {
		segments := strings.Split(pattern, ":")
		text := ""
		for i, s := range segments {
			last := i == len(segments)-1
			switch {
			case s == "*" && last && i == 0:
				text += `(?s:.*)`
			case s == "*" && last:
				text += `(?::(?s:.*))?`
			default:
				if i > 0 {
					text += ":"
				}
				if s == "*" {
					text += `[^:]*`
				} else {
					text += regexp.QuoteMeta(s)
				}
			}
		}
		re = regexp.MustCompile(`\A` + text + `\z`)
		oracleExpressions[pattern] = re
	}
	return re.MatchString(resource)
}

func oracleConstraints(c authz.Constraints, q *authz.Request) opinion {
	for _, arg := range q.Args {
		for _, p := range c.ArgPatterns {
			if arg.IsString && (p.Argument == "" || p.Argument == arg.Name) && !oracleArgument(p, arg.Value) {
				return opinion{code: "ARGUMENT_NOT_ALLOWED", reason: fmt.Sprintf(
					"Argument \"%s\" value \"%s\" does not match pattern \"%s\"", arg.Name, arg.Value, p.Pattern)}
			}
		}
	}
	for _, p := range c.ArgPatterns {
		there := p.Argument == ""
		for _, arg := range q.Args {
			there = there || arg.Name == p.Argument && arg.IsString
		}
		if !there {
			return opinion{code: "ARGUMENT_NOT_ALLOWED", reason: fmt.Sprintf(
				"Argument \"%s\" is required to be a string that matches pattern \"%s\"", p.Argument, p.Pattern)}
		}
	}
	if c.RequireApproval && !q.Approved {
		return opinion{code: "APPROVAL_REQUIRED", reason: "This action requires human approval before execution"}
	}
	if w := c.TimeWindow; w != nil && !oracleWindow(w, q.At) {
		return opinion{code: "OUTSIDE_TIME_WINDOW", reason: fmt.Sprintf("Action is only allowed between %s and %s", w.Start, w.End)}
	}
	if len(c.IPAllowlist) > 0 {
		if q.IP == "" {
			return opinion{code: "IP_NOT_ALLOWED", reason: "IP_NOT_ALLOWED: No IP address provided; resource requires an IP allowlist match"}
		}
		if !oracleAddress(c.IPAllowlist, q.IP) {
			return opinion{code: "IP_NOT_ALLOWED", reason: fmt.Sprintf("IP_NOT_ALLOWED: IP \"%s\" is not in the allowlist for this resource", q.IP)}
		}
	}
	return opinion{code: "ALLOWED"}
}

func oracleArgument(p authz.ArgPattern, value string) bool {
	if !p.Glob {
		re, ok := oracleExpressions["/"+p.Pattern]
		if !ok {
			re = regexp.MustCompile(p.Pattern)
			oracleExpressions["/"+p.Pattern] = re
		}
		return re.MatchString(value)
	}
	return oracleGlob(p.Pattern, value)
}

// oracleGlob tries everything.
func oracleGlob(glob, value string) bool {
	switch {
	case glob == "":
		return value == ""
	case strings.HasPrefix(glob, "**"):
		for i := 0; i <= len(value); i++ {
			if oracleGlob(glob[2:], value[i:]) {
				return true
			}
		}
		return false
	case glob[0] == '*':
		for i := 0; ; i++ {
			if oracleGlob(glob[1:], value[i:]) {
				return true
			}
			if i == len(value) || value[i] == '/' {
				return false
			}
		}
	default:
		return value != "" && value[0] == glob[0] && oracleGlob(glob[1:], value[1:])
	}
}

func oracleWindow(w *authz.TimeWindow, at time.Time) bool {
	zone := w.Zone
	if zone == "" {
		zone = "UTC"
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	clock := at.In(location).Format("15:04")
	if w.Start <= w.End {
		return w.Start <= clock && clock <= w.End
	}
	return clock >= w.Start || clock <= w.End
}

func oracleAddress(list []string, ip string) bool {
	addr := net.ParseIP(ip)
	if addr == nil {
		return false
	}
	for _, entry := range list {
		if _, prefix, err := net.ParseCIDR(entry); err == nil && prefix.Contains(addr) {
			return true
		}
		if single := net.ParseIP(entry); single != nil && single.Equal(addr) {
			return true
		}
	}
	return false
}

// exactQuotas counts calls in exact trailing hours. It implements authz.Quotas.
type exactQuotas struct {
	now   time.Time
	calls map[string][]time.Time
}

func newExactQuotas() *exactQuotas { return &exactQuotas{calls: map[string][]time.Time{}} }

// key is the counter's identity (SPEC 3, Quota).
func (x *exactQuotas) key(d authz.Draw) string {
	k := fmt.Sprintf("%x|%x|", d.Holder, d.Receiver)
	if d.PermissionID != "" {
		k += "id " + d.PermissionID
	} else {
		k += fmt.Sprintf("%q %q", d.Pattern, d.Actions)
	}
	if d.Scope == authz.ScopeResource {
		k += "|" + d.Resource
	}
	return k
}

// used counts the calls of (now - 1 h, now].
func (x *exactQuotas) used(d authz.Draw) (n int64) {
	for _, t := range x.calls[x.key(d)] {
		if t.After(x.now.Add(-time.Hour)) {
			n++
		}
	}
	return n
}

func (x *exactQuotas) count(d authz.Draw) { x.calls[x.key(d)] = append(x.calls[x.key(d)], x.now) }

func (x *exactQuotas) Peek(draws []authz.Draw) (authz.Standing, authz.Refusal, bool, error) {
	for i, d := range draws {
		if used := x.used(d); used >= d.Limit {
			return authz.Standing{}, authz.Refusal{Draw: i, Used: used, RetryAfter: time.Minute}, false, nil
		}
	}
	return authz.Standing{Limit: draws[0].Limit}, authz.Refusal{}, true, nil
}

func (x *exactQuotas) Take(draws []authz.Draw) (authz.Standing, authz.Refusal, bool, error) {
	standing, refusal, ok, err := x.Peek(draws)
	if ok {
		for _, d := range draws {
			x.count(d)
		}
	}
	return standing, refusal, ok, err
}
