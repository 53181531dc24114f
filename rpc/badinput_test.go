package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

const unknownAgent = "agt_01h2xcejqtf2nbrexx3vqjhp41"

// badCase is a request that must be refused, and how.
type badCase struct {
	name   string
	call   func(ctx context.Context, c clients) error
	code   connect.Code
	reason string
	field  string // "": the error names none
	text   string // what the message or the field's message must hold
}

func create(req *kavachv1.CreateAgentRequest) func(context.Context, clients) error {
	return func(ctx context.Context, c clients) error {
		_, err := c.agents.CreateAgent(ctx, req)
		return err
	}
}

func createWith(perms ...*kavachv1.Permission) func(context.Context, clients) error {
	return create(&kavachv1.CreateAgentRequest{OwnerId: "bad", Name: "n", Permissions: perms})
}

func constrained(c *kavachv1.Constraints) *kavachv1.Permission {
	return &kavachv1.Permission{Resource: "a", Actions: []string{"b"}, Constraints: c}
}

func authorize(req *kavachv1.AuthorizeRequest) func(context.Context, clients) error {
	return func(ctx context.Context, c clients) error {
		_, err := c.authz.Authorize(ctx, req)
		return err
	}
}

func withText(args string) *kavachv1.AuthorizeRequest {
	return &kavachv1.AuthorizeRequest{AgentId: unknownAgent, Action: "a", Resource: "r", Args: &kavachv1.AuthorizeRequest_ArgumentsJson{ArgumentsJson: args}}
}

func structOf(fields map[string]any) *structpb.Struct {
	s, err := structpb.NewStruct(fields)
	if err != nil {
		panic(err) // a test's own literal
	}
	return s
}

func manyPermissions(n int) []*kavachv1.Permission {
	out := make([]*kavachv1.Permission, n)
	for i := range out {
		out[i] = perm(fmt.Sprintf("r:%d", i), "a")
	}
	return out
}

// permissionCases are refusals of permission lists. They hold for Create, Update and Delegate alike.
func permissionCases() []badCase {
	bad := connect.CodeInvalidArgument
	zero := int64(0)
	return []badCase{
		{"bad pattern", createWith(perm("ok", "a"), constrained(&kavachv1.Constraints{AllowedArgPatterns: []*kavachv1.ArgumentPattern{{Pattern: "(["}}})), bad, "INVALID_ARGUMENT", "permissions[1].constraints.allowed_arg_patterns[0].pattern", ""},
		{"bad CIDR", createWith(constrained(&kavachv1.Constraints{IpAllowlist: []string{"10.0.0.0/8", "10.0.0.0/33"}})), bad, "INVALID_ARGUMENT", "permissions[0].constraints.ip_allowlist[1]", ""},
		{"bad zone", createWith(constrained(&kavachv1.Constraints{TimeWindow: &kavachv1.TimeWindow{Start: "09:00", End: "17:00", TimeZone: "Mars/Olympus"}})), bad, "INVALID_ARGUMENT", "permissions[0].constraints.time_window.time_zone", ""},
		{"bad time", createWith(constrained(&kavachv1.Constraints{TimeWindow: &kavachv1.TimeWindow{Start: "24:00", End: "17:00"}})), bad, "INVALID_ARGUMENT", "permissions[0].constraints.time_window.start", ""},
		{"limit 0", createWith(constrained(&kavachv1.Constraints{MaxCallsPerHour: &zero})), bad, "INVALID_ARGUMENT", "permissions[0].constraints.max_calls_per_hour", "1"},
		{"empty resource", createWith(perm("", "a")), bad, "INVALID_ARGUMENT", "permissions[0].resource", ""},
		{"no actions", createWith(perm("a")), bad, "INVALID_ARGUMENT", "permissions[0].actions", ""},
		{"65 actions", createWith(perm("a", strings.Split(strings.Repeat("x,", 64)+"x", ",")...)), bad, "INVALID_ARGUMENT", "permissions[0].actions", "65"},
		{"33 addresses", createWith(constrained(&kavachv1.Constraints{IpAllowlist: strings.Split(strings.Repeat("10.0.0.1,", 32)+"10.0.0.1", ",")})), bad, "INVALID_ARGUMENT", "permissions[0].constraints.ip_allowlist", "33"},
		{"a long resource", createWith(perm(strings.Repeat("x", 1025), "a")), bad, "INVALID_ARGUMENT", "permissions[0].resource", "1025"},
		{"10,001 permissions", createWith(manyPermissions(10_001)...), bad, "INVALID_ARGUMENT", "permissions", "10001"},
		{"duplicate permission ids", createWith(&kavachv1.Permission{Id: "p", Resource: "a", Actions: []string{"b"}}, &kavachv1.Permission{Id: "p", Resource: "b", Actions: []string{"b"}}), bad, "INVALID_ARGUMENT", "permissions[1].id", ""},
		{"unknown enum", createWith(constrained(&kavachv1.Constraints{QuotaScope: 9})), bad, "INVALID_ARGUMENT", "permissions[0].constraints.quota_scope", ""},
		{"warnings rejected", create(&kavachv1.CreateAgentRequest{
			OwnerId: "bad", Name: "n", RejectWarnings: true, Permissions: []*kavachv1.Permission{perm("*", "*"), perm("a", "b")},
		}), bad, "WARNINGS_REJECTED", "permissions[1]", "UNREACHABLE_PERMISSION"},
	}
}

