package storage

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/kavachd/kavachd/ids"
)

// The key space of the replicated state. A key is one letter, the table, and then binary components that sort as their
// values do. Every index begins with the tenant where its record has one; the tables that lead from an id or a hash to
// the tenant are what makes ids unique in the whole cluster. Keys whose first byte is 0 are the node's own and belong
// to the engine.
//
//	letter  table              key after the letter                             value              since
//	  a     agent              text(tenant) id                                  Agent                1
//	  i     agent_tenant       id                                               tenant               1
//	  h     token              hash                                             id tenant            1
//	  o     active             text(tenant) text(owner) time(expiry) id         -                    1
//	  w     owned              text(tenant) text(owner) id                      -                    1
//	  p     agent_purge        time(ended) id                                   -                    1
//	  d     delegation         text(tenant) id                                  Delegation           1
//	  j     delegation_tenant  id                                               tenant               1
//	  r     received           text(tenant) id(receiver) uint(created)          id                   1
//	  g     given              text(tenant) id(giver) uint(created)             id                   1
//	  x     live_received      text(tenant) id(receiver) time(expiry) uint(created) id               1
//	  f     live_given         text(tenant) id(giver) time(expiry) uint(created) id                  1
//	  q     delegation_purge   time(ended) id                                   -                    1
//	  k     key                text(tenant) id                                  ApiKey               1
//	  l     key_tenant         id                                               tenant               1
//	  m     key_hash           hash                                             id tenant            1
//	  s     settings           text(tenant)                                     Settings             1
//	  c     cluster            -                                                Cluster              1
//	  n     node               text(node id)                                    NodeRecord           1
//	  y     idempotency        text(tenant) id text(method) text(key)           IdempotencyRecord    1
//	  z     idempotency_expiry time text(tenant) id text(method) text(key)      -                    1
//	  b     audit_block        uint(block)                                      AuditBlock           1
//	  e     audit_body         uint(block)                                      body                 1
//	  t     audit_term         kind text(value) time(newest) uint(block)        time(oldest)         1
//	  u     journal            journal id                                       uint(next)           1
//	  v     change             uint(index) uint32(position)                     Change               1
//
// text(s): the bytes with 00 written as 00 ff, then 00 01. time: 8 bytes big-endian with the sign flipped. uint: 8
// bytes big-endian, uint32: 4. A letter is never used again for another table.
const (
	TableAgent             byte = 'a'
	TableAgentTenant       byte = 'i'
	TableToken             byte = 'h'
	TableActive            byte = 'o'
	TableOwned             byte = 'w'
	TableAgentPurge        byte = 'p'
	TableDelegation        byte = 'd'
	TableDelegationTenant  byte = 'j'
	TableReceived          byte = 'r'
	TableGiven             byte = 'g'
	TableLiveReceived      byte = 'x'
	TableLiveGiven         byte = 'f'
	TableDelegationPurge   byte = 'q'
	TableKey               byte = 'k'
	TableKeyTenant         byte = 'l'
	TableKeyHash           byte = 'm'
	TableSettings          byte = 's'
	TableCluster           byte = 'c'
	TableNode              byte = 'n'
	TableIdempotency       byte = 'y'
	TableIdempotencyExpiry byte = 'z'
	TableAuditBlock        byte = 'b'
	TableAuditBody         byte = 'e'
	TableAuditTerm         byte = 't'
	TableJournal           byte = 'u'
	TableChange            byte = 'v'
)

// Table names a table and tells how its keys are made.
type Table struct {
	Letter byte
	Name   string
	parts  []part
}

