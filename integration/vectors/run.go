package vectors

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kavachd/kavachd/audit"
	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/fsm"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// Answer is what a step gave here, in the words of the recording, so that the two can be laid side by side.
type Answer map[string]any

// Story is a case under way.
type Story struct {
	c           *Case
	w           *World
	agents      map[string]ids.ID
	tokens      map[string]string
	delegations map[string]ids.ID
	names       map[string]string // agent id in text -> the case's name
}

// NewStory begins a case.
func NewStory(c *Case) (*Story, error) {
	if slices.Contains(c.Tags, "spec-silent:empty-field") {
		c = c.substituted()
	}
	s := &raftv1.Settings{}
	if c.Config.MaxPerUser > 0 {
		s.MaxAgentsPerOwner = c.Config.MaxPerUser
	}
	if c.Config.AuditAll != nil && !*c.Config.AuditAll {
		s.AuditPolicy = uint32(kavachv1.AuditPolicy_AUDIT_POLICY_OFF)
	}
	if c.Config.TokenExpiry != "" {
		d, err := duration(c.Config.TokenExpiry)
		if err == nil {
			s.TokenExpiry = int64(d)
		} else if !marked(c.Tags) {
			return nil, fmt.Errorf("tokenExpiry %q: %w", c.Config.TokenExpiry, err)
		}
	}
	w, err := NewWorld(c.Now, s)
	if err != nil {
		return nil, err
	}
	return &Story{
		c: c, w: w,
		agents: map[string]ids.ID{}, tokens: map[string]string{}, delegations: map[string]ids.ID{}, names: map[string]string{},
	}, nil
}

// duration reads KavachOS' own notation: a number and s, m, h or d.
func duration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		d, err := time.ParseDuration(days + "h")
		return 24 * d, err
	}
	return time.ParseDuration(text)
}

// Close ends the case.
func (s *Story) Close() error { return s.w.Close() }

// Step does one step and tells what came of it. An error is a fault, never a refusal.
func (s *Story) Step(st *Step) (Answer, error) {
	switch st.Op {
	case "advance":
		s.w.now = s.w.now.Add(time.Duration(st.MS) * time.Millisecond)
		return Answer{}, nil
	case "setNow":
		s.w.now = st.At
		return Answer{}, nil
	case "createAgent":
		return s.createAgent(st)
	case "parallelCreate":
		return s.createMany(st)
	case "rotate":
		return s.rotate(st)
	case "revokeAgent":
		return s.revokeAgent(st)
	case "updateAgent":
		return s.updateAgent(st)
	case "getAgent":
		return s.getAgent(st)
	case "listAgents":
		return s.listAgents(st)
	case "authorize", "authorizeByToken":
		return s.authorize(st)
	case "repeatAuthorize", "parallelAuthorize":
		return s.authorizeMany(st)
	case "delegate":
		return s.delegate(st)
	case "revokeDelegation":
		return s.revokeDelegation(st)
	case "effective":
		return s.effective(st)
	case "audit", "auditCount":
		return s.queryAudit(st)
	case "auditCsv":
		return s.exportAudit()
	case "createTenant":
		return Answer{"ok": true, "status": "active"}, nil // a tenant is a name: it needs no making yet
	default:
		return nil, fmt.Errorf("step %q is not for this version", st.Op)
	}
}

// Supported tells whether every step of a case is of a kind that this version has.
func (c *Case) Supported() bool {
	for _, st := range c.Steps {
		switch st.Op {
		case "approvalRequest", "approve", "deny", "getApproval", "listPending", "approvalCleanup",
			"createPolicy", "checkBudget", "recordUsage", "getPolicy", "updatePolicy", "removePolicy", "resetDaily", "resetMonthly",
			"suspendTenant", "activateTenant", "auditCleanup":
			return false
		}
	}
	return true
}

// refusal turns a *status.Error into an answer, and passes on what is none.
func refusal(err error) (Answer, error) {
	reason := status.ReasonOf(err)
	if reason == status.Internal {
		return nil, err
	}
	return Answer{"ok": false, "code": string(reason)}, nil
}

// recordedCode is the original's name of a reason.
func recordedCode(reason string) string {
	switch status.Reason(reason) {
	case status.InvalidArgument, status.LimitExceeded, status.DelegationCycle:
		return "BAD_REQUEST"
	default:
		return reason
	}
}

func (s *Story) agentID(name string) (ids.ID, bool) {
	if id, ok := s.agents[name]; ok {
		return id, true
	}
	id, err := ids.Parse(ids.PrefixAgent, name)
	return id, err == nil
}

