package vectors

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestVectorsDelegations runs delegations.jsonl, one subtest a case.
func TestVectorsDelegations(t *testing.T) { runFile(t, "delegations.jsonl") }

// TestVectorsScenarios runs scenarios.jsonl, one subtest a case, but for the stories of approvals, budgets and the life
// of tenants, which this version has not.
func TestVectorsScenarios(t *testing.T) { runFile(t, "scenarios.jsonl") }

func runFile(t *testing.T, file string) {
	cases, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	ran, compared := 0, 0
	for i := range cases {
		c := &cases[i]
		if !c.Supported() {
			continue
		}
		ran++
		t.Run(c.ID, func(t *testing.T) {
			outcomes, err := Run(c)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range outcomes {
				if o.Marked {
					continue
				}
				compared++
				for _, name := range o.Differences() {
					t.Errorf("step %d (%s), %s (-recorded +ours):\n%s", o.Place, o.Step.Op, name, cmp.Diff(plain(o.Recorded[name]), plain(o.Ours[name])))
				}
			}
		})
	}
	if ran == 0 || compared == 0 {
		t.Fatalf("%s: %d cases ran, %d answers compared", file, ran, compared)
	}
	t.Logf("%s: %d of %d cases, %d answers compared", file, ran, len(cases), compared)
}
