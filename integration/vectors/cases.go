package vectors

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// DirEnv names the variable that points at another folder with the same three files.
const DirEnv = "KAVACH_VECTORS"

// Dir is where the cases are read from: the folder that DirEnv names, or the project's own copy, seen from a package
// two levels below the root.
func Dir() string {
	if dir := os.Getenv(DirEnv); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "testdata", "vectors")
}

// Case is a story: steps in order, on an empty system.
type Case struct {
	ID     string
	Title  string
	Config Config
	Now    time.Time
	Steps  []Step
	Tags   []string
	Quirk  string
}

// Config is how KavachOS was configured.
type Config struct {
	MaxPerUser  uint32
	AuditAll    *bool
	TokenExpiry string
	ApprovalTTL int64
}

// Step is one call, or one move of the clock. Which fields count depends on Op.
type Step struct {
	Op     string
	Expect *Expect
	Tags   []string

	As, Agent, Token, From, To, Chain string
	Name, Owner, Tenant, Type         *string
	Permissions                       *[]Permission
	ExpiresIn                         *float64
	MaxDepth                          *int64
	N                                 int
	Action, Resource, IP              string
	Arguments                         map[string]json.RawMessage
	Filter                            Filter
	MS                                int64
	At                                time.Time
	RetentionDays                     int
	Slug                              string
}

// Filter is that of audit and of listAgents.
type Filter struct {
	Agent, UserID, Result string
	Owner, Status, Type   string
	Tenant                string
	Actions               []string
	Since, Until          *time.Time
	Limit, Offset         *int
}

// Permission is a permission as KavachOS writes it.
type Permission struct {
	Resource    string       `json:"resource"`
	Actions     []string     `json:"actions"`
	Constraints *Constraints `json:"constraints,omitempty"`
}

// Constraints are constraints as KavachOS writes them.
type Constraints struct {
	MaxCallsPerHour    *int64      `json:"maxCallsPerHour,omitempty"`
	AllowedArgPatterns []string    `json:"allowedArgPatterns,omitempty"`
	RequireApproval    *bool       `json:"requireApproval,omitempty"`
	TimeWindow         *TimeWindow `json:"timeWindow,omitempty"`
	IPAllowlist        []string    `json:"ipAllowlist,omitempty"`
}

// TimeWindow is a daily window.
type TimeWindow struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

// Expect is what was recorded. Which fields count depends on the step's Op.
type Expect struct {
	OK             *bool
	Allowed        json.RawMessage // a bool, or a list of them for repeatAuthorize
	Reason         *string
	Code           *string
	Threw          bool
	Status         *string
	ExpiresAt      *string
	TokenShape     *bool
	Depth          *uint32
	Agent          json.RawMessage
	Agents         []string
	Permissions    *[]Permission
	Chains         json.RawMessage
	Entries        []Entry
	Count          *int
	Header         *string
	Lines          *int
	CreatedCount   *int
	AllowedCount   *int
	Deleted        *int
	Message        *string
	Usage          json.RawMessage
	RespondedBy    *string
	Pending        []string
	Expired, Reset *int
}

// AgentView is an agent as getAgent shows it; name is the case's own name for it.
type AgentView struct {
	Name        string       `json:"name"`
	DisplayName string       `json:"displayName,omitempty"`
	Type        string       `json:"type"`
	Status      string       `json:"status"`
	Permissions []Permission `json:"permissions"`
	ExpiresAt   *string      `json:"expiresAt"`
}

// Entry is an audit entry as recorded.
type Entry struct {
	Agent     string `json:"agent"`
	User      string `json:"user"`
	Action    string `json:"action"`
	Resource  string `json:"resource"`
	Result    string `json:"result"`
	Reason    string `json:"reason,omitempty"`
	Timestamp string `json:"timestamp"`
}

// start is the clock of a case that names none.
var start = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// Load reads the cases of one file, in its order.
func Load(file string) ([]Case, error) {
	data, err := os.ReadFile(filepath.Join(Dir(), file))
	if err != nil {
		return nil, fmt.Errorf("read vectors: %w", err)
	}
	var cases []Case
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 16<<20)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		c := Case{Now: start}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		cases = append(cases, c)
	}
	return cases, lines.Err()
}

// marked tells whether a tag says that a recorded answer is not ours.
func marked(tags []string) bool {
	for _, t := range tags {
		if strings.HasPrefix(t, "spec-differs:") || strings.HasPrefix(t, "spec-silent:") || t == "differs-from-exact-window" {
			return true
		}
	}
	return false
}

// Label is the stable part of a quirk: the text before the colon.
func (c *Case) Label() string {
	label, _, _ := strings.Cut(c.Quirk, ":")
	return label
}