// mustAgentID returns the agent's id, or one that no agent has: a name that was never defined.
func (s *Story) mustAgentID(name string) []byte {
	id, ok := s.agentID(name)
	if !ok {
		copy(id[:], "no such agent")
	}
	return id[:]
}

func (s *Story) token() (text string, hash ids.Hash, err error) {
	text, err = ids.NewToken(rand.Reader)
	if err == nil {
		hash, _ = ids.HashToken(text)
	}
	return text, hash, err
}

func (s *Story) createAgent(st *Step) (Answer, error) {
	id, err := s.w.newID()
	if err != nil {
		return nil, err
	}
	text, hash, err := s.token()
	if err != nil {
		return nil, err
	}
	c := &raftv1.CreateAgent{
		Id: id[:], Tenant: value(st.Tenant, fsm.DefaultTenant), Owner: value(st.Owner, "user-1"), Name: value(st.Name, st.As),
		Type: agentType(value(st.Type, "autonomous")), Permissions: permissions(*st.Permissions), TokenHash: hash[:],
	}
	if st.ExpiresIn != nil {
		c.Expiry = s.expiry(*st.ExpiresIn)
	}
	r, err := s.w.propose("AgentService.CreateAgent", &raftv1.Command{Command: &raftv1.Command_CreateAgent{CreateAgent: c}})
	if err != nil {
		return refusal(err)
	}
	s.agents[st.As], s.tokens[st.As+".0"] = id, text
	s.names[id.Text(ids.PrefixAgent)] = st.As
	a := r.GetAgent().GetAgent()
	return Answer{"ok": true, "status": s.status(a), "expiresAt": timestamp(a.GetExpiresAt()), "tokenShape": len(text) == 46}, nil
}

func (s *Story) createMany(st *Step) (Answer, error) {
	created := 0
	for i := range st.N {
		one := Step{As: fmt.Sprintf("many%d", i), Owner: st.Owner, Permissions: &[]Permission{}}
		a, err := s.createAgent(&one)
		if err != nil {
			return nil, err
		}
		if a["ok"] == true {
			created++
		}
	}
	return Answer{"createdCount": created}, nil
}

func (s *Story) expiry(ms float64) *raftv1.Expiry {
	return &raftv1.Expiry{Expiry: &raftv1.Expiry_At{At: s.w.now.Add(time.Duration(ms * float64(time.Millisecond))).UnixNano()}}
}

func (s *Story) rotate(st *Step) (Answer, error) {
	text, hash, err := s.token()
	if err != nil {
		return nil, err
	}
	r, err := s.w.propose("AgentService.RotateAgentToken", &raftv1.Command{Command: &raftv1.Command_RotateToken{
		RotateToken: &raftv1.RotateToken{Id: s.mustAgentID(st.Agent), TokenHash: hash[:]},
	}})
	if err != nil {
		return refusal(err)
	}
	s.tokens[st.Token] = text
	return Answer{"ok": true, "status": s.status(r.GetAgent().GetAgent())}, nil
}

func (s *Story) revokeAgent(st *Step) (Answer, error) {
	_, err := s.w.propose("AgentService.RevokeAgent", &raftv1.Command{Command: &raftv1.Command_RevokeAgent{
		RevokeAgent: &raftv1.RevokeAgent{Id: s.mustAgentID(st.Agent)},
	}})
	if err != nil {
		return refusal(err)
	}
	return Answer{"ok": true}, nil
}

func (s *Story) updateAgent(st *Step) (Answer, error) {
	c := &raftv1.UpdateAgent{Id: s.mustAgentID(st.Agent), Name: st.Name}
	if st.Permissions != nil {
		c.Permissions = &raftv1.PermissionList{Permissions: permissions(*st.Permissions)}
	}
	if st.ExpiresIn != nil {
		c.Expiry = s.expiry(*st.ExpiresIn)
	}
	r, err := s.w.propose("AgentService.UpdateAgent", &raftv1.Command{Command: &raftv1.Command_UpdateAgent{UpdateAgent: c}})
	if err != nil {
		return refusal(err)
	}
	return Answer{"ok": true, "agent": s.view(r.GetAgent().GetAgent())}, nil
}

