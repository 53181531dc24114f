package storage

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open(fs, "data/state", Small())
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func TestTxReadsItsOwnWrites(t *testing.T) {
	s := open(t, vfs.NewCrashableMem())
	tx := s.Begin()
	must(t, tx.Set([]byte("a1"), []byte("x")))
	v, err := tx.Get([]byte("a1"))
	must(t, err)
	if string(v) != "x" {
		t.Errorf("own write: %q", v)
	}
	must(t, tx.Commit(Position{7, 2}, nil))
	w := s.View()
	defer w.Close()
	if i, term := w.Applied(); i != 7 || term != 2 {
		t.Errorf("applied %d@%d", i, term)
	}
	must(t, w.Check())
}
