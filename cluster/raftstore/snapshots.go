package raftstore

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/storage"
)

// List implements raft.SnapshotStore. What was received but not taken isn't listed: the library would believe at the
// next start that the state has it.
func (s *Store) List() ([]*raft.SnapshotMeta, error) {
	m, err := s.meta()
	if err != nil {
		return nil, err
	}
	meta, ok := snapshotMeta(m)
	if !ok {
		return nil, nil
	}
	return []*raft.SnapshotMeta{&meta}, nil
}

// Open implements raft.SnapshotStore. Meta and content come from one version of the state. For something received it
// yields only its name, which Restore looks up.
func (s *Store) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	k := s.built[id]
	s.mu.Unlock()
	if k != nil {
		meta := k.meta
		meta.Size = int64(len(id))
		return &meta, io.NopCloser(strings.NewReader(id)), nil
	}
	if id != virtualID {
		return nil, nil, fmt.Errorf("there is no snapshot %q", id)
	}
	v := s.storage.View()
	meta, st, err := openStream(v)
	if err != nil {
		return nil, nil, errors.Join(err, v.Close())
	}
	return meta, outgoing{Stream: st, view: v}, nil
}

func openStream(v *storage.View) (*raft.SnapshotMeta, *storage.Stream, error) {
	m, err := v.Meta()
	if err != nil {
		return nil, nil, err
	}
	meta, ok := snapshotMeta(m)
	if !ok {
		return nil, nil, errors.New("there is no snapshot yet")
	}
	st, err := v.Stream(storage.Position{Index: meta.Index, Term: meta.Term})
	if err != nil {
		return nil, nil, err
	}
	meta.Size = st.Size()
	return &meta, st, nil
}

// outgoing closes the view with its stream.
type outgoing struct {
	*storage.Stream
	view *storage.View
}

// Close implements io.Closer.
func (o outgoing) Close() error { return errors.Join(o.Stream.Close(), o.view.Close()) }

// Create implements raft.SnapshotStore.
func (s *Store) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, configIndex uint64,
	_ raft.Transport,
) (raft.SnapshotSink, error) {
	at := storage.Position{Index: index, Term: term}
	return &sink{
		s: s,
		stamp: storage.Stamp{
			Position:      at,
			Configuration: storage.Configuration{Index: configIndex, Data: raft.EncodeConfiguration(c)},
		},
		meta: raft.SnapshotMeta{
			Version: version, ID: virtualID, Index: index, Term: term, Configuration: c, ConfigurationIndex: configIndex,
		},
	}, nil
}

// sink is of two kinds, and Create can't tell which: either nothing is written to it, because Persist only stamps, or a
// stream is, of an install or an operator's restore. Then the next generation is built as the bytes arrive. All that
// can fail fails in Write and Close, where the library passes the error on; a failing Restore would make it panic.
type sink struct {
	s       *Store
	stamp   storage.Stamp
	meta    raft.SnapshotMeta
	stamped bool
	builder *storage.Builder
	closed  bool
}

// ID implements raft.SnapshotSink.
func (k *sink) ID() string { return k.meta.ID }

// Write implements raft.SnapshotSink.
func (k *sink) Write(p []byte) (int, error) {
	if k.closed {
		return 0, errors.New("sink is closed")
	}
	if k.builder == nil {
		b, err := k.s.storage.NewBuilder()
		if err != nil {
			return 0, err
		}
		k.builder, k.meta.ID = b, b.Name()
	}
	return k.builder.Write(p)
}

// Close implements raft.SnapshotSink: what was received is complete and durable, but not yet current.
func (k *sink) Close() error {
	if k.closed {
		return nil
	}
	k.closed = true
	if k.builder == nil {
		if !k.stamped {
			return errors.New("a snapshot without state")
		}
		return nil
	}
	err := k.s.notOlder(k.stamp.Position)
	if err == nil {
		err = k.builder.Finish(k.stamp)
	}
	if err != nil {
		return errors.Join(err, k.builder.Abort())
	}
	return k.s.keep(k)
}

// keep remembers a complete sink until Restore, and drops one that was never taken.
func (s *Store) keep(k *sink) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, old := range s.built { // any order: all of them go
		err = errors.Join(err, old.builder.Abort())
		delete(s.built, id)
	}
	s.built[k.meta.ID] = k
	return err
}

// Cancel implements raft.SnapshotSink.
func (k *sink) Cancel() error {
	if k.closed {
		return nil
	}
	k.closed = true
	if k.builder == nil {
		return nil
	}
	return k.builder.Abort()
}