// tables is in the order of the drawing above.
var tables = []Table{
	{TableAgent, "agent", []part{partText, partAgent}},
	{TableAgentTenant, "agent_tenant", []part{partAgent}},
	{TableToken, "token", []part{partHash}},
	{TableActive, "active", []part{partText, partText, partTime, partAgent}},
	{TableOwned, "owned", []part{partText, partText, partAgent}},
	{TableAgentPurge, "agent_purge", []part{partTime, partAgent}},
	{TableDelegation, "delegation", []part{partText, partDelegation}},
	{TableDelegationTenant, "delegation_tenant", []part{partDelegation}},
	{TableReceived, "received", []part{partText, partAgent, partUint}},
	{TableGiven, "given", []part{partText, partAgent, partUint}},
	{TableLiveReceived, "live_received", []part{partText, partAgent, partTime, partUint}},
	{TableLiveGiven, "live_given", []part{partText, partAgent, partTime, partUint}},
	{TableDelegationPurge, "delegation_purge", []part{partTime, partDelegation}},
	{TableKey, "key", []part{partText, partKey}},
	{TableKeyTenant, "key_tenant", []part{partKey}},
	{TableKeyHash, "key_hash", []part{partHash}},
	{TableSettings, "settings", []part{partText}},
	{TableCluster, "cluster", nil},
	{TableNode, "node", []part{partText}},
	{TableIdempotency, "idempotency", []part{partText, partKey, partText, partText}},
	{TableIdempotencyExpiry, "idempotency_expiry", []part{partTime, partText, partKey, partText, partText}},
	{TableAuditBlock, "audit_block", []part{partUint}},
	{TableAuditBody, "audit_body", []part{partUint}},
	{TableAuditTerm, "audit_term", []part{partTerm, partText, partTime, partUint}},
	{TableJournal, "journal", []part{partJournal}},
	{TableChange, "change", []part{partUint, partUint32}},
}

// Tables returns every table, in a fixed order.
func Tables() []Table { return append([]Table(nil), tables...) }

// ErrBadKey is returned for bytes that are not a key of the wanted table.
var ErrBadKey = errors.New("storage: malformed key")

// Never ends a record's right in keys that sort by expiry: it stands after every time.
const Never = int64(1<<63 - 1)

// TermKind says what a term of the audit index is about. Don't renumber: it is stored.
type TermKind byte

// The kinds. TermTime has one key for each block, with an empty value.
const (
	TermTime   TermKind = 1
	TermAgent  TermKind = 2
	TermOwner  TermKind = 3
	TermTenant TermKind = 4
	TermResult TermKind = 5
)

// JournalID is a journal's random name; zeros name the entries that apply itself makes.
type JournalID [16]byte

// Range returns the keys of a whole table: from lower, included, to upper, excluded.
func Range(table byte) (lower, upper []byte) { return []byte{table}, []byte{table + 1} }

// PrefixRange returns the keys that begin with prefix.
func PrefixRange(prefix []byte) (lower, upper []byte) {
	upper = append([]byte(nil), prefix...)
	for i := len(upper) - 1; i >= 0; i-- {
		if upper[i] != 0xff {
			upper[i]++
			return prefix, upper[:i+1]
		}
	}
	return prefix, nil
}

// After returns the first key behind key.
func After(key []byte) []byte { return append(append(make([]byte, 0, len(key)+1), key...), 0) }

// AgentKey is where an agent's record stands.
func AgentKey(tenant string, id ids.ID) []byte { return beginKey(TableAgent, 40).text(tenant).id(id) }

// AgentPrefix begins the keys of all agents of a tenant.
func AgentPrefix(tenant string) []byte { return beginKey(TableAgent, 24).text(tenant) }

// ParseAgentKey reads an AgentKey.
func ParseAgentKey(key []byte) (tenant string, id ids.ID, err error) {
	r := openKey(key, TableAgent)
	tenant, id = r.text(), r.id()
	return tenant, id, r.close()
}

// AgentTenantKey leads from an agent's id to its tenant.
func AgentTenantKey(id ids.ID) []byte { return beginKey(TableAgentTenant, 17).id(id) }

// ParseAgentTenantKey reads an AgentTenantKey.
func ParseAgentTenantKey(key []byte) (ids.ID, error) { return parseID(key, TableAgentTenant) }

// TokenKey leads from a token's hash to its agent (Owner).
func TokenKey(h ids.Hash) []byte { return beginKey(TableToken, 33).hash(h) }

// ParseTokenKey reads a TokenKey.
func ParseTokenKey(key []byte) (ids.Hash, error) { return parseHash(key, TableToken) }

