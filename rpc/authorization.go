package rpc

import (
	"context"
	"slices"
	"strconv"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/cluster"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/ids"
)

// authorization serves AuthorizationService.
type authorization struct{ *api }

// asked is what the four forms of a check have in common.
type asked interface {
	GetAction() string
	GetResource() string
	GetArguments() *structpb.Struct
	GetArgumentsJson() string
	GetContext() *kavachv1.CallContext
	GetApprovalId() string
	GetRequestId() string
}

// check reads a check. isText tells that arguments_json is given; path is where the check stands in its request.
func check(q asked, isText bool, path string) (cluster.Check, error) {
	args, err := readArguments(q.GetArguments(), q.GetArgumentsJson(), isText, path)
	if err != nil {
		return cluster.Check{}, err
	}
	return cluster.Check{
		Request: authz.Request{
			Action:   q.GetAction(),
			Resource: q.GetResource(),
			Args:     args.top,
			IP:       q.GetContext().GetIp(),
		},
		Parameters: args.canonical,
		UserAgent:  q.GetContext().GetUserAgent(),
		Trace:      q.GetContext().GetTrace(),
		RequestID:  q.GetRequestId(),
		ApprovalID: q.GetApprovalId(),
	}, nil
}

// byToken makes the check one about the agent that the token proves. Only the hash goes further; text that can't be a
// token proves nobody.
func byToken(c *cluster.Check, token string) {
	c.Request.ByToken = true
	c.Request.Token, c.Request.TokenOK = ids.HashToken(token)
}

// Authorize implements AuthorizationService.
func (s authorization) Authorize(ctx context.Context, req *kavachv1.AuthorizeRequest) (*kavachv1.AuthorizeResponse, error) {
	_, isText := req.GetArgs().(*kavachv1.AuthorizeRequest_ArgumentsJson)
	c, err := check(req, isText, "")
	if err != nil {
		return nil, err
	}
	c.Request.AgentID, c.AgentText = req.GetAgentId(), req.GetAgentId()
	d, err := s.decideOne(ctx, req.GetConsistency(), c)
	if err != nil {
		return nil, err
	}
	return &kavachv1.AuthorizeResponse{Decision: d}, nil
}

// AuthorizeByToken implements AuthorizationService.
func (s authorization) AuthorizeByToken(ctx context.Context, req *kavachv1.AuthorizeByTokenRequest) (*kavachv1.AuthorizeByTokenResponse, error) {
	_, isText := req.GetArgs().(*kavachv1.AuthorizeByTokenRequest_ArgumentsJson)
	c, err := check(req, isText, "")
	if err != nil {
		return nil, err
	}
	byToken(&c, req.GetToken())
	d, err := s.decideOne(ctx, req.GetConsistency(), c)
	if err != nil {
		return nil, err
	}
	return &kavachv1.AuthorizeByTokenResponse{Decision: d}, nil
}

func (s authorization) decideOne(ctx context.Context, level *kavachv1.Consistency, c cluster.Check) (*kavachv1.Decision, error) {
	checks := [1]cluster.Check{c}
	decisions, _, err := s.decide(ctx, level, checks[:])
	if err != nil {
		return nil, err
	}
	return decisions[0], nil
}

// decide answers checks from one version of the state, and returns that version's revision token.
func (s authorization) decide(ctx context.Context, c *kavachv1.Consistency, checks []cluster.Check) ([]*kavachv1.Decision, string, error) {
	decided, err := s.node.Decide(ctx, level(c), callerOf(ctx).hash, checks)
	if err != nil {
		return nil, "", err
	}
	if len(decided.Verdicts) != len(checks) || len(decided.AuditIDs) != len(checks) {
		return nil, "", errNoResult
	}
	revision := s.node.RevisionToken(decided.Served.Revision)
	out := make([]*kavachv1.Decision, len(checks))
	for i := range decided.Verdicts {
		out[i] = s.decision(&decided.Verdicts[i], decided.Served, revision)
		if id := decided.AuditIDs[i]; !id.IsZero() {
			out[i].AuditId = id.Text(ids.PrefixAudit)
		}
	}
	return out, revision, nil
}

// decision turns a verdict into the API's answer.
func (s authorization) decision(v *authz.Verdict, served cluster.Served, revision string) *kavachv1.Decision {
	d := &kavachv1.Decision{
		Allowed:     v.Allowed(),
		ReasonCode:  reasonCode(v.Code),
		Reason:      v.Reason(),
		Revision:    revision,
		Consistency: servedLevel(served),
		NodeId:      s.node.ID(),
	}
	if !v.Grant.IsZero() {
		d.Grant = shownGrant(v.Grant, v.Path())
	}
	if v.Standing != (authz.Standing{}) {
		d.Quota = &kavachv1.Quota{
			Limit: v.Standing.Limit, Remaining: v.Standing.Remaining, ResetAt: timestamppb.New(s.now().Add(v.Standing.Reset)),
		}
	}
	if v.RetryAfter > 0 {
		if d.GetQuota() == nil {
			d.Quota = &kavachv1.Quota{}
		}
		d.Quota.RetryAfter = durationpb.New(v.RetryAfter)
	}
	return d
}