func requestCases() []badCase {
	bad := connect.CodeInvalidArgument
	past := &kavachv1.Expiry{Expiry: &kavachv1.Expiry_At{At: timestamppb.New(time.Now().Add(-time.Second))}}
	far := &kavachv1.Expiry{Expiry: &kavachv1.Expiry_At{At: &timestamppb.Timestamp{Seconds: 253402300000}}}
	return []badCase{
		{"no owner", create(&kavachv1.CreateAgentRequest{Name: "n"}), bad, "INVALID_ARGUMENT", "owner_id", "1"},
		{"a long name", create(&kavachv1.CreateAgentRequest{OwnerId: "o", Name: strings.Repeat("n", 257)}), bad, "INVALID_ARGUMENT", "name", "257"},
		{"a bad tenant", create(&kavachv1.CreateAgentRequest{OwnerId: "o", Name: "n", Tenant: "a b"}), bad, "INVALID_ARGUMENT", "tenant", ""},
		{"past expiry", create(&kavachv1.CreateAgentRequest{OwnerId: "o", Name: "n", Expiry: past}), bad, "INVALID_ARGUMENT", "expiry.at", "past"},
		{"expiry beyond the calendar", create(&kavachv1.CreateAgentRequest{OwnerId: "o", Name: "n", Expiry: far}), bad, "INVALID_ARGUMENT", "expiry.at", "2262"},
		{"negative ttl", create(&kavachv1.CreateAgentRequest{OwnerId: "o", Name: "n", Expiry: &kavachv1.Expiry{Expiry: &kavachv1.Expiry_Ttl{Ttl: durationpb.New(-1)}}}), bad, "INVALID_ARGUMENT", "expiry.ttl", ""},
		{"empty expiry", create(&kavachv1.CreateAgentRequest{OwnerId: "o", Name: "n", Expiry: &kavachv1.Expiry{}}), bad, "INVALID_ARGUMENT", "expiry.expiry", ""},
		{"oversized metadata", create(&kavachv1.CreateAgentRequest{OwnerId: "o", Name: "n", Metadata: structOf(map[string]any{"a": strings.Repeat("x", 16<<10)})}), bad, "INVALID_ARGUMENT", "metadata", "16384"},
		{"a bad idempotency key", create(&kavachv1.CreateAgentRequest{OwnerId: "o", Name: "n", Idempotency: &kavachv1.Idempotency{Key: "with space"}}), bad, "INVALID_ARGUMENT", "idempotency.key", ""},

		{"empty resource asked", authorize(&kavachv1.AuthorizeRequest{AgentId: unknownAgent, Action: "a"}), bad, "INVALID_ARGUMENT", "resource", ""},
		{"empty action asked", authorize(&kavachv1.AuthorizeRequest{AgentId: unknownAgent, Resource: "r"}), bad, "INVALID_ARGUMENT", "action", ""},
		{"a long resource asked", authorize(&kavachv1.AuthorizeRequest{AgentId: unknownAgent, Action: "a", Resource: strings.Repeat("x", 1025)}), bad, "INVALID_ARGUMENT", "resource", "1025"},
		{"arguments no object", authorize(withText(`[1]`)), bad, "INVALID_ARGUMENT", "arguments_json", "object"},
		{"arguments empty text", authorize(withText(``)), bad, "INVALID_ARGUMENT", "arguments_json", "object"},
		{"arguments with a name twice", authorize(withText(`{"a":{"b":1,"b":2}}`)), bad, "INVALID_ARGUMENT", "arguments_json.a.b", "twice"},
		{"oversized arguments text", authorize(withText(`{"a":"` + strings.Repeat("x", 64<<10) + `"}`)), bad, "INVALID_ARGUMENT", "arguments_json", "65544"},
		{"oversized arguments", authorize(&kavachv1.AuthorizeRequest{
			AgentId: unknownAgent, Action: "a", Resource: "r",
			Args: &kavachv1.AuthorizeRequest_Arguments{Arguments: structOf(map[string]any{"a": strings.Repeat("x", 64<<10)})},
		}), bad, "INVALID_ARGUMENT", "arguments", "65536"},
		{"a revision of another cluster", authorize(&kavachv1.AuthorizeRequest{
			AgentId: unknownAgent, Action: "a", Resource: "r",
			Consistency: &kavachv1.Consistency{Level: &kavachv1.Consistency_AtLeast{AtLeast: "00000000.0.7"}},
		}), bad, "REVISION_UNKNOWN", "", ""},
		{"no revision at all", authorize(&kavachv1.AuthorizeRequest{
			AgentId: unknownAgent, Action: "a", Resource: "r",
			Consistency: &kavachv1.Consistency{Level: &kavachv1.Consistency_AtLeast{AtLeast: "seven"}},
		}), bad, "INVALID_ARGUMENT", "consistency.at_least", ""},
		{"a bad check in a batch", func(ctx context.Context, c clients) error {
			_, err := c.authz.BatchAuthorize(ctx, &kavachv1.BatchAuthorizeRequest{Checks: []*kavachv1.BatchCheck{
				{Subject: &kavachv1.BatchCheck_AgentId{AgentId: "a"}, Action: "a", Resource: "r"},
				{Subject: &kavachv1.BatchCheck_AgentId{AgentId: "a"}, Action: "a", Resource: "r", Args: &kavachv1.BatchCheck_ArgumentsJson{ArgumentsJson: "7"}},
			}})
			return err
		}, bad, "INVALID_ARGUMENT", "checks[1].arguments_json", "object"},
		{"a check of nobody", func(ctx context.Context, c clients) error {
			_, err := c.authz.BatchAuthorize(ctx, &kavachv1.BatchAuthorizeRequest{Checks: []*kavachv1.BatchCheck{{Action: "a", Resource: "r"}}})
			return err
		}, bad, "INVALID_ARGUMENT", "checks[0].subject", ""},
		{"1,001 checks", func(ctx context.Context, c clients) error {
			checks := make([]*kavachv1.BatchCheck, 1001)
			for i := range checks {
				checks[i] = &kavachv1.BatchCheck{Subject: &kavachv1.BatchCheck_AgentId{AgentId: "a"}, Action: "a", Resource: "r"}
			}
			_, err := c.authz.BatchAuthorize(ctx, &kavachv1.BatchAuthorizeRequest{Checks: checks})
			return err
		}, bad, "INVALID_ARGUMENT", "checks", "1001"},
		{"1,001 rows", func(ctx context.Context, c clients) error {
			_, err := c.agents.ListAgents(ctx, &kavachv1.ListAgentsRequest{PageSize: 1001})
			return err
		}, bad, "INVALID_ARGUMENT", "page_size", "1000"},
		{"a tampered page token", func(ctx context.Context, c clients) error {
			_, err := c.agents.ListAgents(ctx, &kavachv1.ListAgentsRequest{PageToken: "AQIDBA"})
			return err
		}, bad, "PAGE_TOKEN_INVALID", "page_token", ""},
		{"an interval that ends before it begins", func(ctx context.Context, c clients) error {
			_, err := c.audit.QueryAuditLog(ctx, &kavachv1.QueryAuditLogRequest{Filter: &kavachv1.AuditFilter{
				Since: timestamppb.New(time.Unix(9, 0)), Until: timestamppb.New(time.Unix(8, 0)),
			}})
			return err
		}, bad, "INVALID_ARGUMENT", "filter.until", ""},
	}
}

