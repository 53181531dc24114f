package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// story is the quickstart, step by step.
type story struct {
	*trio
	print  *printer
	checks []string

	agent, sub string // ids
	token      string
	oldToken   string
	entries    []entry
}

// entry is what the audit trail must have.
type entry struct {
	id     string // empty for an act, which is found by its action
	agent  string
	action string
	result string
}

func (e entry) String() string {
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s", e.id, e.agent, e.action, e.result)), ", ")
}

const (
	owner      = "user-123"
	repos      = "mcp:github:repos"
	issues     = "mcp:github:issues"
	github     = "mcp:github:*"
	production = "mcp:deploy:production"
)

// tell tells all of it; the first difference ends it.
func (s *story) tell(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		s.create, s.readOnFirst, s.writeOnSecond, s.deploy, s.byToken, s.rotate, s.oldTokenEverywhere, s.newTokenEverywhere,
		s.createSub, s.delegate, s.effective, s.subReads, s.escalate, s.trail,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// expect checks one thing and counts it.
func expect[T comparable](s *story, what string, got, want T) error {
	s.checks = append(s.checks, what)
	if got != want {
		return fmt.Errorf("step %d: %s\n  want  %v\n  got   %v", s.print.steps, what, want, got)
	}
	return nil
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// ask calls a node, and prints question and answer.
func ask[Req, Res any](ctx context.Context, s *story, n *node, question string, call func(context.Context, *Req) (*Res, error), req *Req, answer func(*Res) string) (*Res, error) {
	began := time.Now()
	res, err := call(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("step %d: %s on %s: %w", s.print.steps, question, n.name(), err)
	}
	s.print.call(n, time.Since(began), question, answer(res))
	return res, nil
}

func (s *story) create(ctx context.Context) error {
	s.print.step("Make an agent that may read all of GitHub, and deploy only with an approval")
	limit := int64(5)
	req := &kavachv1.CreateAgentRequest{
		OwnerId: owner, Name: "github-reader", Type: kavachv1.AgentType_AGENT_TYPE_AUTONOMOUS,
		Permissions: []*kavachv1.Permission{
			{Resource: github, Actions: []string{"read"}},
			{Resource: production, Actions: []string{"execute"}, Constraints: &kavachv1.Constraints{RequireApproval: true, MaxCallsPerHour: &limit}},
		},
		Idempotency: &kavachv1.Idempotency{Key: "quickstart-create"},
	}
	n := s.nodes[0]
	res, err := ask(ctx, s, n, "CreateAgent "+owner+" github-reader: "+github+"=read, "+production+"=execute (approval; 5 calls an hour)", n.agents.CreateAgent, req,
		func(res *kavachv1.CreateAgentResponse) string {
			return fmt.Sprintf("%s, token %s", res.GetAgent().GetAgentId(), hidden(res.GetToken()))
		})
	if err != nil {
		return err
	}
	s.agent, s.token = res.GetAgent().GetAgentId(), res.GetToken()
	s.act("AgentService.CreateAgent", s.agent, "allowed")
	return first(
		expect(s, "the agent's status", res.GetAgent().GetStatus(), kavachv1.AgentStatus_AGENT_STATUS_ACTIVE),
		expect(s, "the agent's permissions", len(res.GetAgent().GetPermissions()), 2),
		expect(s, "the token begins with", res.GetToken()[:min(3, len(res.GetToken()))], "kv_"),
		expect(s, "warnings", len(res.GetWarnings()), 0),
	)
}

// hidden shows enough of a secret to tell it from another one.
func hidden(secret string) string {
	if len(secret) < 12 {
		return "(none)"
	}
	return secret[:7] + "..."
}

// decision asks a node by id and checks the answer.
func (s *story) decision(ctx context.Context, n *node, agent, action, resource string, want kavachv1.ReasonCode) error {
	res, err := ask(ctx, s, n, fmt.Sprintf("Authorize %s %s %s", s.nickname(agent), action, resource), n.decide.Authorize,
		&kavachv1.AuthorizeRequest{AgentId: agent, Action: action, Resource: resource},
		func(res *kavachv1.AuthorizeResponse) string { return verdict(res.GetDecision()) })
	if err != nil {
		return err
	}
	return s.judge(n, res.GetDecision(), agent, action, want)
}

// tokenDecision asks a node by token and checks the answer.
func (s *story) tokenDecision(ctx context.Context, n *node, token, action, resource string, want kavachv1.ReasonCode) error {
	res, err := ask(ctx, s, n, fmt.Sprintf("AuthorizeByToken %s %s %s", hidden(token), action, resource), n.decide.AuthorizeByToken,
		&kavachv1.AuthorizeByTokenRequest{Token: token, Action: action, Resource: resource},
		func(res *kavachv1.AuthorizeByTokenResponse) string { return verdict(res.GetDecision()) })
	if err != nil {
		return err
	}
	agent := s.agent
	if want == kavachv1.ReasonCode_REASON_CODE_INVALID_TOKEN {
		agent = "" // a token that proves nobody
	}
	return s.judge(n, res.GetDecision(), agent, action, want)
}

// judge checks all of a decision and remembers what the trail must say of it.
func (s *story) judge(n *node, d *kavachv1.Decision, agent, action string, want kavachv1.ReasonCode) error {
	allowed := want == kavachv1.ReasonCode_REASON_CODE_ALLOWED
	result := "denied"
	if allowed {
		result = "allowed"
	}
	s.entries = append(s.entries, entry{id: d.GetAuditId(), agent: agent, action: action, result: result})
	return first(
		expect(s, "the reason", d.GetReasonCode(), want),
		expect(s, "allowed", d.GetAllowed(), allowed),
		expect(s, "the node that answered", d.GetNodeId(), n.id),
		expect(s, "a denial has a reason in words, and an allowed call none", d.GetReason() == "", allowed),
		expect(s, "the decision has an audit entry", strings.HasPrefix(d.GetAuditId(), "aud_"), true),
	)
}

func verdict(d *kavachv1.Decision) string {
	if d.GetAllowed() {
		return "ALLOWED"
	}
	return "DENIED " + strings.TrimPrefix(d.GetReasonCode().String(), "REASON_CODE_") + ": " + d.GetReason()
}

func (s *story) nickname(agent string) string {
	if agent == s.sub {
		return "sub-reader"
	}
	return "github-reader"
}

// act remembers an administrative act.
func (s *story) act(action, agent, result string) {
	s.entries = append(s.entries, entry{agent: agent, action: action, result: result})
}

func (s *story) readOnFirst(ctx context.Context) error {
	s.print.step("Reading matches the wildcard")
	return s.decision(ctx, s.nodes[0], s.agent, "read", repos, kavachv1.ReasonCode_REASON_CODE_ALLOWED)
}

func (s *story) writeOnSecond(ctx context.Context) error {
	s.print.step("Writing matches nothing; another node knows the agent too")
	return s.decision(ctx, s.nodes[1], s.agent, "write", repos, kavachv1.ReasonCode_REASON_CODE_NO_MATCHING_PERMISSION)
}

func (s *story) deploy(ctx context.Context) error {
	s.print.step("Deploying needs a human's approval first")
	return s.decision(ctx, s.nodes[2], s.agent, "execute", production, kavachv1.ReasonCode_REASON_CODE_APPROVAL_REQUIRED)
}

func (s *story) byToken(ctx context.Context) error {
	s.print.step("The agent's token proves who asks")
	return s.tokenDecision(ctx, s.nodes[2], s.token, "read", issues, kavachv1.ReasonCode_REASON_CODE_ALLOWED)
}

func (s *story) rotate(ctx context.Context) error {
	s.print.step("Rotate the token")
	n := s.nodes[1]
	res, err := ask(ctx, s, n, "RotateAgentToken github-reader", n.agents.RotateAgentToken,
		&kavachv1.RotateAgentTokenRequest{AgentId: s.agent, Idempotency: &kavachv1.Idempotency{Key: "quickstart-rotate"}},
		func(res *kavachv1.RotateAgentTokenResponse) string { return "new token " + hidden(res.GetToken()) })
	if err != nil {
		return err
	}
	s.oldToken, s.token = s.token, res.GetToken()
	s.act("AgentService.RotateAgentToken", s.agent, "allowed")
	return first(
		expect(s, "the token has changed", s.oldToken != s.token, true),
		expect(s, "the old token has a grace", res.GetPreviousValidUntil() != nil, false),
	)
}

func (s *story) oldTokenEverywhere(ctx context.Context) error {
	s.print.step("From then on every node refuses the old token")
	for _, n := range s.nodes {
		if err := s.tokenDecision(ctx, n, s.oldToken, "read", issues, kavachv1.ReasonCode_REASON_CODE_INVALID_TOKEN); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) newTokenEverywhere(ctx context.Context) error {
	s.print.step("And every node accepts the new one")
	for _, n := range s.nodes {
		if err := s.tokenDecision(ctx, n, s.token, "read", issues, kavachv1.ReasonCode_REASON_CODE_ALLOWED); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) createSub(ctx context.Context) error {
	s.print.step("Make a sub-agent, which holds nothing of its own")
	n := s.nodes[2]
	req := &kavachv1.CreateAgentRequest{
		OwnerId: owner, Name: "sub-reader", Type: kavachv1.AgentType_AGENT_TYPE_DELEGATED, Idempotency: &kavachv1.Idempotency{Key: "quickstart-sub"},
	}
	res, err := ask(ctx, s, n, "CreateAgent "+owner+" sub-reader: no permissions", n.agents.CreateAgent, req,
		func(res *kavachv1.CreateAgentResponse) string { return res.GetAgent().GetAgentId() })
	if err != nil {
		return err
	}
	s.sub = res.GetAgent().GetAgentId()
	s.act("AgentService.CreateAgent", s.sub, "allowed")
	return first(
		expect(s, "its permissions", len(res.GetAgent().GetPermissions()), 0),
		s.decision(ctx, s.nodes[0], s.sub, "read", issues, kavachv1.ReasonCode_REASON_CODE_NO_MATCHING_PERMISSION),
	)
}

func (s *story) delegate(ctx context.Context) error {
	s.print.step("The agent gives it a part of what it holds, for an hour")
	n := s.nodes[0]
	depth := uint32(2)
	req := &kavachv1.CreateDelegationRequest{
		FromAgentId: s.agent, ToAgentId: s.sub, MaxDepth: &depth,
		Permissions: []*kavachv1.Permission{{Resource: issues, Actions: []string{"read"}}},
		Expiry:      &kavachv1.Expiry{Expiry: &kavachv1.Expiry_Ttl{Ttl: durationpb.New(time.Hour)}},
		Idempotency: &kavachv1.Idempotency{Key: "quickstart-delegate"},
	}
	res, err := ask(ctx, s, n, "CreateDelegation github-reader to sub-reader: "+issues+"=read, at most 2 deep", n.delegs.CreateDelegation, req,
		func(res *kavachv1.CreateDelegationResponse) string { return res.GetDelegation().GetDelegationId() })
	if err != nil {
		return err
	}
	s.act("DelegationService.CreateDelegation", s.agent, "allowed")
	d := res.GetDelegation()
	return first(
		expect(s, "its status", d.GetStatus(), kavachv1.DelegationStatus_DELEGATION_STATUS_ACTIVE),
		expect(s, "its depth", d.GetDepth(), 1),
		expect(s, "it is effective", d.GetEffective(), true),
	)
}

func (s *story) effective(ctx context.Context) error {
	s.print.step("What the sub-agent holds now")
	n := s.nodes[1]
	res, err := ask(ctx, s, n, "GetEffectivePermissions sub-reader", n.delegs.GetEffectivePermissions, &kavachv1.GetEffectivePermissionsRequest{AgentId: s.sub},
		func(res *kavachv1.GetEffectivePermissionsResponse) string {
			return fmt.Sprintf("%d permission", len(res.GetPermissions()))
		})
	if err != nil {
		return err
	}
	if err := expect(s, "effective permissions", len(res.GetPermissions()), 1); err != nil {
		return err
	}
	p := res.GetPermissions()[0]
	s.print.rows([][]string{
		{"RESOURCE", "ACTIONS", "FROM", "DEPTH", "EXPIRES"},
		{p.GetPermission().GetResource(), strings.Join(p.GetPermission().GetActions(), ","), s.nickname(p.GetFromAgentId()), fmt.Sprint(p.GetDepth()), p.GetExpiresAt().AsTime().UTC().Format(time.RFC3339)},
	})
	return first(
		expect(s, "its resource", p.GetPermission().GetResource(), issues),
		expect(s, "its actions", strings.Join(p.GetPermission().GetActions(), ","), "read"),
		expect(s, "its giver", p.GetFromAgentId(), s.agent),
		expect(s, "it is effective", p.GetEffective(), true),
	)
}

func (s *story) subReads(ctx context.Context) error {
	s.print.step("So the sub-agent may read issues, and nothing else")
	return first(
		s.decision(ctx, s.nodes[2], s.sub, "read", issues, kavachv1.ReasonCode_REASON_CODE_ALLOWED),
		s.decision(ctx, s.nodes[1], s.sub, "read", repos, kavachv1.ReasonCode_REASON_CODE_NO_MATCHING_PERMISSION),
	)
}

func (s *story) escalate(ctx context.Context) error {
	s.print.step("Nobody can give more than they hold")
	n := s.nodes[1]
	question := "CreateDelegation github-reader to sub-reader: mcp:deploy:*=execute"
	began := time.Now()
	res, err := n.delegs.CreateDelegation(ctx, &kavachv1.CreateDelegationRequest{
		FromAgentId: s.agent, ToAgentId: s.sub, Permissions: []*kavachv1.Permission{{Resource: "mcp:deploy:*", Actions: []string{"execute"}}},
		Idempotency: &kavachv1.Idempotency{Key: "quickstart-escalate"},
	})
	if err == nil {
		return expect(s, "an escalation is refused", "accepted as "+res.GetDelegation().GetDelegationId(), "refused")
	}
	reason, message := refusal(err)
	s.print.call(n, time.Since(began), question, "refused "+reason+": "+message)
	s.act("DelegationService.CreateDelegation", s.agent, "denied")
	return expect(s, "the reason of the refusal", reason, "INSUFFICIENT_PERMISSIONS")
}

// refusal returns reason and sentence of an API error.
func refusal(err error) (reason, message string) {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return "", err.Error()
	}
	for _, d := range ce.Details() {
		if value, err := d.Value(); err == nil {
			if detail, ok := value.(*kavachv1.ErrorDetail); ok {
				return detail.GetReason(), ce.Message()
			}
		}
	}
	return ce.Code().String(), ce.Message()
}

func (s *story) trail(ctx context.Context) error {
	s.print.step("The audit trail has it all, on any node")
	n := s.nodes[2]
	began := time.Now()
	stream, err := n.audit.ExportAuditLog(ctx, &kavachv1.ExportAuditLogRequest{Format: kavachv1.ExportFormat_EXPORT_FORMAT_CSV})
	if err != nil {
		return fmt.Errorf("step %d: export: %w", s.print.steps, err)
	}
	var data bytes.Buffer
	var missing []string
	for stream.Receive() {
		data.Write(stream.Msg().GetData())
		missing = append(missing, stream.Msg().GetMissingJournals()...)
	}
	if err := errors.Join(stream.Err(), stream.Close()); err != nil {
		return fmt.Errorf("step %d: export: %w", s.print.steps, err)
	}
	rows, err := csv.NewReader(&data).ReadAll()
	if err != nil {
		return fmt.Errorf("step %d: the export is no CSV: %w", s.print.steps, err)
	}
	if len(rows) == 0 {
		return expect(s, "the export has a header", false, true)
	}
	s.print.call(n, time.Since(began), "ExportAuditLog as CSV", fmt.Sprintf("%d entries, %d columns", len(rows)-1, len(rows[0])))
	if err := expect(s, "nodes whose journals are missing", strings.Join(missing, " "), ""); err != nil {
		return err
	}
	return s.compare(rows)
}

// compare checks that each decision has exactly one row, with its agent and result, and that the acts have theirs.
func (s *story) compare(rows [][]string) error {
	column := map[string]int{}
	for _, name := range []string{"id", "agentId", "action", "resource", "result", "reason"} {
		if column[name] = slices.Index(rows[0], name); column[name] < 0 {
			return expect(s, "the columns have "+name, strings.Join(rows[0], ","), name)
		}
	}
	table := [][]string{{"ACTION", "RESOURCE", "AGENT", "RESULT", "REASON"}}
	for _, row := range rows[1:] {
		agent := row[column["agentId"]]
		if agent == s.agent || agent == s.sub {
			agent = s.nickname(agent)
		}
		table = append(table, []string{row[column["action"]], row[column["resource"]], agent, row[column["result"]], row[column["reason"]]})
	}
	s.print.rows(table)
	used := map[int]bool{}
	for _, want := range s.entries {
		found := -1
		for i, row := range rows[1:] {
			same := want.id == row[column["id"]] || want.id == "" && row[column["action"]] == want.action && (want.agent == "" || row[column["agentId"]] == want.agent)
			if same && row[column["result"]] == want.result && !used[i] {
				found = i
				break
			}
		}
		got := "no such row"
		if found >= 0 {
			got = want.String()
		}
		if err := expect(s, "a row of the trail", got, want.String()); err != nil {
			return err
		}
		used[found] = true
		row := rows[found+1]
		if want.id == "" {
			continue
		}
		if err := first(
			expect(s, "the action of "+want.id, row[column["action"]], want.action),
			expect(s, "the agent of "+want.id, row[column["agentId"]], want.agent),
		); err != nil {
			return err
		}
	}
	decisions := 0
	for _, row := range rows[1:] {
		for _, want := range s.entries {
			if want.id != "" && want.id == row[column["id"]] {
				decisions++
			}
		}
	}
	made := 0
	for _, want := range s.entries {
		if want.id != "" {
			made++
		}
	}
	return expect(s, "rows of decisions, one each", decisions, made)
}
