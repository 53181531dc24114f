package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

func at(second int) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2027, 1, 31, 12, 0, second, 5e6, time.UTC))
}

func samplePermissions() []*kavachv1.Permission {
	return []*kavachv1.Permission{
		{Resource: "mcp:github:*", Actions: []string{"read"}},
		{
			Id: "deploy", Resource: "mcp:deploy:production", Actions: []string{"execute"}, MaxStaleness: durationpb.New(time.Minute),
			Constraints: &kavachv1.Constraints{
				AllowedArgPatterns: []*kavachv1.ArgumentPattern{{Pattern: "^/var/"}, {Argument: "branch", Pattern: "release/*", Syntax: kavachv1.PatternSyntax_PATTERN_SYNTAX_GLOB}},
				RequireApproval:    true,
				TimeWindow:         &kavachv1.TimeWindow{Start: "09:00", End: "17:00"},
				IpAllowlist:        []string{"10.0.0.0/8", "::1"},
				MaxCallsPerHour:    proto.Int64(5),
				QuotaScope:         kavachv1.QuotaScope_QUOTA_SCOPE_RESOURCE,
			},
		},
	}
}

func sampleAgent() *kavachv1.Agent {
	metadata, err := structpb.NewStruct(map[string]any{"team": "sre"})
	if err != nil {
		panic(err)
	}
	return &kavachv1.Agent{
		AgentId: "agt_01h2xcejqtf2nbrexx3vqjhp41", OwnerId: "user-123", Tenant: "default", Name: "reader\x1b[31m", Type: kavachv1.AgentType_AGENT_TYPE_AUTONOMOUS,
		Permissions: samplePermissions(), Status: kavachv1.AgentStatus_AGENT_STATUS_ACTIVE, ExpiresAt: at(1), Metadata: metadata,
		CreatedAt: at(2), UpdatedAt: at(3), Revision: 12345678901234567,
	}
}

