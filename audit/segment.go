package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/kavachd/kavachd/audit/block"
)

// A segment file:
//
//	header  magic(8) journal(16) first(8) crc32c(4) zeros to segmentHeader
//	record  published|length(4) crc32c(4) entry, zeros to a multiple of 8
//
// Numbers are little-endian. The file has its whole size, in zeros, from the beginning; a length of zero ends it.
const (
	segmentHeader = 64
	recordHeader  = 8
	// publishedBit marks a length as written, so that an empty entry is one.
	publishedBit = 1 << 31
	// maxSegment keeps offsets within their part of a segment's state.
	maxSegment = 1 << 30
)

var segmentMagic = [8]byte{'k', 'v', 'j', 'o', 'u', 'r', 'n', 1}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged is returned when a journal holds what no crash of a process leaves behind.
var ErrDamaged = errors.New("audit journal is damaged")

// mark counts entries and bytes of a segment in one word: entries << offsetBits | offset. 40 bits of offset leave room
// for every appender that overshoots the end, each by at most one batch, before one of them seals the segment.
type mark uint64

const offsetBits = 40

func newMark(entries, offset uint64) mark { return mark(entries<<offsetBits | offset) }
func (m mark) entries() uint64            { return uint64(m) >> offsetBits }
func (m mark) offset() uint64             { return uint64(m) & (1<<offsetBits - 1) }

// segment is a mapped segment file. Its memory is unmapped when nothing refers to the segment any more, and no sooner:
// appenders and readers need no count of references, but must keep the segment alive while they use mem.
type segment struct {
	path  string
	first uint64 // the number of the first entry
	mem   []byte

	// reserved is what appenders have taken: one atomic add each. It passes the end of mem when the segment is full.
	reserved atomic.Uint64
	// settled is how far all records are published. Invariants: settled <= sealed <= len(mem); it only grows; an entry is
	// acknowledged only once settled has passed it. So nothing acknowledged ever stands behind a record that is not whole.
	settled atomic.Uint64
	// sealedAt is where the segment ended; full is closed once it is set, by the one appender whose add crossed the end.
	sealedAt mark
	full     chan struct{}
}

// createSegment makes a segment file of size bytes. The file gets its name when its header stands, so that no crash of
// the process leaves one without.
func createSegment(path string, size int64, journal JournalID, first uint64, allocate func(*os.File, int64) error) (*segment, error) {
	tmp := path + tmpSuffix
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written through the descriptor
	err = allocate(f, size)
	var mem []byte
	if err == nil {
		mem, err = unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err == nil {
		putSegmentHeader(mem, journal, first)
		if err = os.Rename(tmp, path); err != nil {
			err = errors.Join(err, unix.Munmap(mem))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create segment of %d bytes: %w", size, err), os.Remove(tmp))
	}
	s := newSegment(path, mem, first)
	s.reserved.Store(uint64(newMark(0, segmentHeader)))
	return s, nil
}

func newSegment(path string, mem []byte, first uint64) *segment {
	s := &segment{path: path, first: first, mem: mem, full: make(chan struct{})}
	s.settled.Store(uint64(newMark(0, segmentHeader)))
	runtime.AddCleanup(s, func(mem []byte) { _ = unix.Munmap(mem) }, mem)
	return s
}

// openSegment maps a segment file that nobody writes any more, and finds where its records end.
func openSegment(path string, journal JournalID) (s *segment, damage error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open segment: %w", err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("open segment: %w", err)
	}
	if info.Size() < segmentHeader || info.Size() > maxSegment {
		return nil, fmt.Errorf("%s has %d bytes: %w", path, info.Size(), ErrDamaged), nil
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("map segment %s: %w", path, err)
	}
	first, err := parseSegmentHeader(mem, journal)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err), unix.Munmap(mem)
	}
	s = newSegment(path, mem, first)
	end, damage := scanRecords(mem)
	if damage != nil {
		damage = fmt.Errorf("%s: %w", path, damage)
	}
	s.seal(end)
	s.settled.Store(uint64(end))
	return s, damage, nil
}

func putSegmentHeader(mem []byte, journal JournalID, first uint64) {
	h := mem[:segmentHeader]
	copy(h, segmentMagic[:])
	copy(h[8:], journal[:])
	binary.LittleEndian.PutUint64(h[24:], first)
	binary.LittleEndian.PutUint32(h[32:], crc32.Checksum(h[:32], castagnoli))
}

func parseSegmentHeader(mem []byte, journal JournalID) (first uint64, err error) {
	if len(mem) < segmentHeader {
		return 0, fmt.Errorf("segment of %d bytes: %w", len(mem), ErrDamaged)
	}
	h := mem[:segmentHeader]
	first = binary.LittleEndian.Uint64(h[24:])
	switch {
	case [8]byte(h) != segmentMagic:
		return 0, fmt.Errorf("segment does not begin as one: %w", ErrDamaged)
	case binary.LittleEndian.Uint32(h[32:]) != crc32.Checksum(h[:32], castagnoli):
		return 0, fmt.Errorf("segment header does not have its checksum: %w", ErrDamaged)
	case JournalID(h[8:24]) != journal:
		return 0, fmt.Errorf("segment of another journal, %x: %w", h[8:24], ErrDamaged)
	case first == 0:
		return 0, fmt.Errorf("segment begins at number 0: %w", ErrDamaged)
	}
	return first, nil
}

