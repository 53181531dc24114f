package authz

import "strings"

// wildcard is the segment or the action that stands for any.
const wildcard = "*"

// cut splits the first segment off. more tells whether any follow.
func cut(s string) (segment, rest string, more bool) {
	if i := strings.IndexByte(s, ':'); i >= 0 { //nolint:modernize // strings.Cut looks for a string; this is the hot path
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// Match tells whether a pattern covers a concrete resource (SPEC 2): segment by segment, byte for byte. A segment "*"
// at the end covers zero or more further segments, elsewhere exactly one. Every resource has at least one segment, the
// empty one.
func Match(pattern, resource string) bool {
	// Skip the segments that are the same text: a wildcard covers itself too. Most patterns of a list fail here.
	i, segment, shorter := 0, 0, min(len(pattern), len(resource))
	for ; i < shorter && pattern[i] == resource[i]; i++ {
		if pattern[i] == ':' {
			segment = i + 1
		}
	}
	if i < shorter && pattern[segment] != '*' {
		return false
	}
	pattern, resource = pattern[segment:], resource[segment:]
	for {
		p, pRest, pMore := cut(pattern)
		if p == wildcard && !pMore {
			return true
		}
		r, rRest, rMore := cut(resource)
		if p != r && p != wildcard {
			return false
		}
		switch {
		case !pMore:
			return !rMore
		case !rMore:
			return pRest == wildcard // "a:*" covers "a"
		}
		pattern, resource = pRest, rRest
	}
}

// Covers tells whether every call that inner matches is one that outer matches: inclusion of the languages of their
// patterns and of their actions, the constraints apart (SPEC 5).
func Covers(outer, inner Permission) bool {
	return coversPattern(outer.Resource, inner.Resource) && coversActions(outer.Actions, inner.Actions)
}

// widest makes the pattern "*" one whose first segment is spelled out. Both cover the same resources, because none has
// no segment; so "*:*" covers "*".
func widest(pattern string) string {
	if pattern == wildcard {
		return "*:*"
	}
	return pattern
}

// coversPattern is language inclusion of two patterns. The alphabet of segments is unbounded, so that a literal never
// covers a wildcard and inclusion can be judged segment by segment.
func coversPattern(outer, inner string) bool {
	inner = widest(inner)
	for {
		o, oRest, oMore := cut(outer)
		if o == wildcard && !oMore {
			return true
		}
		i, iRest, iMore := cut(inner)
		if i == wildcard && !iMore {
			return false // inner covers a resource that ends here, outer wants another segment
		}
		if o != i && o != wildcard {
			return false
		}
		switch {
		case !oMore:
			return !iMore
		case !iMore:
			return oRest == wildcard
		}
		outer, inner = oRest, iRest
	}
}

func coversActions(outer, inner []string) bool {
	for _, action := range inner {
		if !hasAction(outer, action) {
			return false
		}
	}
	return true
}

// hasAction tells whether the list covers an action, which may itself be the wildcard.
func hasAction(actions []string, action string) bool {
	for _, a := range actions {
		if a == action || a == wildcard {
			return true
		}
	}
	return false
}
