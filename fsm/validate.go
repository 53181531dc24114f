package fsm

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// Limits of SPEC 9 that are not authz'.
const (
	maxText     = 256      // bytes of an id, a name, an owner, a tenant, an idempotency key
	maxMetadata = 16 << 10 // bytes
	// maxRecord bounds an encoded agent or delegation. A command is at most 512 KiB, so only an older node's could
	// come near; storage takes 2 MiB.
	maxRecord = 1 << 20
)

// problems gathers what is wrong with a request, all of it, in a fixed order.
type problems struct{ fields []status.Field }

func (p *problems) add(path, format string, args ...any) {
	p.fields = append(p.fields, status.Field{Path: path, Message: fmt.Sprintf(format, args...)})
}

func (p *problems) err() error {
	if len(p.fields) == 0 {
		return nil
	}
	e := status.New(status.InvalidArgument, "%s: %s", p.fields[0].Path, p.fields[0].Message)
	e.Fields = p.fields
	return e
}

func (p *problems) text(path, s string, shortest, longest int) {
	if len(s) < shortest {
		p.add(path, "is missing")
	}
	if len(s) > longest {
		p.add(path, "has %d bytes, the limit is %d", len(s), longest)
	}
}

func (p *problems) size(path string, b []byte, want int) {
	if len(b) != want {
		p.add(path, "has %d bytes, must have %d", len(b), want)
	}
}

func (p *problems) id(path string, b []byte) {
	if p.size(path, b, len(ids.ID{})); len(b) == len(ids.ID{}) && ids.ID(b).IsZero() {
		p.add(path, "is zero")
	}
}

func (p *problems) hash(path string, b []byte) { p.size(path, b, len(ids.Hash{})) }

// tenant accepts what rpc does: letters, digits, and within also dot, underline and dash.
func (p *problems) tenant(path, s string) {
	p.text(path, s, 1, maxText)
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '.' && c != '_' && c != '-') {
			p.add(path, "must consist of letters, digits, '.', '_' and '-', and begin with a letter or digit")
			return
		}
	}
}

func (p *problems) metadata(path string, b []byte) {
	if len(b) > maxMetadata {
		p.add(path, "has %d bytes, the limit is %d", len(b), maxMetadata)
	}
	if len(b) > 0 && (b[0] != '{' || !json.Valid(b)) {
		p.add(path, "is not a JSON object")
	}
}

// agentType accepts the enum's values; 0 stands for autonomous.
func (p *problems) agentType(path string, t uint32) {
	if t > 3 {
		p.add(path, "unknown type %d", t)
	}
}

// record refuses what storage would not take.
func (p *problems) record(path string, m protoMessage) {
	if n := protoSize(m); n > maxRecord {
		p.add(path, "the record would have %d bytes, the limit is %d", n, maxRecord)
	}
}

// expiry resolves e against the wall clock now: the moment at which the record ends, 0 for never. A missing one, or
// one of no kind, gives fallback.
func (p *problems) expiry(e *raftv1.Expiry, now, fallback int64) int64 {
	switch e := e.GetExpiry().(type) {
	case *raftv1.Expiry_At:
		if e.At <= now {
			p.add("expiry", "lies in the past")
		}
		return e.At
	case *raftv1.Expiry_Ttl:
		if e.Ttl <= 0 {
			p.add("expiry", "a lifetime must be positive")
		}
		at, ok := addTime(now, e.Ttl)
		if !ok {
			p.add("expiry", "lies too far ahead")
		}
		return at
	case *raftv1.Expiry_Never:
		if !e.Never {
			p.add("expiry", "never must be true")
		}
		return 0
	default:
		return fallback
	}
}

// addTime adds d nanoseconds to now. ok is false if the sum can't be told from never.
func addTime(now, d int64) (at int64, ok bool) {
	if d > 0 && now > math.MaxInt64-1-d {
		return math.MaxInt64 - 1, false
	}
	return now + d, true
}

func agentText(id []byte) string      { return idText(id, ids.PrefixAgent) }
func delegationText(id []byte) string { return idText(id, ids.PrefixDelegation) }
func keyText(id []byte) string        { return idText(id, ids.PrefixKey) }

func idText(id []byte, prefix string) string {
	if len(id) != len(ids.ID{}) {
		return fmt.Sprintf("%s_?(%d bytes)", prefix, len(id))
	}
	return ids.ID(id).Text(prefix)
}

func fieldOf(i int, field string) string { return fmt.Sprintf("permissions[%d].%s", i, field) }
