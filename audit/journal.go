package audit

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/kavachd/kavachd/audit/block"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/status"
)

// Defaults and bounds of JournalOptions.
const (
	defaultSegment = 16 << 20
	minSegment     = 256 << 10 // holds two entries of the largest size
	defaultBacklog = 512 << 20
)

// JournalOptions are what a journal is opened with.
type JournalOptions struct {
	// NodeID is the node the journal belongs to.
	NodeID string
	// Random is where the ids of new journals come from.
	Random io.Reader
	// BootID names this start of the machine, as the kernel's boot_id does. A journal that was not closed goes on only
	// within the same one; after a crash of the machine a new one begins, and the old one is shipped to its end. Empty:
	// not known, and every start begins a new journal unless the last was closed.
	BootID string
	// SegmentBytes is the size of a segment file; 0: 16 MiB. At least 256 KiB, at most 1 GiB.
	SegmentBytes int64
	// MaxBacklog bounds the bytes of segments that are not yet freed; 0: 512 MiB. Beyond it Append fails.
	MaxBacklog int64

	// allocate is replaced by tests that fill the disk.
	allocate func(*os.File, int64) error
}

// Journal is a node's own part of the audit trail, until the cluster has it. See doc.go. Safe for concurrent use.
type Journal struct {
	dir  string
	opts JournalOptions
	boot [16]byte
	lock *os.File // held while the journal is open: one process only

	// active is the segment that is appended to: the last of the last stream.
	active atomic.Pointer[segment]
	bufs   sync.Pool // *[]byte: room for records

	mu struct {
		sync.Mutex
		// streams are the journals in the folder; the last is appended to, the others are shipped to their end.
		streams []*stream
		closed  bool
		// fault is why nothing can be appended any more; nil: it can.
		fault error
		// stuck is why shipping does not get on.
		stuck     error
		recovered Recovery
	}
}

// Recovery tells what OpenJournal found.
type Recovery struct {
	// Entries are those found that may not be replicated yet.
	Entries uint64
	// Continued says that the journal of the process before goes on.
	Continued bool
	// Damage is where a journal of a machine that stopped ends too early; nil: none does. What was behind is lost, as
	// the level "written" says.
	Damage error
}

// Backlog is what is not yet replicated.
type Backlog struct {
	Entries uint64
	// Oldest is the time of the oldest such entry, Unix nanoseconds; 0: none.
	Oldest int64
	// Bytes are those of all segments that are not freed.
	Bytes int64
	// Err is why shipping does not get on; nil: it does.
	Err error
}

// OpenJournal opens the journals in the folder dir, and makes it if need be. One process only may have it open. It
// returns ErrDamaged where a journal of this start of the machine does not hold what was acknowledged.
func OpenJournal(dir string, o JournalOptions) (*Journal, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegment
	}
	if o.MaxBacklog == 0 {
		o.MaxBacklog = defaultBacklog
	}
	if o.SegmentBytes < minSegment || o.SegmentBytes > maxSegment || o.MaxBacklog < o.SegmentBytes {
		return nil, fmt.Errorf("journal: segments of %d bytes and a backlog of %d: want %d to %d, and at least one segment",
			o.SegmentBytes, o.MaxBacklog, minSegment, maxSegment)
	}
	if o.allocate == nil {
		o.allocate = allocate
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{dir: dir, opts: o, boot: bootHash(o.BootID)}
	j.bufs.New = func() any { b := make([]byte, 0, 1<<10); return &b }
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("journal %s is open in another process: %w", dir, err), lock.Close())
	}
	j.lock = lock
	if err := j.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal: %w", err), lock.Close())
	}
	return j, nil
}

// bootName is the file that holds the hash of the boot id of the last opening.
const bootName = "boot"

