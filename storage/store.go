package storage

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrClosed is returned by everything that a closed Store is asked for.
var ErrClosed = errors.New("storage is closed")

// ErrSuperseded is returned for a stamp that belongs to a generation which a restore has replaced.
var ErrSuperseded = errors.New("superseded by a restore")

// Names inside a Store's directory.
const (
	currentFile      = "CURRENT"
	generationPrefix = "gen-"
	tmpSuffix        = ".tmp"
)

// Store owns a directory of generations, each one Pebble. One of them is current; CURRENT names it. All methods may be
// called concurrently, except that Begin, Tx and Flip belong to one goroutine (the one that applies).
type Store struct {
	fs    vfs.FS
	dir   string
	opts  Options
	cache *pebble.Cache
	log   *logger

	// swap is held while a stamp is written or the current generation changes, so that no stamp lands in a generation
	// that has been replaced. Order: swap before mu.
	swap sync.Mutex

	mu struct {
		sync.Mutex
		idle     *sync.Cond // signalled when a generation has been closed
		cur      *generation
		open     int // generations with an open Pebble, builders' apart
		next     int // number of the next generation
		builders map[*Builder]struct{}
		closed   bool
		closeErr error // of generations that were closed by their last holder
	}
}

// generation is one directory with one Pebble. Views, streams and holds refer to it. Once retired it is closed, and
// its directory removed, when the last of them lets go.
type generation struct {
	s       *Store
	name    string
	db      *pebble.DB
	refs    int  // guarded by Store.mu; the Store itself holds one for the current generation
	retired bool // guarded by Store.mu; replaced by a restore: remove the directory when closed
}

// Open opens the generation that CURRENT names, or makes the first one, and deletes every other: what was received
// but never became current is sent again by the leader. The directory and its parent are synced.
func Open(fs vfs.FS, dir string, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	s := &Store{fs: fs, dir: dir, opts: opts, log: &logger{opts: opts}}
	s.mu.idle = sync.NewCond(&s.mu)
	s.mu.builders = map[*Builder]struct{}{}
	if err := makeDir(fs, dir); err != nil {
		return nil, fmt.Errorf("open storage %s: %w", dir, err)
	}
	name, first, err := s.readCurrent()
	if err != nil {
		return nil, fmt.Errorf("open storage %s: %w", dir, err)
	}
	keep := name
	if first { // nothing is named yet, so nothing was committed: a cut while the first one was made may have torn it
		keep = ""
	}
	if err := s.removeOthers(keep); err != nil {
		return nil, fmt.Errorf("open storage %s: %w", dir, err)
	}
	s.cache = pebble.NewCache(opts.CacheBytes)
	g, err := s.openGeneration(name, !first)
	if err != nil {
		s.cache.Unref()
		return nil, fmt.Errorf("open storage %s: %w", dir, err)
	}
	s.mu.cur, s.mu.open = g, 1
	// A first generation is named only now, when it is complete. Naming it again does no harm.
	if err := s.setCurrent(name, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("open storage %s: %w", dir, err), s.Close())
	}
	return s, nil
}

