package authz

import "strconv"

// Reason is the answer's sentence, the one that KavachOS gives; "" if the call is allowed. It may quote the caller's
// own arguments: what is stored is RecordedReason.
func (v *Verdict) Reason() string { return sentence(v.Code, &v.detail) }

// RecordedReason is the sentence as it may be stored: without the value of an argument, which may be secret and may be
// as long as all arguments together.
func (v *Verdict) RecordedReason() string {
	d := v.detail
	if v.Code == ArgumentNotAllowed && d.x != 1 {
		d.b = "[redacted]"
	}
	return sentence(v.Code, &d)
}

// sentence spells out a denial. The quotes are plain: texts are not escaped (as the original).
func sentence(code Code, d *detail) string {
	switch code {
	case NoMatchingPermission: // a: agent's name, b: action, c: resource
		return `No permission grants agent "` + d.a + `" access to "` + d.b + `" on "` + d.c + `"`
	case AgentNotFound: // a: the id as it was asked for
		return `Agent "` + d.a + `" not found`
	case AgentRevoked: // a: name
		return `Agent "` + d.a + `" is revoked`
	case AgentExpired:
		return `Agent "` + d.a + `" is expired`
	case InvalidToken:
		return "Invalid or expired agent token"
	case RateLimited: // x: calls in the window, y: limit, a: resource
		return "Rate limit exceeded: " + strconv.FormatInt(d.x, 10) + "/" + strconv.FormatInt(d.y, 10) +
			` calls per hour for resource "` + d.a + `"`
	case ApprovalRequired:
		return "This action requires human approval before execution"
	case OutsideTimeWindow: // x: start, y: end, in minutes of the day
		return "Action is only allowed between " + formatClock(int(d.x)) + " and " + formatClock(int(d.y))
	case IPNotAllowed: // a: the address as it was given
		if d.a == "" {
			return "IP_NOT_ALLOWED: No IP address provided; resource requires an IP allowlist match"
		}
		return `IP_NOT_ALLOWED: IP "` + d.a + `" is not in the allowlist for this resource`
	case ArgumentNotAllowed: // a: argument, b: value, c: pattern, x: 1 if a named argument is absent or not a string
		if d.x == 1 {
			return `Argument "` + d.a + `" is required to be a string that matches pattern "` + d.c + `"`
		}
		return `Argument "` + d.a + `" value "` + d.b + `" does not match pattern "` + d.c + `"`
	}
	return ""
}
