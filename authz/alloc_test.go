package authz_test

import (
	"fmt"
	"runtime/debug"
	"testing"

	"github.com/kavachd/kavachd/authz"
)

// TestNoAllocations holds that the allow path allocates nothing, by own list and through givers.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		return // the detector allocates, and drops what pools hold
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties pools
	count := func(name string, decide func() (authz.Verdict, error)) {
		t.Helper()
		got := testing.AllocsPerRun(200, func() {
			if v, err := decide(); err != nil || !v.Allowed() {
				t.Fatalf("%s: %s %v", name, v.Reason(), err)
			}
		})
		if got != 0 {
			t.Errorf("%s: %v allocations a decision", name, got)
		}
	}
	for name, c := range benchConstraints() {
		for _, n := range []int{10, 1000} {
			perms := benchList(n)
			perms[n/2].Constraints = c
			s, id := stateOf(t, perms)
			q := benchRequest(id, n)
			q.IP = "10.1.2.3"
			q.Args = []authz.Arg{{Name: "path", Value: "src/main.go", IsString: true}}
			count(fmt.Sprint(name, " of ", n), func() (authz.Verdict, error) { return authz.Decide(s.View(), q) })
		}
	}
	for depth := 1; depth <= 3; depth++ {
		s, id := chainOf(t, depth)
		q := benchRequest(id, 10)
		count(fmt.Sprint("chain of ", depth), func() (authz.Verdict, error) { return authz.Decide(s.View(), q) })
	}
}
