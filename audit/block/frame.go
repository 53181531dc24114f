package block

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"iter"

	"github.com/klauspost/compress/zstd"
)

// version begins every body. Never renumber.
const version = 1

// Codecs of a frame. Never renumber: they are stored.
const (
	codecNone = 0
	codecZstd = 1
)

const (
	headerSize = 32
	// frameRaw is where a frame is cut, in bytes before compression. A larger frame compresses better, a smaller one
	// costs less to read alone.
	frameRaw = 32 << 10
	// maxRaw is the largest frame before compression: one entry.
	maxRaw = MaxEntry + binary.MaxVarintLen32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is one frame of a body, checked but not decompressed. stored is a part of the body.
type frame struct {
	codec          byte
	count          uint16
	raw            uint32
	oldest, newest int64
	stored         []byte
}

// appendFrame appends a frame to body.
func appendFrame(body []byte, f frame) []byte {
	start := len(body)
	body = append(body, f.codec, 0)
	body = binary.LittleEndian.AppendUint16(body, f.count)
	body = binary.LittleEndian.AppendUint32(body, f.raw)
	body = binary.LittleEndian.AppendUint32(body, uint32(len(f.stored)))
	body = binary.LittleEndian.AppendUint64(body, uint64(f.oldest))
	body = binary.LittleEndian.AppendUint64(body, uint64(f.newest))
	sum := crc32.Update(crc32.Checksum(body[start:], castagnoli), castagnoli, f.stored)
	body = binary.LittleEndian.AppendUint32(body, sum)
	return append(body, f.stored...)
}

// frames walks the frames of a body and ends at the first that is not whole.
func frames(body []byte) iter.Seq2[frame, error] {
	return func(yield func(frame, error) bool) {
		if len(body) > MaxBody {
			yield(frame{}, fmt.Errorf("body of %d bytes, more than %d: %w", len(body), MaxBody, ErrTooLarge))
			return
		}
		if len(body) == 0 || body[0] != version {
			yield(frame{}, fmt.Errorf("body is empty or of another version: %w", ErrCorrupt))
			return
		}
		for at := 1; at < len(body); {
			f, size, err := readFrame(body[at:])
			if err != nil {
				yield(frame{}, fmt.Errorf("frame at byte %d: %w", at, err))
				return
			}
			if !yield(f, nil) {
				return
			}
			at += size
		}
	}
}

// readFrame reads the frame at the beginning of b and returns its size too.
func readFrame(b []byte) (frame, int, error) {
	if len(b) < headerSize {
		return frame{}, 0, fmt.Errorf("%d bytes are left, less than a header: %w", len(b), ErrCorrupt)
	}
	f := frame{
		codec:  b[0],
		count:  binary.LittleEndian.Uint16(b[2:]),
		raw:    binary.LittleEndian.Uint32(b[4:]),
		oldest: int64(binary.LittleEndian.Uint64(b[12:])),
		newest: int64(binary.LittleEndian.Uint64(b[20:])),
	}
	stored := binary.LittleEndian.Uint32(b[8:])
	switch {
	case uint64(stored) > uint64(len(b)-headerSize):
		return frame{}, 0, fmt.Errorf("says %d bytes, %d are left: %w", stored, len(b)-headerSize, ErrCorrupt)
	case f.codec > codecZstd || b[1] != 0:
		return frame{}, 0, fmt.Errorf("codec %d: %w", f.codec, ErrCorrupt)
	case f.raw > maxRaw || f.count == 0 || uint32(f.count) > f.raw || f.oldest > f.newest:
		return frame{}, 0, fmt.Errorf("%d entries of %d to %d in %d bytes: %w", f.count, f.oldest, f.newest, f.raw, ErrCorrupt)
	case f.codec == codecNone && f.raw != stored:
		return frame{}, 0, fmt.Errorf("says %d bytes, holds %d: %w", f.raw, stored, ErrCorrupt)
	}
	f.stored = b[headerSize : headerSize+int(stored)]
	sum := crc32.Update(crc32.Checksum(b[:headerSize-4], castagnoli), castagnoli, f.stored)
	if got := binary.LittleEndian.Uint32(b[headerSize-4:]); got != sum {
		return frame{}, 0, fmt.Errorf("checksum %08x, computed %08x: %w", got, sum, ErrCorrupt)
	}
	return f, headerSize + int(stored), nil
}

// The compressor and the decompressor keep no goroutine between calls and are safe for concurrent use. Their options are
// constant, so that making them can't fail.
var (
	compressor = warm(must(zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(128<<10), zstd.WithLowerEncoderMem(true))))
	decompressor = must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(maxRaw+1), zstd.WithDecoderLowmem(true)))
)

// warm makes what the compressor makes at its first use, a channel, now: a test in a synctest bubble must not be the one
// to make it.
func warm(w *zstd.Encoder) *zstd.Encoder {
	w.EncodeAll([]byte{0}, nil)
	return w
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// open returns the frame's bytes before compression. buf is room to use; the result may be buf or a part of the body.
func (f frame) open(buf []byte) ([]byte, error) {
	if f.codec == codecNone {
		return f.stored, nil
	}
	if cap(buf) < int(f.raw) {
		buf = make([]byte, 0, f.raw)
	}
	raw, err := decompressor.DecodeAll(f.stored, buf[:0:f.raw])
	if err != nil {
		return nil, fmt.Errorf("decompress: %w: %w", err, ErrCorrupt)
	}
	if len(raw) != int(f.raw) {
		return nil, fmt.Errorf("decompressed %d bytes, %d were said: %w", len(raw), f.raw, ErrCorrupt)
	}
	return raw, nil
}

// each calls fn with the bytes of every entry of an opened frame, in order.
func (f frame) each(raw []byte, fn func(entry []byte) error) error {
	for i := range int(f.count) {
		size, n := binary.Uvarint(raw)
		if n <= 0 || size > uint64(len(raw)-n) || size > MaxEntry {
			return fmt.Errorf("entry %d of %d is cut off: %w", i, f.count, ErrCorrupt)
		}
		if err := fn(raw[n : n+int(size)]); err != nil {
			return err
		}
		raw = raw[n+int(size):]
	}
	if len(raw) > 0 {
		return fmt.Errorf("%d bytes behind %d entries: %w", len(raw), f.count, ErrCorrupt)
	}
	return nil
}