// ActiveKey orders an owner's unrevoked agents by expiry, Never last, so that the unexpired ones are one range.
func ActiveKey(tenant, owner string, expiry int64, id ids.ID) []byte {
	return beginKey(TableActive, 64).text(tenant).text(owner).time(expiry).id(id)
}

// ActiveFrom is the lower bound of the owner's unrevoked agents that expire at or after expiry.
func ActiveFrom(tenant, owner string, expiry int64) []byte {
	return beginKey(TableActive, 48).text(tenant).text(owner).time(expiry)
}

// ActivePrefix begins the keys of an owner's unrevoked agents.
func ActivePrefix(tenant, owner string) []byte {
	return beginKey(TableActive, 48).text(tenant).text(owner)
}

// ParseActiveKey reads an ActiveKey.
func ParseActiveKey(key []byte) (tenant, owner string, expiry int64, id ids.ID, err error) {
	r := openKey(key, TableActive)
	tenant, owner, expiry, id = r.text(), r.text(), r.time(), r.id()
	return tenant, owner, expiry, id, r.close()
}

// OwnedKey orders all agents of an owner by id.
func OwnedKey(tenant, owner string, id ids.ID) []byte {
	return beginKey(TableOwned, 64).text(tenant).text(owner).id(id)
}

// OwnedPrefix begins the keys of an owner's agents.
func OwnedPrefix(tenant, owner string) []byte {
	return beginKey(TableOwned, 48).text(tenant).text(owner)
}

// ParseOwnedKey reads an OwnedKey.
func ParseOwnedKey(key []byte) (tenant, owner string, id ids.ID, err error) {
	r := openKey(key, TableOwned)
	tenant, owner, id = r.text(), r.text(), r.id()
	return tenant, owner, id, r.close()
}

// AgentPurgeKey orders agents by the moment at which they ended or will end.
func AgentPurgeKey(ended int64, id ids.ID) []byte {
	return beginKey(TableAgentPurge, 25).time(ended).id(id)
}

// ParseAgentPurgeKey reads an AgentPurgeKey.
func ParseAgentPurgeKey(key []byte) (ended int64, id ids.ID, err error) {
	return parseTimeID(key, TableAgentPurge)
}

// DelegationKey is where a delegation's record stands.
func DelegationKey(tenant string, id ids.ID) []byte {
	return beginKey(TableDelegation, 40).text(tenant).id(id)
}

// DelegationPrefix begins the keys of all delegations of a tenant.
func DelegationPrefix(tenant string) []byte { return beginKey(TableDelegation, 24).text(tenant) }

// ParseDelegationKey reads a DelegationKey.
func ParseDelegationKey(key []byte) (tenant string, id ids.ID, err error) {
	r := openKey(key, TableDelegation)
	tenant, id = r.text(), r.id()
	return tenant, id, r.close()
}

// DelegationTenantKey leads from a delegation's id to its tenant.
func DelegationTenantKey(id ids.ID) []byte { return beginKey(TableDelegationTenant, 17).id(id) }

// ParseDelegationTenantKey reads a DelegationTenantKey.
func ParseDelegationTenantKey(key []byte) (ids.ID, error) { return parseID(key, TableDelegationTenant) }

// ReceivedKey orders what an agent received by creation.
func ReceivedKey(tenant string, to ids.ID, created uint64) []byte {
	return beginKey(TableReceived, 48).text(tenant).id(to).uint(created)
}

// ReceivedPrefix begins the keys of what an agent received.
func ReceivedPrefix(tenant string, to ids.ID) []byte {
	return beginKey(TableReceived, 40).text(tenant).id(to)
}

// ParseReceivedKey reads a ReceivedKey.
func ParseReceivedKey(key []byte) (tenant string, to ids.ID, created uint64, err error) {
	return parseEdge(key, TableReceived)
}

// GivenKey orders what an agent gave by creation.
func GivenKey(tenant string, from ids.ID, created uint64) []byte {
	return beginKey(TableGiven, 48).text(tenant).id(from).uint(created)
}

