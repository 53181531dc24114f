package fsm

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/kavachd/kavachd/audit/block"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// Inconsistency is one thing that Check found.
type Inconsistency struct {
	Key     string // as storage.PrintKey shows it
	Problem string
}

// String is one line.
func (i Inconsistency) String() string { return i.Key + ": " + i.Problem }

// Check rebuilds every secondary index from the records, compares it with the stored one, and verifies what must hold
// between records. It reads everything and holds the index keys in memory: for tests, and for an operator's
// `kavachd debug check`. Nothing found is an empty list.
func Check(r storage.Reader) []Inconsistency {
	c := &checker{r: r, reader: NewReader(r), want: map[string][]byte{}}
	for _, t := range storage.Tables() {
		lower, upper := storage.Range(t.Letter)
		c.scan(lower, upper, c.record)
	}
	// Every index key that a record asks for was taken out of want when it was met; what is left is missing.
	lower, upper := []byte{1}, []byte(nil)
	c.scan(lower, upper, c.index)
	c.missing()
	c.cluster()
	return c.found
}

// checker is a Check under way.
type checker struct {
	r      storage.Reader
	reader *Reader
	want   map[string][]byte // the index keys that the records ask for
	order  []string          // the keys of want, in the order in which they were asked for
	found  []Inconsistency
	blocks uint64
	next   []pair // the journals' next numbers that the blocks ask for
}

func (c *checker) add(key []byte, format string, args ...any) {
	c.found = append(c.found, Inconsistency{Key: storage.PrintKey(key), Problem: fmt.Sprintf(format, args...)})
}

func (c *checker) scan(lower, upper []byte, fn func(key, value []byte)) {
	err := c.r.Scan(lower, upper, false, func(key, value []byte) (bool, error) {
		fn(key, value)
		return true, nil
	})
	if err != nil {
		c.add(lower, "can't be read: %v", err)
	}
}

func (c *checker) ask(list []pair) {
	for _, p := range list {
		if _, ok := c.want[string(p.key)]; ok {
			c.add(p.key, "two records ask for it")
			continue
		}
		c.want[string(p.key)] = p.value
		c.order = append(c.order, string(p.key))
	}
}

// record looks at a record of a primary table and notes the index keys that it asks for.
func (c *checker) record(key, value []byte) {
	switch key[0] {
	case storage.TableAgent:
		if a := decode(c, key, value, &raftv1.Agent{}); a != nil {
			c.agent(key, a)
		}
	case storage.TableDelegation:
		if d := decode(c, key, value, &raftv1.Delegation{}); d != nil {
			c.delegation(key, d)
		}
	case storage.TableKey:
		if k := decode(c, key, value, &raftv1.ApiKey{}); k != nil && c.place(key, storage.APIKeyKey, k.GetTenant(), k.GetId()) {
			c.ask(keyIndex(k))
		}
	case storage.TableIdempotency:
		q, err := storage.ParseIdempotencyKey(key)
		if err != nil {
			c.add(key, "%v", err)
		} else if rec := decode(c, key, value, &raftv1.IdempotencyRecord{}); rec != nil {
			c.ask(idempotencyIndex(q, rec))
		}
	case storage.TableAuditBlock:
		if h := decode(c, key, value, &raftv1.AuditBlock{}); h != nil {
			c.block(key, h)
		}
	case storage.TableSettings:
		decode(c, key, value, &raftv1.Settings{})
	case storage.TableNode:
		if n := decode(c, key, value, &raftv1.NodeRecord{}); n != nil && !bytes.Equal(key, storage.NodeKey(n.GetNodeId())) {
			c.add(key, "holds the node %q", n.GetNodeId())
		}
	case storage.TableChange:
		decode(c, key, value, &raftv1.Change{})
	}
}

func decode[M protoMessage](c *checker, key, value []byte, m M) M {
	if err := unmarshal(value, m); err != nil {
		var none M
		c.add(key, "%v", err)
		return none
	}
	return m
}

// place tells whether a record stands where its tenant and id say.
func (c *checker) place(key []byte, at func(string, ids.ID) []byte, tenant string, id []byte) bool {
	if len(id) != len(ids.ID{}) || !bytes.Equal(key, at(tenant, ids.ID(id))) {
		c.add(key, "holds the id %x of the tenant %q", id, tenant)
		return false
	}
	return true
}

func (c *checker) agent(key []byte, a *raftv1.Agent) {
	if !c.place(key, storage.AgentKey, a.GetTenant(), a.GetId()) {
		return
	}
	switch {
	case len(a.GetTokenHash()) != sha256.Size || len(a.GetPrevTokenHash()) != 0 && len(a.GetPrevTokenHash()) != sha256.Size:
		c.add(key, "a token hash has %d or %d bytes", len(a.GetTokenHash()), len(a.GetPrevTokenHash()))
		return
	case (len(a.GetPrevTokenHash()) == 0) != (a.GetPrevTokenUntil() == 0):
		c.add(key, "a previous token without a time, or a time without one")
	case a.GetRevokedAt() != 0 && len(a.GetPrevTokenHash()) != 0:
		c.add(key, "revoked with a grace that runs")
	case a.GetExpiresAt() != 0 && a.GetPrevTokenUntil() > a.GetExpiresAt():
		c.add(key, "a grace ends after the agent")
	}
	if _, err := CompileAgent(a); err != nil {
		c.add(key, "%v", err)
	}
	c.ask(agentIndex(a))
}