// recover reads the journals, decides which one goes on, and begins a segment.
func (j *Journal) recover() error {
	dirs, err := journalDirs(j.dir)
	if err != nil {
		return err
	}
	last, err := os.ReadFile(filepath.Join(j.dir, bootName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	sameBoot := j.boot != [16]byte{} && bytes.Equal(last, j.boot[:])
	goesOn, err := j.loadStreams(dirs, sameBoot)
	if err != nil {
		return err
	}
	j.mu.recovered.Continued = goesOn != nil
	if goesOn == nil {
		if goesOn, err = j.newStream(); err != nil {
			return err
		}
	}
	j.mu.streams = append(j.mu.streams, goesOn)
	next := uint64(1)
	if len(goesOn.segs) > 0 {
		next = goesOn.next()
	}
	if err := j.addSegment(goesOn, next); err != nil {
		return err
	}
	// The mark goes before the first entry comes, and the boot is known before that too: else a later opening would trust
	// an end that a crash of the machine took away.
	if err := goesOn.unmarkClosed(); err != nil || sameBoot {
		return err
	}
	return writeSynced(filepath.Join(j.dir, bootName), j.boot[:])
}

// loadStreams reads the journals and returns the one that goes on, if any. The others are to be shipped to their end.
func (j *Journal) loadStreams(dirs map[JournalID]string, sameBoot bool) (goesOn *stream, err error) {
	for _, id := range sortedJournals(dirs) {
		st, damage, err := loadStream(dirs[id], id)
		if err != nil {
			return nil, err
		}
		if damage != nil && sameBoot && !st.foreign {
			return nil, damage
		}
		j.mu.recovered.Damage = errors.Join(j.mu.recovered.Damage, damage)
		if len(st.segs) == 0 {
			if err := st.remove(); err != nil {
				return nil, err
			}
			continue
		}
		j.mu.recovered.Entries += st.next() - st.from.seq
		if goesOn == nil && !st.foreign && damage == nil && (sameBoot || st.wasClosed()) {
			goesOn = st
			continue
		}
		if err := st.markForeign(); err != nil {
			return nil, err
		}
		if st.next() == st.from.seq {
			if err := st.remove(); err != nil {
				return nil, err
			}
			continue
		}
		j.mu.streams = append(j.mu.streams, st)
	}
	return goesOn, nil
}

// newStream begins a journal.
func (j *Journal) newStream() (*stream, error) {
	var id JournalID
	if _, err := io.ReadFull(j.opts.Random, id[:]); err != nil {
		return nil, fmt.Errorf("read randomness for a journal id: %w", err)
	}
	dir := filepath.Join(j.dir, hex.EncodeToString(id[:]))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("begin journal: %w", err)
	}
	return &stream{id: id, dir: dir}, nil
}

// addSegment begins a segment of the stream that is appended to. j.mu is held, or nobody knows j yet.
func (j *Journal) addSegment(st *stream, first uint64) error {
	s, err := createSegment(st.segmentPath(first), j.opts.SegmentBytes, st.id, first, j.opts.allocate)
	if err != nil {
		return err
	}
	if n := len(st.segs); n > 0 && st.segs[n-1].first == first {
		st.segs = st.segs[: n-1 : n-1] // it held nothing, and the new file took its name
	}
	st.segs = append(st.segs, s)
	if len(st.segs) == 1 {
		st.from = place{s, segmentHeader, first}
	}
	j.active.Store(s)
	return nil
}

// ID returns the id of the journal that is appended to.
func (j *Journal) ID() JournalID {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.mu.streams[len(j.mu.streams)-1].id
}

// NodeID returns the node the journal belongs to.
func (j *Journal) NodeID() string { return j.opts.NodeID }

// Recovered tells what was found at the opening.
func (j *Journal) Recovered() Recovery {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.mu.recovered
}

// Append writes an entry and returns its number in the journal. When it returns nil, the entry survives a crash of the
// process and every later Live finds it. After an error the entry is not in the trail: status.AuditUnavailable, or
// status.LimitExceeded for an entry above block.MaxEntry. e is not kept.
func (j *Journal) Append(e *raftv1.AuditEntry) (seq uint64, err error) {
	return j.AppendBatch([]*raftv1.AuditEntry{e})
}

// AppendBatch writes entries with consecutive numbers, all or none, and returns the first number. The records of a batch
// must fit into one segment; without entries it does nothing and returns 0.
func (j *Journal) AppendBatch(entries []*raftv1.AuditEntry) (first uint64, err error) {
	if len(entries) == 0 {
		return 0, nil
	}
	buf := j.bufs.Get().(*[]byte)
	defer j.release(buf)
	records := (*buf)[:0]
	for _, e := range entries {
		if records, err = encodeRecord(records, e); err != nil {
			return 0, err
		}
	}
	*buf = records
	if room := j.opts.SegmentBytes - segmentHeader; int64(len(records)) > room {
		return 0, status.New(status.LimitExceeded, "%d audit entries take %d bytes; the limit is %d", len(entries), len(records), room)
	}
	for {
		s := j.active.Load()
		if start, ok := s.take(uint64(len(entries)), uint64(len(records))); ok {
			s.publish(start, uint64(len(entries)), records)
			return s.first + start.entries(), nil
		}
		if err := j.rotate(s); err != nil {
			return 0, status.New(status.AuditUnavailable, "the audit journal takes no entries").Retry(0).Wrap(err)
		}
	}
}

// maxKept is the largest buffer that is kept for another entry.
const maxKept = 1 << 20

func (j *Journal) release(buf *[]byte) {
	if cap(*buf) <= maxKept {
		j.bufs.Put(buf)
	}
}

// encodeRecord appends e as a record.
func encodeRecord(records []byte, e *raftv1.AuditEntry) ([]byte, error) {
	start := len(records)
	records = append(records, zeros[:recordHeader]...)
	records = block.AppendEntry(records, e)
	if n := len(records) - start - recordHeader; n > block.MaxEntry {
		return nil, status.New(status.LimitExceeded, "an audit entry takes %d bytes; the limit is %d", n, block.MaxEntry)
	}
	return finishRecord(records, start), nil
}

// errClosed is returned by a closed journal.
var errClosed = errors.New("journal is closed")

// rotate begins a new segment behind s, unless somebody has. It returns an error if none can be begun; then every Append
// tries again.
func (j *Journal) rotate(s *segment) error {
	<-s.full // the appender that crossed the end is about to say where it is
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.mu.closed:
		return errClosed
	case j.mu.fault != nil:
		return j.mu.fault
	case j.active.Load() != s:
		return nil
	}
	if n := j.bytes(); n+j.opts.SegmentBytes > j.opts.MaxBacklog {
		return fmt.Errorf("%d bytes wait for the cluster, the limit is %d", n, j.opts.MaxBacklog)
	}
	// Before the next segment exists, everything before it is published: else an entry could be acknowledged behind a
	// record that a crash leaves unwritten.
	s.settle(s.sealedAt)
	return j.addSegment(j.mu.streams[len(j.mu.streams)-1], s.first+s.sealedAt.entries())
}

