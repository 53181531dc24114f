package fsm

import (
	"errors"
	"fmt"

	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// command is one command under way: what it reads, what it writes, and what it is judged by.
type command struct {
	*Reader
	*writer
	term     uint64
	position int
	// scope is the tenant to which the caller is bound; empty: any.
	scope string
	// about is what the audit entry says of the record, as far as it is known.
	about subject
	// forgotten is the record that the command's own replaces: under the same key, but of more than a day ago.
	forgotten *raftv1.IdempotencyRecord
}

func (m *Machine) apply(tx *storage.Tx, index, term uint64, payload []byte) (*Applied, *Fault) {
	e, err := DecodeEntry(payload)
	if err != nil {
		return nil, asFault(err, index, term, -1)
	}
	r := NewReader(tx)
	w, err := stamp(tx, r, index, e.GetWall())
	if err != nil {
		return nil, asFault(err, index, term, -1)
	}
	a := &Applied{Index: index, Term: term, Wall: w.wall, Outcomes: make([]Outcome, 0, len(e.GetCommands()))}
	for i, c := range e.GetCommands() {
		x := &command{Reader: r, writer: w, term: term, position: i}
		o, err := x.run(c)
		if err != nil {
			return nil, asFault(err, index, term, i)
		}
		a.Outcomes = append(a.Outcomes, o)
	}
	if err := w.recordActs(r); err != nil {
		return nil, asFault(err, index, term, -1)
	}
	w.touched.compact()
	a.Touched = w.touched
	return a, nil
}

// stamp settles the wall clock of the entry, which never goes back, and remembers it.
func stamp(tx *storage.Tx, r *Reader, index uint64, wall int64) (*writer, error) {
	c, err := r.Cluster()
	if err != nil {
		return nil, err
	}
	w := &writer{tx: tx, index: index, wall: max(wall, c.GetLastWall())}
	if w.wall != c.GetLastWall() {
		c.LastWall = w.wall
		err = w.setRecord(storage.ClusterKey(), c)
	}
	return w, err
}

// run applies one command and adds its audit entry. An error is a fault.
func (x *command) run(c *raftv1.Command) (Outcome, error) {
	before := x.writes
	o, err := x.outcome(c)
	if o, err = x.settle(before, c, o, err); err != nil {
		return o, fmt.Errorf("%T: %w", c.GetCommand(), err)
	}
	x.noteAct(c, o.Refused)
	return o, nil
}

// settle tells refusals from faults. A transaction has no savepoint: a refused command that has written, before counted,
// is a fault, because its half would stay.
func (x *command) settle(before int, c *raftv1.Command, o Outcome, err error) (Outcome, error) {
	refused, ok := errors.AsType[*status.Error](err)
	if !ok {
		return o, err
	}
	if x.writes != before {
		return o, faultf(CauseInvariant, "%T was refused after it had written: %w", c.GetCommand(), refused)
	}
	return Outcome{Revision: x.index, Refused: refused}, nil
}

// outcome passes c through what every command passes. A *status.Error is a refusal.
func (x *command) outcome(c *raftv1.Command) (Outcome, error) {
	scope, err := CheckCaller(x.Reader, x.wall, c)
	if err != nil {
		return Outcome{}, err
	}
	x.scope = scope
	q, first, err := x.remembered(c)
	if err != nil {
		return Outcome{}, err
	}
	if first != nil {
		return x.repeat(c, q, first)
	}
	result, err := x.execute(c)
	if err != nil {
		return Outcome{}, err
	}
	o := Outcome{Revision: x.index, Result: result}
	if q != nil {
		err = x.remember(c, *q, o)
	}
	return o, err
}

// execute checks and writes. There is one case for each kind of command; a test compares them with the protocol.
func (x *command) execute(c *raftv1.Command) (*raftv1.Result, error) {
	switch c := c.GetCommand().(type) {
	case *raftv1.Command_CreateAgent:
		return x.createAgent(c.CreateAgent)
	case *raftv1.Command_UpdateAgent:
		return x.updateAgent(c.UpdateAgent)
	case *raftv1.Command_RevokeAgent:
		return x.revokeAgent(c.RevokeAgent)
	case *raftv1.Command_RotateToken:
		return x.rotateToken(c.RotateToken)
	case *raftv1.Command_CreateDelegation:
		return x.createDelegation(c.CreateDelegation)
	case *raftv1.Command_RevokeDelegation:
		return x.revokeDelegation(c.RevokeDelegation)
	case *raftv1.Command_UpdateSettings:
		return x.updateSettings(c.UpdateSettings)
	case *raftv1.Command_CreateKey:
		return x.createKey(c.CreateKey)
	case *raftv1.Command_RevokeKey:
		return x.revokeKey(c.RevokeKey)
	case *raftv1.Command_BootstrapKey:
		return x.bootstrapKey(c.BootstrapKey)
	case *raftv1.Command_AppendAuditBlock:
		return x.appendAuditBlock(c.AppendAuditBlock)
	case *raftv1.Command_InitCluster:
		return x.initCluster(c.InitCluster)
	case *raftv1.Command_LeaderEpoch:
		return x.leaderEpoch(c.LeaderEpoch)
	case *raftv1.Command_RegisterNode:
		return x.registerNode(c.RegisterNode)
	case *raftv1.Command_PurgeExpired:
		return x.purgeExpired(c.PurgeExpired)
	default:
		return nil, faultf(CauseCommand, "%T is unknown", c)
	}
}

// agentResult is the answer that shows a. It holds no hash of a token.
func agentResult(a *raftv1.Agent) *raftv1.Result {
	return &raftv1.Result{Result: &raftv1.Result_Agent{Agent: &raftv1.AgentResult{Agent: withoutHashes(a)}}}
}

func emptyResult() *raftv1.Result {
	return &raftv1.Result{Result: &raftv1.Result_Empty{Empty: &raftv1.Empty{}}}
}
