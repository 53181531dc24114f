package authz_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/authz/state"
	"github.com/kavachd/kavachd/ids"
)

// TestTranscripts runs the stories of testdata/*.txt. Permissions stand one a line in a command's input:
//
//	resource action,action [id=x] [approval] [args=re] [glob=name:glob] [window=09:00-17:00@Zone] [ip=a,b] [quota=n] [per-resource] [stale=1s]
//
// agent, delegate, revoke, expire and undelegate change the state, at sets the clock, the others ask. Run with -rewrite
// to write the answers anew.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		s := &script{
			state: state.New(), now: benchTime, agents: map[string]*authz.AgentSpec{}, delegations: map[string]*authz.DelegationSpec{},
			names: map[ids.ID]string{}, quotas: newExactQuotas(),
		}
		datadriven.RunTest(t, path, s.run)
	})
}

type script struct {
	state       *state.State
	now         time.Time
	agents      map[string]*authz.AgentSpec
	delegations map[string]*authz.DelegationSpec
	names       map[ids.ID]string
	quotas      *exactQuotas
	made        uint64
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "at":
		at, err := time.Parse(time.RFC3339, d.CmdArgs[0].Key)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		s.now = at
		return ""
	case "agent":
		return s.agent(t, d)
	case "delegate":
		return s.delegate(t, d)
	case "revoke":
		s.agents[d.CmdArgs[0].Key].Revoked = true
	case "expire":
		s.agents[d.CmdArgs[0].Key].ExpiresAt = s.now.UnixNano()
	case "undelegate":
		s.delegations[d.CmdArgs[0].Key].Revoked = true
	case "validate":
		var b strings.Builder
		for _, p := range authz.Validate(permissions(t, d), authz.DefaultLimits()) {
			fmt.Fprintf(&b, "%s: %s\n", p.Path, p.Message)
		}
		for _, w := range authz.Warnings(permissions(t, d)) {
			fmt.Fprintf(&b, "%s: %s: %s\n", w.Path, w.Reason, w.Message)
		}
		return b.String()
	case "authorize":
		return s.authorize(t, d)
	case "explain":
		return s.explain(t, d)
	case "effective":
		return s.effective(d)
	case "covered":
		c := authz.CoveredBy(s.state.View(), s.agents[d.CmdArgs[0].Key].ID, permissions(t, d)[0], s.now.UnixNano())
		if !c.Covered {
			return "no\n"
		}
		return fmt.Sprintf("yes depth=%d max=%d\n", c.Depth, c.MaxDepth)
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	s.publish(t)
	return ""
}

func (s *script) agent(t *testing.T, d *datadriven.TestData) string {
	name := d.CmdArgs[0].Key
	a := s.agents[name]
	if a == nil {
		a = &authz.AgentSpec{ID: numbered(len(s.agents)), Token: tokenOf(len(s.agents)), Name: name, Tenant: "default"}
		s.agents[name], s.names[a.ID] = a, name
	}
	a.Permissions = permissions(t, d)
	a.Revision++
	s.publish(t)
	return ""
}

func (s *script) delegate(t *testing.T, d *datadriven.TestData) string {
	spec := &authz.DelegationSpec{
		From: s.agents[d.CmdArgs[1].Key].ID, To: s.agents[d.CmdArgs[2].Key].ID, MaxDepth: authz.DefaultMaxDepth, Permissions: permissions(t, d),
	}
	s.made++
	spec.ID, spec.Created = numbered(1000+int(s.made)), s.made
	for _, arg := range d.CmdArgs[3:] {
		switch arg.Key {
		case "max":
			n, err := strconv.Atoi(arg.Vals[0])
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			spec.MaxDepth = uint32(n)
		case "ttl":
			ttl, err := time.ParseDuration(arg.Vals[0])
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			spec.ExpiresAt = s.now.Add(ttl).UnixNano()
		}
	}
	name := d.CmdArgs[0].Key
	s.delegations[name], s.names[spec.ID] = spec, name
	s.publish(t)
	return ""
}

func (s *script) publish(t *testing.T) {
	txn := s.state.Begin()
	for _, a := range s.agents {
		txn.PutAgent(mustCompile(t, *a))
	}
	for _, d := range s.delegations {
		txn.PutDelegation(mustDelegate(t, *d))
	}
	txn.Commit()
}