func (s *Story) getAgent(st *Step) (Answer, error) {
	answer := Answer{"agent": nil}
	id, ok := s.agentID(st.Agent)
	if !ok {
		return answer, nil
	}
	return answer, s.w.read(func(r *fsm.Reader) error {
		a, err := r.Agent(id)
		if a != nil {
			answer["agent"] = s.view(a)
		}
		return err
	})
}

func (s *Story) listAgents(st *Step) (Answer, error) {
	list := []string{}
	err := s.w.read(func(r *fsm.Reader) error {
		page, _, err := r.Agents(fsm.AgentFilter{Owner: cmp.Or(st.Filter.UserID, st.Filter.Owner), Now: s.w.now.UnixNano()}, ids.ID{}, 1000)
		for _, a := range page {
			if st.Filter.Status != "" && s.status(a) != st.Filter.Status ||
				st.Filter.Type != "" && typeName(a.GetType()) != st.Filter.Type ||
				st.Filter.Tenant != "" && a.GetTenant() != st.Filter.Tenant {
				continue
			}
			list = append(list, s.names[ids.ID(a.GetId()).Text(ids.PrefixAgent)]+":"+s.status(a))
		}
		return err
	})
	return Answer{"agents": list}, err
}

func (s *Story) request(st *Step) *authz.Request {
	q := &authz.Request{Action: st.Action, Resource: st.Resource, IP: st.IP, Args: arguments(st.Arguments)}
	if st.Op == "authorizeByToken" {
		q.ByToken = true
		text, ok := s.tokens[st.Token]
		if !ok {
			text = st.Token
		}
		q.Token, q.TokenOK = ids.HashToken(text)
		return q
	}
	q.AgentID = st.Agent
	if id, ok := s.agents[st.Agent]; ok {
		q.AgentID = id.Text(ids.PrefixAgent)
	}
	return q
}

func (s *Story) authorize(st *Step) (Answer, error) {
	v, err := s.w.decide(s.request(st))
	if err != nil {
		return nil, err
	}
	a := Answer{"allowed": v.Allowed()}
	if !v.Allowed() {
		a["reason"], a["code"] = v.Reason(), v.Code.String()
	}
	return a, nil
}

func (s *Story) authorizeMany(st *Step) (Answer, error) {
	allowed, list := 0, []bool{}
	for range st.N {
		v, err := s.w.decide(s.request(st))
		if err != nil {
			return nil, err
		}
		if list = append(list, v.Allowed()); v.Allowed() {
			allowed++
		}
	}
	if st.Op == "parallelAuthorize" {
		return Answer{"allowedCount": allowed}, nil
	}
	return Answer{"allowed": list}, nil
}

func (s *Story) delegate(st *Step) (Answer, error) {
	id, err := s.w.newID()
	if err != nil {
		return nil, err
	}
	depth := uint32(authz.DefaultMaxDepth)
	if st.MaxDepth != nil {
		if *st.MaxDepth < 1 {
			return Answer{"ok": false, "code": string(status.InvalidArgument)}, nil // the API's own check: rpc has a test of it
		}
		depth = uint32(*st.MaxDepth)
	}
	r, err := s.w.propose("DelegationService.CreateDelegation", &raftv1.Command{Command: &raftv1.Command_CreateDelegation{
		CreateDelegation: &raftv1.CreateDelegation{
			Id: id[:], From: s.mustAgentID(st.From), To: s.mustAgentID(st.To), Permissions: permissions(*st.Permissions),
			Expiry: s.expiry(*st.ExpiresIn), MaxDepth: depth,
		},
	}})
	if err != nil {
		return refusal(err)
	}
	s.delegations[st.As] = id
	return Answer{"ok": true, "depth": r.GetDelegation().GetDelegation().GetDepth()}, nil
}

func (s *Story) revokeDelegation(st *Step) (Answer, error) {
	id, ok := s.delegations[st.Chain]
	if !ok {
		copy(id[:], "no such chain")
	}
	_, err := s.w.propose("DelegationService.RevokeDelegation", &raftv1.Command{Command: &raftv1.Command_RevokeDelegation{
		RevokeDelegation: &raftv1.RevokeDelegation{Id: id[:]},
	}})
	if err != nil {
		return refusal(err)
	}
	return Answer{"ok": true}, nil
}

// effective lists the received part, of what is not inert, as the original does.
func (s *Story) effective(st *Step) (Answer, error) {
	list := []Permission{}
	if id, ok := s.agentID(st.Agent); ok {
		for _, h := range authz.Effective(s.w.state.View(), id, s.w.now.UnixNano()) {
			if !h.Delegation.IsZero() && !h.Inert {
				list = append(list, recorded(h.Permission))
			}
		}
	}
	return Answer{"permissions": list}, nil
}