// GivenPrefix begins the keys of what an agent gave.
func GivenPrefix(tenant string, from ids.ID) []byte {
	return beginKey(TableGiven, 40).text(tenant).id(from)
}

// ParseGivenKey reads a GivenKey.
func ParseGivenKey(key []byte) (tenant string, from ids.ID, created uint64, err error) {
	return parseEdge(key, TableGiven)
}

// LiveReceivedKey orders the unrevoked delegations that an agent received by expiry, Never last, so that the unexpired
// ones are one range.
func LiveReceivedKey(tenant string, to ids.ID, expiry int64, created uint64) []byte {
	return beginKey(TableLiveReceived, 56).text(tenant).id(to).time(expiry).uint(created)
}

// LiveReceivedFrom is the lower bound of those that expire at or after expiry.
func LiveReceivedFrom(tenant string, to ids.ID, expiry int64) []byte {
	return beginKey(TableLiveReceived, 48).text(tenant).id(to).time(expiry)
}

// LiveReceivedPrefix begins the keys of the unrevoked delegations that an agent received.
func LiveReceivedPrefix(tenant string, to ids.ID) []byte {
	return beginKey(TableLiveReceived, 40).text(tenant).id(to)
}

// ParseLiveReceivedKey reads a LiveReceivedKey.
func ParseLiveReceivedKey(key []byte) (tenant string, to ids.ID, expiry int64, created uint64, err error) {
	return parseLiveEdge(key, TableLiveReceived)
}

// LiveGivenKey orders the unrevoked delegations that an agent gave by expiry, as LiveReceivedKey.
func LiveGivenKey(tenant string, from ids.ID, expiry int64, created uint64) []byte {
	return beginKey(TableLiveGiven, 56).text(tenant).id(from).time(expiry).uint(created)
}

// LiveGivenFrom is the lower bound of those that expire at or after expiry.
func LiveGivenFrom(tenant string, from ids.ID, expiry int64) []byte {
	return beginKey(TableLiveGiven, 48).text(tenant).id(from).time(expiry)
}

// LiveGivenPrefix begins the keys of the unrevoked delegations that an agent gave.
func LiveGivenPrefix(tenant string, from ids.ID) []byte {
	return beginKey(TableLiveGiven, 40).text(tenant).id(from)
}

// ParseLiveGivenKey reads a LiveGivenKey.
func ParseLiveGivenKey(key []byte) (tenant string, from ids.ID, expiry int64, created uint64, err error) {
	return parseLiveEdge(key, TableLiveGiven)
}

// DelegationPurgeKey orders delegations by the moment at which they ended or will end.
func DelegationPurgeKey(ended int64, id ids.ID) []byte {
	return beginKey(TableDelegationPurge, 25).time(ended).id(id)
}

// ParseDelegationPurgeKey reads a DelegationPurgeKey.
func ParseDelegationPurgeKey(key []byte) (ended int64, id ids.ID, err error) {
	return parseTimeID(key, TableDelegationPurge)
}

// APIKeyKey is where an API key's record stands; the tenant is empty for keys of the cluster.
func APIKeyKey(tenant string, id ids.ID) []byte { return beginKey(TableKey, 40).text(tenant).id(id) }

// ParseAPIKeyKey reads an APIKeyKey.
func ParseAPIKeyKey(key []byte) (tenant string, id ids.ID, err error) {
	r := openKey(key, TableKey)
	tenant, id = r.text(), r.id()
	return tenant, id, r.close()
}

// KeyTenantKey leads from an API key's id to its tenant.
func KeyTenantKey(id ids.ID) []byte { return beginKey(TableKeyTenant, 17).id(id) }

// ParseKeyTenantKey reads a KeyTenantKey.
func ParseKeyTenantKey(key []byte) (ids.ID, error) { return parseID(key, TableKeyTenant) }

// KeyHashKey leads from the hash of an API key's secret to the key (Owner).
func KeyHashKey(h ids.Hash) []byte { return beginKey(TableKeyHash, 33).hash(h) }

