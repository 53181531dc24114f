package raftstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/storage"
)

// Machine is the deterministic state machine.
type Machine interface {
	// Apply applies the payload of one entry; its frame has been checked and cut off. It runs on the applying goroutine,
	// one call at a time, in order of index, and reads and writes the state through tx only. payload is valid until it
	// returns. An error is a fault: it stops the node and nothing of the batch is applied. result goes to the
	// proposer's future and to Hooks.Applied; refusals of the business are results.
	Apply(tx *storage.Tx, index, term uint64, payload []byte) (result any, err error)
}

// Applied is one entry that has been applied.
type Applied struct {
	Index, Term uint64
	Result      any
}

// Hooks tell the node what happens. All run on the applying goroutine and hold it up; each may be nil.
type Hooks struct {
	// Applied receives the results of a batch after it is visible in storage and before its index is published. An error
	// is fatal, and the index stays unpublished: nobody may read a state of which a part missed the change.
	Applied func(results []Applied) error
	// Restored runs after another state has replaced this one, before its index is published. An error is fatal.
	Restored func(r storage.Reader) error
	// Configuration receives each membership that passes through the log, at the same moment as Applied.
	Configuration func(index uint64, c raft.Configuration)
	// Fatal must end the process; nil panics. If it returns, as in tests, the Store applies nothing any more.
	Fatal func(err error)
}

// ErrHalted is the reason of everything that fails after Hooks.Fatal; the cause is wrapped beside it.
var ErrHalted = errors.New("state machine has halted")

// ErrHole is returned by Open when log and state don't meet. Nothing on this node can repair that: wipe the node and
// let it join again.
var ErrHole = errors.New("log and state don't meet; this node must be rebuilt: wipe its data and join it again")

// Store is the state machine and the snapshot store of the Raft library in one, because the state is the snapshot.
// Methods that the library calls are called as its documentation says; all others are safe for concurrent use.
type Store struct {
	storage *storage.Store
	log     raft.LogStore // the library's own handle, cache included
	machine Machine
	hooks   Hooks

	// applied is the position inside the state. Owned by the applying goroutine. Invariant: never below published.
	applied storage.Position
	// history names what every entry must belong to. Written by the applying goroutine, read by Frame.
	history   atomic.Pointer[storage.Position]
	published progress
	halted    atomic.Pointer[error]
	skipped   atomic.Uint64 // entries at or below applied that came again
	installs  atomic.Uint64

	mu    sync.Mutex
	built map[string]*sink // received and complete, waiting for Restore; at most one in practice
}

var (
	_ raft.BatchingFSM   = (*Store)(nil)
	_ raft.SnapshotStore = (*Store)(nil)
)

// Option changes how a Store is opened.
type Option func(*options)

type options struct{ storage storage.Options }

// WithStorage sets the options of the storage. Its Fatal, if nil, becomes that of the Store.
func WithStorage(o storage.Options) Option { return func(p *options) { p.storage = o } }

// Open opens the state in dir and makes the log agree with it. log must be the very handle that the Raft library gets,
// with its cache, see Logs. It returns ErrHole when entries between state and log are missing.
func Open(fs vfs.FS, dir string, log raft.LogStore, m Machine, h Hooks, opts ...Option) (*Store, error) {
	var o options
	for _, f := range opts {
		f(&o)
	}
	s := &Store{log: log, machine: m, hooks: h, built: map[string]*sink{}}
	if o.storage.Fatal == nil {
		o.storage.Fatal = s.halt
	}
	st, err := storage.Open(fs, dir, o.storage)
	if err != nil {
		return nil, err
	}
	s.storage = st
	if err := s.load(); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	s.published.publish(s.applied)
	return s, nil
}

// load takes position and history from the state and checks the log against it.
func (s *Store) load() error {
	m, err := s.meta()
	if err != nil {
		return err
	}
	s.applied = m.Applied
	s.history.Store(&m.History)
	return checkLog(s.log, m)
}

func (s *Store) meta() (storage.Meta, error) {
	v := s.storage.View()
	m, err := v.Meta()
	return m, errors.Join(err, v.Close())
}

// Storage returns the storage, for views.
func (s *Store) Storage() *storage.Store { return s.storage }

// Applied returns index and term of the last command or configuration that is visible here and whose Hooks have run.
// No-ops and barriers never reach a state machine, so it can stay below the library's own index for ever.
func (s *Store) Applied() (index, term uint64) {
	p := s.published.get()
	return p.Index, p.Term
}

// WaitApplied returns nil once Applied is at or above index. index must be that of a command or of a configuration, or
// have come from Applied of some node: a barrier's is never reached on an idle cluster. It returns the cause of ctx when that
// ends first, and ErrHalted or storage.ErrClosed when nothing will be applied any more.
func (s *Store) WaitApplied(ctx context.Context, index uint64) error {
	return s.published.wait(ctx, index)
}

// History returns the position that names this history of the cluster, zero for the first.
func (s *Store) History() storage.Position { return *s.history.Load() }

// Frame returns payload with format and history before it, ready for the library's Apply. Nothing may be framed before
// an operator's restore and proposed after it: every node would stop at that entry.
func (s *Store) Frame(payload []byte) []byte { return frame(*s.history.Load(), payload) }

// Skipped returns how many entries came again and were skipped; Installs, how many states were received and taken.
func (s *Store) Skipped() uint64 { return s.skipped.Load() }

// Installs returns how many states were received and taken.
func (s *Store) Installs() uint64 { return s.installs.Load() }

// Err returns why the Store has halted, or nil.
func (s *Store) Err() error {
	if p := s.halted.Load(); p != nil {
		return *p
	}
	return nil
}

// halt stops applying for good and ends the process through Hooks.Fatal. It is the one place that decides so.
func (s *Store) halt(cause error) {
	err := fmt.Errorf("%w: %w", ErrHalted, cause)
	if !s.halted.CompareAndSwap(nil, &err) {
		return
	}
	s.published.stop(err)
	if s.hooks.Fatal == nil {
		panic(err)
	}
	s.hooks.Fatal(err)
}

// Close closes the storage, once all views and streams are closed. Shut the Raft library and its transport down first.
func (s *Store) Close() error {
	s.published.stop(storage.ErrClosed)
	s.mu.Lock()
	built := s.built
	s.built = map[string]*sink{}
	s.mu.Unlock()
	var err error
	for _, k := range built {
		err = errors.Join(err, k.builder.Abort())
	}
	return errors.Join(err, s.storage.Close())
}