func stateCases() []badCase {
	none := connect.CodeNotFound
	return []badCase{
		{"get an unknown agent", func(ctx context.Context, c clients) error {
			_, err := c.agents.GetAgent(ctx, &kavachv1.GetAgentRequest{AgentId: unknownAgent})
			return err
		}, none, "AGENT_NOT_FOUND", "agent_id", ""},
		{"get a malformed agent", func(ctx context.Context, c clients) error {
			_, err := c.agents.GetAgent(ctx, &kavachv1.GetAgentRequest{AgentId: "agt_!"})
			return err
		}, none, "AGENT_NOT_FOUND", "agent_id", ""},
		{"rotate an unknown agent", func(ctx context.Context, c clients) error {
			_, err := c.agents.RotateAgentToken(ctx, &kavachv1.RotateAgentTokenRequest{AgentId: unknownAgent})
			return err
		}, none, "AGENT_NOT_FOUND", "agent_id", ""},
		{"delegations of an unknown agent", func(ctx context.Context, c clients) error {
			_, err := c.delegations.ListDelegations(ctx, &kavachv1.ListDelegationsRequest{AgentId: unknownAgent})
			return err
		}, none, "AGENT_NOT_FOUND", "agent_id", ""},
		{"permissions of an unknown agent", func(ctx context.Context, c clients) error {
			_, err := c.delegations.GetEffectivePermissions(ctx, &kavachv1.GetEffectivePermissionsRequest{AgentId: unknownAgent})
			return err
		}, none, "AGENT_NOT_FOUND", "agent_id", ""},
		{"an unknown delegation", func(ctx context.Context, c clients) error {
			_, err := c.delegations.GetDelegation(ctx, &kavachv1.GetDelegationRequest{DelegationId: "dlg_01h2xcejqtf2nbrexx3vqjhp41"})
			return err
		}, none, "DELEGATION_NOT_FOUND", "delegation_id", ""},
		{"an unknown key", func(ctx context.Context, c clients) error {
			_, err := c.access.RevokeApiKey(ctx, &kavachv1.RevokeApiKeyRequest{KeyId: "key_01h2xcejqtf2nbrexx3vqjhp41"})
			return err
		}, none, "KEY_NOT_FOUND", "key_id", ""},
		{"an unknown entry", func(ctx context.Context, c clients) error {
			_, err := c.audit.GetAuditEntry(ctx, &kavachv1.GetAuditEntryRequest{AuditId: "aud_01h2xcejqtf2nbrexx3vqjhp41"})
			return err
		}, none, "AUDIT_ENTRY_NOT_FOUND", "audit_id", ""},
		{"a second bootstrap", func(ctx context.Context, c clients) error {
			_, err := c.access.Bootstrap(ctx, &kavachv1.BootstrapRequest{})
			return err
		}, connect.CodeFailedPrecondition, "ALREADY_BOOTSTRAPPED", "", ""},
		{"a bootstrap with a wrong secret", func(ctx context.Context, c clients) error {
			_, err := c.access.Bootstrap(ctx, &kavachv1.BootstrapRequest{JoinSecret: "wrong"})
			return err
		}, connect.CodeUnauthenticated, "UNAUTHENTICATED", "", ""},
		{"settings of 0", func(ctx context.Context, c clients) error {
			_, err := c.cluster.UpdateSettings(ctx, &kavachv1.UpdateSettingsRequest{
				Settings: &kavachv1.Settings{}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"max_agents_per_owner"}},
			})
			return err
		}, connect.CodeInvalidArgument, "INVALID_ARGUMENT", "settings.max_agents_per_owner", ""},
		{"settings of a negative lifetime", func(ctx context.Context, c clients) error {
			_, err := c.cluster.UpdateSettings(ctx, &kavachv1.UpdateSettingsRequest{Settings: &kavachv1.Settings{TokenExpiry: durationpb.New(-time.Hour)}})
			return err
		}, connect.CodeInvalidArgument, "INVALID_ARGUMENT", "settings.token_expiry", ""},
		{"settings of an unknown name", func(ctx context.Context, c clients) error {
			_, err := c.cluster.UpdateSettings(ctx, &kavachv1.UpdateSettingsRequest{
				Settings: &kavachv1.Settings{}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"revision"}},
			})
			return err
		}, connect.CodeInvalidArgument, "INVALID_ARGUMENT", "update_mask.paths[0]", "revision"},
		{"an unknown member", func(ctx context.Context, c clients) error {
			_, err := c.cluster.RemoveMember(ctx, &kavachv1.RemoveMemberRequest{NodeId: "nobody"})
			return err
		}, none, "MEMBER_NOT_FOUND", "", ""},
	}
}

