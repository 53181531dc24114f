package fsm

import (
	"time"

	"github.com/kavachd/kavachd/authz/state"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// overFor is how long a delegation must be over, by the newest wall stamp, before the decision state lets go of it. A
// delegation never revives, so all it does there is cost; but nodes judge expiry by their own clocks, which differ by far
// less than this. Without it, who receives many short delegations would have them all searched until they are purged.
const overFor = int64(time.Hour)

// Load fills the decision state from what r holds, in place of what it held, as one version: at start and after a
// restore. Delegations that are revoked or long over are left out: no decision can rest on them.
func Load(r storage.Reader, s *state.State) error {
	l, err := newLoader(r, s)
	if err != nil {
		return err
	}
	l.txn.Clear()
	for _, table := range []byte{storage.TableAgent, storage.TableDelegation, storage.TableKey} {
		lower, upper := storage.Range(table)
		if err := r.Scan(lower, upper, false, func(key, value []byte) (bool, error) { return true, l.take(key[0], value) }); err != nil {
			l.txn.Discard()
			return err
		}
	}
	l.txn.Commit()
	return nil
}

// Refresh reads again what entries touched, in the version r, and publishes it as one version. It is called behind the
// commit of the entries and before their index is published, by the state's one writer.
func Refresh(r storage.Reader, s *state.State, t Touched) error {
	if t.Empty() {
		return nil
	}
	l, err := newLoader(r, s)
	if err != nil {
		return err
	}
	if err := l.refresh(t); err != nil {
		l.txn.Discard() // nothing is published: the node stops
		return err
	}
	l.txn.Commit()
	return nil
}

// loader is a Load or a Refresh under way.
type loader struct {
	*Reader
	txn  *state.Txn
	wall int64 // the newest stamp
}

func newLoader(r storage.Reader, s *state.State) (*loader, error) {
	l := &loader{Reader: NewReader(r)}
	c, err := l.Cluster()
	if err != nil {
		return nil, err
	}
	l.wall, l.txn = c.GetLastWall(), s.Begin()
	return l, nil
}

func (l *loader) take(table byte, value []byte) error {
	switch table {
	case storage.TableAgent:
		a := &raftv1.Agent{}
		if err := unmarshal(value, a); err != nil {
			return err
		}
		return l.putAgent(a)
	case storage.TableDelegation:
		d := &raftv1.Delegation{}
		if err := unmarshal(value, d); err != nil || l.dead(d.GetRevokedAt(), d.GetExpiresAt()) {
			return err
		}
		return l.putDelegation(d)
	default:
		k := &raftv1.ApiKey{}
		if err := unmarshal(value, k); err != nil {
			return err
		}
		l.txn.PutKey(keySpec(k))
		return nil
	}
}

func (l *loader) refresh(t Touched) error {
	for _, ref := range t.Agents {
		a, err := record(l.Reader, storage.AgentKey(ref.Tenant, ref.ID), &raftv1.Agent{})
		if err != nil {
			return err
		}
		if a == nil {
			l.txn.DeleteAgent(ref.ID)
		} else if err := l.putAgent(a); err != nil {
			return err
		}
	}
	for _, id := range t.Delegations {
		d, err := l.Delegation(id)
		if err != nil {
			return err
		}
		if d == nil || l.dead(d.GetRevokedAt(), d.GetExpiresAt()) {
			l.txn.DeleteDelegation(id)
			continue
		}
		l.trim(ids.ID(d.GetTo()))
		if err := l.putDelegation(d); err != nil {
			return err
		}
	}
	for _, id := range t.Keys {
		k, err := l.Key(id)
		if err != nil {
			return err
		}
		if k != nil { // keys never go
			l.txn.PutKey(keySpec(k))
		}
	}
	return nil
}

// dead tells what no decision can rest on any more, on whichever node.
func (l *loader) dead(revokedAt, expiresAt int64) bool {
	return revokedAt != 0 || expiresAt != 0 && expiresAt <= l.wall-overFor
}

// trim drops what a receiver has received and is long over. Whoever gets many pays with each: its list stays short.
func (l *loader) trim(to ids.ID) {
	for _, d := range l.txn.View().Received(to) {
		if l.dead(0, d.ExpiresAt) {
			l.txn.DeleteDelegation(d.ID)
		}
	}
}

func (l *loader) putAgent(a *raftv1.Agent) error {
	c, err := CompileAgent(a)
	if err != nil {
		return err
	}
	l.txn.PutAgent(c)
	return nil
}

func (l *loader) putDelegation(d *raftv1.Delegation) error {
	c, err := CompileDelegation(d)
	if err != nil {
		return err
	}
	l.txn.PutDelegation(c)
	return nil
}