// reasonCodes are the API's numbers of the rules' codes, by name: both spell them as SPEC 4 does.
var reasonCodes = func() (numbers []kavachv1.ReasonCode) {
	numbers = append(numbers, kavachv1.ReasonCode_REASON_CODE_UNSPECIFIED)
	for c := authz.Allowed; c.String() != ""; c++ {
		numbers = append(numbers, kavachv1.ReasonCode(kavachv1.ReasonCode_value["REASON_CODE_"+c.String()]))
	}
	return numbers
}()

func reasonCode(c authz.Code) kavachv1.ReasonCode {
	if int(c) >= len(reasonCodes) {
		return kavachv1.ReasonCode_REASON_CODE_UNSPECIFIED
	}
	return reasonCodes[c]
}

// hideOthers makes an agent of another tenant than the caller's unknown, as Decide does.
func hideOthers(ctx context.Context, v *cluster.View, q *authz.Request) {
	agent := v.State.AgentByToken(q.Token)
	if !q.ByToken {
		id, _ := ids.Parse(ids.PrefixAgent, q.AgentID) // zero for what is none: nobody has it
		agent = v.State.Agent(id)
	}
	if agent != nil && !mine(ctx, agent.Tenant) {
		q.AgentID, q.TokenOK = "", false
	}
}

func shownGrant(g authz.Grant, path []*authz.Delegation) *kavachv1.Grant {
	p := g.Permission()
	out := &kavachv1.Grant{PermissionIndex: uint32(g.Ordinal), PermissionId: p.ID, Resource: p.Resource}
	for _, d := range path {
		out.DelegationIds = append(out.DelegationIds, d.ID.Text(ids.PrefixDelegation))
	}
	return out
}

// batchCheck reads one check of a batch.
func batchCheck(q *kavachv1.BatchCheck, path string) (cluster.Check, error) {
	_, isText := q.GetArgs().(*kavachv1.BatchCheck_ArgumentsJson)
	c, err := check(q, isText, path)
	if err != nil {
		return cluster.Check{}, err
	}
	if token, ok := q.GetSubject().(*kavachv1.BatchCheck_Token); ok {
		byToken(&c, token.Token)
	} else {
		c.Request.AgentID, c.AgentText = q.GetAgentId(), q.GetAgentId()
	}
	return c, nil
}

// BatchAuthorize implements AuthorizationService.
func (s authorization) BatchAuthorize(ctx context.Context, req *kavachv1.BatchAuthorizeRequest) (*kavachv1.BatchAuthorizeResponse, error) {
	checks := make([]cluster.Check, len(req.GetChecks()))
	for i, q := range req.GetChecks() {
		var err error
		if checks[i], err = batchCheck(q, "checks["+strconv.Itoa(i)+"]"); err != nil {
			return nil, err
		}
	}
	decisions, revision, err := s.decide(ctx, req.GetConsistency(), checks)
	if err != nil {
		return nil, err
	}
	return &kavachv1.BatchAuthorizeResponse{Decisions: decisions, Revision: revision}, nil
}

// ExplainAuthorization implements AuthorizationService. It counts nothing, and is an administrative act: it has its entry
// in the audit trail before it is answered.
func (s authorization) ExplainAuthorization(ctx context.Context, req *kavachv1.ExplainAuthorizationRequest) (*kavachv1.ExplainAuthorizationResponse, error) {
	c, err := batchCheck(req.GetCheck(), "check")
	if err != nil {
		return nil, err
	}
	began := s.now()
	res := &kavachv1.ExplainAuthorizationResponse{}
	var about *authz.Agent
	res.Revision, err = s.read(ctx, req.GetConsistency(), func(v *cluster.View) error {
		request := c.Request
		request.At = v.Now
		hideOthers(ctx, v, &request)
		considered, verdict, err := authz.Explain(v.State, &request)
		if err != nil {
			return quotaError(err)
		}
		about = verdict.Agent
		res.Considered = shownConsidered(considered, &request)
		res.Decision = s.decision(&verdict, cluster.Served{Revision: v.Revision, Consistency: cluster.Fresh}, s.node.RevisionToken(v.Revision))
		return nil
	})
	if err != nil {
		return nil, err
	}
	act := s.act(ctx, "AuthorizationService.ExplainAuthorization", began)
	act.AgentId, act.Resource = req.GetCheck().GetAgentId(), req.GetCheck().GetResource()
	if about != nil {
		act.AgentId, act.Owner, act.Tenant = about.ID.Text(ids.PrefixAgent), about.Owner, about.Tenant
	}
	return res, s.note(act)
}

func shownConsidered(in []authz.Considered, q *authz.Request) []*kavachv1.ConsideredGrant {
	out := make([]*kavachv1.ConsideredGrant, len(in))
	for i, c := range in {
		p := c.Grant.Permission()
		out[i] = &kavachv1.ConsideredGrant{
			Grant:           shownGrant(c.Grant, nil),
			ResourceMatches: authz.Match(p.Resource, q.Resource),
			ActionMatches:   slices.Contains(p.Actions, q.Action) || slices.Contains(p.Actions, "*"),
			Selected:        c.Code != 0,
			ReasonCode:      reasonCode(c.Code),
			Reason:          c.Why,
		}
		if d := c.Grant.Delegation; d != nil {
			out[i].Grant.DelegationIds = []string{d.ID.Text(ids.PrefixDelegation)}
		}
		if c.Agent != nil {
			out[i].HolderAgentId = c.Agent.ID.Text(ids.PrefixAgent)
		}
	}
	return out
}
