package storage

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// View is one version of the state, unmoved by later commits and restores. It is safe for concurrent use, must be
// closed, and holds back the removal of old versions while it is open: close it soon.
type View struct {
	g       *generation
	snap    *pebble.Snapshot
	applied Position
	err     error // why there is nothing to read
}

var _ Reader = (*View)(nil)

// View opens the newest version. It never fails itself; after Close of the Store, or a fault, its methods do.
func (s *Store) View() *View {
	g := s.acquire()
	if g == nil {
		return &View{err: ErrClosed}
	}
	v := &View{g: g, snap: g.db.NewSnapshot()}
	v.applied, v.err = readApplied(v.snap)
	return v
}

func readApplied(g getter) (Position, error) {
	b, err := get(g, keyApplied)
	if err != nil || b == nil {
		return Position{}, err
	}
	return ReadPosition(b)
}

// Get implements Reader.
func (v *View) Get(key []byte) ([]byte, error) {
	if v.err != nil {
		return nil, v.err
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return get(v.snap, key)
}

// Scan implements Reader.
func (v *View) Scan(lower, upper []byte, reverse bool, fn func(key, value []byte) (bool, error)) error {
	if v.err != nil {
		return v.err
	}
	return scan(v.snap, lower, upper, reverse, fn)
}

// Applied returns index and term of the last command or configuration that this version contains. Nodes with equal
// state may differ in it: after an install it counts the barriers that came before. Compare digests per command.
func (v *View) Applied() (index, term uint64) { return v.applied.Index, v.applied.Term }

// Digests returns the running sums, one for each table that has records.
func (v *View) Digests() (Sums, error) {
	if v.err != nil {
		return nil, v.err
	}
	return readSums(v.snap)
}

// Meta is what the node remembers beside the state.
type Meta struct {
	Applied Position
	History Position
	Config  *Configuration // nil if no entry brought one yet
	Stamp   *Stamp         // nil if no snapshot was taken or installed yet
}

// Meta reads the node's own records.
func (v *View) Meta() (m Meta, err error) {
	if v.err != nil {
		return m, v.err
	}
	m.Applied = v.applied
	if b, err := get(v.snap, keyHistory); err != nil {
		return m, err
	} else if b != nil {
		if m.History, err = ReadPosition(b); err != nil {
			return m, fmt.Errorf("history: %w", err)
		}
	}
	if b, err := get(v.snap, keyConfig); err != nil {
		return m, err
	} else if b != nil {
		c, err := readConfiguration(b)
		if err != nil {
			return m, err
		}
		m.Config = &c
	}
	if b, err := get(v.snap, keyStamp); err != nil {
		return m, err
	} else if b != nil {
		s, err := ReadStamp(b)
		if err != nil {
			return m, err
		}
		m.Stamp = &s
	}
	return m, nil
}

// Check counts and hashes every record and compares the result with the running sums. An error names each table that
// differs: the state on this disk is not the one that was written.
func (v *View) Check() error {
	stored, err := v.Digests()
	if err != nil {
		return err
	}
	found := Sums{}
	err = v.Scan(nil, nil, false, func(key, value []byte) (bool, error) {
		t := found[key[0]]
		t.insert(key, value)
		found[key[0]] = t
		return true, nil
	})
	if err != nil {
		return err
	}
	return compareSums(stored, found)
}

func compareSums(stored, found Sums) error {
	all := maps.Clone(stored)
	maps.Copy(all, found)
	var errs []error
	for _, letter := range slices.Sorted(maps.Keys(all)) {
		s, f := stored[letter], found[letter]
		if s != f {
			errs = append(errs, fmt.Errorf("table %q: sums say %d records, %d bytes, digest %v; found %d, %d, %v: %w",
				letter, s.Records, s.Bytes, s.Digest, f.Records, f.Bytes, f.Digest, ErrCorrupt))
		}
	}
	return errors.Join(errs...)
}

// Close ends the view. It may be called twice, not concurrently.
func (v *View) Close() error {
	if v.g == nil {
		return nil
	}
	g, snap := v.g, v.snap
	v.g, v.snap = nil, nil
	if v.err == nil {
		v.err = errors.New("view has been closed")
	}
	return errors.Join(snap.Close(), g.release())
}

// Hold keeps the current generation without a version of it: what a snapshot of the Raft library needs between its
// beginning and its stamp.
type Hold struct{ g *generation }

// Hold returns a hold on the current generation, or ErrClosed. It must be released.
func (s *Store) Hold() (*Hold, error) {
	g := s.acquire()
	if g == nil {
		return nil, ErrClosed
	}
	return &Hold{g: g}, nil
}

// Stamp stores st with one synced write, which makes everything that was committed before it durable too: so a durable
// stamp without its state can't exist. It returns ErrSuperseded if a restore has replaced the generation.
func (h *Hold) Stamp(st Stamp) error {
	s := h.g.s
	s.swap.Lock()
	defer s.swap.Unlock()
	s.mu.Lock()
	current := s.mu.cur == h.g && !s.mu.closed
	s.mu.Unlock()
	if !current {
		return ErrSuperseded
	}
	if err := h.g.db.Set(keyStamp, st.Append(nil), pebble.Sync); err != nil {
		return fmt.Errorf("stamp %v: %w", st.Position, err)
	}
	return s.log.err()
}

// Release lets go of the generation.
func (h *Hold) Release() error { return h.g.release() }
