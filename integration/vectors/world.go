package vectors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/audit"
	"github.com/kavachd/kavachd/audit/block"
	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/authz/state"
	"github.com/kavachd/kavachd/fsm"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// World is one replica and the clock of a case.
type World struct {
	store   *storage.Store
	machine *fsm.Machine
	state   *state.State
	quotas  *exactWindow
	index   uint64
	now     time.Time
	caller  *raftv1.Caller
	journal audit.JournalID
	entries uint64 // decisions audited so far
	drawn   uint64 // ids made so far
}

// nodeID names the one node in audit entries.
const nodeID = "vectors"

// NewWorld makes an empty system at now, with one key that every call is made with.
func NewWorld(now time.Time, settings *raftv1.Settings) (*World, error) {
	store, err := storage.Open(vfs.NewMem(), "state", storage.Options{})
	if err != nil {
		return nil, err
	}
	w := &World{
		store: store, machine: fsm.New(), state: state.New(), now: now,
		quotas: newExactWindow(), journal: audit.JournalID{1},
	}
	key, err := w.newID()
	if err != nil {
		return nil, err
	}
	clusterID := make([]byte, 16)
	clusterID[0] = 1
	for _, c := range []*raftv1.Command{
		{Command: &raftv1.Command_InitCluster{InitCluster: &raftv1.InitCluster{ClusterId: clusterID}}},
		{Command: &raftv1.Command_BootstrapKey{BootstrapKey: &raftv1.BootstrapKey{Id: key[:], Name: "vectors", Hash: make([]byte, len(ids.Hash{}))}}},
	} {
		if _, err := w.apply(c); err != nil {
			return nil, err
		}
	}
	w.caller = &raftv1.Caller{KeyId: key[:], KeyRevision: w.index, NodeId: nodeID}
	if settings != nil {
		_, err = w.propose("ClusterService.UpdateSettings",
			&raftv1.Command{Command: &raftv1.Command_UpdateSettings{UpdateSettings: &raftv1.UpdateSettings{Settings: settings}}})
	}
	return w, err
}

// Close ends the world.
func (w *World) Close() error { return w.store.Close() }

// newID makes an id whose random part counts, so that ids of one millisecond keep the order in which they were made.
func (w *World) newID() (ids.ID, error) {
	w.drawn++
	return ids.New(w.now, bytes.NewReader(binary.BigEndian.AppendUint64(make([]byte, 2), w.drawn)))
}

// propose applies a command of the case's caller, with the audit entry that every act has.
func (w *World) propose(method string, c *raftv1.Command) (*raftv1.Result, error) {
	id, err := w.newID()
	if err != nil {
		return nil, err
	}
	c.Caller = w.caller
	c.Audit = &raftv1.AuditInfo{Id: id[:], Method: method}
	return w.apply(c)
}

// apply takes a command the way a node does: marshalled entry, one transaction, decision state. A refusal is a
// *status.Error; any other error is a fault.
func (w *World) apply(c *raftv1.Command) (res *raftv1.Result, err error) {
	payload, err := proto.Marshal(&raftv1.Entry{Format: 1, Wall: w.now.UnixNano(), Commands: []*raftv1.Command{c}})
	if err != nil {
		return nil, err
	}
	w.index++
	tx := w.store.Begin()
	applied, err := w.machine.Apply(tx, w.index, 1, payload)
	if err != nil {
		return nil, fmt.Errorf("fault: %w", err)
	}
	if err := tx.Commit(storage.Position{Index: w.index, Term: 1}, nil); err != nil {
		return nil, err
	}
	a := applied.(*fsm.Applied)
	view := w.store.View()
	defer func() { err = errors.Join(err, view.Close()) }()
	if err := fsm.Refresh(view, w.state, a.Touched); err != nil {
		return nil, err
	}
	o := a.Outcomes[0]
	if o.Refused != nil {
		return nil, o.Refused
	}
	return o.Result, nil
}

// read calls fn with the records as they are now.
func (w *World) read(fn func(r *fsm.Reader) error) (err error) {
	view := w.store.View()
	defer func() { err = errors.Join(err, view.Close()) }()
	return fn(fsm.NewReader(view))
}

// decide answers a request and writes its audit entry as the policy says.
func (w *World) decide(q *authz.Request) (authz.Verdict, error) {
	q.At, q.Quotas = w.now, w.quotas.at(w.now)
	v, err := authz.Decide(w.state.View(), q)
	if err != nil {
		return v, err
	}
	return v, w.audit(q, &v)
}

func (w *World) audit(q *authz.Request, v *authz.Verdict) error {
	var policy uint32
	if err := w.read(func(r *fsm.Reader) error {
		s, err := r.Settings()
		policy = s.GetAuditPolicy()
		return err
	}); err != nil {
		return err
	}
	if kavachv1.AuditPolicy(policy) == kavachv1.AuditPolicy_AUDIT_POLICY_OFF {
		return nil
	}
	id, err := w.newID()
	if err != nil {
		return err
	}
	w.entries++
	e := &raftv1.AuditEntry{
		Id: id[:], Time: w.now.UnixNano(), NodeId: nodeID, Kind: uint32(kavachv1.AuditKind_AUDIT_KIND_DECISION),
		AgentId: q.AgentID, Tenant: fsm.DefaultTenant, Action: q.Action, Resource: q.Resource,
		Result: uint32(result(v)), ReasonCode: uint32(reasonCode(v.Code)), Revision: w.index,
	}
	if !v.Allowed() {
		e.Reason = v.Reason()
	}
	if v.Agent != nil {
		e.AgentId, e.Owner, e.Tenant = v.Agent.ID.Text(ids.PrefixAgent), v.Agent.Owner, v.Agent.Tenant
	}
	b, err := block.Encode([]*raftv1.AuditEntry{e})
	if err != nil {
		return err
	}
	_, err = w.apply(&raftv1.Command{
		Caller:  &raftv1.Caller{NodeId: nodeID},
		Command: &raftv1.Command_AppendAuditBlock{AppendAuditBlock: b.Command(w.journal, w.entries, nodeID)},
	})
	return err
}

func result(v *authz.Verdict) kavachv1.AuditResult {
	switch v.Code {
	case authz.Allowed:
		return kavachv1.AuditResult_AUDIT_RESULT_ALLOWED
	case authz.RateLimited:
		return kavachv1.AuditResult_AUDIT_RESULT_RATE_LIMITED
	default:
		return kavachv1.AuditResult_AUDIT_RESULT_DENIED
	}
}

func reasonCode(c authz.Code) kavachv1.ReasonCode {
	return kavachv1.ReasonCode(kavachv1.ReasonCode_value["REASON_CODE_"+c.String()])
}
