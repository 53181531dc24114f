package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

func TestParseAllow(t *testing.T) {
	tests := []struct {
		text, resource, actions string
	}{
		{"mcp:github:*=read,comment", "mcp:github:*", "read,comment"},
		{"a=b=c", "a=b", "c"},
		{"a= read , write ", "a", "read,write"},
		{"*=*", "*", "*"},
		{"a", "", ""},
		{"=a", "", ""},
		{"a=", "", ""},
		{"a=b,,c", "", ""},
	}
	for _, test := range tests {
		got, err := parseAllow(test.text)
		if (err == nil) != (test.resource != "") {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if got.GetResource() != test.resource || strings.Join(got.GetActions(), ",") != test.actions {
			t.Errorf("%s: %v", test.text, got)
		}
	}
}

const samplePermissionFile = `
# The quickstart's.
- resource: mcp:github:*
  actions: [read]
- id: deploy
  resource: mcp:deploy:production
  actions: [execute]
  max_staleness: 60s
  constraints:
    allowed_arg_patterns:
      - pattern: ^/var/
      - {argument: branch, pattern: release/*, syntax: PATTERN_SYNTAX_GLOB}
    require_approval: true
    time_window: {start: 09:00, end: 17:00}
    ip_allowlist: [10.0.0.0/8, "::1"]
    max_calls_per_hour: 5
    quotaScope: QUOTA_SCOPE_RESOURCE
`

func TestParsePermissions(t *testing.T) {
	want := samplePermissions()
	for _, text := range []string{samplePermissionFile, "permissions:\n" + strings.ReplaceAll(samplePermissionFile, "\n", "\n  ")} {
		got, err := parsePermissions([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
	// What the API prints is what the command line reads.
	data, err := marshalJSON(&kavachv1.Agent{Permissions: want})
	if err != nil {
		t.Fatal(err)
	}
	var agent struct{ Permissions json.RawMessage }
	if err := json.Unmarshal(data, &agent); err != nil {
		t.Fatal(err)
	}
	got, err := parsePermissions(agent.Permissions)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestParsePermissionsRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", "", "is empty"},
		{"no list", "resource: a", "line 1: must be a list"},
		{"text", "hello", "line 1: must be a list"},
		{"unknown field", "- resource: a\n  action: [read]", `permissions[0] (line 1): unknown field "action"`},
		{"unknown field below", "- resource: a\n- constraints:\n    max_calls: 5", `permissions[1] (line 2): unknown field "max_calls"`},
		{"wrong type", "- resource: a\n  actions: read", "permissions[0] (line 1): "},
		{"twice", "- resource: a\n  resource: b", "resource"},
		{"alias", "- &a {resource: a}\n- *a", "permissions[1]: line 2: aliases are not allowed"},
		{"two documents", "[]\n---\n[]", "more than one document"},
		{"deep", "- " + strings.Repeat("[", 40) + strings.Repeat("]", 40), "nested too deeply"},
		{"huge number", "- constraints: {max_calls_per_hour: 99999999999999999999999}", "permissions[0]"},
		{"not YAML", "- [", "line"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parsePermissions([]byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, %v; want %s", got, err, test.want)
			}
		})
	}
}

func FuzzParsePermissions(f *testing.F) {
	for _, seed := range []string{samplePermissionFile, "[]", "- resource: a", "- &a [*a]", "? a\n: b", "- !!binary aa", "- .nan", "- 0x10", "permissions: [{}]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parsePermissions(data)
		if err != nil {
			return
		}
		for i, p := range list {
			if p == nil {
				t.Errorf("permission %d is nil", i)
			}
		}
	})
}

func TestArgumentsJSON(t *testing.T) {
	tests := []struct {
		pairs []string
		text  string
		want  string
	}{
		{nil, "", ""},
		{[]string{"a=1", "b=x=y", "c="}, "", `{"a":"1","b":"x=y","c":""}`},
		{[]string{`q="<>`}, "", `{"q":"\"\u003c\u003e"}`},
		{nil, `{"n":12345678901234567890}`, `{"n":12345678901234567890}`},
	}
	for _, test := range tests {
		got, err := argumentsJSON(test.pairs, test.text)
		if err != nil || got != test.want {
			t.Errorf("%v %s: %s, %v", test.pairs, test.text, got, err)
		}
	}
	for _, bad := range []string{"[]", "1", "{", "{} {}", "null x"} {
		if got, err := argumentsJSON(nil, bad); err == nil {
			t.Errorf("%s: accepted as %s", bad, got)
		}
	}
}

func TestTimeFlag(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{"15m": now.Add(-15 * time.Minute), "0s": now, "2026-12-31T23:00:00+01:00": time.Date(2026, 12, 31, 22, 0, 0, 0, time.UTC)} {
		got, err := timeFlag("--since", text, now)
		if err != nil || !got.AsTime().Equal(want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"-5m", "yesterday", "2026-12-31"} {
		if got, err := timeFlag("--since", text, now); err == nil {
			t.Errorf("%s: accepted as %v", text, got)
		}
	}
}
