package authz

import (
	"fmt"
	"reflect"
)

// Warnings remarks on a list that Validate accepts: permissions that no call can reach, because for each of their
// actions an earlier one covers all their resources; and constraints that an earlier permission takes out of force for
// some action or all, because it covers the resources and lacks them.
func Warnings(perms []Permission) []Warning {
	b, err := encodeList(nil, perms)
	if err != nil {
		return nil // Validate says why
	}
	l := list(b)
	var out []Warning
	for i := range perms {
		out = append(out, l.warnings(perms, i)...)
	}
	return out
}

func (l list) warnings(perms []Permission, i int) (out []Warning) {
	p, path := &perms[i], fmt.Sprintf("permissions[%d]", i)
	reached, by := len(p.Actions) == 0, i // by: the first that takes all
	shadow, action := -1, ""
	for _, a := range p.Actions {
		j := l.firstCovering(a, p.Resource, i)
		if j < 0 {
			reached = true
			continue
		}
		by = min(by, j)
		if shadow < 0 && narrows(p) && !reflect.DeepEqual(perms[j].Constraints, p.Constraints) {
			shadow, action = j, a
		}
	}
	if !reached {
		out = append(out, Warning{Path: path, Reason: WarnUnreachable, Message: fmt.Sprintf(
			"can never decide: whatever it matches, permissions[%d] or another earlier one matches first", by)})
	}
	if shadow >= 0 {
		out = append(out, Warning{Path: path + ".constraints", Reason: WarnShadowed, Message: fmt.Sprintf(
			"do not apply to the action %q: permissions[%d] matches first, with other constraints", action, shadow)})
	}
	return out
}

// narrows tells whether a permission has a constraint at all.
func narrows(p *Permission) bool { return flagsOf(p)&narrowed != 0 }

// firstCovering returns the first permission before the given one that covers an action on a pattern, -1 if none does.
func (l list) firstCovering(action, pattern string, before int) int {
	if at := l.u32(4); at != 0 {
		if i := l.index(int(at)).covering(action, pattern); i < before {
			return i
		}
		return -1
	}
	for i := range before {
		if e := l.entry(i); coversPattern(e.resource, pattern) && e.grants(action) {
			return i
		}
	}
	return -1
}
