package fsm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/ids"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// TestTranscripts plays the stories in testdata: one command of the state machine each, with all that it yields.
//
//	create NAME [owner=O] [tenant=T] [expiry=D|never] [key=K]   permissions as lines: resource action…
//	update NAME [expiry=D|never] [expect=REV]                    permissions as lines, if any: the new list
//	rotate NAME token=S [grace=D] [key=K]
//	revoke NAME
//	delegate NAME from=A to=B [max-depth=N] [expiry=D|never]     permissions as lines
//	end NAME                                                     revokes a delegation
//	settings [max-agents=N] [token-expiry=D] [purge-after=D]
//	api-key NAME [expiry=D], drop-key NAME; any command takes caller=NAME
//	purge [limit=N], wait D
//	agent NAME, delegation NAME, holds NAME, token S             show what is stored, or what authz makes of it
//
// Names stand for ids, and are printed for them. `go test -rewrite` writes the expected output anew.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if !strings.HasSuffix(path, ".txt") {
			return // what the fuzzer keeps
		}
		s := &story{bench: newBench(t), numbers: map[string]int{"admin": 2}, names: map[string]string{}}
		datadriven.RunTest(t, path, s.play)
	})
}

// story is a transcript under way.
type story struct {
	*bench
	numbers map[string]int    // of names
	names   map[string]string // of ids in text
}

// id is the number of a name, which is made when it is first used.
func (s *story) id(name, prefix string) int {
	n, ok := s.numbers[name]
	if !ok {
		n = 100 + len(s.numbers)
		s.numbers[name] = n
	}
	s.names[idText(testID(n), prefix)] = name
	return n
}

// named prints names where ids stand.
func (s *story) named(text string) string {
	for id, name := range s.names {
		text = strings.ReplaceAll(text, id, name)
	}
	return text
}

func (s *story) arg(d *datadriven.TestData, key, fallback string) string {
	if d.HasArg(key) {
		d.ScanArgs(s.t.(*testing.T), key, &fallback)
	}
	return fallback
}

func (s *story) duration(text string) int64 {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int64
		if _, err := fmt.Sscan(days, &n); err != nil {
			s.t.Fatal(err)
		}
		return n * day
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return int64(d)
}

func (s *story) expiry(d *datadriven.TestData) *raftv1.Expiry {
	switch text := s.arg(d, "expiry", ""); text {
	case "":
		return nil
	case "never":
		return never()
	default:
		return ttl(s.duration(text))
	}
}

func (s *story) number(d *datadriven.TestData, key string, fallback uint32) uint32 {
	if d.HasArg(key) {
		d.ScanArgs(s.t.(*testing.T), key, &fallback)
	}
	return fallback
}

func lines(d *datadriven.TestData) []*raftv1.Permission {
	if strings.TrimSpace(d.Input) == "" {
		return nil
	}
	return perms(strings.Split(strings.TrimSpace(d.Input), "\n")...)
}

func (s *story) play(t *testing.T, d *datadriven.TestData) string {
	s.t = t
	name := ""
	if len(d.CmdArgs) > 0 && len(d.CmdArgs[0].Vals) == 0 {
		name = d.CmdArgs[0].Key
	}
	if show := s.show(d, name); show != "" {
		return s.named(show)
	}
	c := s.command(d, name)
	caller := s.arg(d, "caller", "admin")
	by(s.id(caller, ids.PrefixKey), "", c)
	if key := s.arg(d, "key", ""); key != "" {
		keyed(key, d.Cmd+name, c)
	}
	o := s.do(c)
	s.check()
	if o.Refused != nil {
		return s.named(fmt.Sprintf("REFUSED %s\n", o.Refused))
	}
	return s.named(fmt.Sprintf("ok rev=%d%s%s\n", o.Revision, s.extra(o.Result), s.touches()))
}

// show answers what changes nothing; "" for a command of the state machine.
func (s *story) show(d *datadriven.TestData, name string) string {
	switch d.Cmd {
	case "wait":
		s.wall += s.duration(name)
		return "ok\n"
	case "agent":
		return s.showAgent(s.bench.agent(s.id(name, ids.PrefixAgent)))
	case "delegation":
		return s.showDelegation(s.bench.delegation(s.id(name, ids.PrefixDelegation)))
	case "holds":
		return s.showHoldings(s.id(name, ids.PrefixAgent))
	case "token":
		if n := s.byToken(name); n != 0 {
			return agentText(testID(n)) + "\n"
		}
		return "leads nowhere\n"
	default:
		return ""
	}
}

