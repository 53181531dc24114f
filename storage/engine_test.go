package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
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

// put commits records key=value at index.
func put(t testing.TB, s *Store, index uint64, records ...string) {
	t.Helper()
	tx := s.Begin()
	for _, r := range records {
		k, v, _ := strings.Cut(r, "=")
		must(t, tx.Set([]byte(k), []byte(v)))
	}
	must(t, tx.Commit(Position{index, 1}, nil))
}

// dump returns all records that r has, as key=value.
func dump(t testing.TB, r Reader, reverse bool) (out []string) {
	t.Helper()
	must(t, r.Scan(nil, nil, reverse, func(k, v []byte) (bool, error) {
		out = append(out, fmt.Sprintf("%s=%s", k, v))
		return true, nil
	}))
	return out
}

func TestTxOverlay(t *testing.T) {
	s := open(t, vfs.NewMem())
	put(t, s, 1, "a1=old", "a2=gone", "b1=x")
	tx := s.Begin()
	must(t, tx.Set([]byte("a1"), []byte("new")))
	must(t, tx.Set([]byte("a3"), nil))
	must(t, tx.Delete([]byte("a2")))
	must(t, tx.Delete([]byte("never")))
	if diff := cmp.Diff([]string{"a1=new", "a3=", "b1=x"}, dump(t, tx, false)); diff != "" {
		t.Error("inside: ", diff)
	}
	v := s.View()
	if diff := cmp.Diff([]string{"b1=x", "a2=gone", "a1=old"}, dump(t, v, true)); diff != "" {
		t.Error("outside, backward: ", diff)
	}
	empty, err := tx.Get([]byte("a3"))
	absent, err2 := tx.Get([]byte("a2"))
	if err != nil || err2 != nil || empty == nil || len(empty) != 0 || absent != nil {
		t.Errorf("empty %v %v, absent %v %v", empty, err, absent, err2)
	}
	must(t, tx.Commit(Position{7, 2}, &Configuration{Index: 6, Data: []byte("members")}))
	if diff := cmp.Diff([]string{"a1=old", "a2=gone", "b1=x"}, dump(t, v, false)); diff != "" {
		t.Error("a view moved: ", diff)
	}
	must(t, v.Close())
	w := s.View()
	defer w.Close()
	m, err := w.Meta()
	want := Meta{Applied: Position{7, 2}, Config: &Configuration{Index: 6, Data: []byte("members")}}
	if diff := cmp.Diff(want, m); diff != "" || err != nil {
		t.Error(diff, err)
	}
	must(t, w.Check())
	if err := tx.Set([]byte("a"), nil); err == nil {
		t.Error("an ended transaction was written to")
	}
	must(t, tx.Abort())
}

func TestScanBounds(t *testing.T) {
	s := open(t, vfs.NewMem())
	put(t, s, 1, "a=1", "b=2", "c=3", "\xff\xff=4")
	v := s.View()
	defer v.Close()
	for _, c := range []struct {
		lower, upper string
		want         string
	}{
		{"", "", "abc\xff\xff"}, {"b", "", "bc\xff\xff"}, {"", "c", "ab"}, {"b", "c", "b"}, {"c", "b", ""}, {"b", "b", ""}, {"\x00", "\x01", ""},
	} {
		var lower, upper []byte
		if c.lower != "" {
			lower = []byte(c.lower)
		}
		if c.upper != "" {
			upper = []byte(c.upper)
		}
		got := ""
		must(t, v.Scan(lower, upper, false, func(k, _ []byte) (bool, error) { got += string(k); return true, nil }))
		if got != c.want {
			t.Errorf("from %q to %q: %q, want %q", c.lower, c.upper, got, c.want)
		}
	}
	n, stop := 0, errors.New("stop")
	must(t, v.Scan(nil, nil, false, func(_, _ []byte) (bool, error) { n++; return n < 2, nil }))
	if err := v.Scan(nil, nil, false, func(_, _ []byte) (bool, error) { return true, stop }); !errors.Is(err, stop) || n != 2 {
		t.Error(n, err)
	}
}

