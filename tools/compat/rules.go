package main

// rule says how kavachd decides the cases of one mark. The numbers are those of docs/spec.md.
type rule struct {
	label        string
	theirs, ours string
}

// rules is in the order of the page.
var rules = []rule{
	// Patterns and matching.
	{
		"mid-wildcard-swallows-rest", "nothing after the first `*` segment is compared",
		"a `*` that is not the last segment stands for exactly one segment; what follows is compared (2)",
	},
	{
		"subset-prefix-escalation", "who holds `q` may hand on `q:x`",
		"a delegated permission must be covered by one that the giver holds, by language inclusion: refused (5)",
	},
	{"spec-differs:prefix-escalation", "the same, in a story", "refused, and all that follows from it (5)"},

	// Arguments.
	{
		"js-regex-dialect", "expressions are JavaScript's",
		"expressions are RE2, which has neither look-around nor back references: what is not RE2 is refused when it is written (3)",
	},
	{
		"invalid-regex-throws", "a malformed expression is accepted and makes the decision fail",
		"INVALID_ARGUMENT with the field's path when it is written; no decision can fail on it (3)",
	},
	{
		"invalid-regex-latent", "a malformed expression goes unnoticed until a call reaches it",
		"INVALID_ARGUMENT with the field's path when it is written (3)",
	},

	// Time windows.
	{"overnight-window-never-opens", "a window whose start is later than its end is never open", "it spans midnight (3)"},
	{
		"string-compared-time", "the ends of a window are compared as text, malformed ones too",
		"times are `HH:MM`, 00:00 to 23:59, and compared as times; anything else is INVALID_ARGUMENT when it is written (3)",
	},
	{"spec-silent:time-24-00", "a window may end at `24:00`", "not an `HH:MM` up to 23:59: INVALID_ARGUMENT when it is written (3)"},

	// Addresses.
	{"ipv6-cidr-unsupported", "blocks of IPv6 addresses match nothing", "IPv6 blocks work (3)"},
	{"ipv4-mapped-not-recognised", "`::ffff:1.2.3.4` is not 1.2.3.4", "4-in-6 addresses are unmapped first (3)"},
	{"exact-entry-compared-as-text", "a single address is compared as text", "addresses are parsed and compared as addresses (3)"},
	{"lenient-ipv4-parse", "numbers of an address are read up to the first bad character", "strictly parsed: what is no address matches nothing, and as an entry is refused (3)"},
	{"malformed-allowlist-entry", "a malformed entry is accepted and read leniently", "INVALID_ARGUMENT with the field's path when it is written (3)"},
	{"context-ip-not-enforced", "an address given in the context only is not looked at", "there is one address, that of the context, and it is what the allowlist is held against (4)"},

	// Quotas.
	{"negative-quota-denies-always", "a negative limit is accepted and denies every call", "a limit below 1 is INVALID_ARGUMENT when it is written (3)"},
	{"quota-consumed-by-denied-calls", "denied calls use up the quota", "only allowed calls count (3)"},
	{"non-atomic-quota", "calls at the same time exceed the limit", "never exceeded by the whole cluster (3); until quotas are there, the decision is refused with QUOTA_UNAVAILABLE"},
	{"spec-silent:quota-release", "a unit is free exactly after an hour", "a unit may come back some seconds later, never earlier (3)"},

	// Agents.
	{"expiry-not-checked-by-id", "an expired agent is allowed by id", "one decision path: AGENT_EXPIRED by id, INVALID_TOKEN by token (2)"},
	{"spec-differs:expiry-by-id", "the same, in a story", "AGENT_EXPIRED (2, 4)"},
	{"spec-differs:expiry-instant", "an agent is still allowed at exactly its expires_at", "a right is over when the clock reaches its end (4)"},
	{"revoked-agent-editable", "a revoked agent can be changed", "refused with AGENT_REVOKED (1)"},
	{"non-atomic-agent-limit", "creations at the same time exceed the owner's limit", "enforced atomically for the whole cluster (1)"},
	{"spec-differs:setting-validated-early", "a bad lifetime setting fails when an agent is created", "the change of the setting is refused, the default stays, the creation succeeds (1)"},
	{"raw-database-error", "an unknown owner or receiver surfaces as a failure of the database", "owners are never checked against a table (1); an unknown receiver is AGENT_NOT_FOUND (5)"},
	{"spec-silent:empty-field", "empty resources, actions or tokens are taken as they are", "INVALID_ARGUMENT at the API; below it, in the engine, the case holds (2, 4)"},

	// Delegation.
	{"spec-differs:depth-own-grant", "depth is 1 + the deepest chain into the giver", "depth is 1 if the giver's own list covers the permission (5)"},
	{"ancestor-maxdepth-ignored", "each hop is held to its own caller's limit only", "the smallest max_depth on the path binds (5)"},
	{"constraints-dropped", "a delegation sheds the giver's constraints", "a receiver is bound by its own and by every ancestor's constraints (5)"},
	{"self-delegation-strips-constraints", "an agent delegates to itself and sheds its constraints", "refused: to oneself (5)"},
	{"delegated-grant-bypasses-own-constraint, and a double evaluation writes two audit rows", "a received grant bypasses the agent's own constraint, and two entries are written", "received lists are tried after the own one, under every constraint on the path (2, 5); one decision, one entry (7)"},
	{"cycle-accepted", "two agents may delegate to each other", "refused with DELEGATION_CYCLE (5)"},
	{"past-expiry-accepted", "a delegation that is already over is made", "refused: past expiry (5)"},
	{"expiry-truncated-to-seconds", "times lose their milliseconds", "times are kept to the nanosecond"},
	{"revoked-receiver-accepted", "a revoked agent may receive", "refused with AGENT_REVOKED (5)"},
	{"stale-delegation", "revoking the giver leaves its delegations in force", "they end with it, at once (1, 5)"},
	{"cascade-by-agent", "undoing one delegation kills what the receiver gave from its own rights", "only what is no longer covered by what its giver then holds (5)"},
	{"spec-differs:cascade-by-agent", "the same", "only what is no longer covered by what its giver then holds (5)"},
	{"cross-tenant-delegation-accepted", "agents of two tenants may delegate", "refused (5)"},
	{"spec-differs:empty-permissions", "an empty list, or empty actions, is accepted", "refused (5)"},
	{"spec-silent:effective-of-revoked", "a revoked agent's effective permissions are listed", "none (5)"},

	// Approvals, budgets, tenants: not there yet, and then as follows.
	{"approval-not-linked", "an approved call stays denied", "an approval opens exactly its call, once (6); until approvals are there, APPROVAL_REQUIRED"},
	{"approval-ttl-not-checked", "an approval may be given after its lifetime", "expiry is enforced at Approve and at use (6); not there yet"},
	{"spec-silent:approval-without-denial", "an approval may be asked for a call that needs none", "FAILED_PRECONDITION says why (6); not there yet"},
	{"spec-silent:approval-cleanup", "an operation expires old requests", "there is none: expiry is enforced at Approve and at use (6)"},
	{"spec-differs:budget-action", "policies may throttle or revoke", "block or warn (3); not there yet"},
	{"spec-silent:budget-operations", "usage is recorded, checked and reset by hand", "budgets are drawn in the decision (3); not there yet"},
	{"spec-silent:tenant-operations", "tenants are created, suspended and activated", "a tenant needs no creation; suspension is not there yet"},

	// Audit.
	{"administrative-acts-unaudited", "only decisions are audited", "every administrative act has exactly one entry (7)"},
	{"one-second-timestamps", "entries have whole seconds", "times are kept to the nanosecond, and entries have a total order (7)"},
	{"spec-silent:audit-cleanup", "an operation deletes old entries", "retention by age and size (7); not there yet"},
	{"spec-differs:csv-columns", "the export has exactly ten columns", "these ten first, then ours (7)"},

	// Marks that concern the comparison, not the behaviour.
	{"reason-depends-on-argument-order", "the reason names the argument that comes first in JavaScript's key order", "allowed and code are the same; the argument named may be another"},
	{"differs-from-exact-window", "the quota's window is not an exact hour", "never more than N in any trailing hour (3)"},
}