func (s *story) command(d *datadriven.TestData, name string) *raftv1.Command {
	agent := func(name string) int { return s.id(name, ids.PrefixAgent) }
	switch d.Cmd {
	case "create":
		return create(agent(name), func(c *raftv1.CreateAgent) {
			c.Owner, c.Tenant, c.Name = s.arg(d, "owner", "alice"), s.arg(d, "tenant", ""), name
			c.Permissions, c.Expiry, c.TokenHash = lines(d), s.expiry(d), testHash(s.arg(d, "token", "token-of-"+name))
		})
	case "update":
		return update(agent(name), func(c *raftv1.UpdateAgent) {
			c.Expiry, c.ExpectedRevision = s.expiry(d), uint64(s.number(d, "expect", 0))
			if list := lines(d); list != nil {
				c.Permissions = &raftv1.PermissionList{Permissions: list}
			}
		})
	case "rotate":
		return rotate(agent(name), s.arg(d, "token", ""), s.duration(s.arg(d, "grace", "0s")))
	case "revoke":
		return revoke(agent(name))
	case "delegate":
		return delegate(s.id(name, ids.PrefixDelegation), agent(s.arg(d, "from", "")), agent(s.arg(d, "to", "")), func(c *raftv1.CreateDelegation) {
			c.Permissions, c.Expiry, c.MaxDepth = lines(d), s.expiry(d), s.number(d, "max-depth", 3)
		})
	case "end":
		return revokeDelegation(s.id(name, ids.PrefixDelegation))
	case "settings":
		set := &raftv1.Settings{MaxAgentsPerOwner: s.number(d, "max-agents", 0)}
		set.TokenExpiry, set.PurgeAfter = s.duration(s.arg(d, "token-expiry", "0s")), s.duration(s.arg(d, "purge-after", "0s"))
		return settings(set)
	case "api-key":
		return createKey(s.id(name, ids.PrefixKey), func(c *raftv1.CreateKey) { c.Name, c.Expiry = name, s.expiry(d) })
	case "drop-key":
		return revokeKey(s.id(name, ids.PrefixKey))
	case "purge":
		return purgeCommand(s.number(d, "limit", 100))
	default:
		s.t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
		return nil
	}
}

// extra is what a result says besides the record.
func (s *story) extra(r *raftv1.Result) string {
	switch {
	case r.GetAgent().GetTokenReplaced():
		return " token-replaced"
	case r.GetRevoke() != nil:
		return fmt.Sprintf(" delegations-revoked=%d", r.GetRevoke().GetDelegationsRevoked())
	case r.GetDelegation() != nil:
		return fmt.Sprintf(" depth=%d", r.GetDelegation().GetDelegation().GetDepth())
	case r.GetPurge() != nil:
		return fmt.Sprintf(" purged=%d more=%v", r.GetPurge().GetPurged(), r.GetPurge().GetMore())
	default:
		return ""
	}
}

func (s *story) touches() string {
	var list []string
	for _, a := range s.last.Touched.Agents {
		list = append(list, a.ID.Text(ids.PrefixAgent))
	}
	for _, id := range s.last.Touched.Delegations {
		list = append(list, id.Text(ids.PrefixDelegation))
	}
	for _, id := range s.last.Touched.Keys {
		list = append(list, id.Text(ids.PrefixKey))
	}
	if s.last.Touched.Settings {
		list = append(list, "settings")
	}
	return " touched=(" + strings.Join(list, " ") + ")"
}

var statusNames = map[Status]string{StatusActive: "active", StatusRevoked: "revoked", StatusExpired: "expired"}

// left is how long something still lasts.
func (s *story) left(at int64) string {
	if at == 0 {
		return "never"
	}
	return time.Duration(at - s.wall).String()
}

func (s *story) showAgent(a *raftv1.Agent) string {
	if a == nil {
		return "none\n"
	}
	text := fmt.Sprintf("%s owner=%s tenant=%s ends=%s rev=%d", statusNames[AgentStatus(a, s.wall)], a.GetOwner(), a.GetTenant(), s.left(a.GetExpiresAt()), a.GetRevision())
	if len(a.GetPrevTokenHash()) > 0 {
		text += " grace=" + s.left(a.GetPrevTokenUntil())
	}
	return text + "\n"
}

func (s *story) showDelegation(d *raftv1.Delegation) string {
	if d == nil {
		return "none\n"
	}
	return fmt.Sprintf("%s from=%s to=%s depth=%d max-depth=%d ends=%s rev=%d\n", statusNames[DelegationStatus(d, s.wall)],
		agentText(d.GetFrom()), agentText(d.GetTo()), d.GetDepth(), d.GetMaxDepth(), s.left(d.GetExpiresAt()), d.GetRevision())
}

func (s *story) showHoldings(n int) string {
	text := ""
	s.read(func(r *Reader) {
		src := newSource(r, s.wall, false)
		for _, h := range authz.Effective(src, ids.ID(testID(n)), s.wall) {
			text += fmt.Sprintf("%s %s", h.Permission.Resource, strings.Join(h.Permission.Actions, ","))
			if !h.Delegation.IsZero() {
				text += fmt.Sprintf(" by=%s from=%s depth=%d", h.Delegation.Text(ids.PrefixDelegation), h.From.Text(ids.PrefixAgent), h.Depth)
			}
			if h.Inert {
				text += " inert"
			}
			text += "\n"
		}
		if src.err != nil {
			s.t.Fatal(src.err)
		}
	})
	if text == "" {
		return "nothing\n"
	}
	return text
}