// TestBadInput: every refusal with its code, reason and field path, in every protocol.
func TestBadInput(t *testing.T) {
	w := newWorld(t, nil)
	cases := append(append(permissionCases(), requestCases()...), stateCases()...)
	for _, p := range protocols {
		c := w.clients(p.name, w.key)
		for _, b := range cases {
			t.Run(p.name+"/"+b.name, func(t *testing.T) { b.check(t, b.call(t.Context(), c)) })
		}
	}
}

// check compares an error with what the case wants.
func (b *badCase) check(t *testing.T, err error) {
	t.Helper()
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok {
		t.Fatalf("accepted, or no connect error: %v", err)
	}
	detail := detailOf(t, err)
	if ce.Code() != b.code || detail.GetReason() != b.reason {
		t.Fatalf("%s %s, want %s %s: %v", ce.Code(), detail.GetReason(), b.code, b.reason, err)
	}
	all, field := ce.Message(), ""
	for _, f := range detail.GetFields() {
		all += " " + f.GetMessage()
		if field == "" || f.GetField() == b.field {
			field = f.GetField()
		}
	}
	if field != b.field {
		t.Errorf("field %q, want %q: %v", field, b.field, detail)
	}
	if !strings.Contains(all, b.text) {
		t.Errorf("%q says nothing of %q", all, b.text)
	}
}