// makeDir makes dir and every missing parent, and syncs the directory that holds each new one: else a power cut takes
// the whole of it, however well its files were synced.
func makeDir(fs vfs.FS, dir string) error {
	var missing []string
	for d := dir; ; d = fs.PathDir(d) {
		_, err := fs.Stat(d)
		if err == nil {
			break
		}
		missing = append(missing, d)
		if parent := fs.PathDir(d); parent == d {
			break
		}
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if len(missing) == 0 { // it may have been made just before a crash
		missing = []string{dir}
	}
	for _, d := range missing {
		if err := syncDir(fs, fs.PathDir(d)); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fs vfs.FS, name string) error {
	d, err := fs.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readCurrent returns the generation that CURRENT names, or the name of the first one if there is no CURRENT.
func (s *Store) readCurrent() (name string, first bool, err error) {
	f, err := s.fs.Open(s.fs.PathJoin(s.dir, currentFile))
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		name, first = generationName(1), true
	case err != nil:
		return "", false, err
	default:
		b, err := io.ReadAll(io.LimitReader(f, 64))
		if err := errors.Join(err, f.Close()); err != nil {
			return "", false, err
		}
		name = string(b)
	}
	n, err := generationNumber(name)
	if err != nil {
		return "", false, err
	}
	s.mu.next = n + 1
	return name, first, nil
}

func generationName(n int) string { return fmt.Sprintf("%s%06d", generationPrefix, n) }

func generationNumber(name string) (n int, err error) {
	if _, err := fmt.Sscanf(name, generationPrefix+"%d", &n); err != nil || n < 1 || generationName(n) != name {
		return 0, fmt.Errorf("%s names %q: %w", currentFile, name, ErrCorrupt)
	}
	return n, nil
}

func (s *Store) removeOthers(keep string) error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if n != keep && (strings.HasPrefix(n, generationPrefix) || n == currentFile+tmpSuffix) {
			if err := s.fs.RemoveAll(s.fs.PathJoin(s.dir, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// setCurrent makes CURRENT name the generation. committed, if not nil, is set when the pointer may have changed: from
// then on an error leaves open which of the two a restart finds.
func (s *Store) setCurrent(name string, committed *bool) error {
	tmp := s.fs.PathJoin(s.dir, currentFile+tmpSuffix)
	f, err := s.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, name)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := syncDir(s.fs, s.dir); err != nil { // the new generation's own entry
		return err
	}
	if committed != nil {
		*committed = true
	}
	if err := s.fs.Rename(tmp, s.fs.PathJoin(s.dir, currentFile)); err != nil {
		return err
	}
	return syncDir(s.fs, s.dir)
}

// openGeneration opens one generation and checks its format. Unless it must exist, it is made: a generation that
// CURRENT names and that isn't there was taken away, and an empty one in its place would be another state.
func (s *Store) openGeneration(name string, mustExist bool) (*generation, error) {
	opts := s.opts.pebbleOptions(s.fs, s.cache, s.log)
	opts.ErrorIfNotExists = mustExist
	db, err := pebble.Open(s.fs.PathJoin(s.dir, name), opts)
	if err != nil {
		return nil, fmt.Errorf("generation %s: %w", name, err)
	}
	if err := checkFormat(db); err != nil {
		return nil, errors.Join(fmt.Errorf("generation %s: %w", name, err), db.Close())
	}
	return &generation{s: s, name: name, db: db, refs: 1}, nil
}

// checkFormat refuses a state that another version wrote, and marks a new one.
func checkFormat(db *pebble.DB) error {
	b, err := get(db, keyFormat)
	switch {
	case err != nil:
		return err
	case b == nil:
		return db.Set(keyFormat, []byte{stateFormat}, pebble.Sync)
	case len(b) != 1 || b[0] != stateFormat:
		return fmt.Errorf("state has format %x, this binary knows %d only", b, stateFormat)
	}
	return nil
}

// acquire returns the current generation with one more reference, or nil after Close.
func (s *Store) acquire() *generation {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return nil
	}
	s.mu.cur.refs++
	return s.mu.cur
}

// release gives a reference back; the last one closes the Pebble, and removes the directory of a retired generation.
func (g *generation) release() error {
	s := g.s
	s.mu.Lock()
	g.refs--
	last := g.refs == 0
	s.mu.Unlock()
	if !last {
		return nil
	}
	err := g.db.Close()
	if g.retired { // only ever set before the last reference goes
		err = errors.Join(err, s.fs.RemoveAll(s.fs.PathJoin(s.dir, g.name)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.open--
	if err != nil {
		s.mu.closeErr = errors.Join(s.mu.closeErr, fmt.Errorf("close generation %s: %w", g.name, err))
	}
	s.mu.idle.Broadcast()
	return err
}

// Close waits until all views, streams, transactions and holds have been closed, then closes everything. Views that are
// asked for afterwards fail with ErrClosed. Nothing is synced: the Raft log has what Pebble's log has not.
func (s *Store) Close() error {
	s.swap.Lock() // no flip and no stamp is half-way
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		s.swap.Unlock()
		return nil
	}
	s.mu.closed = true
	builders := s.mu.builders
	s.mu.builders = map[*Builder]struct{}{}
	cur := s.mu.cur
	s.mu.Unlock()
	s.swap.Unlock()
	var err error
	for b := range builders {
		err = errors.Join(err, b.discard())
	}
	_ = cur.release() // its error is in closeErr, with those of other generations
	s.mu.Lock()
	for s.mu.open > 0 {
		s.mu.idle.Wait()
	}
	err = errors.Join(err, s.mu.closeErr)
	s.mu.Unlock()
	s.cache.Unref()
	return err
}

// Err returns the reason why Pebble gave up, or nil.
func (s *Store) Err() error { return s.log.err() }

// getter is what pebble.DB, pebble.Snapshot and an indexed pebble.Batch have in common.
type getter interface {
	Get(key []byte) ([]byte, io.Closer, error)
	NewIter(o *pebble.IterOptions) (*pebble.Iterator, error)
}

// get returns a copy of a value, nil if there is none. A value that is empty comes back as an empty slice.
func get(g getter, key []byte) ([]byte, error) {
	v, closer, err := g.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %x: %w", key, err)
	}
	out := append(make([]byte, 0, len(v)), v...)
	return out, closer.Close()
}