// ParseKeyHashKey reads a KeyHashKey.
func ParseKeyHashKey(key []byte) (ids.Hash, error) { return parseHash(key, TableKeyHash) }

// SettingsKey is where settings stand: those of the cluster under the empty tenant.
func SettingsKey(tenant string) []byte { return beginKey(TableSettings, 16).text(tenant) }

// ParseSettingsKey reads a SettingsKey.
func ParseSettingsKey(key []byte) (tenant string, err error) { return parseText(key, TableSettings) }

// ClusterKey is where the cluster's record stands.
func ClusterKey() []byte { return []byte{TableCluster} }

// ParseClusterKey checks a ClusterKey.
func ParseClusterKey(key []byte) error { return openKey(key, TableCluster).close() }

// NodeKey is where a node's record stands.
func NodeKey(nodeID string) []byte { return beginKey(TableNode, 48).text(nodeID) }

// ParseNodeKey reads a NodeKey.
func ParseNodeKey(key []byte) (nodeID string, err error) { return parseText(key, TableNode) }

// IdempotencyID names a request of a caller that may be repeated.
type IdempotencyID struct {
	Tenant string
	Caller ids.ID
	Method string
	Key    string
}

// IdempotencyKey is where the result of a request is remembered.
func IdempotencyKey(q IdempotencyID) []byte { return beginKey(TableIdempotency, 128).request(q) }

// ParseIdempotencyKey reads an IdempotencyKey.
func ParseIdempotencyKey(key []byte) (IdempotencyID, error) {
	r := openKey(key, TableIdempotency)
	q := r.request()
	return q, r.close()
}

// IdempotencyExpiryKey orders remembered requests by the moment at which they are forgotten.
func IdempotencyExpiryKey(at int64, q IdempotencyID) []byte {
	return beginKey(TableIdempotencyExpiry, 136).time(at).request(q)
}

// ParseIdempotencyExpiryKey reads an IdempotencyExpiryKey.
func ParseIdempotencyExpiryKey(key []byte) (at int64, q IdempotencyID, err error) {
	r := openKey(key, TableIdempotencyExpiry)
	at, q = r.time(), r.request()
	return at, q, r.close()
}

// AuditBlockKey is where a block's header stands.
func AuditBlockKey(block uint64) []byte { return beginKey(TableAuditBlock, 9).uint(block) }

// ParseAuditBlockKey reads an AuditBlockKey.
func ParseAuditBlockKey(key []byte) (block uint64, err error) { return parseUint(key, TableAuditBlock) }

// AuditBodyKey is where a block's body stands.
func AuditBodyKey(block uint64) []byte { return beginKey(TableAuditBody, 9).uint(block) }

// ParseAuditBodyKey reads an AuditBodyKey.
func ParseAuditBodyKey(key []byte) (block uint64, err error) { return parseUint(key, TableAuditBody) }

// AuditTermKey leads from what stands in a block to the block, by the time of its newest entry.
func AuditTermKey(kind TermKind, value string, newest int64, block uint64) []byte {
	return beginKey(TableAuditTerm, 64).kind(kind).text(value).time(newest).uint(block)
}

// AuditTermPrefix begins the keys of all blocks with that value.
func AuditTermPrefix(kind TermKind, value string) []byte {
	return beginKey(TableAuditTerm, 48).kind(kind).text(value)
}

// AuditTermFrom is the lower bound of the blocks with that value whose newest entry is of the time at or later.
func AuditTermFrom(kind TermKind, value string, at int64) []byte {
	return beginKey(TableAuditTerm, 56).kind(kind).text(value).time(at)
}

// ParseAuditTermKey reads an AuditTermKey.
func ParseAuditTermKey(key []byte) (kind TermKind, value string, newest int64, block uint64, err error) {
	r := openKey(key, TableAuditTerm)
	kind, value, newest, block = r.kind(), r.text(), r.time(), r.uint()
	return kind, value, newest, block, r.close()
}

// JournalKey is where the next number of a journal stands.
func JournalKey(journal JournalID) []byte { return beginKey(TableJournal, 17).id(ids.ID(journal)) }

