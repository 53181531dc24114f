package rpc

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

func perm(resource string, actions ...string) *kavachv1.Permission {
	return &kavachv1.Permission{Resource: resource, Actions: actions}
}

func newAgent(t *testing.T, c clients, owner string, perms ...*kavachv1.Permission) (*kavachv1.Agent, string) {
	t.Helper()
	res, err := c.agents.CreateAgent(t.Context(), &kavachv1.CreateAgentRequest{OwnerId: owner, Name: "n", Permissions: perms})
	if err != nil {
		t.Fatal(err)
	}
	return res.GetAgent(), res.GetToken()
}

// TestQuickstart goes the main path through every service, in each protocol.
func TestQuickstart(t *testing.T) {
	w := newWorld(t, nil)
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) { quickstart(t, w.clients(p.name, w.key), p.name) })
	}
}

func quickstart(t *testing.T, c clients, owner string) {
	t.Helper()
	ctx := t.Context()
	metadata, err := structpb.NewStruct(map[string]any{"team": "x", "n": 3})
	if err != nil {
		t.Fatal(err)
	}
	created, err := c.agents.CreateAgent(ctx, &kavachv1.CreateAgentRequest{
		OwnerId: owner, Name: "reader", Metadata: metadata,
		Permissions: []*kavachv1.Permission{perm("mcp:*", "read"), perm("mcp:deploy:staging", "deploy")},
	})
	if err != nil {
		t.Fatal(err)
	}
	id, token := created.GetAgent().GetAgentId(), created.GetToken()
	if created.GetAgent().GetMetadata().GetFields()["n"].GetNumberValue() != 3 || created.GetAgent().GetStatus() != kavachv1.AgentStatus_AGENT_STATUS_ACTIVE {
		t.Errorf("created %v", created.GetAgent())
	}
	for _, q := range []struct {
		action, resource string
		want             kavachv1.ReasonCode
	}{
		{"read", "mcp:github", kavachv1.ReasonCode_REASON_CODE_ALLOWED},
		{"write", "mcp:github", kavachv1.ReasonCode_REASON_CODE_NO_MATCHING_PERMISSION},
	} {
		byID, err := c.authz.Authorize(ctx, &kavachv1.AuthorizeRequest{AgentId: id, Action: q.action, Resource: q.resource})
		if err != nil {
			t.Fatal(err)
		}
		tok, err := c.authz.AuthorizeByToken(ctx, &kavachv1.AuthorizeByTokenRequest{Token: token, Action: q.action, Resource: q.resource})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []*kavachv1.Decision{byID.GetDecision(), tok.GetDecision()} {
			if d.GetReasonCode() != q.want || d.GetAllowed() != (q.want == kavachv1.ReasonCode_REASON_CODE_ALLOWED) {
				t.Errorf("%s %s: %v", q.action, q.resource, d)
			}
			if d.GetAuditId() == "" || d.GetRevision() == "" || d.GetNodeId() == "" || d.GetConsistency() == 0 {
				t.Errorf("incomplete: %v", d)
			}
		}
	}
	rotated, err := c.agents.RotateAgentToken(ctx, &kavachv1.RotateAgentTokenRequest{AgentId: id})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.authz.BatchAuthorize(ctx, &kavachv1.BatchAuthorizeRequest{Checks: []*kavachv1.BatchCheck{
		{Subject: &kavachv1.BatchCheck_Token{Token: token}, Action: "read", Resource: "mcp:a"},
		{Subject: &kavachv1.BatchCheck_Token{Token: rotated.GetToken()}, Action: "read", Resource: "mcp:a"},
		{Subject: &kavachv1.BatchCheck_AgentId{AgentId: "agt_unknown"}, Action: "read", Resource: "mcp:a"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []kavachv1.ReasonCode{
		kavachv1.ReasonCode_REASON_CODE_INVALID_TOKEN, kavachv1.ReasonCode_REASON_CODE_ALLOWED, kavachv1.ReasonCode_REASON_CODE_AGENT_NOT_FOUND,
	}
	for i, d := range batch.GetDecisions() {
		if d.GetReasonCode() != want[i] || d.GetRevision() != batch.GetRevision() {
			t.Errorf("check %d: %v", i, d)
		}
	}
	quickstartDelegation(t, c, owner, id)
	quickstartAudit(t, c, id)
}

func quickstartDelegation(t *testing.T, c clients, owner, from string) {
	t.Helper()
	ctx := t.Context()
	sub, _ := newAgent(t, c, owner)
	to := sub.GetAgentId()
	given, err := c.delegations.CreateDelegation(ctx, &kavachv1.CreateDelegationRequest{
		FromAgentId: from, ToAgentId: to, Permissions: []*kavachv1.Permission{perm("mcp:github:*", "read")},
		Expiry: &kavachv1.Expiry{Expiry: &kavachv1.Expiry_Ttl{Ttl: durationpb.New(time.Hour)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.delegations.CreateDelegation(ctx, &kavachv1.CreateDelegationRequest{
		FromAgentId: from, ToAgentId: to, Permissions: []*kavachv1.Permission{perm("mcp:*", "*")},
	})
	if detailOf(t, err).GetReason() != "INSUFFICIENT_PERMISSIONS" {
		t.Errorf("escalation: %v", err)
	}
	d, err := c.authz.Authorize(ctx, &kavachv1.AuthorizeRequest{AgentId: to, Action: "read", Resource: "mcp:github:issues"})
	if err != nil || !d.GetDecision().GetAllowed() || len(d.GetDecision().GetGrant().GetDelegationIds()) != 1 {
		t.Errorf("by delegation: %v, %v", d, err)
	}
	effective, err := c.delegations.GetEffectivePermissions(ctx, &kavachv1.GetEffectivePermissionsRequest{AgentId: to})
	if err != nil || len(effective.GetPermissions()) != 1 || !effective.GetPermissions()[0].GetEffective() || effective.GetPermissions()[0].GetDepth() != 1 {
		t.Errorf("effective: %v, %v", effective, err)
	}
	got, err := c.delegations.GetDelegation(ctx, &kavachv1.GetDelegationRequest{DelegationId: given.GetDelegation().GetDelegationId()})
	if err != nil || got.GetDelegation().GetStatus() != kavachv1.DelegationStatus_DELEGATION_STATUS_ACTIVE || !got.GetDelegation().GetEffective() {
		t.Errorf("get: %v, %v", got, err)
	}
	explained, err := c.authz.ExplainAuthorization(ctx, &kavachv1.ExplainAuthorizationRequest{Check: &kavachv1.BatchCheck{
		Subject: &kavachv1.BatchCheck_AgentId{AgentId: to}, Action: "read", Resource: "mcp:github:issues",
	}})
	if err != nil || !explained.GetDecision().GetAllowed() || len(explained.GetConsidered()) == 0 {
		t.Errorf("explain: %v, %v", explained, err)
	}
	revoked, err := c.delegations.RevokeDelegation(ctx, &kavachv1.RevokeDelegationRequest{DelegationId: given.GetDelegation().GetDelegationId()})
	if err != nil || revoked.GetDelegation().GetRevokedAt() == nil {
		t.Errorf("revoke: %v, %v", revoked, err)
	}
	list, err := c.delegations.ListDelegations(ctx, &kavachv1.ListDelegationsRequest{AgentId: to, Status: kavachv1.DelegationStatus_DELEGATION_STATUS_REVOKED})
	if err != nil || len(list.GetDelegations()) != 1 {
		t.Errorf("list: %v, %v", list, err)
	}
	if _, err := c.agents.RevokeAgent(ctx, &kavachv1.RevokeAgentRequest{AgentId: to}); err != nil {
		t.Error(err)
	}
}

func quickstartAudit(t *testing.T, c clients, agent string) {
	t.Helper()
	ctx := t.Context()
	filter := &kavachv1.AuditFilter{AgentId: agent, Kind: kavachv1.AuditKind_AUDIT_KIND_DECISION}
	page, err := c.audit.QueryAuditLog(ctx, &kavachv1.QueryAuditLogRequest{Filter: filter, PageSize: 4})
	if err != nil {
		t.Fatal(err)
	}
	rest, err := c.audit.QueryAuditLog(ctx, &kavachv1.QueryAuditLogRequest{Filter: filter, PageSize: 100, PageToken: page.GetNextPageToken()})
	if err != nil {
		t.Fatal(err)
	}
	// 2 by id, 2 by token, 2 by the tokens of the batch: the old token proves nobody any more.
	if n := len(page.GetEntries()) + len(rest.GetEntries()); n != 5 || rest.GetNextPageToken() != "" {
		t.Errorf("%d entries, and then %q", n, rest.GetNextPageToken())
	}
	entry, err := c.audit.GetAuditEntry(ctx, &kavachv1.GetAuditEntryRequest{AuditId: page.GetEntries()[0].GetAuditId()})
	if err != nil || entry.GetEntry().GetAgentId() != agent {
		t.Errorf("get: %v, %v", entry, err)
	}
	stream, err := c.audit.ExportAuditLog(ctx, &kavachv1.ExportAuditLogRequest{Filter: filter})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var entries uint64
	var revision string
	for stream.Receive() {
		out.Write(stream.Msg().GetData())
		entries = stream.Msg().GetEntries()
		if revision == "" {
			revision = stream.Msg().GetRevision()
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
	rows, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
	if err != nil || len(rows) != 6 || entries != 5 || revision == "" {
		t.Errorf("export: %d rows, %d entries, revision %q, %v", len(rows), entries, revision, err)
	}
}