// scanRecords walks the records of a segment up to the first that is not published, checks each, and returns where they
// end. damage is set if they end at a record that is published but not whole.
func scanRecords(mem []byte) (end mark, damage error) {
	end = newMark(0, segmentHeader)
	for {
		_, size, err := readRecord(mem, end.offset())
		if err != nil {
			return end, fmt.Errorf("record %d at byte %d: %w", end.entries(), end.offset(), err)
		}
		if size == 0 {
			return end, nil
		}
		end += newMark(1, size)
	}
}

// readRecord reads the record at an offset. Size 0: none is published there.
func readRecord(mem []byte, at uint64) (entry []byte, size uint64, err error) {
	if at+recordHeader > uint64(len(mem)) {
		return nil, 0, nil
	}
	length := atomic.LoadUint32(word(mem, at))
	if length == 0 {
		return nil, 0, nil
	}
	n := uint64(length &^ publishedBit)
	if length&publishedBit == 0 || n > block.MaxEntry || at+recordSize(n) > uint64(len(mem)) {
		return nil, 0, fmt.Errorf("length %#x: %w", length, ErrDamaged)
	}
	entry = mem[at+recordHeader : at+recordHeader+n]
	if got, want := binary.LittleEndian.Uint32(mem[at+4:]), crc32.Checksum(entry, castagnoli); got != want {
		return nil, 0, fmt.Errorf("checksum %08x, computed %08x: %w", got, want, ErrDamaged)
	}
	return entry, recordSize(n), nil
}

// recordSize is what a record of an entry of n bytes takes.
func recordSize(n uint64) uint64 { return (recordHeader + n + 7) &^ 7 }

// word is the four bytes at an offset divisible by four, as what atomic functions take.
func word(mem []byte, at uint64) *uint32 {
	return (*uint32)(unsafe.Pointer(&mem[at])) //nolint:gosec // records are aligned, and readRecord and take keep at within mem
}

// finishRecord fills in the header of the record that begins at start and whose entry ends the buffer, and pads it.
func finishRecord(records []byte, start int) []byte {
	entry := records[start+recordHeader:]
	binary.LittleEndian.PutUint32(records[start:], publishedBit|uint32(len(entry)))
	binary.LittleEndian.PutUint32(records[start+4:], crc32.Checksum(entry, castagnoli))
	return append(records, zeros[:-len(records)&7]...)
}

var zeros [8]byte

// take reserves room for records, by one atomic add. It returns false when the segment is full; the add that crosses the
// end seals it.
func (s *segment) take(entries, size uint64) (start mark, ok bool) {
	if mark(s.reserved.Load()).offset() > uint64(len(s.mem)) {
		return 0, false // sealed: no need to overshoot it further
	}
	step := newMark(entries, size)
	end := mark(s.reserved.Add(uint64(step)))
	if end.offset() <= uint64(len(s.mem)) {
		return end - step, true
	}
	if start := end - step; start.offset() <= uint64(len(s.mem)) {
		s.seal(start)
	}
	return 0, false
}

func (s *segment) seal(at mark) {
	s.sealedAt = at
	close(s.full)
}

// publish fills reserved room with records, and returns when nothing before their end is unpublished. The length of the
// first record is stored last: by it the whole batch appears at once, to readers and to recovery.
func (s *segment) publish(start mark, entries uint64, records []byte) {
	at := start.offset()
	copy(s.mem[at+4:], records[4:])
	atomic.StoreUint32(word(s.mem, at), binary.LittleEndian.Uint32(records))
	end := start + newMark(entries, uint64(len(records)))
	if !s.settled.CompareAndSwap(uint64(start), uint64(end)) {
		s.settle(end)
	}
	runtime.KeepAlive(s)
}

// settle returns when everything before end is published. Whoever waits moves the mark on over what others published,
// so that only an appender between its reservation and its publication, a copy of a few hundred bytes, is waited for.
func (s *segment) settle(end mark) {
	for {
		was := mark(s.settled.Load())
		if was.offset() >= end.offset() {
			return
		}
		now := was
		for now.offset() < end.offset() {
			length := atomic.LoadUint32(word(s.mem, now.offset()))
			if length == 0 {
				break
			}
			now += newMark(1, recordSize(uint64(length&^publishedBit)))
		}
		if now == was {
			runtime.Gosched()
			continue
		}
		s.settled.CompareAndSwap(uint64(was), uint64(now))
	}
}

// end returns how far the segment can be read.
func (s *segment) end() mark { return mark(s.settled.Load()) }

// next returns the number behind the last entry that can be read.
func (s *segment) next() uint64 { return s.first + s.end().entries() }

// isFull tells whether the segment takes no more entries.
func (s *segment) isFull() bool {
	select {
	case <-s.full:
		return true
	default:
		return false
	}
}

// bootHash makes a boot id a fixed size; zero: not known.
func bootHash(id string) (h [16]byte) {
	if id != "" {
		sum := sha256.Sum256([]byte(id))
		copy(h[:], sum[:])
	}
	return h
}
