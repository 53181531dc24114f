package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPageIsCurrent compares the committed page with a fresh one.
func TestPageIsCurrent(t *testing.T) {
	want, err := generate("../../testdata/vectors", "../../authz/testdata/deviations.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/kavachos-compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/kavachos-compatibility.md is not current: run make gen\n%s", diff)
	}
}

func TestMarks(t *testing.T) {
	tests := []struct {
		name string
		c    recorded
		want []string
	}{
		{"none", recorded{}, nil},
		{"documentation", recorded{Tags: []string{"doc-mismatch:wildcard-multi-level"}}, nil},
		{"quirk", recorded{Quirk: "cycle-accepted: nothing stops it"}, []string{"cycle-accepted"}},
		{
			"both",
			recorded{Quirk: "stale-delegation", Tags: []string{"spec-differs:expiry-by-id"}},
			[]string{"stale-delegation", "spec-differs:expiry-by-id"},
		},
	}
	for _, tc := range tests {
		if diff := cmp.Diff(tc.want, tc.c.marks()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

// TestIncomplete: a mark that nobody has explained, and a rule for a case that is gone, are errors.
func TestIncomplete(t *testing.T) {
	dir := t.TempDir()
	for _, file := range files {
		line := `{"id": "x", "quirk": "something-new: and odd", "steps": []}` + "\n"
		if err := os.WriteFile(filepath.Join(dir, file+".jsonl"), []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := generate(dir, filepath.Join(dir, "decisions.jsonl"))
	for _, want := range []string{`the mark "something-new" has no rule`, `the rule for "cycle-accepted" has no case`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "decisions.jsonl"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := generate(dir, filepath.Join(dir, "decisions.jsonl")); err == nil || !strings.Contains(err.Error(), "decisions.jsonl:1") {
		t.Errorf("got %v, want the line", err)
	}
}
