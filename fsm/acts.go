package fsm

import (
	"github.com/kavachd/kavachd/audit/block"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// subject is what an audit entry says of the record that a command is about.
type subject struct{ agent, owner, tenant, resource string }

func aboutAgent(a *raftv1.Agent) subject {
	return subject{agent: agentText(a.GetId()), owner: a.GetOwner(), tenant: a.GetTenant()}
}

// aboutChecked is about the agent that a check has found; where it was refused and returns none, the agent is looked up.
func (x *command) aboutChecked(a *raftv1.Agent, id []byte) subject {
	if a != nil {
		return aboutAgent(a)
	}
	if a, err := x.agentIn(x.scope, "", id); err == nil {
		return aboutAgent(a)
	}
	return subject{agent: agentText(id)}
}

func aboutDelegation(d *raftv1.Delegation) subject {
	return subject{agent: agentText(d.GetFrom()), tenant: d.GetTenant(), resource: "delegation:" + delegationText(d.GetId())}
}

// aboutResult is for repeats, which touch nothing.
func aboutResult(r *raftv1.Result) subject {
	switch {
	case r.GetAgent() != nil:
		return aboutAgent(r.GetAgent().GetAgent())
	case r.GetRevoke().GetAgent() != nil:
		return aboutAgent(r.GetRevoke().GetAgent())
	case r.GetRevoke().GetDelegation() != nil:
		return aboutDelegation(r.GetRevoke().GetDelegation())
	case r.GetDelegation() != nil:
		return aboutDelegation(r.GetDelegation().GetDelegation())
	case r.GetKey() != nil:
		return subject{tenant: r.GetKey().GetTenant(), resource: "key:" + keyText(r.GetKey().GetId())}
	default:
		return subject{}
	}
}

// noteAct adds the audit entry of a command that asks for one: exactly one, refused or not, repeat or not. The audit
// policy is about decisions; acts always have their entry.
func (x *command) noteAct(c *raftv1.Command, refused *status.Error) {
	info := c.GetAudit()
	if info == nil {
		return
	}
	e := &raftv1.AuditEntry{
		Id: info.GetId(), Time: x.wall, NodeId: clip(c.GetCaller().GetNodeId()), Kind: uint32(kavachv1.AuditKind_AUDIT_KIND_ADMIN),
		AgentId: clip(x.about.agent), Owner: clip(x.about.owner), Tenant: clip(x.about.tenant),
		Action: clip(info.GetMethod()), Resource: clip(x.about.resource),
		Result: uint32(kavachv1.AuditResult_AUDIT_RESULT_ALLOWED), ReasonCode: uint32(kavachv1.ReasonCode_REASON_CODE_ALLOWED),
		Ip: clip(info.GetIp()), UserAgent: clip(info.GetUserAgent()), Trace: clip(info.GetTrace()),
		Revision: x.index, CallerKey: c.GetCaller().GetKeyId(),
	}
	if e.Tenant == "" {
		e.Tenant = clip(c.GetCaller().GetTenant())
	}
	if len(e.CallerKey) > len(ids.ID{}) {
		e.CallerKey = nil // malformed, and refused for it
	}
	if refused != nil {
		e.Result, e.ReasonCode = uint32(kavachv1.AuditResult_AUDIT_RESULT_DENIED), 0
		e.Refusal, e.Reason = string(refused.Reason), clip(refused.Message)
	}
	x.acts = append(x.acts, e)
}

// clipped is the longest text an act's entry takes from a request that was not validated before it was refused.
const clipped = 1024

func clip(s string) string {
	if len(s) <= clipped {
		return s
	}
	n := clipped
	for n > 0 && s[n]&0xc0 == 0x80 { // not within a character
		n--
	}
	return s[:n]
}

// actsBlock is where a block of acts is cut: an entry of usual size makes one.
const actsBlock = 1 << 20

// recordActs takes the acts of an entry into the trail, uncompressed, in the journal of zeros. So each act has exactly
// one entry: the act's own apply makes it.
func (w *writer) recordActs(r *Reader) error {
	for rest := w.acts; len(rest) > 0; {
		b := block.NewBuilder(false, actsBlock)
		for _, e := range rest {
			took, err := b.Add(block.AppendEntry(nil, e), e)
			if err != nil {
				return faultf(CauseInvariant, "audit entry of an act: %w", err)
			}
			if !took {
				break
			}
		}
		blk, n := b.Finish()
		next, err := r.JournalNext(storage.JournalID{})
		if err != nil {
			return err
		}
		if err := w.takeBlock(r, blk.Command(storage.JournalID{}, next, "")); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}