// Writes during a Scan of the same transaction aren't seen by it.
func TestScanWhileWriting(t *testing.T) {
	s := open(t, vfs.NewMem())
	put(t, s, 1, "a1=x", "a3=x")
	tx := s.Begin()
	n := 0
	must(t, tx.Scan([]byte("a"), []byte("b"), false, func(k, _ []byte) (bool, error) {
		n++
		return true, errors.Join(tx.Set(append(bytes.Clone(k), '+'), []byte("y")), tx.Delete(k))
	}))
	if diff := cmp.Diff([]string{"a1+=y", "a3+=y"}, dump(t, tx, false)); diff != "" || n != 2 {
		t.Error(n, diff)
	}
	must(t, tx.Commit(Position{2, 1}, nil))
	v := s.View()
	defer v.Close()
	must(t, v.Check())
}

func TestKeysAndSizesAreRefused(t *testing.T) {
	s := open(t, vfs.NewMem())
	tx := s.Begin()
	defer tx.Abort()
	for _, key := range [][]byte{nil, {}, {0}, keyApplied} {
		_, err := tx.Get(key)
		for what, err := range map[string]error{"get": err, "set": tx.Set(key, nil), "delete": tx.Delete(key)} {
			if !errors.Is(err, ErrOwnKey) {
				t.Errorf("%s %x: %v", what, key, err)
			}
		}
	}
	for _, err := range []error{
		tx.Set(bytes.Repeat([]byte("k"), MaxKey+1), nil), tx.Set([]byte("k"), make([]byte, MaxValue+1)),
	} {
		if !errors.Is(err, ErrRecordTooLarge) {
			t.Error(err)
		}
	}
	must(t, tx.Set(bytes.Repeat([]byte("k"), MaxKey), make([]byte, MaxValue)))
	must(t, tx.Commit(Position{1, 1}, nil))
}

// The running sums follow any sequence of writes, whatever its cut into transactions, and forget an empty table.
func TestSumsFollowWrites(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, err := Open(vfs.NewMem(), "state", Small())
		must(t, err)
		defer func() { must(t, s.Close()) }()
		model := map[string]string{}
		index := uint64(0)
		for range rapid.IntRange(1, 5).Draw(rt, "transactions") {
			tx := s.Begin()
			trial := map[string]string{}
			maps.Copy(trial, model)
			for range rapid.IntRange(0, 10).Draw(rt, "writes") {
				k := rapid.SampledFrom([]string{"a1", "a2", "b1", "\xff"}).Draw(rt, "key")
				if rapid.Bool().Draw(rt, "delete") {
					must(t, tx.Delete([]byte(k)))
					delete(trial, k)
				} else {
					v := rapid.StringN(0, 3, 10).Draw(rt, "value")
					must(t, tx.Set([]byte(k), []byte(v)))
					trial[k] = v
				}
			}
			if rapid.Bool().Draw(rt, "abort") {
				must(t, tx.Abort())
				continue
			}
			index++
			must(t, tx.Commit(Position{index, 1}, nil))
			model = trial
		}
		v := s.View()
		defer v.Close()
		must(t, v.Check())
		sums, err := v.Digests()
		must(t, err)
		want := Sums{}
		for k, val := range model {
			sum := want[k[0]]
			sum.insert([]byte(k), []byte(val))
			want[k[0]] = sum
		}
		if !sums.Equal(want) {
			rt.Fatalf("sums %v, want %v", sums, want)
		}
	})
}

