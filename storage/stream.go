package storage

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// The stream: a header; the records in order of keys, cut into blocks of 64 KiB with a CRC-32C each; the SHA-256 of
// everything before it. It is logical: it holds no format of Pebble's. All numbers are big-endian.
//
//	header  magic(8) history(16) applied(16) tables(1) { letter(1) records(8) bytes(8) digest(32) }… crc(4)
//	record  len(key)(4) len(value)(4) key value
//	block   up to 65,536 bytes of records, the last one shorter; crc(4)
//	end     sha256(32)
//
// The header's sums tell the exact length before the first byte leaves: the Raft library's receiver reads as many bytes
// as it was promised, and hangs if one is missing.
const (
	streamMagic = "KVSTRM01"
	// ArchiveMagic stands before the stream of an operator's backup. A node that installs such an archive begins a new
	// history, named by the position that the Raft library burns for the restore.
	ArchiveMagic = "KVARCH01"

	blockSize       = 64 << 10
	recordOverhead  = 8
	crcLen          = 4
	headerFixed     = 8 + 2*positionLen + 1
	headerTable     = 1 + tableSumLen
	maxStreamBytes  = 1 << 50 // what a header may promise
	maxStreamTables = 255
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is what a stream says about itself.
type Header struct {
	History Position
	Applied Position // raft's position of the state, which may be above the state's own
	Sums    Sums
}

func (h Header) encode() []byte {
	dst := append([]byte(nil), streamMagic...)
	dst = h.Applied.Append(h.History.Append(dst))
	dst = append(dst, byte(len(h.Sums)))
	for _, letter := range h.Sums.letters() {
		dst = h.Sums[letter].append(append(dst, letter))
	}
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst, castagnoli))
}

// headerLen returns the length of the header that begins with b, 0 if b is too short to tell.
func headerLen(b []byte) int {
	if len(b) < headerFixed {
		return 0
	}
	return headerFixed + int(b[headerFixed-1])*headerTable + crcLen
}

// readHeader decodes a header of exactly the length that headerLen told.
func readHeader(b []byte) (h Header, err error) {
	body := b[:len(b)-crcLen]
	if string(b[:len(streamMagic)]) != streamMagic {
		return h, fmt.Errorf("stream of unknown format %q: %w", b[:len(streamMagic)], ErrCorrupt)
	}
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) {
		return h, fmt.Errorf("stream header: bad checksum: %w", ErrCorrupt)
	}
	if h.History, err = ReadPosition(body[8:]); err != nil {
		return h, err
	}
	if h.Applied, err = ReadPosition(body[24:]); err != nil {
		return h, err
	}
	h.Sums = Sums{}
	last, left := byte(ownPrefix), uint64(maxStreamBytes)
	for t := body[headerFixed:]; len(t) > 0; t = t[headerTable:] {
		sum, err := readTableSum(t[1:headerTable])
		if err != nil {
			return h, err
		}
		if t[0] <= last || sum.Records == 0 || sum.Bytes < sum.Records || sum.Bytes > left || sum.Records > left/recordOverhead {
			return h, fmt.Errorf("stream header: table %q of %d records, %d bytes: %w", t[0], sum.Records, sum.Bytes, ErrCorrupt)
		}
		left -= sum.Bytes
		h.Sums[t[0]], last = sum, t[0]
	}
	return h, nil
}

// body returns the length of all records, framed.
func (h Header) body() uint64 {
	records, size := h.Sums.total()
	return size + records*recordOverhead
}

// Size returns the length of the whole stream in bytes.
func (h Header) Size() int64 {
	blocks := (h.body() + blockSize - 1) / blockSize
	return int64(headerFixed+crcLen+uint64(len(h.Sums))*headerTable+h.body()+blocks*crcLen) + sha256.Size
}

// Stream reads the state of one View as a stream. It fails rather than send more or less than it promised. It belongs
// to one goroutine and must be closed; the View stays open.
type Stream struct {
	h    Header
	it   *pebble.Iterator
	sum  hash.Hash
	out  []byte // ready to leave
	rest []byte // records that are not yet cut into blocks
	sent uint64
	done bool
}

var _ io.ReadCloser = (*Stream)(nil)

// Stream begins a stream of the view, whose header says at. The view must stay open until the stream is closed.
func (v *View) Stream(at Position) (*Stream, error) {
	m, err := v.Meta()
	if err != nil {
		return nil, err
	}
	sums, err := v.Digests()
	if err != nil {
		return nil, err
	}
	it, err := v.snap.NewIter(&pebble.IterOptions{LowerBound: dataStart})
	if err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	it.First()
	st := &Stream{h: Header{History: m.History, Applied: at, Sums: sums}, it: it, sum: sha256.New()}
	st.out = st.h.encode()
	st.sum.Write(st.out)
	return st, nil
}

// Header returns what the stream says about itself.
func (r *Stream) Header() Header { return r.h }

// Size returns the exact length of the stream.
func (r *Stream) Size() int64 { return r.h.Size() }

// Read implements io.Reader.
func (r *Stream) Read(p []byte) (int, error) {
	if r.it == nil {
		return 0, errors.New("stream has been closed")
	}
	if len(r.out) == 0 {
		if r.done {
			return 0, io.EOF
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// fill makes the next block, or the end, ready to leave.
func (r *Stream) fill() error {
	if err := r.gather(); err != nil {
		return err
	}
	if len(r.rest) == 0 {
		if r.sent != r.h.body() {
			return fmt.Errorf("stream: %d bytes promised, %d found: %w", r.h.body(), r.sent, ErrCorrupt)
		}
		r.out, r.done = r.sum.Sum(r.out[:0]), true
		return nil
	}
	n := min(len(r.rest), blockSize)
	r.out = append(r.out[:0], r.rest[:n]...)
	r.out = binary.BigEndian.AppendUint32(r.out, crc32.Checksum(r.out, castagnoli))
	r.rest = r.rest[:copy(r.rest, r.rest[n:])]
	if r.sent += uint64(n); r.sent > r.h.body() {
		return fmt.Errorf("stream: more than the %d bytes promised: %w", r.h.body(), ErrCorrupt)
	}
	r.sum.Write(r.out)
	return nil
}

// gather frames records until there are enough for a block.
func (r *Stream) gather() error {
	for len(r.rest) < blockSize && r.it.Valid() {
		k := r.it.Key()
		v, err := r.it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("stream at %x: %w", k, err)
		}
		r.rest = binary.BigEndian.AppendUint32(r.rest, uint32(len(k)))
		r.rest = binary.BigEndian.AppendUint32(r.rest, uint32(len(v)))
		r.rest = append(append(r.rest, k...), v...)
		r.it.Next()
	}
	return r.it.Error()
}

// Close implements io.Closer. It may be called twice.
func (r *Stream) Close() error {
	if r.it == nil {
		return nil
	}
	it := r.it
	r.it = nil
	return it.Close()
}