// ParseJournalKey reads a JournalKey.
func ParseJournalKey(key []byte) (JournalID, error) {
	id, err := parseID(key, TableJournal)
	return JournalID(id), err
}

// ChangeKey orders the changes: by entry, and within it as they were made.
func ChangeKey(index uint64, position uint32) []byte {
	return beginKey(TableChange, 13).uint(index).uint32(position)
}

// ParseChangeKey reads a ChangeKey.
func ParseChangeKey(key []byte) (index uint64, position uint32, err error) {
	r := openKey(key, TableChange)
	index, position = r.uint(), r.uint32()
	return index, position, r.close()
}

// Owner is the value of TokenKey and KeyHashKey: whose the secret is.
type Owner struct {
	ID     ids.ID
	Tenant string
}

// Value encodes o: the id, then the tenant.
func (o Owner) Value() []byte {
	return append(append(make([]byte, 0, 16+len(o.Tenant)), o.ID[:]...), o.Tenant...)
}

// ParseOwner reads an Owner.
func ParseOwner(value []byte) (Owner, error) {
	if len(value) < len(ids.ID{}) {
		return Owner{}, fmt.Errorf("%w: owner of %d bytes", ErrBadKey, len(value))
	}
	return Owner{ID: ids.ID(value[:16]), Tenant: string(value[16:])}, nil
}

