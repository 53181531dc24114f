package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kavachd/kavachd/audit"
	"github.com/kavachd/kavachd/cluster"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/gen/kavach/v1/kavachv1connect"
	"github.com/kavachd/kavachd/ids"
)

func decide(t *testing.T, c clients, token string) kavachv1.ReasonCode {
	t.Helper()
	res, err := c.authz.AuthorizeByToken(t.Context(), &kavachv1.AuthorizeByTokenRequest{Token: token, Action: "a", Resource: "r"})
	if err != nil {
		t.Fatal(err)
	}
	return res.GetDecision().GetReasonCode()
}

const (
	allowed      = kavachv1.ReasonCode_REASON_CODE_ALLOWED
	invalidToken = kavachv1.ReasonCode_REASON_CODE_INVALID_TOKEN
)

// TestIdempotency: SPEC 1: a repeat gives the first result, and a token that works; another request is refused.
func TestIdempotency(t *testing.T) {
	w := newWorld(t, nil)
	c, grpc := w.clients("connect", w.key), w.clients("grpc", w.key)
	req := &kavachv1.CreateAgentRequest{
		OwnerId: "o", Name: "n", Permissions: []*kavachv1.Permission{perm("r", "a")},
		Metadata:    structOf(map[string]any{"b": 1, "a": map[string]any{"y": 1, "x": 2}}),
		Idempotency: &kavachv1.Idempotency{Key: "k1"},
	}
	first, err := c.agents.CreateAgent(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := grpc.agents.CreateAgent(t.Context(), proto.CloneOf(req)) // another protocol, the same request
	if err != nil {
		t.Fatal(err)
	}
	if again.GetAgent().GetAgentId() != first.GetAgent().GetAgentId() || again.GetRevision() != first.GetRevision() || again.GetToken() == first.GetToken() {
		t.Errorf("first %v\nagain %v", first, again)
	}
	if got := decide(t, c, again.GetToken()); got != allowed {
		t.Errorf("the repeat's token: %s", got)
	}
	if got := decide(t, c, first.GetToken()); got != invalidToken {
		t.Errorf("the first token: %s", got)
	}
	id := first.GetAgent().GetAgentId()
	rotate := &kavachv1.RotateAgentTokenRequest{AgentId: id, Idempotency: &kavachv1.Idempotency{Key: "k1"}} // another method
	one, err := c.agents.RotateAgentToken(t.Context(), rotate)
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.agents.RotateAgentToken(t.Context(), rotate)
	if err != nil {
		t.Fatal(err)
	}
	if decide(t, c, one.GetToken()) != invalidToken || decide(t, c, two.GetToken()) != allowed || one.GetRevision() != two.GetRevision() {
		t.Errorf("rotated %v, then %v", one, two)
	}
	bad := connect.CodeInvalidArgument
	other := proto.CloneOf(req)
	other.Name = "other"
	_, err = c.agents.CreateAgent(t.Context(), other)
	(&badCase{code: bad, reason: "IDEMPOTENCY_KEY_REUSED", field: "idempotency.key"}).check(t, err)
	if _, err := c.agents.RotateAgentToken(t.Context(), &kavachv1.RotateAgentTokenRequest{AgentId: id}); err != nil {
		t.Fatal(err)
	}
	_, err = c.agents.RotateAgentToken(t.Context(), rotate)
	(&badCase{code: connect.CodeFailedPrecondition, reason: "TOKEN_SUPERSEDED"}).check(t, err)
	key := &kavachv1.CreateApiKeyRequest{Name: "ci", Idempotency: &kavachv1.Idempotency{Key: "k"}}
	lost, err := c.access.CreateApiKey(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	found, err := c.access.CreateApiKey(t.Context(), key)
	if err != nil || found.GetKey().GetKeyId() != lost.GetKey().GetKeyId() {
		t.Fatalf("%v, %v", found, err)
	}
	for secret, want := range map[string]bool{lost.GetSecret(): false, found.GetSecret(): true} {
		_, err := w.clients("connect", secret).cluster.GetSettings(t.Context(), &kavachv1.GetSettingsRequest{})
		if (err == nil) != want {
			t.Errorf("a key works: %v, want %t", err, want)
		}
	}
}

// TestUpdate: masks, expected_revision, what stays, and validate_only.
func TestUpdate(t *testing.T) {
	w := newWorld(t, nil)
	c := w.clients("json", w.key)
	agent, token := newAgent(t, c, "o", perm("r", "a"))
	id := agent.GetAgentId()
	preview, err := c.agents.UpdateAgent(t.Context(), &kavachv1.UpdateAgentRequest{AgentId: id, Name: "preview", ValidateOnly: true})
	if err != nil || preview.GetAgent().GetName() != "preview" {
		t.Fatalf("%v, %v", preview, err)
	}
	one, err := c.agents.UpdateAgent(t.Context(), &kavachv1.UpdateAgentRequest{
		AgentId: id, Name: "two", Type: kavachv1.AgentType_AGENT_TYPE_SERVICE, UpdateMask: mask("name"), ExpectedRevision: agent.GetRevision(),
	})
	if err != nil || one.GetAgent().GetName() != "two" || one.GetAgent().GetType() != kavachv1.AgentType_AGENT_TYPE_AUTONOMOUS {
		t.Fatalf("%v, %v", one, err)
	}
	_, err = c.agents.UpdateAgent(t.Context(), &kavachv1.UpdateAgentRequest{AgentId: id, Name: "three", ExpectedRevision: agent.GetRevision()})
	(&badCase{code: connect.CodeAborted, reason: "REVISION_MISMATCH", field: "expected_revision"}).check(t, err)
	if got := decide(t, c, token); got != allowed {
		t.Errorf("after a change of the name: %s", got)
	}
	emptied, err := c.agents.UpdateAgent(t.Context(), &kavachv1.UpdateAgentRequest{AgentId: id, UpdateMask: mask("permissions", "metadata")})
	if err != nil || len(emptied.GetAgent().GetPermissions()) != 0 {
		t.Fatalf("%v, %v", emptied, err)
	}
	if got := decide(t, c, token); got != kavachv1.ReasonCode_REASON_CODE_NO_MATCHING_PERMISSION {
		t.Errorf("without permissions: %s", got)
	}
	got, err := c.agents.GetAgent(t.Context(), &kavachv1.GetAgentRequest{AgentId: id, Consistency: &kavachv1.Consistency{
		Level: &kavachv1.Consistency_AtLeast{AtLeast: emptied.GetRevision()},
	}})
	if err != nil || !proto.Equal(got.GetAgent(), emptied.GetAgent()) {
		t.Errorf("read %v, written %v, %v", got.GetAgent(), emptied.GetAgent(), err)
	}
}

// TestValidateOnly makes nothing: no agent, no token, and warns as the real call does.
func TestValidateOnly(t *testing.T) {
	w := newWorld(t, nil)
	c := w.clients("connect", w.key)
	req := &kavachv1.CreateAgentRequest{OwnerId: "o", Name: "n", Permissions: []*kavachv1.Permission{perm("*", "*"), perm("a", "b")}, ValidateOnly: true}
	res, err := c.agents.CreateAgent(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if res.GetToken() != "" || res.GetAgent().GetAgentId() != "" || len(res.GetWarnings()) != 1 || res.GetWarnings()[0].GetField() != "permissions[1]" {
		t.Errorf("%v", res)
	}
	list, err := c.agents.ListAgents(t.Context(), &kavachv1.ListAgentsRequest{OwnerId: "o"})
	if err != nil || len(list.GetAgents()) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	settings, err := c.cluster.UpdateSettings(t.Context(), &kavachv1.UpdateSettingsRequest{Settings: &kavachv1.Settings{MaxAgentsPerOwner: 1}, ValidateOnly: true})
	if err != nil || settings.GetSettings().GetMaxAgentsPerOwner() != 1 {
		t.Errorf("%v, %v", settings, err)
	}
	now, err := c.cluster.GetSettings(t.Context(), &kavachv1.GetSettingsRequest{})
	if err != nil || now.GetSettings().GetMaxAgentsPerOwner() != 10 {
		t.Errorf("%v, %v", now, err)
	}
	changed, err := c.cluster.UpdateSettings(t.Context(), &kavachv1.UpdateSettingsRequest{Settings: &kavachv1.Settings{MaxAgentsPerOwner: 1}})
	if err != nil || changed.GetSettings().GetMaxAgentsPerOwner() != 1 || changed.GetSettings().GetTokenExpiry().AsDuration() != 24*time.Hour {
		t.Errorf("%v, %v", changed, err)
	}
	newAgent(t, c, "o")
	_, err = c.agents.CreateAgent(t.Context(), &kavachv1.CreateAgentRequest{OwnerId: "o", Name: "n", ValidateOnly: true})
	(&badCase{code: connect.CodeResourceExhausted, reason: "AGENT_LIMIT_EXCEEDED", field: "owner_id", text: "1"}).check(t, err)
}

// TestPaging walks a list by pages; a token serves no other list.
func TestPaging(t *testing.T) {
	w := newWorld(t, nil)
	c := w.clients("connect", w.key)
	var want []string
	for i := range 7 {
		a, _ := newAgent(t, c, fmt.Sprintf("owner-%d", i))
		want = append(want, a.GetAgentId())
	}
	var got []string
	req := &kavachv1.ListAgentsRequest{PageSize: 3}
	for {
		page, err := c.agents.ListAgents(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.GetAgents() {
			got = append(got, a.GetAgentId())
		}
		if req.PageToken = page.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
		for name, other := range map[string]func() error{
			"another filter": func() error {
				_, err := c.agents.ListAgents(t.Context(), &kavachv1.ListAgentsRequest{OwnerId: "x", PageToken: req.GetPageToken()})
				return err
			},
			"another method": func() error {
				_, err := c.access.ListApiKeys(t.Context(), &kavachv1.ListApiKeysRequest{PageToken: req.GetPageToken()})
				return err
			},
		} {
			if reason := detailOf(t, other()).GetReason(); reason != "PAGE_TOKEN_INVALID" {
				t.Errorf("%s: %s", name, reason)
			}
		}
	}
	// Ids of one millisecond are in no particular order, so compare as sets of ordered pages.
	if len(got) != len(want) {
		t.Fatalf("%d agents, want %d", len(got), len(want))
	}
	for i := 1; i < len(got); i++ {
		if got[i-1] >= got[i] {
			t.Errorf("%s before %s", got[i-1], got[i])
		}
	}
}

// TestPagesAreBounded: a page of large agents ends before it outgrows what clients take.
func TestPagesAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	c := w.clients("grpc", w.key) // clients of gRPC take 4 MiB
	long := strings.Repeat("x", 1000)
	var perms []*kavachv1.Permission
	for i := range 400 {
		perms = append(perms, perm(fmt.Sprintf("%s:%d", long, i), "a"))
	}
	for i := range 12 {
		newAgent(t, c, fmt.Sprintf("owner-%d", i), perms...)
	}
	seen, pages := 0, 0
	req := &kavachv1.ListAgentsRequest{PageSize: 1000}
	for pages == 0 || req.GetPageToken() != "" {
		page, err := c.agents.ListAgents(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if size := proto.Size(page); size > 4<<20 {
			t.Errorf("a page has %d bytes", size)
		}
		seen, pages, req.PageToken = seen+len(page.GetAgents()), pages+1, page.GetNextPageToken()
	}
	if seen != 12 || pages < 2 {
		t.Errorf("%d agents in %d pages", seen, pages)
	}
}

// TestBootstrap: once, from loopback or with the secret.
func TestBootstrap(t *testing.T) {
	a := access{&api{secret: []byte(testSecret)}}
	for _, c := range []struct {
		peer, secret string
		want         bool
	}{
		{"127.0.0.1:9", "", true},
		{"[::1]:9", "", true},
		{"[::ffff:127.0.0.1]:9", "", true},
		{"10.0.0.1:9", "", false},
		{"10.0.0.1:9", testSecret, true},
		{"10.0.0.1:9", testSecret + "x", false},
		{"127.0.0.1:9", "wrong", false},
		{"", "", false},
		{"pipe", "", false},
	} {
		if got := a.mayBootstrap(&caller{peer: c.peer}, c.secret); got != c.want {
			t.Errorf("from %q with %q: %t", c.peer, c.secret, got)
		}
	}
	if (access{&api{}}).mayBootstrap(&caller{peer: "10.0.0.1:9"}, "") || (access{&api{}}).mayBootstrap(&caller{peer: "10.0.0.1:9"}, "x") {
		t.Error("a cluster without a secret lets strangers in")
	}
}

// TestFailedAuthenticationsAreCounted: one entry with a count, not one each; found in the trail.
func TestFailedAuthenticationsAreCounted(t *testing.T) {
	w := newWorld(t, nil)
	for range 50 {
		if code, _ := w.restAs(t, "kvk_nonsense", "GET", "/v1/agents", ""); code != 401 {
			t.Fatalf("status %d", code)
		}
	}
	w.handler.Close()
	page, _, err := w.node.QueryAudit(t.Context(), cluster.Level{}, audit.Query{
		Filter: audit.Filter{Kind: uint32(kavachv1.AuditKind_AUDIT_KIND_AUTHENTICATION)}, Limit: 10,
	})
	if err != nil || len(page.Entries) != 1 || page.Entries[0].Entry.GetCount() != 50 || page.Entries[0].Entry.GetIp() != "127.0.0.1" {
		t.Errorf("%v, %v", page, err)
	}
	if strings.Contains(w.log.String(), "kvk_") || strings.Contains(w.log.String(), w.key) {
		t.Error("a key is in the log")
	}
}

// TestLargeBodies: 10 MiB are refused with the limit named, in every protocol, packed and unpacked.
func TestLargeBodies(t *testing.T) {
	w := newWorld(t, nil)
	huge := &kavachv1.CreateAgentRequest{OwnerId: "o", Name: strings.Repeat("x", 10<<20)}
	for _, p := range protocols {
		h := w.h1
		if p.h2 {
			h = w.h2c
		}
		for _, packed := range []bool{false, true} {
			options := append([]connect.ClientOption{withKey(w.key)}, p.options...)
			if packed {
				options = append(options, connect.WithSendGzip())
			}
			_, err := kavachv1connect.NewAgentServiceClient(h, w.url, options...).CreateAgent(t.Context(), huge)
			if connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), fmt.Sprint(MaxRequestBytes)) {
				t.Errorf("%s, packed %t: %v", p.name, packed, err)
			}
			if !packed && p.name != "grpc" && p.name != "grpc-web" && detailOf(t, err).GetReason() != "LIMIT_EXCEEDED" {
				t.Errorf("%s: no reason: %v", p.name, err)
			}
		}
	}
	body := `{"ownerId":"o","name":"` + strings.Repeat("x", 10<<20) + `"}`
	if code, text := w.rest(t, "POST", "/v1/agents", body); code != 429 || !strings.Contains(text, "LIMIT_EXCEEDED") || !strings.Contains(text, fmt.Sprint(MaxRequestBytes)) {
		t.Errorf("REST: %d %s", code, text)
	}
	// What is within the limit of a request but not of the state's is told apart.
	_, err := w.clients("connect", w.key).agents.CreateAgent(t.Context(), &kavachv1.CreateAgentRequest{OwnerId: "o", Name: strings.Repeat("x", 3<<20)})
	(&badCase{code: connect.CodeInvalidArgument, reason: "INVALID_ARGUMENT", field: "name", text: "3145728"}).check(t, err)
}

// TestDenialIsNoError: whoever is unknown, revoked or expired is denied, and whatever malformed name or token is presented.
func TestDenialIsNoError(t *testing.T) {
	w := newWorld(t, nil)
	c := w.clients("json", w.key)
	for _, id := range []string{unknownAgent, "agt_", "not an id", strings.ToUpper(unknownAgent), "\u00e9"} {
		res, err := c.authz.Authorize(t.Context(), &kavachv1.AuthorizeRequest{AgentId: id, Action: "a", Resource: "r"})
		if err != nil || res.GetDecision().GetAllowed() || res.GetDecision().GetReasonCode() != kavachv1.ReasonCode_REASON_CODE_AGENT_NOT_FOUND {
			t.Errorf("%q: %v, %v", id, res, err)
		}
	}
	for _, token := range []string{"x", "kv_", "kv_" + strings.Repeat("A", 43), "kvk_" + strings.Repeat("A", 51)} {
		if got := decide(t, c, token); got != invalidToken {
			t.Errorf("%q: %s", token, got)
		}
	}
	// The answer is written out, although false is protobuf's default.
	code, text := w.rest(t, "POST", "/v1/authorize", `{"agentId":"x","action":"a","resource":"r"}`)
	var answer struct {
		Decision map[string]any `json:"decision"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || code != 200 || answer.Decision["allowed"] != false {
		t.Errorf("%d %s", code, text)
	}
}

// TestArguments: both forms reach the rules; integers beyond 2^53 stay exact in the trail.
func TestArguments(t *testing.T) {
	w := newWorld(t, nil)
	c := w.clients("connect", w.key)
	agent, _ := newAgent(t, c, "o", constrainedFor("r", "a", &kavachv1.Constraints{AllowedArgPatterns: []*kavachv1.ArgumentPattern{{Argument: "env", Pattern: "^staging$"}}}))
	for text, want := range map[string]bool{
		`{"env":"staging","n":9007199254740993}`: true, `{"env":"prod"}`: false, `{"env":7}`: false, `{}`: false,
	} {
		res, err := c.authz.Authorize(t.Context(), &kavachv1.AuthorizeRequest{
			AgentId: agent.GetAgentId(), Action: "a", Resource: "r", Args: &kavachv1.AuthorizeRequest_ArgumentsJson{ArgumentsJson: text},
		})
		if err != nil || res.GetDecision().GetAllowed() != want {
			t.Errorf("%s: %v, %v", text, res, err)
		}
		if !want {
			continue
		}
		found, err := c.audit.GetAuditEntry(t.Context(), &kavachv1.GetAuditEntryRequest{AuditId: res.GetDecision().GetAuditId()})
		if err != nil || found.GetEntry().GetParametersJson() != text {
			t.Errorf("in the trail: %v, %v", found, err)
		}
	}
	res, err := c.authz.Authorize(t.Context(), &kavachv1.AuthorizeRequest{
		AgentId: agent.GetAgentId(), Action: "a", Resource: "r", Args: &kavachv1.AuthorizeRequest_Arguments{Arguments: structOf(map[string]any{"env": "staging"})},
	})
	if err != nil || !res.GetDecision().GetAllowed() {
		t.Errorf("as a Struct: %v, %v", res, err)
	}
}

func constrainedFor(resource, action string, c *kavachv1.Constraints) *kavachv1.Permission {
	p := perm(resource, action)
	p.Constraints = c
	return p
}

// TestQuotaIsNoDenial: a decision that hangs on a quota is an error until quotas can be drawn.
func TestQuotaIsNoDenial(t *testing.T) {
	w := newWorld(t, nil)
	c := w.clients("connect", w.key)
	limit := int64(5)
	agent, _ := newAgent(t, c, "o", constrainedFor("r", "a", &kavachv1.Constraints{MaxCallsPerHour: &limit}))
	_, err := c.authz.Authorize(t.Context(), &kavachv1.AuthorizeRequest{AgentId: agent.GetAgentId(), Action: "a", Resource: "r"})
	(&badCase{code: connect.CodeUnimplemented, reason: "QUOTA_UNAVAILABLE"}).check(t, err)
}

// TestDeadline: a call that brings a deadline is answered within it.
func TestDeadline(t *testing.T) {
	f := &waiting{}
	w := newWorld(t, func(n Node) Node { f.Node = n; return f }, func(c *Config) { c.CallTimeout = 300 * time.Millisecond })
	for _, p := range protocols {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := w.clients(p.name, w.key).authz.Authorize(ctx, &kavachv1.AuthorizeRequest{AgentId: "a", Action: "a", Resource: "r"})
		cancel()
		if connect.CodeOf(err) != connect.CodeDeadlineExceeded {
			t.Errorf("%s: %v", p.name, err)
		}
	}
	// The default one, for callers that bring none.
	code, text := w.rest(t, "POST", "/v1/authorize", `{"agentId":"a","action":"a","resource":"r"}`)
	if code != http.StatusGatewayTimeout || !strings.Contains(text, "DEADLINE_EXCEEDED") {
		t.Errorf("%d %s", code, text)
	}
}

// waiting decides nothing before the caller has gone.
type waiting struct{ Node }

func (w *waiting) Decide(ctx context.Context, _ cluster.Level, _ ids.Hash, _ []cluster.Check) (cluster.Decided, error) {
	<-ctx.Done()
	return cluster.Decided{}, ctx.Err()
}

// TestExpiryForms: at, ttl, never and the default.
func TestExpiryForms(t *testing.T) {
	w := newWorld(t, nil)
	c := w.clients("json", w.key)
	at := time.Now().Add(time.Hour).Truncate(time.Second)
	for name, want := range map[string]struct {
		expiry   *kavachv1.Expiry
		from, to time.Duration // from now; both 0: never
	}{
		"default": {nil, 24*time.Hour - time.Minute, 24*time.Hour + time.Minute},
		"at":      {&kavachv1.Expiry{Expiry: &kavachv1.Expiry_At{At: timestamppb.New(at)}}, 59 * time.Minute, time.Hour},
		"ttl":     {&kavachv1.Expiry{Expiry: &kavachv1.Expiry_Ttl{Ttl: durationpb.New(time.Minute)}}, 30 * time.Second, time.Minute},
		"never":   {&kavachv1.Expiry{Expiry: &kavachv1.Expiry_Never{}}, 0, 0},
	} {
		res, err := c.agents.CreateAgent(t.Context(), &kavachv1.CreateAgentRequest{OwnerId: name, Name: "n", Expiry: want.expiry})
		if err != nil {
			t.Fatal(err)
		}
		end := res.GetAgent().GetExpiresAt()
		if (end == nil) != (want.to == 0) {
			t.Errorf("%s: %v", name, end)
		} else if left := time.Until(end.AsTime()); end != nil && (left < want.from || left > want.to) {
			t.Errorf("%s: ends in %s", name, left)
		}
	}
}

// TestDelegationStanding: the status and the effect of a delegation follow the chain above it.
func TestDelegationStanding(t *testing.T) {
	w := newWorld(t, nil)
	c := w.clients("connect", w.key)
	root, _ := newAgent(t, c, "o", perm("a:*", "*"))
	middle, _ := newAgent(t, c, "o")
	leaf, _ := newAgent(t, c, "o")
	give := func(from, to *kavachv1.Agent) string {
		d, err := c.delegations.CreateDelegation(t.Context(), &kavachv1.CreateDelegationRequest{
			FromAgentId: from.GetAgentId(), ToAgentId: to.GetAgentId(), Permissions: []*kavachv1.Permission{perm("a:b", "x")},
		})
		if err != nil {
			t.Fatal(err)
		}
		return d.GetDelegation().GetDelegationId()
	}
	upper, lower := give(root, middle), give(middle, leaf)
	check := func(when, id string, status kavachv1.DelegationStatus, effective bool) {
		t.Helper()
		got, err := c.delegations.GetDelegation(t.Context(), &kavachv1.GetDelegationRequest{DelegationId: id})
		if err != nil || got.GetDelegation().GetStatus() != status || got.GetDelegation().GetEffective() != effective {
			t.Errorf("%s: %v, %v", when, got, err)
		}
		agent := got.GetDelegation().GetToAgentId()
		list, err := c.delegations.ListDelegations(t.Context(), &kavachv1.ListDelegationsRequest{AgentId: agent, Direction: kavachv1.DelegationDirection_DELEGATION_DIRECTION_RECEIVED})
		if err != nil || len(list.GetDelegations()) != 1 || !proto.Equal(list.GetDelegations()[0], got.GetDelegation()) {
			t.Errorf("%s: listed %v, %v", when, list, err)
		}
	}
	active, revoked := kavachv1.DelegationStatus_DELEGATION_STATUS_ACTIVE, kavachv1.DelegationStatus_DELEGATION_STATUS_REVOKED
	check("at first", upper, active, true)
	check("at first", lower, active, true)
	narrow := func(perms ...*kavachv1.Permission) {
		t.Helper()
		if _, err := c.agents.UpdateAgent(t.Context(), &kavachv1.UpdateAgentRequest{AgentId: root.GetAgentId(), UpdateMask: mask("permissions"), Permissions: perms}); err != nil {
			t.Fatal(err)
		}
	}
	narrow(perm("c", "x"))
	check("narrowed", upper, active, false)
	check("narrowed", lower, active, false)
	narrow(perm("a:*", "*"))
	check("widened again", lower, active, true)
	past := &kavachv1.Expiry{Expiry: &kavachv1.Expiry_Ttl{Ttl: durationpb.New(time.Millisecond)}}
	if _, err := c.agents.UpdateAgent(t.Context(), &kavachv1.UpdateAgentRequest{AgentId: root.GetAgentId(), Expiry: past}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		a, err := c.agents.GetAgent(t.Context(), &kavachv1.GetAgentRequest{AgentId: root.GetAgentId()})
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%v, %v", a, err)
		}
		if a.GetAgent().GetStatus() == kavachv1.AgentStatus_AGENT_STATUS_EXPIRED {
			break
		}
	}
	check("the giver has expired", upper, kavachv1.DelegationStatus_DELEGATION_STATUS_EXPIRED, false)
	check("its giver has expired", lower, active, false)
	if _, err := c.agents.RevokeAgent(t.Context(), &kavachv1.RevokeAgentRequest{AgentId: root.GetAgentId()}); err != nil {
		t.Fatal(err)
	}
	check("the giver is revoked", upper, revoked, false)
	check("its giver is revoked", lower, revoked, false)
}
