package fsm

import (
	"time"

	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// Reader reads records from one version of the state. What it returns belongs to the caller. Absent is nil without an
// error; an error is a fault of storage or corruption. It is as safe for concurrent use as the storage.Reader below it.
type Reader struct{ r storage.Reader }

// NewReader returns a Reader over r.
func NewReader(r storage.Reader) *Reader { return &Reader{r: r} }

// The settings' defaults (SPEC 1, 4, 6, 7).
const (
	DefaultTokenExpiry       = 24 * time.Hour
	DefaultMaxAgentsPerOwner = 10
	DefaultAuditPolicy       = 1 // kavach.v1.AUDIT_POLICY_ALL
	DefaultApprovalTTL       = 5 * time.Minute
	DefaultPurgeAfter        = 90 * 24 * time.Hour
	DefaultMaxClockSkew      = 500 * time.Millisecond
)

// DefaultTenant is the tenant of what names none.
const DefaultTenant = "default"

// Settings returns the cluster's settings, defaults filled in.
func (r *Reader) Settings() (*raftv1.Settings, error) {
	s := &raftv1.Settings{}
	if _, err := r.get(storage.SettingsKey(""), s); err != nil {
		return nil, err
	}
	fillSettings(s)
	return s, nil
}

func fillSettings(s *raftv1.Settings) {
	setDefault(&s.TokenExpiry, int64(DefaultTokenExpiry))
	setDefault(&s.MaxAgentsPerOwner, DefaultMaxAgentsPerOwner)
	setDefault(&s.AuditPolicy, DefaultAuditPolicy)
	setDefault(&s.ApprovalTtl, int64(DefaultApprovalTTL))
	setDefault(&s.PurgeAfter, int64(DefaultPurgeAfter))
	setDefault(&s.MaxClockSkew, int64(DefaultMaxClockSkew))
}

func setDefault[T int64 | uint32](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Cluster returns the cluster's record. It is there from the first entry on; its id is empty until InitCluster.
func (r *Reader) Cluster() (*raftv1.Cluster, error) {
	c := &raftv1.Cluster{}
	_, err := r.get(storage.ClusterKey(), c)
	return c, err
}

// Node returns a node's record.
func (r *Reader) Node(nodeID string) (*raftv1.NodeRecord, error) {
	return record(r, storage.NodeKey(nodeID), &raftv1.NodeRecord{})
}

// Nodes returns all nodes in order of their ids.
func (r *Reader) Nodes() ([]*raftv1.NodeRecord, error) {
	var nodes []*raftv1.NodeRecord
	lower, upper := storage.Range(storage.TableNode)
	err := r.r.Scan(lower, upper, false, func(_, value []byte) (bool, error) {
		n := &raftv1.NodeRecord{}
		nodes = append(nodes, n)
		return true, unmarshal(value, n)
	})
	return nodes, err
}

// Agent returns an agent of whatever tenant.
func (r *Reader) Agent(id ids.ID) (*raftv1.Agent, error) {
	tenant, err := r.r.Get(storage.AgentTenantKey(id))
	if err != nil || tenant == nil {
		return nil, err
	}
	return must(r, storage.AgentKey(string(tenant), id), &raftv1.Agent{})
}

// AgentByToken returns the agent whose token, current or previous, has the hash.
func (r *Reader) AgentByToken(h ids.Hash) (*raftv1.Agent, error) {
	value, err := r.r.Get(storage.TokenKey(h))
	if err != nil || value == nil {
		return nil, err
	}
	o, err := storage.ParseOwner(value)
	if err != nil {
		return nil, corruptf("token %x: %w", h[:4], err)
	}
	return must(r, storage.AgentKey(o.Tenant, o.ID), &raftv1.Agent{})
}

// Delegation returns a delegation of whatever tenant.
func (r *Reader) Delegation(id ids.ID) (*raftv1.Delegation, error) {
	tenant, err := r.r.Get(storage.DelegationTenantKey(id))
	if err != nil || tenant == nil {
		return nil, err
	}
	return must(r, storage.DelegationKey(string(tenant), id), &raftv1.Delegation{})
}

// Key returns an API key of whatever tenant.
func (r *Reader) Key(id ids.ID) (*raftv1.ApiKey, error) {
	tenant, err := r.r.Get(storage.KeyTenantKey(id))
	if err != nil || tenant == nil {
		return nil, err
	}
	return must(r, storage.APIKeyKey(string(tenant), id), &raftv1.ApiKey{})
}

// KeyByHash returns the API key whose secret has the hash.
func (r *Reader) KeyByHash(h ids.Hash) (*raftv1.ApiKey, error) {
	value, err := r.r.Get(storage.KeyHashKey(h))
	if err != nil || value == nil {
		return nil, err
	}
	o, err := storage.ParseOwner(value)
	if err != nil {
		return nil, corruptf("key hash %x: %w", h[:4], err)
	}
	return must(r, storage.APIKeyKey(o.Tenant, o.ID), &raftv1.ApiKey{})
}

// get reads the record at key into m and tells whether there is one.
func (r *Reader) get(key []byte, m protoMessage) (bool, error) {
	value, err := r.r.Get(key)
	if err != nil || value == nil {
		return false, err
	}
	return true, unmarshal(value, m)
}

// record reads the record at key; nil if there is none.
func record[M protoMessage](r *Reader, key []byte, m M) (M, error) {
	var none M
	if ok, err := r.get(key, m); err != nil || !ok {
		return none, err
	}
	return m, nil
}

// must reads a record that an index names.
func must[M protoMessage](r *Reader, key []byte, m M) (M, error) {
	var none M
	ok, err := r.get(key, m)
	if err != nil {
		return none, err
	}
	if !ok {
		return none, corruptf("an index leads to %s, where nothing is", storage.PrintKey(key))
	}
	return m, nil
}