func (s *Story) filter(f Filter) audit.Filter {
	out := audit.Filter{Kind: uint32(kavachv1.AuditKind_AUDIT_KIND_DECISION), Owner: f.UserID, Actions: f.Actions}
	if f.Agent != "" {
		out.AgentID = f.Agent
		if id, ok := s.agents[f.Agent]; ok {
			out.AgentID = id.Text(ids.PrefixAgent)
		}
	}
	if f.Result != "" {
		out.Result = uint32(kavachv1.AuditResult_value["AUDIT_RESULT_"+strings.ToUpper(f.Result)])
	}
	if f.Since != nil {
		out.Since = f.Since.UnixNano()
	}
	if f.Until != nil {
		out.Until = f.Until.UnixNano()
	}
	return out
}

// findAll pages through everything that matches, two at a time, so that the cursor is on the way.
func (s *Story) findAll(f Filter) (all []Entry, err error) {
	q := audit.Query{Filter: s.filter(f), Limit: 2}
	for {
		var page *audit.Page
		if err := s.w.read(func(r *fsm.Reader) (err error) {
			page, err = audit.Find(context.Background(), r, q, nil)
			return err
		}); err != nil {
			return nil, err
		}
		for _, e := range page.Entries {
			all = append(all, s.entry(e.Entry))
		}
		if q.Cursor = page.Next; q.Cursor == nil {
			return all, nil
		}
	}
}

func (s *Story) entry(e *raftv1.AuditEntry) Entry {
	name, ok := s.names[e.GetAgentId()]
	if !ok {
		name = e.GetAgentId()
	}
	return Entry{
		Agent: name, User: e.GetOwner(), Action: e.GetAction(), Resource: e.GetResource(),
		Result: strings.ToLower(strings.TrimPrefix(kavachv1.AuditResult(e.GetResult()).String(), "AUDIT_RESULT_")),
		Reason: e.GetReason(), Timestamp: timestamp(e.GetTime()).(string),
	}
}

func (s *Story) queryAudit(st *Step) (Answer, error) {
	all, err := s.findAll(st.Filter)
	if err != nil {
		return nil, err
	}
	if st.Op == "auditCount" {
		return Answer{"count": len(all)}, nil
	}
	if st.Filter.Offset != nil {
		all = all[min(*st.Filter.Offset, len(all)):]
	}
	if st.Filter.Limit != nil {
		all = all[:min(*st.Filter.Limit, len(all))]
	}
	return Answer{"entries": slices.Clip(append([]Entry{}, all...))}, nil
}

func (s *Story) exportAudit() (Answer, error) {
	var out bytes.Buffer
	_, _, err := audit.Export(context.Background(), &out, audit.FormatCSV, s.filter(Filter{}), func(ctx context.Context, q audit.Query) (page *audit.Page, err error) {
		err = s.w.read(func(r *fsm.Reader) (err error) {
			page, err = audit.Find(ctx, r, q, nil)
			return err
		})
		return page, err
	})
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimRight(out.String(), "\r\n"), "\n")
	return Answer{"header": strings.TrimRight(lines[0], "\r"), "lines": len(lines)}, nil
}

func (s *Story) status(a *raftv1.Agent) string {
	switch fsm.AgentStatus(a, s.w.now.UnixNano()) {
	case fsm.StatusRevoked:
		return "revoked"
	case fsm.StatusExpired:
		return "expired"
	default:
		return "active"
	}
}

func (s *Story) view(a *raftv1.Agent) AgentView {
	name := s.names[ids.ID(a.GetId()).Text(ids.PrefixAgent)]
	v := AgentView{
		Name: name, DisplayName: a.GetName(), Type: typeName(a.GetType()), Status: s.status(a), Permissions: []Permission{},
	}
	if at, ok := timestamp(a.GetExpiresAt()).(string); ok {
		v.ExpiresAt = &at
	}
	for _, p := range fsm.Permissions(a.GetPermissions()) {
		v.Permissions = append(v.Permissions, recorded(p))
	}
	return v
}

func arguments(in map[string]json.RawMessage) []authz.Arg {
	var args []authz.Arg
	for _, name := range slices.Sorted(maps.Keys(in)) {
		a := authz.Arg{Name: name}
		a.IsString = json.Unmarshal(in[name], &a.Value) == nil
		args = append(args, a)
	}
	return args
}
