package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/gen/kavach/v1/kavachv1connect"
	"github.com/kavachd/kavachd/ids"
)

// methods returns every RPC of every service of the API, from the descriptors.
func methods(tb testing.TB) (out []protoreflect.MethodDescriptor) {
	tb.Helper()
	protoregistry.GlobalFiles.RangeFilesByPackage("kavach.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				out = append(out, f.Services().Get(i).Methods().Get(j))
			}
		}
		return true
	})
	if len(out) < 25 {
		tb.Fatalf("only %d methods found", len(out))
	}
	return out
}

func procedure(m protoreflect.MethodDescriptor) string {
	return fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())
}

// TestServicesAreMounted: a service that is added to the API can't be left out of routes, health and reflection.
func TestServicesAreMounted(t *testing.T) {
	for _, m := range methods(t) {
		if !slices.Contains(serviceNames, string(m.Parent().FullName())) {
			t.Errorf("%s is not in serviceNames", m.Parent().FullName())
		}
	}
}

// call calls any method with any request, in a protocol, and drops the answer.
func (w *world) call(ctx context.Context, protocol, authorization string, m protoreflect.MethodDescriptor, req proto.Message) error {
	h, options := w.h1, []connect.ClientOption(nil)
	for _, p := range protocols {
		if p.name == protocol {
			options = p.options
			if p.h2 {
				h = w.h2c
			}
		}
	}
	options = append(options, connect.WithSchema(m), connect.WithResponseInitializer(func(spec connect.Spec, message any) error {
		if d, ok := message.(*dynamicpb.Message); ok {
			*d = *dynamicpb.NewMessage(m.Output())
		}
		return nil
	}))
	in := dynamicpb.NewMessage(m.Input())
	proto.Merge(in, req)
	client := connect.NewClient[dynamicpb.Message, dynamicpb.Message](h, w.url+procedure(m), options...)
	r := connect.NewRequest(in)
	if authorization != "" {
		r.Header().Set("Authorization", authorization)
	}
	if !m.IsStreamingServer() {
		_, err := client.CallUnary(ctx, r)
		return err
	}
	stream, err := client.CallServerStream(ctx, r)
	if err != nil {
		return err
	}
	for stream.Receive() {
	}
	return errors.Join(stream.Err(), stream.Close())
}

