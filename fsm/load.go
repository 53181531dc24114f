package fsm

import (
	"github.com/kavachd/kavachd/authz/state"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// loadBatch is how many records Load publishes at a time: enough to be cheap, few enough not to hold the whole state
// twice.
const loadBatch = 4096

// Load fills an empty decision state from what r holds: at start and after a restore. Revoked delegations are left out:
// no decision can rest on them. The caller publishes s when Load has returned; it is the state's one writer meanwhile.
func Load(r storage.Reader, s *state.State) error {
	l := &loader{txn: s.Begin(), s: s}
	for _, table := range []byte{storage.TableAgent, storage.TableDelegation, storage.TableKey} {
		lower, upper := storage.Range(table)
		err := r.Scan(lower, upper, false, func(key, value []byte) (bool, error) { return true, l.take(key[0], value) })
		if err != nil {
			l.txn.Commit() // whatever is published, the caller does not use it
			return err
		}
	}
	l.txn.Commit()
	return nil
}

// loader is a Load under way.
type loader struct {
	s   *state.State
	txn *state.Txn
	n   int
}

func (l *loader) take(table byte, value []byte) error {
	if l.n++; l.n%loadBatch == 0 {
		l.txn.Commit()
		l.txn = l.s.Begin()
	}
	switch table {
	case storage.TableAgent:
		a := &raftv1.Agent{}
		if err := unmarshal(value, a); err != nil {
			return err
		}
		return putAgent(l.txn, a)
	case storage.TableDelegation:
		d := &raftv1.Delegation{}
		if err := unmarshal(value, d); err != nil {
			return err
		}
		return putDelegation(l.txn, ids.ID(d.GetId()), d)
	default:
		k := &raftv1.ApiKey{}
		if err := unmarshal(value, k); err != nil {
			return err
		}
		l.txn.PutKey(keySpec(k))
		return nil
	}
}

// Refresh reads again what entries touched, in the version r, and publishes it at once. It is called behind the commit
// of the entries and before their index is published, by the state's one writer.
func Refresh(r storage.Reader, s *state.State, t Touched) error {
	if t.Empty() {
		return nil
	}
	txn, reader := s.Begin(), NewReader(r)
	err := refresh(reader, txn, t)
	if err != nil {
		return err // nothing is published: the node stops
	}
	txn.Commit()
	return nil
}

func refresh(r *Reader, txn *state.Txn, t Touched) error {
	for _, ref := range t.Agents {
		a, err := record(r, storage.AgentKey(ref.Tenant, ref.ID), &raftv1.Agent{})
		if err != nil {
			return err
		}
		if a == nil {
			txn.DeleteAgent(ref.ID)
		} else if err := putAgent(txn, a); err != nil {
			return err
		}
	}
	for _, id := range t.Delegations {
		d, err := r.Delegation(id)
		if err != nil {
			return err
		}
		if err := putDelegation(txn, id, d); err != nil {
			return err
		}
	}
	for _, id := range t.Keys {
		k, err := r.Key(id)
		if err != nil {
			return err
		}
		if k == nil {
			txn.DeleteKey(id)
		} else {
			txn.PutKey(keySpec(k))
		}
	}
	return nil
}

func putAgent(txn *state.Txn, a *raftv1.Agent) error {
	c, err := CompileAgent(a)
	if err != nil {
		return err
	}
	txn.PutAgent(c)
	return nil
}

// putDelegation holds what is not revoked, and drops the rest.
func putDelegation(txn *state.Txn, id ids.ID, d *raftv1.Delegation) error {
	if d == nil || d.GetRevokedAt() != 0 {
		txn.DeleteDelegation(id)
		return nil
	}
	c, err := CompileDelegation(d)
	if err != nil {
		return err
	}
	txn.PutDelegation(c)
	return nil
}
