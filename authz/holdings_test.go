package authz_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/ids"
)

// TestHoldingsAgreeWithDecisions relates the holdings to the decision on random states without constraints: what is
// effective lets through whatever it matches (or an earlier permission of a list decides, which Effective says too), and
// what a decision lets through by a chain lies in permissions that are listed.
func TestHoldingsAgreeWithDecisions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newStory(t)
		for _, a := range s.w.agents {
			for i := range a.Permissions {
				a.Permissions[i].Constraints = authz.Constraints{}
			}
		}
		for _, d := range s.w.delegations {
			for i := range d.Permissions {
				d.Permissions[i].Constraints = authz.Constraints{}
			}
		}
		s.publish()
		view, at := s.state.View(), s.now.UnixNano()
		for _, a := range s.w.agents {
			held := authz.Effective(view, a.ID, at)
			for _, resource := range []string{"a", "a:b", "a:x:b", "", "b", "a:b:c:d"} {
				for _, action := range []string{"r", "w", "x"} {
					v, err := authz.Decide(view, &authz.Request{AgentID: a.ID.Text(ids.PrefixAgent), Action: action, Resource: resource, At: s.now})
					if err != nil {
						t.Fatal(err)
					}
					listed, effective := false, false
					for _, h := range held {
						if oracleMatch(h.Permission.Resource, resource) && oracleHas(h.Permission.Actions, action) {
							listed, effective = true, effective || !h.Inert
						}
					}
					if effective && !v.Allowed() || v.Allowed() && !listed {
						t.Fatalf("%s %s on %q: %s, listed %v, effective %v", a.Name, action, resource, v.Code, listed, effective)
					}
				}
			}
			s.checkCoverage(t, a, held)
		}
	})
}

// checkCoverage holds that CoveredBy finds exactly what Effective lists as effective and as one that may be handed on.
func (s *story) checkCoverage(t *rapid.T, a *authz.AgentSpec, held []authz.Held) {
	for _, resource := range []string{"a", "a:*", "*", "a:*:b", "b:b"} {
		p := authz.Permission{Resource: resource, Actions: []string{"r"}}
		want := uint32(0)
		for _, h := range held {
			if !h.Inert && authz.Covers(h.Permission, p) && (want == 0 || h.Depth+1 < want) {
				want = h.Depth + 1
			}
		}
		got := authz.CoveredBy(s.state.View(), a.ID, p, s.now.UnixNano())
		if got.Covered != (want > 0) || got.Covered && (got.Depth < want || got.Depth > want && got.Depth > got.MaxDepth) {
			t.Fatalf("%s holds %s: %+v, the list says depth %d", a.Name, resource, got, want)
		}
	}
}