func (s *script) request(d *datadriven.TestData) *authz.Request {
	q := &authz.Request{Action: d.CmdArgs[1].Key, Resource: strings.Join(strings.Split(d.CmdArgs[2].Key, "/"), ":"), At: s.now, Quotas: s.quotas}
	s.quotas.now = s.now
	who := d.CmdArgs[0].Key
	if a := s.agents[strings.TrimPrefix(who, "token-of-")]; a != nil {
		q.AgentID = a.ID.Text(ids.PrefixAgent)
		q.ByToken, q.TokenOK, q.Token = strings.HasPrefix(who, "token-of-"), true, a.Token
	} else {
		q.AgentID = who
	}
	for _, arg := range d.CmdArgs[3:] {
		switch arg.Key {
		case "ip":
			q.IP = arg.Vals[0]
		case "approved":
			q.Approved = true
		default:
			q.Args = append(q.Args, authz.Arg{Name: arg.Key, IsString: true, Value: arg.Vals[0]})
		}
	}
	return q
}

func (s *script) grant(g authz.Grant) string {
	switch {
	case g.IsZero():
		return "-"
	case g.Delegation != nil:
		return fmt.Sprintf("%s[%d]", s.names[g.Delegation.ID], g.Ordinal)
	default:
		return fmt.Sprintf("%s[%d]", g.Holder.Name, g.Ordinal)
	}
}

func (s *script) answer(v *authz.Verdict, err error) string {
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var path []string
	for _, id := range v.PathIDs() {
		path = append(path, s.names[id])
	}
	out := fmt.Sprintf("%s grant=%s", v.Code, s.grant(v.Grant))
	if len(path) > 0 {
		out += " path=" + strings.Join(path, ",")
	}
	if v.MaxStaleness > 0 {
		out += fmt.Sprintf(" stale=%v", v.MaxStaleness)
	}
	if reason := v.Reason(); reason != "" {
		out += "\n" + reason
	}
	return out + "\n"
}

func (s *script) authorize(_ *testing.T, d *datadriven.TestData) string {
	v, err := authz.Decide(s.state.View(), s.request(d))
	return s.answer(&v, err)
}

func (s *script) explain(_ *testing.T, d *datadriven.TestData) string {
	rows, v, err := authz.Explain(s.state.View(), s.request(d))
	var b strings.Builder
	for _, r := range rows {
		mark := " "
		if r.Applies {
			mark = "*"
		}
		fmt.Fprintf(&b, "%s %d %s %s: %s\n", mark, r.Depth, r.Agent.Name, s.grant(r.Grant), r.Why)
	}
	return b.String() + s.answer(&v, err)
}

func (s *script) effective(d *datadriven.TestData) string {
	var b strings.Builder
	for _, h := range authz.Effective(s.state.View(), s.agents[d.CmdArgs[0].Key].ID, s.now.UnixNano()) {
		fmt.Fprintf(&b, "%s %s depth=%d", h.Permission.Resource, strings.Join(h.Permission.Actions, ","), h.Depth)
		if h.Delegation != (ids.ID{}) {
			fmt.Fprintf(&b, " by=%s", s.names[h.Delegation])
		}
		if h.ExpiresAt != 0 {
			fmt.Fprintf(&b, " until=%s", time.Unix(0, h.ExpiresAt).UTC().Format(time.TimeOnly))
		}
		for _, c := range h.Inherited {
			if c.RequireApproval {
				b.WriteString(" inherits=approval")
			}
			if c.MaxCallsPerHour > 0 {
				fmt.Fprintf(&b, " inherits=quota:%d", c.MaxCallsPerHour)
			}
		}
		if h.Inert {
			b.WriteString(" inert")
		}
		b.WriteString("\n")
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func permissions(t *testing.T, d *datadriven.TestData) (out []authz.Permission) {
	for line := range strings.Lines(d.Input) {
		fields := strings.Fields(line)
		p := authz.Permission{Resource: fields[0], Actions: strings.Split(fields[1], ",")}
		c := &p.Constraints
		for _, f := range fields[2:] {
			key, value, _ := strings.Cut(f, "=")
			switch key {
			case "id":
				p.ID = value
			case "approval":
				c.RequireApproval = true
			case "args":
				c.ArgPatterns = append(c.ArgPatterns, authz.ArgPattern{Pattern: value})
			case "glob":
				name, glob, _ := strings.Cut(value, ":")
				c.ArgPatterns = append(c.ArgPatterns, authz.ArgPattern{Argument: name, Pattern: glob, Glob: true})
			case "window":
				times, zone, _ := strings.Cut(value, "@")
				start, end, _ := strings.Cut(times, "-")
				c.TimeWindow = &authz.TimeWindow{Start: start, End: end, Zone: zone}
			case "ip":
				c.IPAllowlist = strings.Split(value, ",")
			case "quota":
				n, err := strconv.ParseInt(value, 10, 64)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				c.MaxCallsPerHour = n
			case "per-resource":
				c.QuotaScope = authz.ScopeResource
			case "stale":
				age, err := time.ParseDuration(value)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				p.MaxStaleness = age
			default:
				d.Fatalf(t, "unknown %s", key)
			}
		}
		out = append(out, p)
	}
	return out
}