func (c *checker) delegation(key []byte, d *raftv1.Delegation) {
	if !c.place(key, storage.DelegationKey, d.GetTenant(), d.GetId()) {
		return
	}
	for _, end := range [][]byte{d.GetFrom(), d.GetTo()} {
		if len(end) != len(ids.ID{}) {
			c.add(key, "an agent's id has %d bytes", len(end))
			return
		}
		a, err := c.reader.Agent(ids.ID(end))
		if err != nil {
			c.add(key, "%v", err)
		} else if a == nil || a.GetTenant() != d.GetTenant() {
			c.add(key, "agent %s is not there, or of another tenant", agentText(end))
		}
	}
	if from, err := c.reader.Agent(ids.ID(d.GetFrom())); err == nil && from.GetRevokedAt() != 0 && d.GetRevokedAt() == 0 &&
		(d.GetExpiresAt() == 0 || d.GetExpiresAt() > from.GetRevokedAt()) {
		c.add(key, "its giver is revoked, and it is not")
	}
	if d.GetDepth() < 1 || d.GetDepth() > d.GetMaxDepth() {
		c.add(key, "depth %d, max_depth %d", d.GetDepth(), d.GetMaxDepth())
	}
	if _, err := CompileDelegation(d); err != nil {
		c.add(key, "%v", err)
	}
	c.ask(delegationIndex(d))
}

// block compares a header with its body, from which the sparse index is rebuilt.
func (c *checker) block(key []byte, h *raftv1.AuditBlock) {
	c.blocks++
	body, err := c.reader.AuditBody(h.GetBlockSeq())
	if err != nil {
		c.add(key, "%v", err)
		return
	}
	if !bytes.Equal(key, storage.AuditBlockKey(h.GetBlockSeq())) || h.GetBlockSeq() != c.blocks {
		c.add(key, "holds the number %d", h.GetBlockSeq())
	}
	sum := sha256.Sum256(body)
	if !bytes.Equal(sum[:], h.GetBodyHash()) || int(h.GetBodySize()) != len(body) || len(h.GetJournalId()) != 16 {
		c.add(key, "its body is not the one of the header")
		return
	}
	entries, err := block.Decode(body)
	if err != nil {
		c.add(key, "%v", err)
		return
	}
	if b, err := block.EncodeUncompressed(entries); err != nil { // the terms do not hang on the codec
		c.add(key, "%v", err)
	} else {
		c.ask(termIndex(h, b.Agents, b.Owners, b.Tenants, b.Results))
	}
	journal := storage.JournalKey(storage.JournalID(h.GetJournalId()))
	at := find(c.next, journal)
	if at == nil {
		c.next = append(c.next, pair{journal, storage.UintValue(1)})
		at = &c.next[len(c.next)-1]
	}
	if next, err := storage.ParseUintValue(at.value); err != nil || next != h.GetFirstSeq() {
		c.add(key, "begins at %d, its journal was at %d", h.GetFirstSeq(), next)
	}
	at.value = storage.UintValue(h.GetFirstSeq() + uint64(h.GetCount()))
}

// primary tells the tables that hold records; all others are rebuilt.
func primary(table byte) bool {
	switch table {
	case storage.TableAgent, storage.TableDelegation, storage.TableKey, storage.TableIdempotency, storage.TableAuditBlock,
		storage.TableAuditBody, storage.TableSettings, storage.TableCluster, storage.TableNode, storage.TableChange:
		return true
	default:
		return false
	}
}

// index compares a stored index key with what the records ask for.
func (c *checker) index(key, value []byte) {
	if key[0] == storage.TableJournal || primary(key[0]) {
		return
	}
	want, ok := c.want[string(key)]
	switch {
	case !ok:
		c.add(key, "no record asks for it")
	case !bytes.Equal(want, value):
		c.add(key, "holds %x, the record asks for %x", value, want)
	}
	delete(c.want, string(key))
}

func (c *checker) missing() {
	for _, key := range c.order {
		if _, ok := c.want[key]; ok {
			c.add([]byte(key), "is missing")
		}
	}
}

// cluster compares the journals' numbers and the count of blocks.
func (c *checker) cluster() {
	lower, upper := storage.Range(storage.TableJournal)
	c.scan(lower, upper, func(key, value []byte) {
		p := find(c.next, key)
		if p == nil || !bytes.Equal(p.value, value) {
			c.add(key, "holds %x, the blocks ask for another number", value)
		}
	})
	for _, p := range c.next {
		if v, err := c.r.Get(p.key); err != nil || v == nil {
			c.add(p.key, "is missing (%v)", err)
		}
	}
	cl, err := c.reader.Cluster()
	if err != nil {
		c.add(storage.ClusterKey(), "%v", err)
	} else if cl.GetAuditBlocks() != c.blocks {
		c.add(storage.ClusterKey(), "counts %d audit blocks, there are %d", cl.GetAuditBlocks(), c.blocks)
	}
}
