package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// authorizing are the flags of authorize.
type authorizing struct {
	agent, token     string
	tokenStdin       bool
	action, resource string
	pairs            []string
	argsJSON         string
	ip, userAgent    string
	trace, request   string
	approval         string
	explain, quiet   bool
	level            consistency
}

func newAuthorize(env Env) *cobra.Command {
	var q authorizing
	cmd := &cobra.Command{
		Use:     "authorize (--agent AGENT | --token-stdin) --action ACTION --resource RESOURCE",
		Aliases: []string{"check"},
		Short:   "Ask whether an agent may do something now",
		Long: `Ask whether an agent may do something now. The exit code tells: 0 allowed, 3 denied; anything else is no decision.

The answer has an entry in the audit trail. With --explain it has one as an administrative act instead: every permission
that was considered is shown, with why it did or did not apply, and nothing is counted.`,
		Example: `  kavachd authorize --agent agt_... --action read --resource mcp:github:repos
  kavachd authorize --token-stdin --action read --resource mcp:github:repos < token
  kavachd authorize --agent agt_... --action write --resource file:logs --arg path=/var/log/app --ip 10.1.2.3
  kavachd authorize --agent agt_... --action execute --resource mcp:deploy:production --explain`,
		GroupID: groupAPI,
		Args:    cobra.NoArgs,
	}
	a := newAPI(env, cmd)
	f := cmd.Flags()
	f.StringVar(&q.agent, "agent", "", "the agent's id")
	f.StringVar(&q.token, "token", "", "the agent's token; others on this machine can read a command line, so better use --token-stdin")
	f.BoolVar(&q.tokenStdin, "token-stdin", false, "read the agent's token from standard input")
	f.StringVar(&q.action, "action", "", "the action (required)")
	f.StringVar(&q.resource, "resource", "", "the resource (required)")
	f.StringArrayVar(&q.pairs, "arg", nil, "an argument of the call as name=value, a string; repeat it for more")
	f.StringVar(&q.argsJSON, "args-json", "", "all arguments of the call as a JSON object")
	f.StringVar(&q.ip, "ip", "", "the address that the call comes from")
	f.StringVar(&q.userAgent, "user-agent", "", "the user agent, for the audit trail")
	f.StringVar(&q.trace, "trace", "", "a trace id, for the audit trail")
	f.StringVar(&q.approval, "approval", "", "an approval of this very call")
	f.StringVar(&q.request, "request-id", "", "names the call, for repeats")
	f.BoolVar(&q.explain, "explain", false, "show every permission considered; nothing is counted")
	f.BoolVarP(&q.quiet, "quiet", "q", false, "print nothing; the exit code tells")
	q.level.flag(cmd)
	required(cmd, "action", "resource")
	cmd.MarkFlagsOneRequired("agent", "token", "token-stdin")
	cmd.MarkFlagsMutuallyExclusive("agent", "token", "token-stdin")
	cmd.MarkFlagsMutuallyExclusive("arg", "args-json")
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error { return q.run(cmd, a) })
	return cmd
}

func (q *authorizing) run(cmd *cobra.Command, a *api) error {
	if q.tokenStdin {
		token, err := readText(a.env, "-")
		if err != nil {
			return usagef("--token-stdin: %w", err)
		}
		if q.token = token; token == "" {
			return usagef("--token-stdin: standard input is empty")
		}
	}
	args, err := argumentsJSON(q.pairs, q.argsJSON)
	if err != nil {
		return err
	}
	level, err := q.level.message()
	if err != nil {
		return err
	}
	where := &kavachv1.CallContext{Ip: q.ip, UserAgent: q.userAgent, Trace: q.trace}
	if q.explain {
		return q.doExplain(cmd, a, args, where, level)
	}
	decision, answer, err := q.decide(cmd, a, args, where, level)
	if err != nil {
		return err
	}
	if !q.quiet {
		if err := a.message(answer, func(t *table) { decisionTable(t, decision) }); err != nil {
			return err
		}
	}
	if !decision.GetAllowed() {
		return errDenied
	}
	return nil
}