// TestOutput pins tables, JSON and YAML of the messages that hold most.
func TestOutput(t *testing.T) {
	decision := &kavachv1.Decision{
		ReasonCode: kavachv1.ReasonCode_REASON_CODE_RATE_LIMITED, Reason: "Rate limit exceeded", AuditId: "aud_1", Revision: "aabbccdd.1.7",
		Grant: &kavachv1.Grant{PermissionIndex: 1, PermissionId: "deploy", Resource: "mcp:deploy:*", DelegationIds: []string{"dlg_1", "dlg_2"}},
		Quota: &kavachv1.Quota{Limit: 5, ResetAt: at(9)}, NodeId: "n1",
	}
	entry := &kavachv1.AuditEntry{
		AuditId: "aud_1", Time: at(0), NodeId: "n1", Kind: kavachv1.AuditKind_AUDIT_KIND_DECISION, AgentId: "agt_1", OwnerId: "user-123", Tenant: "default",
		Action: "read", Resource: "mcp:github:repos", ParametersJson: `{"q":1}`, Result: kavachv1.AuditResult_AUDIT_RESULT_DENIED,
		ReasonCode: kavachv1.ReasonCode_REASON_CODE_AGENT_REVOKED, Reason: "Agent is revoked", Context: &kavachv1.CallContext{Ip: "10.0.0.1"},
		Duration: durationpb.New(1500), Revision: 7, CallerKeyId: "key_1", Count: 3, Unreplicated: true,
	}
	refused := &kavachv1.AuditEntry{AuditId: "aud_2", Time: at(1), Action: "CreateDelegation", Result: kavachv1.AuditResult_AUDIT_RESULT_DENIED, Refusal: "DELEGATION_CYCLE"}
	effective := []*kavachv1.EffectivePermission{
		{Permission: samplePermissions()[0], Effective: true},
		{
			Permission: &kavachv1.Permission{Resource: "mcp:deploy:production", Actions: []string{"execute"}}, DelegationId: "dlg_1", FromAgentId: "agt_2", Depth: 1, ExpiresAt: at(1),
			InheritedConstraints: []*kavachv1.Constraints{samplePermissions()[1].GetConstraints()},
		},
	}
	status := &kavachv1.GetClusterStatusResponse{
		ClusterId: "c1", NodeId: "n1", State: "Follower", LeaderId: "n2", LeaderAddress: "127.0.0.1:7410", Term: 3, CommitIndex: 9, AppliedIndex: 8, Time: at(0), Version: "v1",
		NotReadyReason: "no leader", Digests: []*kavachv1.TableDigest{{Table: "agents", Records: 4, Digest: "00ff"}},
		Members: []*kavachv1.Member{
			{NodeId: "n1", ApiAddress: "127.0.0.1:7400", RaftAddress: "127.0.0.1:7401", Voter: true, Health: "alive"},
			{NodeId: "n2", RaftAddress: "127.0.0.1:7411", Leader: true, Health: "suspect"},
		},
	}
	considered := []*kavachv1.ConsideredGrant{
		{Grant: &kavachv1.Grant{Resource: "a:*"}, HolderAgentId: "agt_1"},
		{Grant: &kavachv1.Grant{PermissionIndex: 1, Resource: "b:*"}, HolderAgentId: "agt_1", ResourceMatches: true},
		{
			Grant: &kavachv1.Grant{Resource: "b:c", DelegationIds: []string{"dlg_1"}}, HolderAgentId: "agt_1", ResourceMatches: true, ActionMatches: true, Selected: true,
			ReasonCode: kavachv1.ReasonCode_REASON_CODE_IP_NOT_ALLOWED, Reason: "IP 10.0.0.1 not in allowlist",
		},
	}
	tests := []struct {
		name    string
		message proto.Message
		fill    func(*table)
	}{
		{"agent", sampleAgent(), func(t *table) { agentTable(t, sampleAgent()) }},
		{"agent without permissions", &kavachv1.Agent{AgentId: "agt_1"}, func(t *table) { agentTable(t, &kavachv1.Agent{AgentId: "agt_1"}) }},
		{"decision", decision, func(t *table) { decisionTable(t, decision) }},
		{"allowed", &kavachv1.Decision{Allowed: true}, func(t *table) { decisionTable(t, &kavachv1.Decision{Allowed: true}) }},
		{"considered", &kavachv1.ExplainAuthorizationResponse{Considered: considered}, func(t *table) { consideredTable(t, considered) }},
		{"entry", entry, func(t *table) { entryTable(t, entry) }},
		{"entries", &kavachv1.QueryAuditLogResponse{Entries: []*kavachv1.AuditEntry{refused}}, func(t *table) { auditTable(t, []*kavachv1.AuditEntry{entry, refused}) }},
		{"effective", &kavachv1.GetEffectivePermissionsResponse{Permissions: effective}, func(t *table) { effectiveTable(t, effective) }},
		{"status", status, func(t *table) { statusTable(t, status, true) }},
		{"settings", &kavachv1.Settings{}, func(t *table) {
			settingsTable(t, &kavachv1.Settings{TokenExpiry: durationpb.New(24 * time.Hour), MaxAgentsPerOwner: 10, AuditPolicy: kavachv1.AuditPolicy_AUDIT_POLICY_ALL, Revision: 4})
		}},
	}
	var all strings.Builder
	for _, test := range tests {
		for _, format := range []string{"table", "json", "yaml"} {
			var buf bytes.Buffer
			o := output{env: Env{Stdout: &buf}, format: format}
			if err := o.message(test.message, test.fill); err != nil {
				t.Fatal(err)
			}
			if strings.ContainsRune(buf.String(), 0x1b) {
				t.Errorf("%s as %s: a control character of an answer reaches the terminal", test.name, format)
			}
			all.WriteString("--- " + test.name + " as " + format + "\n" + buf.String() + "\n")
		}
	}
	golden(t, "output.txt", all.String())
}

func TestColor(t *testing.T) {
	tests := []struct {
		name    string
		environ []string
		tty     bool
		want    bool
	}{
		{"terminal", nil, true, true},
		{"pipe", nil, false, false},
		{"NO_COLOR", []string{"NO_COLOR=1"}, true, false},
		{"NO_COLOR over force", []string{"NO_COLOR=1", "CLICOLOR_FORCE=1"}, true, false},
		{"empty NO_COLOR says nothing", []string{"NO_COLOR="}, true, true},
		{"force", []string{"CLICOLOR_FORCE=1"}, false, true},
		{"dumb", []string{"TERM=dumb"}, true, false},
	}
	for _, test := range tests {
		if got := (Env{Environ: test.environ, StdoutTTY: test.tty}).color(); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// TestColorKeepsColumns: a colored table is the plain one once the colors are taken away.
func TestColorKeepsColumns(t *testing.T) {
	var texts [2]string
	for i, color := range []bool{false, true} {
		var buf bytes.Buffer
		tab := newTable(&buf, color)
		tab.header("NAME", "STATUS", "READY")
		tab.row("a", "ACTIVE", "yes")
		tab.row("bbbbbbbb", "REVOKED", "no")
		if err := tab.flush(); err != nil {
			t.Fatal(err)
		}
		texts[i] = buf.String()
	}
	if !strings.Contains(texts[1], colorGood) || !strings.Contains(texts[1], colorBad) {
		t.Errorf("no colors: %q", texts[1])
	}
	stripped := texts[1]
	for _, code := range []string{colorNone, colorGood, colorBad, colorWarn, colorReset} {
		stripped = strings.ReplaceAll(stripped, code, "")
	}
	if stripped != texts[0] {
		t.Errorf("columns move:\n%s\n%s", texts[0], stripped)
	}
}
