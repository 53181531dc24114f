package ids

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// ID is the binary form of a TypeID's suffix: a UUIDv7, so that byte order is order of creation.
// The zero ID names nothing.
type ID [16]byte

// Prefixes of the textual forms. They are persisted by users: never rename one.
const (
	PrefixAgent      = "agt"
	PrefixDelegation = "dlg"
	PrefixAudit      = "aud"
	PrefixKey        = "key"
)

// crockford is the alphabet of TypeID: Crockford's base32, lower case.
const crockford = "0123456789abcdefghjkmnpqrstvwxyz"

// suffixLen is the length of 16 bytes in TypeID's base32: 128 bits and two leading zero bits.
const suffixLen = 26

// ErrMalformed is returned for text that is not an identifier of the wanted kind.
var ErrMalformed = errors.New("malformed identifier")

var decodeTable = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i := range len(crockford) {
		t[crockford[i]] = byte(i)
	}
	return t
}()

// New makes a UUIDv7 from the wall clock at and 10 bytes read from random. Two calls in the same millisecond are in no
// particular order.
func New(at time.Time, random io.Reader) (ID, error) {
	var id ID
	if _, err := io.ReadFull(random, id[6:]); err != nil {
		return ID{}, fmt.Errorf("read randomness: %w", err)
	}
	ms := uint64(at.UnixMilli())
	id[0], id[1], id[2], id[3], id[4], id[5] = byte(ms>>40), byte(ms>>32), byte(ms>>24), byte(ms>>16), byte(ms>>8), byte(ms)
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id, nil
}

// IsZero tells whether id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// Text returns the TypeID form, prefix_suffix.
func (id ID) Text(prefix string) string {
	return string(id.AppendText(make([]byte, 0, len(prefix)+1+suffixLen), prefix))
}

// AppendText appends the TypeID form to dst.
func (id ID) AppendText(dst []byte, prefix string) []byte {
	dst = append(dst, prefix...)
	dst = append(dst, '_')
	hi, lo := binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
	for shift := 125; shift >= 0; shift -= 5 {
		dst = append(dst, crockford[bits5(hi, lo, shift)])
	}
	return dst
}

// bits5 returns the five bits that begin shift bits above the lowest of the 128-bit number (hi, lo).
func bits5(hi, lo uint64, shift int) byte {
	switch {
	case shift >= 64:
		return byte(hi>>(shift-64)) & 31
	case shift > 59:
		return byte(hi<<(64-shift)|lo>>shift) & 31
	default:
		return byte(lo>>shift) & 31
	}
}

// Parse reads the TypeID form. It returns ErrMalformed for another prefix, a wrong length, a character outside the
// alphabet (upper case included) or a number above 128 bits.
func Parse(prefix, text string) (ID, error) {
	suffix, ok := strings.CutPrefix(text, prefix)
	if !ok || len(suffix) != suffixLen+1 || suffix[0] != '_' {
		return ID{}, ErrMalformed
	}
	suffix = suffix[1:]
	if decodeTable[suffix[0]] > 7 {
		return ID{}, ErrMalformed
	}
	var hi, lo uint64
	for i := range suffixLen {
		d := decodeTable[suffix[i]]
		if d == 0xff {
			return ID{}, ErrMalformed
		}
		hi = hi<<5 | lo>>59
		lo = lo<<5 | uint64(d)
	}
	var id ID
	binary.BigEndian.PutUint64(id[:8], hi)
	binary.BigEndian.PutUint64(id[8:], lo)
	return id, nil
}
