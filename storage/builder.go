package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// tableBytes is the size at which a Builder begins another sorted table.
const tableBytes = 64 << 20

// Builder makes the next generation of a stream as the bytes arrive: sorted tables, ingested at the end. Nothing of it
// is current, and nothing survives a restart, before Flip. It belongs to one goroutine and is ended by Flip or Abort.
type Builder struct {
	s      *Store
	name   string
	parser *Parser
	opts   *pebble.Options
	w      *sstable.Writer
	size   int
	tables []string
	g      *generation // once finished
	at     Position    // what it was finished with
}

// NewBuilder begins a generation beside the current one.
func (s *Store) NewBuilder() (*Builder, error) {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	b := &Builder{s: s, name: generationName(s.mu.next)}
	s.mu.next++
	s.mu.builders[b] = struct{}{}
	s.mu.Unlock()
	b.parser = NewParser(b.set)
	b.opts = s.opts.pebbleOptions(s.fs, s.cache, s.log)
	if err := s.fs.MkdirAll(b.incoming(), 0o755); err != nil {
		return nil, errors.Join(fmt.Errorf("build %s: %w", b.name, err), b.Abort())
	}
	return b, nil
}

// Name returns the name of the generation.
func (b *Builder) Name() string { return b.name }

func (b *Builder) dir() string { return b.s.fs.PathJoin(b.s.dir, b.name) }

func (b *Builder) incoming() string { return b.s.fs.PathJoin(b.dir(), "incoming") }

// Write takes the next piece of the stream.
func (b *Builder) Write(p []byte) (int, error) { return b.parser.Write(p) }

func (b *Builder) set(key, value []byte) error {
	if b.w == nil {
		name := b.s.fs.PathJoin(b.incoming(), fmt.Sprintf("%06d.sst", len(b.tables)))
		f, err := b.s.fs.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		b.tables = append(b.tables, name)
		b.w = sstable.NewWriter(objstorageprovider.NewFileWritable(f), b.opts.MakeWriterOptions(6, formatMajorVersion.MaxTableFormat()))
	}
	if err := b.w.Set(key, value); err != nil {
		return err
	}
	if b.size += len(key) + len(value); b.size >= tableBytes {
		return b.endTable()
	}
	return nil
}

// endTable completes and syncs the sorted table that is being written.
func (b *Builder) endTable() error {
	if b.w == nil {
		return nil
	}
	w := b.w
	b.w, b.size = nil, 0
	return w.Close()
}

// Finish checks the end of the stream and completes the generation, durably. Everything that can fail fails here or in
// Write. The position of the state becomes that of st, never the one in the stream, which in an archive belongs to
// another history; an archive begins the history named by st. After an error only Abort makes sense.
func (b *Builder) Finish(st Stamp) error {
	h, archive, err := b.parser.Finish()
	if err != nil {
		return err
	}
	if archive {
		h.History = st.Position
	}
	if err := b.endTable(); err != nil {
		return fmt.Errorf("build %s: %w", b.name, err)
	}
	g, err := b.s.openGeneration(b.name, false)
	if err != nil {
		return err
	}
	b.g, b.at = g, st.Position
	if err := b.fill(h, st); err != nil {
		return fmt.Errorf("build %s: %w", b.name, err)
	}
	return b.s.log.err()
}

// fill ingests the tables and stores what the node remembers beside the state, with one synced batch.
func (b *Builder) fill(h Header, st Stamp) error {
	db := b.g.db
	if len(b.tables) > 0 {
		if err := db.Ingest(context.Background(), b.tables); err != nil {
			return err
		}
	}
	batch := db.NewBatch()
	for letter, sum := range h.Sums { // distinct keys: their order can't be seen
		if err := batch.Set(tableSumKey(letter), sum.append(nil), nil); err != nil {
			return err
		}
	}
	for _, kv := range []struct{ key, value []byte }{
		{keyApplied, st.Position.Append(nil)},
		{keyHistory, h.History.Append(nil)},
		{keyConfig, st.Configuration.append(nil)},
		{keyStamp, st.Append(nil)},
	} {
		if err := batch.Set(kv.key, kv.value, nil); err != nil {
			return err
		}
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return err
	}
	return b.s.fs.RemoveAll(b.incoming())
}

// Abort drops the generation. It may follow Flip, and then does nothing.
func (b *Builder) Abort() error {
	b.s.mu.Lock()
	_, ours := b.s.mu.builders[b]
	delete(b.s.mu.builders, b)
	b.s.mu.Unlock()
	if !ours { // flipped, aborted, or discarded by Close
		return nil
	}
	return b.discard()
}

func (b *Builder) discard() error {
	var err error
	if b.w != nil {
		err = b.w.Close()
		b.w = nil
	}
	if b.g != nil {
		err = errors.Join(err, b.g.db.Close())
		b.g = nil
	}
	if err := errors.Join(err, b.s.fs.RemoveAll(b.dir())); err != nil {
		return fmt.Errorf("drop %s: %w", b.name, err)
	}
	return nil
}

// Flip makes a finished generation the current one: the pointer first, durably, then the memory. It tells whether the
// pointer may have changed: an error together with true means that only a restart can tell which generation is
// current, so the process must end. The one that was current goes when its last holder lets go.
func (s *Store) Flip(b *Builder) (flipped bool, err error) {
	s.swap.Lock()
	defer s.swap.Unlock()
	s.mu.Lock()
	_, ours := s.mu.builders[b]
	if ours && b.g != nil && !s.mu.closed {
		delete(s.mu.builders, b)
	} else {
		ours = false
	}
	s.mu.Unlock()
	if !ours {
		return false, fmt.Errorf("flip to %s: not finished, or ended: %w", b.name, ErrClosed)
	}
	if err := s.setCurrent(b.name, &flipped); err != nil {
		err = fmt.Errorf("flip to %s: %w", b.name, err)
		if flipped { // CURRENT may name it: keep the directory
			return true, errors.Join(err, b.g.db.Close())
		}
		return false, errors.Join(err, b.discard())
	}
	s.mu.Lock()
	old := s.mu.cur
	s.mu.cur, old.retired = b.g, true
	b.g = nil
	s.mu.open++
	s.mu.Unlock()
	return true, old.release()
}
