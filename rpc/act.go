package rpc

import (
	"context"
	"io"
	"time"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
)

// notary writes audit entries of what is no command and no decision into the node's journal.
type notary struct {
	node   Node
	now    func() time.Time
	random io.Reader
}

// note writes e, which gets its id, time and node. What it tells of must not be answered if it can't be written.
func (n *notary) note(e *raftv1.AuditEntry) error {
	now := n.now()
	id, err := ids.New(now, n.random)
	if err != nil {
		return status.New(status.AuditUnavailable, "no audit id can be made").Wrap(err)
	}
	e.Id, e.Time, e.NodeId = id[:], now.UnixNano(), n.node.ID()
	if _, err := n.node.Journal().Append(e); err != nil {
		return status.New(status.AuditUnavailable, "the audit journal can't be written").Wrap(err)
	}
	return nil
}

// act begins the entry of an administrative act that changes nothing and so is no command.
func (n *notary) act(ctx context.Context, method string, began time.Time) *raftv1.AuditEntry {
	c := callerOf(ctx)
	return &raftv1.AuditEntry{
		Kind:      uint32(kavachv1.AuditKind_AUDIT_KIND_ADMIN),
		Action:    method,
		Result:    uint32(kavachv1.AuditResult_AUDIT_RESULT_ALLOWED),
		Tenant:    c.key.Tenant,
		Ip:        c.ip(),
		UserAgent: c.userAgent(),
		Trace:     c.trace(),
		CallerKey: c.key.ID[:],
		Duration:  int64(n.now().Sub(began)),
	}
}

// refuse makes the entry one of an act that was refused.
func refuse(act *raftv1.AuditEntry, err error) {
	act.Result = uint32(kavachv1.AuditResult_AUDIT_RESULT_DENIED)
	act.Refusal = string(status.ReasonOf(err))
	if e := statusOf(err); e != nil {
		act.Reason = e.Message
	}
}