// Check finds a record that changed, went or came without its sum.
func TestCheckFindsDamage(t *testing.T) {
	for name, damage := range map[string]func(*pebble.DB) error{
		"changed": func(db *pebble.DB) error { return db.Set([]byte("a1"), []byte("Y"), pebble.NoSync) },
		"gone":    func(db *pebble.DB) error { return db.Delete([]byte("a1"), pebble.NoSync) },
		"new":     func(db *pebble.DB) error { return db.Set([]byte("c"), nil, pebble.NoSync) },
		"swapped": func(db *pebble.DB) error {
			return errors.Join(db.Set([]byte("a1"), []byte("z"), pebble.NoSync), db.Set([]byte("a2"), []byte("y"), pebble.NoSync))
		},
		"sum lost": func(db *pebble.DB) error { return db.Delete(tableSumKey('a'), pebble.NoSync) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, vfs.NewMem())
			put(t, s, 1, "a1=y", "a2=z", "b=x")
			must(t, damage(s.mu.cur.db))
			v := s.View()
			defer v.Close()
			if err := v.Check(); !errors.Is(err, ErrCorrupt) {
				t.Error(err)
			}
		})
	}
}

func TestDigestArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) (d Digest) {
			copy(d[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, name))
			return d
		}
		a, b := draw("a"), draw("b")
		ab, ba := a, b
		ab.add(b)
		ba.add(a)
		if ab != ba {
			t.Fatal("order matters")
		}
		if ab.sub(b); ab != a {
			t.Fatal("sub doesn't undo add")
		}
	})
	top := Digest(bytes.Repeat([]byte{0xff}, 32))
	top.add(Digest{31: 1})
	if top != (Digest{}) {
		t.Error("2^256 isn't 0: ", top)
	}
}

// A power cut at every write of the first Open leaves a directory that opens, whatever part of the unsynced data is left.
func TestOpenPowerCut(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for k := 1; ; k++ {
		n := 0
		mem := vfs.NewCrashableMem()
		var images []*vfs.MemFS
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				if n++; n == k {
					for i := range 40 { // what is left is drawn: one of many images is torn
						percent := []int{0, 30, 60, 100}[i%4]
						images = append(images, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
					}
				}
			}
			return nil
		}))
		s, err := Open(fs, "data/state", Small())
		must(t, err)
		opened := n
		must(t, s.Close())
		if opened < k {
			if k < 10 {
				t.Errorf("%d writes only", opened)
			}
			return
		}
		for i, image := range images {
			s, err := Open(image, "data/state", Small())
			if err != nil {
				t.Errorf("write %d, image %d: %v", k, i, err)
				continue
			}
			must(t, s.Close())
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, damage := range map[string]func(*Store) error{
		"a name that is none":              func(s *Store) error { return s.setCurrent("gen-1", nil) },
		"a generation that was taken away": func(s *Store) error { return s.setCurrent("gen-000002", nil) },
		"another format": func(s *Store) error {
			return s.mu.cur.db.Set(keyFormat, []byte{stateFormat + 1}, pebble.Sync)
		},
		"a short position": func(s *Store) error { return s.mu.cur.db.Set(keyApplied, []byte{1}, pebble.Sync) },
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			s, err := Open(mem, "state", Small())
			must(t, err)
			must(t, errors.Join(damage(s), s.Close()))
			s, err = Open(mem, "state", Small())
			if err == nil { // what is read later fails later
				v := s.View()
				_, err = v.Meta()
				must(t, errors.Join(v.Close(), s.Close()))
			}
			if err == nil {
				t.Error("opened")
			}
		})
	}
}

func TestClosed(t *testing.T) {
	s, err := Open(vfs.NewMem(), "state", Small())
	must(t, err)
	must(t, s.Close())
	must(t, s.Close())
	v, tx := s.View(), s.Begin()
	_, err1 := v.Get([]byte("a"))
	_, err2 := v.Digests()
	_, err3 := s.Hold()
	_, err4 := s.NewBuilder()
	for i, err := range []error{err1, err2, err3, err4, v.Scan(nil, nil, false, nil), tx.Set([]byte("a"), nil), tx.Commit(Position{}, nil), v.Check()} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%d: %v", i, err)
		}
	}
	must(t, errors.Join(v.Close(), tx.Abort()))
}

