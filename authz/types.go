package authz

import (
	"time"

	"github.com/kavachd/kavachd/ids"
)

// Permission is one entry of an agent's or a delegation's ordered list (SPEC 2).
type Permission struct {
	ID          string // optional; unique within the list
	Resource    string // segments split by ':'; a segment "*" is a wildcard
	Actions     []string
	Constraints Constraints
	// MaxStaleness is how old the state may be that decides by this permission when the caller asks for stale_ok.
	// 0: never stale.
	MaxStaleness time.Duration
}

// Constraints narrow a permission that matched. The zero value narrows nothing (SPEC 3).
type Constraints struct {
	ArgPatterns     []ArgPattern
	RequireApproval bool
	TimeWindow      *TimeWindow // nil: any time
	IPAllowlist     []string    // single addresses and prefixes; empty: any address, or none
	MaxCallsPerHour int64       // 0: no quota
	QuotaScope      QuotaScope
}

// ArgPattern is one entry of allowed_arg_patterns.
type ArgPattern struct {
	Argument string // "": every top-level argument that is a string; else this one, which must be there and be a string
	Pattern  string // RE2, unanchored; or a glob of the whole value
	Glob     bool   // "*" matches within a path element, "**" across '/'; everything else stands for itself
}

// TimeWindow is a daily window, both ends inclusive to the minute; Start after End spans midnight.
type TimeWindow struct {
	Start, End string // HH:MM, 00:00 to 23:59
	Zone       string // IANA name; "": UTC
}

// QuotaScope says what max_calls_per_hour counts.
type QuotaScope uint8

// The scopes.
const (
	ScopePermission QuotaScope = iota // one counter for the permission
	ScopeResource                     // one for each concrete resource requested under it
)

// AgentSpec is what Compile makes an Agent of. Times are Unix nanoseconds, 0 = never.
type AgentSpec struct {
	ID                  ids.ID
	Tenant, Owner, Name string
	Type                uint8
	Revoked             bool
	ExpiresAt           int64
	Token               ids.Hash
	PrevToken           ids.Hash // valid while the clock < PrevUntil
	PrevUntil           int64
	Revision            uint64
	Permissions         []Permission
}

// DelegationSpec is what CompileDelegation makes a Delegation of.
type DelegationSpec struct {
	ID, From, To ids.ID
	Tenant       string
	Permissions  []Permission
	ExpiresAt    int64
	MaxDepth     uint32
	Depth        uint32 // as it was when it was made; the decision counts the path anew
	Revoked      bool
	Created      uint64 // Raft index<<16 | position: the order of creation
	Revision     uint64
}

// KeySpec is a caller's API key as the decision state holds it.
type KeySpec struct {
	ID        ids.ID
	Tenant    string // "": the whole cluster
	Name      string
	Role      string
	Hash      ids.Hash
	ExpiresAt int64
	Revoked   bool
	Revision  uint64
}

// Source is one version of the state that decisions read. The results are immutable; nil says that there is none.
type Source interface {
	Agent(ids.ID) *Agent
	// AgentByToken finds the agent whose current or previous token has this hash. Whether the previous one still
	// counts is for Decide to say.
	AgentByToken(ids.Hash) *Agent
	// Received lists the delegations to an agent, live and not, in order of creation. Not to be changed.
	Received(ids.ID) []*Delegation
}

// Request is one call to decide about.
type Request struct {
	AgentID string // as the caller wrote it; unused if ByToken

	ByToken bool
	Token   ids.Hash
	TokenOK bool // the text can be a token at all (ids.HashToken)

	Action, Resource string
	Args             []Arg // top-level arguments; sorted by name, so that a denial's sentence is always the same one
	IP               string
	At               time.Time // rules of the calendar are judged at this moment
	Approved         bool      // an approval of this very call is presented and good
	Quotas           Quotas    // nil: a quota on the allowing path is ErrQuotaUnavailable
}

// Arg is one top-level argument. Of what is not a string only the name counts.
type Arg struct {
	Name     string
	Value    string
	IsString bool
}

// Code is the outcome of a decision (SPEC 4). Don't renumber: audit entries hold its text.
type Code uint8

// The codes that Decide gives.
const (
	Allowed Code = iota + 1
	NoMatchingPermission
	AgentNotFound
	AgentRevoked
	AgentExpired
	InvalidToken
	RateLimited
	ApprovalRequired
	OutsideTimeWindow
	IPNotAllowed
	ArgumentNotAllowed
)

var codeNames = [...]string{
	Allowed: "ALLOWED", NoMatchingPermission: "NO_MATCHING_PERMISSION", AgentNotFound: "AGENT_NOT_FOUND",
	AgentRevoked: "AGENT_REVOKED", AgentExpired: "AGENT_EXPIRED", InvalidToken: "INVALID_TOKEN",
	RateLimited: "RATE_LIMITED", ApprovalRequired: "APPROVAL_REQUIRED", OutsideTimeWindow: "OUTSIDE_TIME_WINDOW",
	IPNotAllowed: "IP_NOT_ALLOWED", ArgumentNotAllowed: "ARGUMENT_NOT_ALLOWED",
}

// String gives the code as SPEC 4 spells it, "" for the zero Code.
func (c Code) String() string {
	if int(c) >= len(codeNames) {
		return ""
	}
	return codeNames[c]
}

// Problem is one fault of a permission list, at a path such as permissions[3].constraints.ip_allowlist[0].
type Problem struct{ Path, Message string }

// Warning is one remark on a permission list that is accepted all the same.
type Warning struct{ Path, Reason, Message string }

// Reasons of a Warning.
const (
	WarnUnreachable = "UNREACHABLE_PERMISSION"
	WarnShadowed    = "SHADOWED_CONSTRAINT"
)

// Limits bounds permission lists (SPEC 9). All are inclusive.
type Limits struct {
	Permissions       int // of a list
	Actions           int // of a permission
	ConstraintEntries int // argument patterns and allowlist entries of a permission together
	PatternBytes      int // a resource pattern, an argument pattern
	NameBytes         int // an id, an action, an argument's name
}

// DefaultLimits are the limits of SPEC 9; settings may lower them.
func DefaultLimits() Limits {
	return Limits{Permissions: 10_000, Actions: 64, ConstraintEntries: 32, PatternBytes: 1 << 10, NameBytes: 256}
}

// MaxPath is the longest chain of delegations that a decision follows (SPEC 9).
const MaxPath = 16

// DefaultMaxDepth is a delegation's max_depth where the giver names none (SPEC 5).
const DefaultMaxDepth = 3