// TestBadUpdates: refusals that need a record, and lists that Update and Delegate refuse as Create does.
func TestBadUpdates(t *testing.T) {
	w := newWorld(t, nil)
	c := w.clients("connect", w.key)
	agent, _ := newAgent(t, c, "o", perm("a:*", "*"))
	other, _ := newAgent(t, c, "o")
	update := func(req *kavachv1.UpdateAgentRequest) error {
		req.AgentId = agent.GetAgentId()
		_, err := c.agents.UpdateAgent(t.Context(), req)
		return err
	}
	bad := connect.CodeInvalidArgument
	for name, b := range map[string]struct {
		req    *kavachv1.UpdateAgentRequest
		code   connect.Code
		reason string
		field  string
	}{
		"nothing":             {&kavachv1.UpdateAgentRequest{}, bad, "INVALID_ARGUMENT", "update_mask"},
		"unknown mask path":   {&kavachv1.UpdateAgentRequest{UpdateMask: mask("name", "owner_id"), Name: "x"}, bad, "INVALID_ARGUMENT", "update_mask.paths[1]"},
		"an empty name":       {&kavachv1.UpdateAgentRequest{UpdateMask: mask("name")}, bad, "INVALID_ARGUMENT", "name"},
		"no type":             {&kavachv1.UpdateAgentRequest{UpdateMask: mask("type")}, bad, "INVALID_ARGUMENT", "type"},
		"no expiry":           {&kavachv1.UpdateAgentRequest{UpdateMask: mask("expiry")}, bad, "INVALID_ARGUMENT", "expiry"},
		"another revision":    {&kavachv1.UpdateAgentRequest{Name: "x", ExpectedRevision: 1}, connect.CodeAborted, "REVISION_MISMATCH", "expected_revision"},
		"another, only asked": {&kavachv1.UpdateAgentRequest{Name: "x", ExpectedRevision: 1, ValidateOnly: true}, connect.CodeAborted, "REVISION_MISMATCH", "expected_revision"},
		"a bad list":          {&kavachv1.UpdateAgentRequest{Permissions: []*kavachv1.Permission{constrained(&kavachv1.Constraints{IpAllowlist: []string{"x"}})}}, bad, "INVALID_ARGUMENT", "permissions[0].constraints.ip_allowlist[0]"},
		"a list with warnings": {&kavachv1.UpdateAgentRequest{
			RejectWarnings: true, Permissions: []*kavachv1.Permission{perm("*", "*"), perm("a", "b")},
		}, bad, "WARNINGS_REJECTED", "permissions[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			(&badCase{name: name, code: b.code, reason: b.reason, field: b.field}).check(t, update(b.req))
		})
	}
	delegate := func(req *kavachv1.CreateDelegationRequest) error {
		_, err := c.delegations.CreateDelegation(t.Context(), req)
		return err
	}
	seventeen := uint32(17)
	from, to := agent.GetAgentId(), other.GetAgentId()
	give := []*kavachv1.Permission{perm("a:b", "x")}
	precondition := connect.CodeFailedPrecondition
	for name, b := range map[string]struct {
		req    *kavachv1.CreateDelegationRequest
		code   connect.Code
		reason string
		field  string
	}{
		"to oneself":   {&kavachv1.CreateDelegationRequest{FromAgentId: from, ToAgentId: from, Permissions: give}, bad, "INVALID_ARGUMENT", "to_agent_id"},
		"to nobody":    {&kavachv1.CreateDelegationRequest{FromAgentId: from, ToAgentId: unknownAgent, Permissions: give}, connect.CodeNotFound, "AGENT_NOT_FOUND", "to_agent_id"},
		"nothing":      {&kavachv1.CreateDelegationRequest{FromAgentId: from, ToAgentId: to}, bad, "INVALID_ARGUMENT", "permissions"},
		"too deep":     {&kavachv1.CreateDelegationRequest{FromAgentId: from, ToAgentId: to, Permissions: give, MaxDepth: &seventeen}, bad, "INVALID_ARGUMENT", "max_depth"},
		"more than it": {&kavachv1.CreateDelegationRequest{FromAgentId: from, ToAgentId: to, Permissions: []*kavachv1.Permission{perm("b", "x")}}, precondition, "INSUFFICIENT_PERMISSIONS", "permissions[0].resource"},
		"more, only asked": {&kavachv1.CreateDelegationRequest{
			FromAgentId: from, ToAgentId: to, Permissions: []*kavachv1.Permission{perm("b", "x")}, ValidateOnly: true,
		}, precondition, "INSUFFICIENT_PERMISSIONS", "permissions[0].resource"},
	} {
		t.Run("delegate "+name, func(t *testing.T) {
			(&badCase{name: name, code: b.code, reason: b.reason, field: b.field}).check(t, delegate(b.req))
		})
	}
}

func mask(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }
