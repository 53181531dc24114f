package cluster

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/authz/state"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
)

// Check is one call to decide about, and what its audit entry says besides.
type Check struct {
	// Request is the call. At and Quotas are the node's to set.
	Request authz.Request
	// AgentText is whom the entry names when nobody is found, as it was asked for; empty for a token.
	AgentText string
	// Parameters is redacted JSON.
	Parameters []byte
	// UserAgent, Trace, RequestID and ApprovalID are the caller's words.
	UserAgent, Trace, RequestID, ApprovalID string
}

// Decided is the answer to checks, all of one version of the state. Verdicts and AuditIDs are in their order.
type Decided struct {
	Verdicts []authz.Verdict
	// AuditIDs name the entries; zero where the audit policy makes none.
	AuditIDs []ids.ID
	// Caller is the key that asked.
	Caller authz.KeySpec
	Served Served
}

// decider decides: see Node.Decide.
type decider struct {
	self    string
	reader  *reader
	journal interface {
		AppendBatch(entries []*raftv1.AuditEntry) (first uint64, err error)
	}
	settings func() *raftv1.Settings
	random   io.Reader
}

func (d *decider) decide(ctx context.Context, level Level, caller ids.Hash, checks []Check) (Decided, error) {
	begun := d.reader.now()
	var out Decided
	served, err := d.reader.read(ctx, level, func(v *View) (err error) {
		out, err = evaluate(v, caller, checks)
		return err
	})
	if err != nil {
		return Decided{}, err
	}
	out.Served = served
	if err := d.note(&out, checks, begun); err != nil {
		return Decided{}, err
	}
	return out, nil
}

// evaluate authenticates the caller and decides, all in one version of the state.
func evaluate(v *View, caller ids.Hash, checks []Check) (Decided, error) {
	key := v.State.KeyByHash(caller)
	if err := Usable(key, v.Now); err != nil {
		return Decided{}, err
	}
	out := Decided{Verdicts: make([]authz.Verdict, len(checks)), Caller: *key}
	var source authz.Source = v.State
	if key.Tenant != "" {
		source = tenantSource{v.State, key.Tenant}
	}
	for i := range checks {
		q := checks[i].Request // a copy: the evaluation may run again
		q.At = v.Now
		verdict, err := authz.Decide(source, &q)
		if err != nil {
			return Decided{}, undecided(err)
		}
		out.Verdicts[i] = verdict
	}
	return out, nil
}

// Usable returns nil if an API key may be used at a moment, else status.Unauthenticated. key may be nil. What it may do is
// for others to judge.
func Usable(key *authz.KeySpec, at time.Time) error {
	if key == nil || key.Revoked || key.ExpiresAt != 0 && at.UnixNano() >= key.ExpiresAt {
		return status.New(status.Unauthenticated, "the API key is unknown, revoked or expired")
	}
	return nil
}

// undecided turns authz's errors into statuses: internal limits and faults are no denials.
func undecided(err error) error {
	switch {
	case errors.Is(err, authz.ErrQuotaUnavailable):
		return status.New(status.QuotaUnavailable, "a permission with max_calls_per_hour decides here, and this version can't enforce it").Wrap(err)
	case errors.Is(err, authz.ErrTooComplex):
		return status.New(status.LimitExceeded, "%v", authz.ErrTooComplex).Wrap(err)
	}
	return status.New(status.Internal, "the call can't be decided").Wrap(err)
}

// tenantSource hides the agents of other tenants from a key that is bound to one.
type tenantSource struct {
	state.View
	tenant string
}

// Agent implements authz.Source.
func (s tenantSource) Agent(id ids.ID) *authz.Agent { return s.visible(s.View.Agent(id)) }

// AgentByToken implements authz.Source.
func (s tenantSource) AgentByToken(h ids.Hash) *authz.Agent { return s.visible(s.View.AgentByToken(h)) }

func (s tenantSource) visible(a *authz.Agent) *authz.Agent {
	if a == nil || a.Tenant != s.tenant {
		return nil
	}
	return a
}

// note writes exactly one entry for each check that the audit policy wants. If it can't, nothing is answered.
func (d *decider) note(out *Decided, checks []Check, begun time.Time) error {
	out.AuditIDs = make([]ids.ID, len(checks))
	policy := kavachv1.AuditPolicy(d.settings().GetAuditPolicy())
	now := d.reader.now()
	entries := make([]*raftv1.AuditEntry, 0, len(checks))
	for i := range checks {
		if !wanted(policy, out.Verdicts[i].Code) {
			continue
		}
		id, err := ids.New(now, d.random)
		if err != nil {
			return status.New(status.AuditUnavailable, "no audit id can be made; nothing was decided").Wrap(err)
		}
		out.AuditIDs[i] = id
		entries = append(entries, d.entry(out, i, &checks[i], now, now.Sub(begun)))
	}
	if len(entries) == 0 {
		return nil
	}
	if _, err := d.journal.AppendBatch(entries); err != nil {
		if status.ReasonOf(err) == status.LimitExceeded {
			return err // the request is too large to be recorded, and always will be
		}
		return status.New(status.AuditUnavailable, "the audit journal can't be written; nothing was decided").Retry(retrySoon).Wrap(err)
	}
	return nil
}

func wanted(p kavachv1.AuditPolicy, c authz.Code) bool {
	switch p {
	case kavachv1.AuditPolicy_AUDIT_POLICY_OFF:
		return false
	case kavachv1.AuditPolicy_AUDIT_POLICY_DENIALS:
		return c != authz.Allowed
	}
	return true
}

func (d *decider) entry(out *Decided, i int, c *Check, now time.Time, took time.Duration) *raftv1.AuditEntry {
	v := &out.Verdicts[i]
	e := &raftv1.AuditEntry{
		Id: out.AuditIDs[i][:], Time: now.UnixNano(), NodeId: d.self, Kind: uint32(kavachv1.AuditKind_AUDIT_KIND_DECISION),
		AgentId: c.AgentText, Tenant: out.Caller.Tenant, Action: c.Request.Action, Resource: c.Request.Resource, Parameters: c.Parameters,
		Result: uint32(auditResult(v.Code)), ReasonCode: uint32(reasonCode(v.Code)), Reason: v.RecordedReason(),
		ApprovalId: c.ApprovalID, Ip: c.Request.IP, UserAgent: c.UserAgent, Trace: c.Trace,
		Duration: int64(took), Revision: out.Served.Revision, CallerKey: out.Caller.ID[:], RequestId: c.RequestID,
	}
	if v.Agent != nil {
		e.AgentId, e.Owner, e.Tenant = v.Agent.ID.Text(ids.PrefixAgent), v.Agent.Owner, v.Agent.Tenant
	}
	if !v.Grant.IsZero() {
		p := v.Grant.Permission()
		e.PermissionIndex, e.PermissionId, e.PermissionResource = uint32(v.Grant.Ordinal), p.ID, p.Resource
	}
	for _, del := range v.Path() {
		e.Path = append(e.Path, del.ID[:])
	}
	maskEntry(e)
	return e
}

func auditResult(c authz.Code) kavachv1.AuditResult {
	switch c {
	case authz.Allowed:
		return kavachv1.AuditResult_AUDIT_RESULT_ALLOWED
	case authz.RateLimited:
		return kavachv1.AuditResult_AUDIT_RESULT_RATE_LIMITED
	}
	return kavachv1.AuditResult_AUDIT_RESULT_DENIED
}

// reasonCodes are the API's numbers, found by name: both spell the codes as SPEC 4 does, and a test walks them all.
var reasonCodes = func() (codes [authz.ArgumentNotAllowed + 1]kavachv1.ReasonCode) {
	for c := range codes {
		codes[c] = kavachv1.ReasonCode(kavachv1.ReasonCode_value["REASON_CODE_"+authz.Code(c).String()])
	}
	return codes
}()

func reasonCode(c authz.Code) kavachv1.ReasonCode { return reasonCodes[c] }