// build installs the state of from as the current generation of s.
func build(t testing.TB, s *Store, from []byte, at Position) {
	t.Helper()
	b, err := s.NewBuilder()
	must(t, err)
	_, err = b.Write(from)
	must(t, err)
	must(t, b.Finish(Stamp{Position: at, Configuration: Configuration{Index: 1, Data: []byte("m")}}))
	flipped, err := s.Flip(b)
	if err != nil || !flipped {
		t.Fatal(flipped, err)
	}
	must(t, b.Abort())
}

func stream(t testing.TB, s *Store, at Position) []byte {
	t.Helper()
	v := s.View()
	st, err := v.Stream(at)
	must(t, err)
	b, err := io.ReadAll(st)
	must(t, errors.Join(err, st.Close(), v.Close()))
	if int64(len(b)) != st.Size() {
		t.Errorf("%d bytes, promised %d", len(b), st.Size())
	}
	return b
}

// Views and holds of a replaced generation go on; its directory goes with the last of them; its stamps are refused.
func TestGenerationsAreCounted(t *testing.T) {
	mem := vfs.NewMem()
	from := open(t, vfs.NewMem())
	put(t, from, 5, "a=new")
	state := stream(t, from, Position{5, 1})
	s := open(t, mem)
	put(t, s, 1, "a=old")
	v := s.View()
	h, err := s.Hold()
	must(t, err)
	build(t, s, state, Position{9, 2})
	names := func() string {
		list, err := mem.List("data/state")
		must(t, err)
		slices.Sort(list)
		return strings.Join(list, " ")
	}
	if got := names(); got != "CURRENT gen-000001 gen-000002" {
		t.Error(got)
	}
	if got := dump(t, v, false); got[0] != "a=old" {
		t.Error(got)
	}
	if err := h.Stamp(Stamp{Configuration: Configuration{Data: []byte("m")}}); !errors.Is(err, ErrSuperseded) {
		t.Error(err)
	}
	must(t, v.Close())
	must(t, h.Release())
	if got := names(); got != "CURRENT gen-000002" {
		t.Error(got)
	}
	w := s.View()
	defer w.Close()
	m, err := w.Meta()
	must(t, err)
	if got := dump(t, w, false); got[0] != "a=new" || m.Applied != (Position{9, 2}) || m.Stamp.Position != m.Applied || m.History != (Position{}) {
		t.Error(got, m)
	}
	must(t, w.Check())
}

// Close waits for those who still read.
func TestCloseWaits(t *testing.T) {
	s, err := Open(vfs.NewMem(), "state", Small())
	must(t, err)
	put(t, s, 1, "a=x")
	v := s.View()
	b, err := s.NewBuilder() // and drops what was half built
	must(t, err)
	done := make(chan error)
	go func() { done <- s.Close() }()
	if got := dump(t, v, false); len(got) != 1 {
		t.Error(got)
	}
	must(t, v.Close())
	must(t, <-done)
	must(t, b.Abort())
}

// What Pebble can't write ends the process; the transaction isn't taken for done.
func TestFatalOfPebble(t *testing.T) {
	broken := errors.New("no disk")
	fatal := make(chan error, 100)
	armed := false
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if armed && op.Kind == errorfs.OpFileSyncData || armed && op.Kind == errorfs.OpFileSync {
			return broken
		}
		return nil
	}))
	opts := Small()
	opts.Fatal = func(err error) { fatal <- err }
	s, err := Open(fs, "state", opts)
	must(t, err)
	h, err := s.Hold()
	must(t, err)
	armed = true
	err = h.Stamp(Stamp{Position: Position{1, 1}, Configuration: Configuration{Data: []byte("m")}})
	armed = false
	if err == nil || s.Err() == nil || len(fatal) == 0 {
		t.Errorf("stamp %v, Err %v, %d fatal", err, s.Err(), len(fatal))
	}
	must(t, h.Release())
	_ = s.Close() // Pebble complains; what matters is that it ends
}