// TestAnonymousIsRefused walks every RPC of every service, in every protocol and as REST: without a good key there is
// no answer, whatever the request holds (SPEC 8).
func TestAnonymousIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	c := w.clients("connect", w.key)
	made, err := c.access.CreateApiKey(t.Context(), &kavachv1.CreateApiKeyRequest{Name: "doomed"})
	if err != nil {
		t.Fatal(err)
	}
	revoked := made.GetSecret()
	if _, err := w.clients("connect", revoked).cluster.GetSettings(t.Context(), &kavachv1.GetSettingsRequest{}); err != nil {
		t.Fatalf("before it is revoked: %v", err)
	}
	if _, err := c.access.RevokeApiKey(t.Context(), &kavachv1.RevokeApiKeyRequest{KeyId: made.GetKey().GetKeyId()}); err != nil {
		t.Fatal(err)
	}
	unknown, err := ids.NewKey(strings.NewReader(strings.Repeat("x", 64)))
	if err != nil {
		t.Fatal(err)
	}
	for name, authorization := range map[string]string{
		"nothing": "", "no scheme": w.key, "another scheme": "Basic " + w.key, "a malformed key": "Bearer kvk_x",
		"a mistyped key": "Bearer " + w.key[:len(w.key)-1] + "x", "an agent's token": "Bearer kv_" + strings.Repeat("A", 43),
		"an unknown key": "Bearer " + unknown, "a revoked key": "Bearer " + revoked,
	} {
		for _, m := range methods(t) {
			if procedure(m) == kavachv1connect.AccessServiceBootstrapProcedure {
				continue // it judges by secret and address: see TestBootstrap
			}
			for _, p := range protocols {
				err := w.call(t.Context(), p.name, authorization, m, dynamicpb.NewMessage(m.Input()))
				if connect.CodeOf(err) != connect.CodeUnauthenticated || detailOf(t, err).GetReason() != "UNAUTHENTICATED" {
					t.Errorf("%s: %s by %s: %v", name, m.FullName(), p.name, err)
				}
			}
			if rule, ok := restOf(m); ok {
				req, err := http.NewRequestWithContext(t.Context(), rule.method, w.url+rule.path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", authorization)
				res, err := w.h1.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				if res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s: %s %s: %d", name, rule.method, rule.path, res.StatusCode)
				}
				if err := res.Body.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// TestUnknownKeyIsRefusedBeforeTheBody: a caller without a key can't make the node read and decode 4 MiB.
func TestUnknownKeyIsRefusedBeforeTheBody(t *testing.T) {
	w := newWorld(t, nil)
	never, writer := io.Pipe() // a body that never comes
	defer func() { _ = writer.Close() }()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+kavachv1connect.AgentServiceCreateAgentProcedure, never)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := w.h1.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusUnauthorized {
		t.Fatalf("status %d", res.StatusCode)
	}
}

// TestEveryRPCAnswers walks every RPC in every protocol with an empty request and with a minimal one: none is missing, and
// none has an internal error.
func TestEveryRPCAnswers(t *testing.T) {
	w := newWorld(t, nil)
	agent, _ := newAgent(t, w.clients("connect", w.key), "walker", perm("a", "b"))
	for _, p := range protocols {
		for _, m := range methods(t) {
			for _, req := range []proto.Message{dynamicpb.NewMessage(m.Input()), minimal(m, agent.GetAgentId())} {
				if m.Name() == "TransferLeadership" && p.name != "connect" {
					continue // the node looks out for somebody to hand over to until the deadline
				}
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				err := w.call(ctx, p.name, "Bearer "+w.key, m, req)
				cancel()
				bad := []connect.Code{connect.CodeInternal, connect.CodeUnknown, connect.CodeUnimplemented, connect.CodeUnauthenticated}
				if err != nil && slices.Contains(bad, connect.CodeOf(err)) {
					t.Errorf("%s by %s: %v", m.Name(), p.name, err)
				}
			}
		}
	}
}

// minimal fills the required strings of a request.
func minimal(m protoreflect.MethodDescriptor, agent string) proto.Message {
	req := dynamicpb.NewMessage(m.Input())
	for name, value := range map[protoreflect.Name]string{
		"agent_id": agent, "from_agent_id": agent, "to_agent_id": unknownAgent, "owner_id": "walker", "name": "n", "action": "b", "resource": "a",
		"token": "kv_x", "key_id": "key_x", "audit_id": "aud_x", "delegation_id": "dlg_x", "node_id": "node",
	} {
		if f := m.Input().Fields().ByName(name); f != nil && m.Name() != "RevokeAgent" {
			req.Set(f, protoreflect.ValueOfString(value))
		}
	}
	return req
}

// rest is one binding of google.api.http, with its variables filled in.
type rest struct{ method, path string }

var pathVariable = regexp.MustCompile(`\{[^}]+\}`)

func restOf(m protoreflect.MethodDescriptor) (rest, bool) {
	rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	if !ok || rule == nil {
		return rest{}, false
	}
	var r rest
	switch p := rule.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		r = rest{http.MethodGet, p.Get}
	case *annotations.HttpRule_Post:
		r = rest{http.MethodPost, p.Post}
	case *annotations.HttpRule_Patch:
		r = rest{http.MethodPatch, p.Patch}
	case *annotations.HttpRule_Delete:
		r = rest{http.MethodDelete, p.Delete}
	default:
		panic("another kind of binding: " + m.FullName())
	}
	r.path = pathVariable.ReplaceAllString(r.path, "x")
	return r, true
}

// TestEveryRESTPathAnswers walks every binding of google.api.http with an empty request: each leads to its method, which
// answers in JSON, and every error has a reason.
func TestEveryRESTPathAnswers(t *testing.T) {
	w := newWorld(t, nil)
	seen := 0
	for _, m := range methods(t) {
		rule, ok := restOf(m)
		if !ok {
			if !m.IsStreamingServer() {
				t.Errorf("%s has no REST path", m.FullName())
			}
			continue
		}
		seen++
		body := ""
		if rule.method == http.MethodPost || rule.method == http.MethodPatch {
			body = "{}"
		}
		if m.Name() == "TransferLeadership" {
			body = `{"nodeId":"nobody"}`
		}
		code, text := w.rest(t, rule.method, rule.path, body)
		var answer struct {
			Details []map[string]any `json:"details"`
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Errorf("%s %s: %d, no JSON: %s", rule.method, rule.path, code, text)
			continue
		}
		if code >= 500 || code == http.StatusMethodNotAllowed || strings.Contains(text, "no such path") {
			t.Errorf("%s %s: %d %s", rule.method, rule.path, code, text)
		}
		if code >= 400 && (len(answer.Details) == 0 || answer.Details[0]["reason"] == "") {
			t.Errorf("%s %s: %d without a reason: %s", rule.method, rule.path, code, text)
		}
	}
	if seen < 24 {
		t.Errorf("only %d paths", seen)
	}
}

// TestREST goes through what REST does of its own: paths, queries, strictness, and errors in one form.
func TestREST(t *testing.T) {
	w := newWorld(t, nil)
	code, text := w.rest(t, "POST", "/v1/agents", `{"ownerId":"rest","name":"n","permissions":[{"resource":"a:*","actions":["read"]}]}`)
	var created kavachv1.CreateAgentResponse
	if err := unmarshalJSON.Unmarshal([]byte(text), &created); err != nil || code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	id := created.GetAgent().GetAgentId()
	for _, c := range []struct {
		name, method, path, body string
		code                     int
		want                     []string
	}{
		{"get", "GET", "/v1/agents/" + id, "", 200, []string{`"` + id + `"`}},
		{"list by query", "GET", "/v1/agents?ownerId=rest&page_size=5", "", 200, []string{`"` + id + `"`}},
		{"list of nobody", "GET", "/v1/agents?owner_id=none", "", 200, []string{`"agents":[]`}},
		{"fresh", "GET", "/v1/agents/" + id + "?consistency.fresh=true", "", 200, []string{`"` + id + `"`}},
		{"a denial is written", "POST", "/v1/authorize", `{"agentId":"` + id + `","action":"write","resource":"a:b"}`, 200, []string{`"allowed":false`, "NO_MATCHING_PERMISSION"}},
		{"rotate", "POST", "/v1/agents/" + id + ":rotate", `{}`, 200, []string{`"token":"kv_`}},
		{"patch", "PATCH", "/v1/agents/" + id, `{"name":"other","updateMask":"name"}`, 200, []string{`"other"`}},
		{"unknown mask path", "PATCH", "/v1/agents/" + id, `{"updateMask":"owner"}`, 400, []string{"INVALID_ARGUMENT", "update_mask.paths[0]"}},
		{"settings", "GET", "/v1/cluster/settings", "", 200, []string{`"tokenExpiry":"86400s"`}},
		{"effective", "GET", "/v1/agents/" + id + "/effectivePermissions", "", 200, []string{`"effective":true`}},
		{"revoke", "POST", "/v1/agents/" + id + ":revoke", `{}`, 200, []string{"AGENT_STATUS_REVOKED"}},
		{"unknown field", "POST", "/v1/authorize", `{"agentId":"x","action":"a","resource":"r","subjekt":1}`, 400, []string{"INVALID_ARGUMENT", `"subjekt"`}},
		{"malformed", "POST", "/v1/authorize", `{`, 400, []string{"INVALID_ARGUMENT", "malformed JSON"}},
		{"empty body", "POST", "/v1/authorize", ``, 400, []string{"INVALID_ARGUMENT", "the body is empty"}},
		{"unknown parameter", "GET", "/v1/agents?ownr=x", "", 400, []string{"INVALID_ARGUMENT", `"ownr"`}},
		{"bad parameter", "GET", "/v1/agents?page_size=many", "", 400, []string{"INVALID_ARGUMENT", `"page_size"`}},
		{"bad enum", "GET", "/v1/agents?status=GONE", "", 400, []string{"INVALID_ARGUMENT", `"status"`}},
		{"rule of the schema", "GET", "/v1/agents?page_size=1001", "", 400, []string{"INVALID_ARGUMENT", `"page_size"`}},
		{"unknown path", "GET", "/v1/nothing", "", 404, []string{"UNIMPLEMENTED", "/v1/nothing"}},
		{"wrong method", "PUT", "/v1/agents", "{}", 405, []string{"UNIMPLEMENTED", "PUT"}},
		{"unknown agent", "GET", "/v1/agents/" + unknownAgent, "", 404, []string{"AGENT_NOT_FOUND"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, text := w.rest(t, c.method, c.path, c.body)
			compact := strings.ReplaceAll(text, " ", "")
			if code != c.code {
				t.Fatalf("%d, want %d: %s", code, c.code, text)
			}
			for _, want := range c.want {
				if !strings.Contains(compact, strings.ReplaceAll(want, " ", "")) {
					t.Errorf("no %s in %s", want, text)
				}
			}
		})
	}
}

// TestHealth: anybody may ask, and hears no more than yes or no.
func TestHealth(t *testing.T) {
	w := newWorld(t, nil)
	for path, want := range map[string]string{"/livez": "ok\n", "/readyz": "ok\n"} {
		if code, text := w.restAs(t, "", "GET", path, ""); code != 200 || text != want {
			t.Errorf("%s: %d %q", path, code, text)
		}
	}
	for _, service := range append([]string{""}, serviceNames...) {
		code, text := w.restAs(t, "", "POST", "/grpc.health.v1.Health/Check", `{"service":"`+service+`"}`)
		if code != 200 || !strings.Contains(text, "SERVING") || strings.Contains(text, "NOT_SERVING") {
			t.Errorf("health of %q: %d %s", service, code, text)
		}
	}
	if code, _ := w.restAs(t, "", "POST", "/grpc.health.v1.Health/Check", `{"service":"x"}`); code != 404 {
		t.Errorf("health of an unknown service: %d", code)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	w.stop(ctx, t)
	if code, _ := w.restAs(t, "", "GET", "/readyz", ""); code != 503 {
		t.Errorf("a stopped node's readiness: %d", code)
	}
	if code, text := w.restAs(t, "", "POST", "/grpc.health.v1.Health/Check", `{}`); code != 200 || !strings.Contains(text, "NOT_SERVING") {
		t.Errorf("a stopped node's health: %d %s", code, text)
	}
	if code, _ := w.restAs(t, "", "GET", "/livez", ""); code != 200 {
		t.Errorf("a stopped node's liveness: %d", code)
	}
}
