package cluster

import (
	"bytes"
	"regexp"
	"strings"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/ids"
)

// credential is what an agent token or an API key of ours looks like, wherever it stands.
var credential = regexp.MustCompile(`kvk?_[A-Za-z0-9_-]{43}`)

const masked = "kv_[masked]"

// maskEntry takes our own credentials out of an audit entry. They get there by mistake, as an agent's id or an argument,
// and the trail is kept for years and shown to many. What else an argument may hold that is secret is for the redaction
// rules of the audit to know.
func maskEntry(e *raftv1.AuditEntry) {
	for _, text := range []*string{
		&e.AgentId, &e.Action, &e.Resource, &e.Reason, &e.ApprovalId, &e.UserAgent, &e.Trace, &e.RequestId,
	} {
		if mayHold(*text) {
			*text = credential.ReplaceAllString(*text, masked)
		}
	}
	if bytes.Contains(e.Parameters, []byte(ids.TokenPrefix)) || bytes.Contains(e.Parameters, []byte(ids.KeyPrefix)) {
		e.Parameters = credential.ReplaceAll(e.Parameters, []byte(masked))
	}
}

// mayHold is a cheap first look: nearly every text ends here.
func mayHold(text string) bool {
	return strings.Contains(text, ids.TokenPrefix) || strings.Contains(text, ids.KeyPrefix)
}
