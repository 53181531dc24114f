package cluster

import (
	"errors"
	"time"

	"github.com/kavachd/kavachd/authz/state"
	"github.com/kavachd/kavachd/fsm"
	"github.com/kavachd/kavachd/storage"
)

// View is one version of the state, for one evaluation. State and Records are of the same version. Nothing of it may be
// used after the evaluation has returned.
type View struct {
	// State is the decision state.
	State state.View
	// Records reads stored records. Pebble is opened with the first one that is read.
	Records *fsm.Reader
	// Revision is the index of the version.
	Revision uint64
	// Now is this node's wall clock at the beginning of the evaluation.
	Now time.Time
}

// errMoved says that the state changed between taking the decision state and opening the records: the evaluation starts
// again.
var errMoved = errors.New("the state has moved on")

// lazyReader opens a version of the records when it is first read, and only if that is the version of the decision state
// that was taken before.
type lazyReader struct {
	store *storage.Store
	at    uint64 // the published index when the decision state was taken
	view  *storage.View
	moved bool
}

var _ storage.Reader = (*lazyReader)(nil)

// open opens the records. Applying commits to Pebble, then changes the decision state, then publishes: so a version of the
// records whose index is not above the one that was published before holds exactly what the decision state holds.
func (l *lazyReader) open() error {
	if l.moved {
		return errMoved
	}
	if l.view != nil {
		return nil
	}
	v := l.store.View()
	if index, _ := v.Applied(); index > l.at {
		l.moved = true
		return errors.Join(errMoved, v.Close())
	}
	l.view = v
	return nil
}

// Get implements storage.Reader.
func (l *lazyReader) Get(key []byte) ([]byte, error) {
	if err := l.open(); err != nil {
		return nil, err
	}
	return l.view.Get(key)
}

// Scan implements storage.Reader.
func (l *lazyReader) Scan(lower, upper []byte, reverse bool, fn func(key, value []byte) (bool, error)) error {
	if err := l.open(); err != nil {
		return err
	}
	return l.view.Scan(lower, upper, reverse, fn)
}

func (l *lazyReader) close() error {
	if l.view == nil {
		return nil
	}
	return l.view.Close()
}

// eagerAfter is how many evaluations may find that the state has moved before the records are opened at once, together
// with the decision state, which leaves writes hardly any time to come between.
const eagerAfter = 3

// evaluate runs eval on one version of the state and returns its index. It runs eval again when the state moved between
// the two halves of the version. Both halves are immutable, so nothing has to be checked afterwards.
func (r *replica) evaluate(now func() time.Time, eval func(*View) error) (revision uint64, err error) {
	for try := 0; ; try++ {
		v, lazy := r.take(now)
		if err = attempt(v, lazy, try >= eagerAfter, eval); !lazy.moved {
			return v.Revision, err
		}
	}
}

// attempt runs eval once. The version is let go even if eval panics: a store waits for its views when it is closed.
func attempt(v *View, lazy *lazyReader, eager bool, eval func(*View) error) (err error) {
	defer func() { err = errors.Join(err, lazy.close()) }()
	if eager {
		if err := lazy.open(); err != nil {
			return err
		}
	}
	return eval(v)
}

// take takes the decision state, and the records as of the same version for when they are read.
func (r *replica) take(now func() time.Time) (*View, *lazyReader) {
	lazy := &lazyReader{store: r.store.Storage(), at: r.applyIndex()} // the index before the decision state
	return &View{State: r.state.Load().View(), Records: fsm.NewReader(lazy), Revision: lazy.at, Now: now()}, lazy
}

// pin opens both halves of a version and leaves them open.
func (r *replica) pin(now func() time.Time) (*View, *lazyReader, error) {
	for {
		v, lazy := r.take(now)
		err := lazy.open()
		if err == nil {
			return v, lazy, nil
		}
		if !lazy.moved {
			return nil, nil, err
		}
	}
}