func (q *authorizing) decide(cmd *cobra.Command, a *api, args string, where *kavachv1.CallContext, level *kavachv1.Consistency) (*kavachv1.Decision, proto.Message, error) {
	if q.agent != "" {
		req := &kavachv1.AuthorizeRequest{
			AgentId: q.agent, Action: q.action, Resource: q.resource, Context: where, ApprovalId: q.approval, RequestId: q.request, Consistency: level,
		}
		if args != "" {
			req.Args = &kavachv1.AuthorizeRequest_ArgumentsJson{ArgumentsJson: args}
		}
		res, err := read(cmd, a, func(ctx context.Context, e *endpoint) (*kavachv1.AuthorizeResponse, error) {
			return e.decide.Authorize(ctx, req)
		})
		return res.GetDecision(), res, err
	}
	req := &kavachv1.AuthorizeByTokenRequest{
		Token: q.token, Action: q.action, Resource: q.resource, Context: where, ApprovalId: q.approval, RequestId: q.request, Consistency: level,
	}
	if args != "" {
		req.Args = &kavachv1.AuthorizeByTokenRequest_ArgumentsJson{ArgumentsJson: args}
	}
	res, err := read(cmd, a, func(ctx context.Context, e *endpoint) (*kavachv1.AuthorizeByTokenResponse, error) {
		return e.decide.AuthorizeByToken(ctx, req)
	})
	return res.GetDecision(), res, err
}

func (q *authorizing) doExplain(cmd *cobra.Command, a *api, args string, where *kavachv1.CallContext, level *kavachv1.Consistency) error {
	check := &kavachv1.BatchCheck{Action: q.action, Resource: q.resource, Context: where, ApprovalId: q.approval, RequestId: q.request}
	if q.agent != "" {
		check.Subject = &kavachv1.BatchCheck_AgentId{AgentId: q.agent}
	} else {
		check.Subject = &kavachv1.BatchCheck_Token{Token: q.token}
	}
	if args != "" {
		check.Args = &kavachv1.BatchCheck_ArgumentsJson{ArgumentsJson: args}
	}
	req := &kavachv1.ExplainAuthorizationRequest{Check: check, Consistency: level}
	res, err := read(cmd, a, func(ctx context.Context, e *endpoint) (*kavachv1.ExplainAuthorizationResponse, error) {
		return e.decide.ExplainAuthorization(ctx, req)
	})
	if err != nil {
		return err
	}
	if !q.quiet {
		err = a.message(res, func(t *table) {
			decisionTable(t, res.GetDecision())
			t.line("")
			consideredTable(t, res.GetConsidered())
		})
		if err != nil {
			return err
		}
	}
	if !res.GetDecision().GetAllowed() {
		return errDenied
	}
	return nil
}

// reasonText is the code without its prefix.
func reasonText(code kavachv1.ReasonCode) string { return short("REASON_CODE_", code.String()) }

func decisionTable(t *table, d *kavachv1.Decision) {
	if d.GetAllowed() {
		t.field("Decision", "ALLOWED")
	} else {
		t.field("Decision", "DENIED "+reasonText(d.GetReasonCode()))
	}
	t.field("Reason", d.GetReason())
	if g := d.GetGrant(); g != nil {
		t.field("By", grantText(g))
	}
	if quota := d.GetQuota(); quota != nil {
		t.field("Quota", fmt.Sprintf("%d of %d left, reset %s", quota.GetRemaining(), quota.GetLimit(), when(quota.GetResetAt())))
	}
	t.field("Audit entry", d.GetAuditId())
	t.field("Revision", d.GetRevision())
	t.field("Node", d.GetNodeId())
}

// grantText names a permission and the way to it.
func grantText(g *kavachv1.Grant) string {
	text := fmt.Sprintf("permission %d, %s", g.GetPermissionIndex(), g.GetResource())
	if id := g.GetPermissionId(); id != "" {
		text += " (" + id + ")"
	}
	if path := g.GetDelegationIds(); len(path) > 0 {
		text += ", by delegation " + strings.Join(path, " from ")
	}
	return text
}

func consideredTable(t *table, list []*kavachv1.ConsideredGrant) {
	if len(list) == 0 {
		t.line("No permission was considered.")
		return
	}
	t.header("HOLDER", "PERMISSION", "RESOURCE", "DELEGATION", "MATCHES", "RESULT")
	for _, c := range list {
		matches := "resource and action"
		switch {
		case !c.GetResourceMatches():
			matches = "not the resource"
		case !c.GetActionMatches():
			matches = "not the action"
		}
		result := "not asked"
		if code := c.GetReasonCode(); code != kavachv1.ReasonCode_REASON_CODE_UNSPECIFIED {
			result = reasonText(code)
		}
		if text := c.GetReason(); text != "" {
			result += ": " + text
		}
		g := c.GetGrant()
		t.row(c.GetHolderAgentId(), number(uint64(g.GetPermissionIndex())), g.GetResource(), dash(strings.Join(g.GetDelegationIds(), " ")), matches, result)
	}
}

// marshalCompact returns a message as JSON in one line.
func marshalCompact(m proto.Message) (string, error) {
	data, err := marshalJSON(m)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return "", err
	}
	return b.String(), nil
}