// UintValue encodes the value of JournalKey.
func UintValue(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// ParseUintValue reads a UintValue.
func ParseUintValue(value []byte) (uint64, error) {
	if len(value) != 8 {
		return 0, fmt.Errorf("%w: number of %d bytes", ErrBadKey, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

// TimeValue encodes the value of AuditTermKey.
func TimeValue(at int64) []byte { return UintValue(uint64(at)) }

// ParseTimeValue reads a TimeValue.
func ParseTimeValue(value []byte) (int64, error) {
	n, err := ParseUintValue(value)
	return int64(n), err
}

// PrintKey shows a key to people: /agent/default/agt_01… A key of no table is shown in hexadecimal. Hashes are cut to
// 8 digits.
func PrintKey(key []byte) string {
	if len(key) == 0 {
		return "/"
	}
	for _, t := range tables {
		if t.Letter != key[0] {
			continue
		}
		r := keyReader{rest: key[1:]}
		var b strings.Builder
		b.WriteString("/" + t.Name)
		for _, p := range t.parts {
			b.WriteString("/" + p.print(&r))
		}
		if r.close() == nil {
			return b.String()
		}
	}
	return "/?/" + hex.EncodeToString(key)
}

// part is a component of a key.
type part uint8

const (
	partText part = iota
	partAgent
	partDelegation
	partKey
	partHash
	partTime
	partUint
	partUint32
	partTerm
	partJournal
)

func (p part) print(r *keyReader) string {
	switch p {
	case partText:
		return printText(r.text())
	case partAgent:
		return r.id().Text(ids.PrefixAgent)
	case partDelegation:
		return r.id().Text(ids.PrefixDelegation)
	case partKey:
		return r.id().Text(ids.PrefixKey)
	case partHash:
		h := r.hash()
		return hex.EncodeToString(h[:4])
	case partTime:
		at := r.time()
		if at == Never {
			return "never"
		}
		return strconv.FormatInt(at, 10)
	case partUint:
		return strconv.FormatUint(r.uint(), 10)
	case partUint32:
		return strconv.FormatUint(uint64(r.uint32()), 10)
	case partTerm:
		return r.kind().String()
	default:
		id := r.id()
		return hex.EncodeToString(id[:])
	}
}

// printText quotes text in which a slash or anything unprintable would mislead.
func printText(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` || s == "" || strings.Contains(s, "/") {
		return q
	}
	return s
}

// String names the kind.
func (k TermKind) String() string {
	switch k {
	case TermTime:
		return "time"
	case TermAgent:
		return "agent"
	case TermOwner:
		return "owner"
	case TermTenant:
		return "tenant"
	case TermResult:
		return "result"
	default:
		return "kind" + strconv.Itoa(int(k))
	}
}

// keyBytes is a key under construction.
type keyBytes []byte

func beginKey(table byte, size int) keyBytes { return append(make(keyBytes, 0, size), table) }

func (b keyBytes) text(s string) keyBytes {
	for i := range len(s) {
		if b = append(b, s[i]); s[i] == 0 {
			b = append(b, 0xff)
		}
	}
	return append(b, 0, 1)
}

func (b keyBytes) id(id ids.ID) keyBytes       { return append(b, id[:]...) }
func (b keyBytes) hash(h ids.Hash) keyBytes    { return append(b, h[:]...) }
func (b keyBytes) uint(n uint64) keyBytes      { return binary.BigEndian.AppendUint64(b, n) }
func (b keyBytes) uint32(n uint32) keyBytes    { return binary.BigEndian.AppendUint32(b, n) }
func (b keyBytes) time(at int64) keyBytes      { return b.uint(uint64(at) ^ 1<<63) }
func (b keyBytes) kind(kind TermKind) keyBytes { return append(b, byte(kind)) }
func (b keyBytes) request(q IdempotencyID) keyBytes {
	return b.text(q.Tenant).id(q.Caller).text(q.Method).text(q.Key)
}

// keyReader reads components; after the first bad one everything is zero and close tells.
type keyReader struct {
	rest []byte
	bad  bool
}

func openKey(key []byte, table byte) *keyReader {
	if len(key) == 0 || key[0] != table {
		return &keyReader{bad: true}
	}
	return &keyReader{rest: key[1:]}
}

func (r *keyReader) take(n int) []byte {
	if r.bad || len(r.rest) < n {
		r.bad = true
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *keyReader) text() string {
	var b []byte
	for i := 0; !r.bad && i+1 < len(r.rest); i++ {
		if r.rest[i] != 0 {
			b = append(b, r.rest[i])
			continue
		}
		switch r.rest[i+1] {
		case 0xff:
			b = append(b, 0)
			i++
		case 1:
			r.rest = r.rest[i+2:]
			return string(b)
		default:
			r.bad = true
		}
	}
	r.bad = true
	return ""
}

func (r *keyReader) id() ids.ID     { return ids.ID(r.take(16)) }
func (r *keyReader) hash() ids.Hash { return ids.Hash(r.take(32)) }
func (r *keyReader) uint() uint64   { return binary.BigEndian.Uint64(r.take(8)) }
func (r *keyReader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *keyReader) time() int64    { return int64(r.uint() ^ 1<<63) }
func (r *keyReader) kind() TermKind { return TermKind(r.take(1)[0]) }
func (r *keyReader) request() IdempotencyID {
	return IdempotencyID{Tenant: r.text(), Caller: r.id(), Method: r.text(), Key: r.text()}
}

func (r *keyReader) close() error {
	if r.bad || len(r.rest) > 0 {
		return ErrBadKey
	}
	return nil
}

func parseID(key []byte, table byte) (ids.ID, error) {
	r := openKey(key, table)
	id := r.id()
	return id, r.close()
}

func parseHash(key []byte, table byte) (ids.Hash, error) {
	r := openKey(key, table)
	h := r.hash()
	return h, r.close()
}

func parseText(key []byte, table byte) (string, error) {
	r := openKey(key, table)
	s := r.text()
	return s, r.close()
}

func parseUint(key []byte, table byte) (uint64, error) {
	r := openKey(key, table)
	n := r.uint()
	return n, r.close()
}

func parseTimeID(key []byte, table byte) (int64, ids.ID, error) {
	r := openKey(key, table)
	at, id := r.time(), r.id()
	return at, id, r.close()
}

func parseEdge(key []byte, table byte) (string, ids.ID, uint64, error) {
	r := openKey(key, table)
	tenant, id, created := r.text(), r.id(), r.uint()
	return tenant, id, created, r.close()
}

func parseLiveEdge(key []byte, table byte) (string, ids.ID, int64, uint64, error) {
	r := openKey(key, table)
	tenant, id, expiry, created := r.text(), r.id(), r.time(), r.uint()
	return tenant, id, expiry, created, r.close()
}
