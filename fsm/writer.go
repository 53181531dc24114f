package fsm

import (
	"bytes"

	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// writer writes records with their indexes, and notes what was touched.
type writer struct {
	tx      *storage.Tx
	index   uint64
	wall    int64
	touched Touched
	// writes counts Set and Delete. A command that is refused must not have moved it.
	writes int
	// changes counts the changelog's keys of this entry.
	changes uint32
	// acts are the audit entries of this entry's commands, in order: one block at its end.
	acts []*raftv1.AuditEntry
}

// pair is a key of an index and its value.
type pair struct{ key, value []byte }

func (w *writer) set(key, value []byte) error {
	w.writes++
	return w.tx.Set(key, value)
}

func (w *writer) setRecord(key []byte, m protoMessage) error {
	value, err := marshal(m)
	if err != nil {
		return err
	}
	return w.set(key, value)
}

func (w *writer) delete(key []byte) error {
	w.writes++
	return w.tx.Delete(key)
}

// change notes in the changelog that the record at key was written, or went.
func (w *writer) change(key []byte, deleted bool) error {
	w.changes++
	return w.setRecord(storage.ChangeKey(w.index, w.changes), &raftv1.Change{Wall: w.wall, Key: key, Deleted: deleted})
}

// reindex replaces the index keys of a record that was with those of the record that is.
func (w *writer) reindex(was, is []pair) error {
	for _, p := range was {
		if find(is, p.key) == nil {
			if err := w.delete(p.key); err != nil {
				return err
			}
		}
	}
	for _, p := range is {
		if old := find(was, p.key); old == nil || !bytes.Equal(old.value, p.value) {
			if err := w.set(p.key, p.value); err != nil {
				return err
			}
		}
	}
	return nil
}

func find(list []pair, key []byte) *pair {
	for i := range list {
		if bytes.Equal(list[i].key, key) {
			return &list[i]
		}
	}
	return nil
}

// putAgent writes an agent; was is the record before, nil for a new one, is the record after, nil if it goes.
func (w *writer) putAgent(was, is *raftv1.Agent) error {
	if err := w.reindex(agentIndex(was), agentIndex(is)); err != nil {
		return err
	}
	a := is
	if a == nil {
		a = was
	}
	id := ids.ID(a.GetId())
	w.touched.Agents = append(w.touched.Agents, TouchedAgent{a.GetTenant(), id})
	return w.put(storage.AgentKey(a.GetTenant(), id), a, is == nil)
}

// putDelegation writes a delegation, as putAgent.
func (w *writer) putDelegation(was, is *raftv1.Delegation) error {
	if err := w.reindex(delegationIndex(was), delegationIndex(is)); err != nil {
		return err
	}
	d := is
	if d == nil {
		d = was
	}
	id := ids.ID(d.GetId())
	w.touched.Delegations = append(w.touched.Delegations, id)
	return w.put(storage.DelegationKey(d.GetTenant(), id), d, is == nil)
}

// putKey writes an API key. They never go.
func (w *writer) putKey(was, is *raftv1.ApiKey) error {
	if err := w.reindex(keyIndex(was), keyIndex(is)); err != nil {
		return err
	}
	id := ids.ID(is.GetId())
	w.touched.Keys = append(w.touched.Keys, id)
	return w.put(storage.APIKeyKey(is.GetTenant(), id), is, false)
}

func (w *writer) put(key []byte, m protoMessage, gone bool) error {
	if err := w.change(key, gone); err != nil {
		return err
	}
	if gone {
		return w.delete(key)
	}
	return w.setRecord(key, m)
}

// agentIndex is the definition of an agent's index keys. Check rebuilds by it what putAgent kept step by step.
func agentIndex(a *raftv1.Agent) []pair {
	if a == nil {
		return nil
	}
	id, tenant, owner := ids.ID(a.GetId()), a.GetTenant(), a.GetOwner()
	holder := storage.Owner{ID: id, Tenant: tenant}.Value()
	list := []pair{
		{storage.AgentTenantKey(id), []byte(tenant)},
		{storage.OwnedKey(tenant, owner, id), nil},
		{storage.TokenKey(ids.Hash(a.GetTokenHash())), holder},
	}
	if prev := a.GetPrevTokenHash(); len(prev) > 0 {
		list = append(list, pair{storage.TokenKey(ids.Hash(prev)), holder})
	}
	if a.GetRevokedAt() == 0 {
		list = append(list, pair{storage.ActiveKey(tenant, owner, orNever(a.GetExpiresAt()), id), nil})
	}
	if end := ended(a.GetRevokedAt(), a.GetExpiresAt()); end != 0 {
		list = append(list, pair{storage.AgentPurgeKey(end, id), nil})
	}
	return list
}

func delegationIndex(d *raftv1.Delegation) []pair {
	if d == nil {
		return nil
	}
	id, tenant, seq := ids.ID(d.GetId()), d.GetTenant(), d.GetCreatedSeq()
	from, to, value := ids.ID(d.GetFrom()), ids.ID(d.GetTo()), d.GetId()
	list := []pair{
		{storage.DelegationTenantKey(id), []byte(tenant)},
		{storage.GivenKey(tenant, from, seq), value},
		{storage.ReceivedKey(tenant, to, seq), value},
	}
	if d.GetRevokedAt() == 0 {
		expiry := orNever(d.GetExpiresAt())
		list = append(list,
			pair{storage.LiveGivenKey(tenant, from, expiry, seq), value},
			pair{storage.LiveReceivedKey(tenant, to, expiry, seq), value})
	}
	if end := ended(d.GetRevokedAt(), d.GetExpiresAt()); end != 0 {
		list = append(list, pair{storage.DelegationPurgeKey(end, id), nil})
	}
	return list
}

func keyIndex(k *raftv1.ApiKey) []pair {
	if k == nil {
		return nil
	}
	id := ids.ID(k.GetId())
	return []pair{
		{storage.KeyTenantKey(id), []byte(k.GetTenant())},
		{storage.KeyHashKey(ids.Hash(k.GetHash())), storage.Owner{ID: id, Tenant: k.GetTenant()}.Value()},
	}
}

// orNever is expiresAt as indexes sort it.
func orNever(expiresAt int64) int64 {
	if expiresAt == 0 {
		return storage.Never
	}
	return expiresAt
}

// ended is the moment at which a record ended or will end; 0: never.
func ended(revokedAt, expiresAt int64) int64 {
	if revokedAt != 0 {
		return revokedAt
	}
	return expiresAt
}
