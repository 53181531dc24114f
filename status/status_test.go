package status

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestAllIsComplete reads this package's source, so that a new reason can't be left out of All.
func TestAllIsComplete(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "status.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []Reason
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Reason" {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		declared = append(declared, Reason(text))
		return true
	})
	got := All()
	slices.Sort(got)
	slices.Sort(declared)
	if !slices.Equal(got, declared) {
		t.Fatalf("All() = %v\ndeclared  %v", got, declared)
	}
	if len(slices.Compact(got)) != len(declared) {
		t.Fatal("a reason stands twice")
	}
}

func TestReasonOf(t *testing.T) {
	cause := errors.New("disk")
	e := New(AgentNotFound, "agent %q", "x").WithField("agent_id", "unknown").Wrap(cause)
	wrapped := fmt.Errorf("rotate: %w", e)
	if got := ReasonOf(wrapped); got != AgentNotFound {
		t.Errorf("ReasonOf = %s", got)
	}
	if !errors.Is(wrapped, New(AgentNotFound, "")) || errors.Is(wrapped, New(AgentRevoked, "")) {
		t.Error("Is does not compare reasons")
	}
	if !errors.Is(wrapped, cause) {
		t.Error("the cause is lost")
	}
	if ReasonOf(cause) != Internal || ReasonOf(nil) != "" {
		t.Error("ReasonOf of a foreign error or nil")
	}
	if got, want := e.Error(), `AGENT_NOT_FOUND: agent "x"; agent_id: unknown: disk`; got != want {
		t.Errorf("Error() = %s", got)
	}
}
