package audit

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	segmentSuffix = ".seg"
	tmpSuffix     = ".tmp"
	closedName    = "closed"
	foreignName   = "foreign"
)

// stream is one journal: its segments, in order, in a folder named by its id. Its fields are guarded by Journal.mu,
// except for what segments guard themselves.
type stream struct {
	id   JournalID
	dir  string
	segs []*segment
	// from is the first entry that is not known to be replicated. Only moves on.
	from place
	// foreign says that the machine has stopped, or may have, since the journal was written: its end may be missing, and
	// nothing is ever appended to it.
	foreign bool
}

// place is a place before an entry.
type place struct {
	seg    *segment
	offset uint64
	seq    uint64
}

// next returns the number behind the last entry that can be read.
func (st *stream) next() uint64 { return st.segs[len(st.segs)-1].next() }

// loadStream reads a journal's folder. damage tells what no crash of a process leaves; the entries before it are there.
func loadStream(dir string, id JournalID) (st *stream, damage error, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		return nil, nil, fmt.Errorf("list segments: %w", err)
	}
	slices.Sort(names) // names have a fixed length: order of numbers
	st = &stream{id: id, dir: dir}
	if _, err := os.Stat(filepath.Join(dir, foreignName)); err == nil {
		st.foreign = true
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("open journal: %w", err)
	}
	for _, name := range names {
		seg, bad, err := openSegment(name, id)
		if err != nil {
			return nil, nil, err
		}
		if seg != nil && len(st.segs) > 0 {
			if want := st.next(); seg.first != want {
				seg, bad = nil, fmt.Errorf("%s begins at number %d, not %d: %w", name, seg.first, want, ErrDamaged)
			}
		}
		if seg != nil {
			st.segs = append(st.segs, seg)
		}
		if bad != nil {
			damage = bad
			break
		}
	}
	if len(st.segs) == 0 {
		return st, damage, nil
	}
	st.from = place{st.segs[0], segmentHeader, st.segs[0].first}
	return st, damage, nil
}

// segmentPath is the file that begins at a number.
func (st *stream) segmentPath(first uint64) string {
	return filepath.Join(st.dir, fmt.Sprintf("%016x%s", first, segmentSuffix))
}

// read calls fn for the entries from p on that can be read, and returns the place behind the last one. fn ends it with
// false, before the entry it was given. The bytes are valid within fn only.
func read(segs []*segment, p place, fn func(seq uint64, raw []byte) (bool, error)) (place, error) {
	for i := slices.Index(segs, p.seg); i < len(segs); i++ {
		s := segs[i]
		if s != p.seg {
			p = place{s, segmentHeader, s.first}
		}
		for end := s.end().offset(); p.offset < end; {
			raw, size, err := readRecord(s.mem, p.offset)
			if err == nil && size == 0 {
				err = fmt.Errorf("nothing is published: %w", ErrDamaged)
			}
			if err != nil {
				return p, fmt.Errorf("%s: entry %d at byte %d: %w", s.path, p.seq, p.offset, err)
			}
			more, err := fn(p.seq, raw)
			if err != nil || !more {
				runtime.KeepAlive(s)
				return p, err
			}
			p.offset, p.seq = p.offset+size, p.seq+1
		}
		runtime.KeepAlive(s)
		if !s.isFull() || p.offset != s.sealedAt.offset() {
			break // more may follow in this one
		}
	}
	return p, nil
}

// free removes the files of segments before from, the last one excepted.
func (st *stream) free() error {
	for len(st.segs) > 1 && st.segs[0] != st.from.seg {
		if err := os.Remove(st.segs[0].path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("free segment: %w", err)
		}
		st.segs = st.segs[1:]
	}
	return nil
}

// remove removes the journal and its folder.
func (st *stream) remove() error {
	for _, s := range st.segs {
		if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove journal: %w", err)
		}
	}
	if err := os.RemoveAll(st.dir); err != nil {
		return fmt.Errorf("remove journal: %w", err)
	}
	return nil
}

// sync writes what the mapping holds to the disk.
func (st *stream) sync() error {
	for _, s := range st.segs {
		// What is read-only was synced or not by the process that wrote it; msync writes its pages all the same.
		if err := unix.Msync(s.mem, unix.MS_SYNC); err != nil {
			return fmt.Errorf("sync %s: %w", s.path, err)
		}
		runtime.KeepAlive(s)
	}
	return syncDir(st.dir)
}

// markClosed writes down where the journal ended.
func (st *stream) markClosed() error {
	b := binary.LittleEndian.AppendUint64(nil, st.next())
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return writeSynced(filepath.Join(st.dir, closedName), b)
}

// markForeign writes down that the journal is only shipped to its end from now on.
func (st *stream) markForeign() error {
	if st.foreign {
		return nil
	}
	st.foreign = true
	return writeSynced(filepath.Join(st.dir, foreignName), nil)
}

// writeSynced writes a small file, on the disk with its name when it returns.
func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// wasClosed tells whether the journal was closed where it ends now.
func (st *stream) wasClosed() bool {
	b, err := os.ReadFile(filepath.Join(st.dir, closedName))
	return err == nil && len(b) == 12 && binary.LittleEndian.Uint32(b[8:]) == crc32.Checksum(b[:8], castagnoli) &&
		binary.LittleEndian.Uint64(b) == st.next()
}

// unmarkClosed takes the mark away, for good: a stale one would hide a lost end.
func (st *stream) unmarkClosed() error {
	if err := os.Remove(filepath.Join(st.dir, closedName)); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	return syncDir(st.dir)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}

// journalDirs lists the journals in a folder and removes what a crash left half-made.
func journalDirs(dir string) (map[JournalID]string, error) {
	found := map[JournalID]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list journals: %w", err)
	}
	for _, e := range entries {
		id, err := hex.DecodeString(e.Name())
		if err != nil || len(id) != 16 || !e.IsDir() || strings.ToLower(e.Name()) != e.Name() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		half, err := filepath.Glob(filepath.Join(path, "*"+tmpSuffix))
		if err != nil {
			return nil, fmt.Errorf("list journals: %w", err)
		}
		for _, name := range half {
			if err := os.Remove(name); err != nil {
				return nil, fmt.Errorf("remove what a crash left: %w", err)
			}
		}
		found[JournalID(id)] = path
	}
	return found, nil
}

// sortedJournals gives the journals in a fixed order.
func sortedJournals(dirs map[JournalID]string) []JournalID {
	return slices.SortedFunc(maps.Keys(dirs), func(a, b JournalID) int { return bytes.Compare(a[:], b[:]) })
}