// bytes counts the bytes of all segments. j.mu is held.
func (j *Journal) bytes() (n int64) {
	for _, st := range j.mu.streams {
		for _, s := range st.segs {
			n += int64(len(s.mem))
		}
	}
	return n
}

// Backlog tells what is not yet replicated.
func (j *Journal) Backlog() Backlog {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := Backlog{Bytes: j.bytes(), Err: errors.Join(j.mu.fault, j.mu.stuck)}
	for _, st := range j.mu.streams {
		b.Entries += st.next() - st.from.seq
		if b.Oldest != 0 {
			continue
		}
		_, err := read(st.segs, st.from, func(_ uint64, raw []byte) (bool, error) {
			var e raftv1.AuditEntry
			err := block.DecodeEntry(raw, &e)
			b.Oldest = e.GetTime()
			return false, err
		})
		b.Err = errors.Join(b.Err, err)
	}
	return b
}

// Close refuses further entries, waits for those being written, and syncs to disk.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.mu.closed {
		return nil
	}
	j.mu.closed = true
	s := j.active.Load()
	s.take(0, uint64(len(s.mem))+1) // crosses the end, unless an appender has
	<-s.full
	s.settle(s.sealedAt)
	var errs []error
	for _, st := range j.mu.streams {
		errs = append(errs, st.sync())
	}
	st := j.mu.streams[len(j.mu.streams)-1]
	if errors.Join(errs...) == nil {
		errs = append(errs, st.markClosed())
	}
	errs = append(errs, j.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}
