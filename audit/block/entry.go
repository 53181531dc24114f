package block

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// AppendEntry appends the deterministic protobuf encoding of e: fields in order of their numbers, zero values left out,
// unknown fields dropped. It is written out by hand because it stands on the way of every decision. A string that is no
// UTF-8, as a header of a request can be, has each bad run replaced by U+FFFD: such an entry must not be unwritable.
func AppendEntry(dst []byte, e *raftv1.AuditEntry) []byte {
	dst = appendBytes(dst, 1, e.GetId())
	dst = appendUint(dst, 2, uint64(e.GetTime()))
	dst = appendString(dst, 3, e.GetNodeId())
	dst = appendUint(dst, 4, uint64(e.GetKind()))
	dst = appendString(dst, 5, e.GetAgentId())
	dst = appendString(dst, 6, e.GetOwner())
	dst = appendString(dst, 7, e.GetTenant())
	dst = appendString(dst, 8, e.GetAction())
	dst = appendString(dst, 9, e.GetResource())
	dst = appendBytes(dst, 10, e.GetParameters())
	dst = appendUint(dst, 11, uint64(e.GetResult()))
	dst = appendUint(dst, 12, uint64(e.GetReasonCode()))
	dst = appendString(dst, 13, e.GetReason())
	dst = appendUint(dst, 14, uint64(e.GetPermissionIndex()))
	dst = appendString(dst, 15, e.GetPermissionId())
	dst = appendString(dst, 16, e.GetPermissionResource())
	for _, p := range e.GetPath() {
		dst = protowire.AppendBytes(protowire.AppendTag(dst, 17, protowire.BytesType), p)
	}
	dst = appendString(dst, 18, e.GetApprovalId())
	dst = appendString(dst, 19, e.GetIp())
	dst = appendString(dst, 20, e.GetUserAgent())
	dst = appendString(dst, 21, e.GetTrace())
	dst = appendUint(dst, 22, uint64(e.GetDuration()))
	dst = appendUint(dst, 23, e.GetRevision())
	dst = appendBytes(dst, 24, e.GetCallerKey())
	dst = appendString(dst, 25, e.GetRequestId())
	dst = appendUint(dst, 26, e.GetCount())
	return appendString(dst, 27, e.GetRefusal())
}

// Tags are at most two bytes, and most lengths one: that is what the appenders below are quick with.

func appendTag(dst []byte, n, wire protowire.Number) []byte {
	tag := n<<3 | wire
	if tag < 0x80 {
		return append(dst, byte(tag))
	}
	return append(dst, byte(tag)|0x80, byte(tag>>7))
}

func appendLength(dst []byte, n int) []byte {
	if n < 0x80 {
		return append(dst, byte(n))
	}
	return protowire.AppendVarint(dst, uint64(n))
}

func appendUint(dst []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(appendTag(dst, n, protowire.Number(protowire.VarintType)), v)
}

func appendBytes(dst []byte, n protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	return append(appendLength(appendTag(dst, n, protowire.Number(protowire.BytesType)), len(v)), v...)
}

func appendString(dst []byte, n protowire.Number, v string) []byte {
	if v == "" {
		return dst
	}
	v = valid(v)
	return append(appendLength(appendTag(dst, n, protowire.Number(protowire.BytesType)), len(v)), v...)
}

func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// DecodeEntry reads an encoding into e, which must be empty. Fields of a later version are skipped. It returns
// ErrTooLarge above MaxEntry, and ErrCorrupt for what is no entry. Nothing in e refers to b.
func DecodeEntry(b []byte, e *raftv1.AuditEntry) error {
	if len(b) > MaxEntry {
		return fmt.Errorf("entry of %d bytes, more than %d: %w", len(b), MaxEntry, ErrTooLarge)
	}
	text := string(b) // one allocation for all strings: an entry's strings live and die together
	for at := 0; at < len(b); {
		num, typ, n := protowire.ConsumeTag(b[at:])
		if n < 0 || !num.IsValid() {
			return fmt.Errorf("entry has no field at byte %d: %w", at, ErrCorrupt)
		}
		at += n
		switch typ {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b[at:])
			if n < 0 {
				return fmt.Errorf("field %d at byte %d: %w: %w", num, at, protowire.ParseError(n), ErrCorrupt)
			}
			setUint(e, num, v)
			at += n
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b[at:])
			if n < 0 {
				return fmt.Errorf("field %d at byte %d: %w: %w", num, at, protowire.ParseError(n), ErrCorrupt)
			}
			at += n
			if !setText(e, num, text[at-len(v):at]) {
				return fmt.Errorf("field %d at byte %d is no UTF-8: %w", num, at, ErrCorrupt)
			}
		default:
			n := protowire.ConsumeFieldValue(num, typ, b[at:])
			if n < 0 {
				return fmt.Errorf("field %d at byte %d: %w: %w", num, at, protowire.ParseError(n), ErrCorrupt)
			}
			at += n
		}
	}
	return nil
}

func setUint(e *raftv1.AuditEntry, num protowire.Number, v uint64) {
	switch num {
	case 2:
		e.Time = int64(v)
	case 4:
		e.Kind = uint32(v)
	case 11:
		e.Result = uint32(v)
	case 12:
		e.ReasonCode = uint32(v)
	case 14:
		e.PermissionIndex = uint32(v)
	case 22:
		e.Duration = int64(v)
	case 23:
		e.Revision = v
	case 26:
		e.Count = v
	}
}

// setText sets a field of bytes or text; it returns false for text that is no UTF-8.
func setText(e *raftv1.AuditEntry, num protowire.Number, v string) bool {
	var field *string
	switch num {
	case 1:
		e.Id = []byte(v)
	case 10:
		e.Parameters = []byte(v)
	case 17:
		e.Path = append(e.Path, []byte(v))
	case 24:
		e.CallerKey = []byte(v)
	case 3:
		field = &e.NodeId
	case 5:
		field = &e.AgentId
	case 6:
		field = &e.Owner
	case 7:
		field = &e.Tenant
	case 8:
		field = &e.Action
	case 9:
		field = &e.Resource
	case 13:
		field = &e.Reason
	case 15:
		field = &e.PermissionId
	case 16:
		field = &e.PermissionResource
	case 18:
		field = &e.ApprovalId
	case 19:
		field = &e.Ip
	case 20:
		field = &e.UserAgent
	case 21:
		field = &e.Trace
	case 25:
		field = &e.RequestId
	case 27:
		field = &e.Refusal
	}
	if field == nil {
		return true
	}
	*field = v
	return utf8.ValidString(v)
}
