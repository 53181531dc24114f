package audit

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMachineStopped: after a crash of the machine nothing is appended to a journal whose end may be missing.
func TestMachineStopped(t *testing.T) {
	dir := t.TempDir()
	o := smallJournal()
	open := func(boot string) *Journal {
		o.BootID = boot
		j, err := OpenJournal(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	appendOne := func(j *Journal, n int) {
		if _, err := j.Append(entry(n)); err != nil {
			t.Fatal(err)
		}
	}
	j := open("boot-1")
	first := j.ID()
	appendOne(j, 1)
	if err := crash(j); err != nil {
		t.Fatal(err)
	}

	j = open("boot-2")
	second := j.ID()
	if second == first || j.Recovered().Continued || j.Recovered().Entries != 1 {
		t.Fatalf("after a crash of the machine journal %x goes on: %+v", first, j.Recovered())
	}
	appendOne(j, 2)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	j = open("boot-3") // it was closed, so that its end is known
	if j.ID() != second {
		t.Fatalf("journal %x goes on, want %x", j.ID(), second)
	}
	appendOne(j, 3)
	if err := crash(j); err != nil {
		t.Fatal(err)
	}

	j = open("") // not known: as another one
	third := j.ID()
	if third == second || third == first {
		t.Fatalf("journal %x goes on", third)
	}
	if diff := cmp.Diff([]int{1, 2, 3}, liveNumbers(t, j)); diff != "" {
		t.Fatalf("entries (-want +got):\n%s", diff)
	}
	// Old journals go when the cluster has them; a number that it has beyond their end is what the crash took.
	if _, err := j.replicated(first, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := j.replicated(second, 3); err != nil {
		t.Fatal(err)
	}
	if dirs, err := journalDirs(dir); err != nil || len(dirs) != 1 {
		t.Fatalf("journals %v, %v", dirs, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// damage makes the file of the first segment what spoil makes of it.
func damage(t *testing.T, dir string, spoil func(b []byte) []byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*", "*"+segmentSuffix))
	if err != nil || len(names) == 0 {
		t.Fatalf("segments %v, %v", names, err)
	}
	slices.Sort(names)
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(names[0], spoil(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDamage: within one start of the machine a torn tail is an append that was not acknowledged, and anything else
// stops the node. After a crash of the machine the journal ends at the damage.
func TestDamage(t *testing.T) {
	var record uint64 // where the records of entries 1 to 5 begin
	for name, c := range map[string]struct {
		spoil func(b []byte) []byte
		kept  int // entries that are left
		torn  bool
	}{
		"the last record's length is not there": {func(b []byte) []byte { clear(b[segmentHeader+4*record:][:4]); return b }, 4, true},
		"a record's length is not there":        {func(b []byte) []byte { clear(b[segmentHeader+2*record:][:4]); return b }, 2, true},
		"a record is not whole":                 {func(b []byte) []byte { b[segmentHeader+2*record+20] ^= 1; return b }, 2, false},
		"a length is wrong":                     {func(b []byte) []byte { b[segmentHeader+2*record] ^= 1; return b }, 2, false},
		"a length is huge":                      {func(b []byte) []byte { b[segmentHeader+2*record+2] = 0xff; return b }, 2, false},
		"the header is not there":               {func(b []byte) []byte { clear(b[:segmentHeader]); return b }, 0, false},
		"another journal's":                     {func(b []byte) []byte { b[10]++; return b }, 0, false},
		"the file is empty":                     {func([]byte) []byte { return nil }, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, boot := range []string{testBoot, "boot-2"} {
				dir := t.TempDir()
				o := smallJournal()
				j, err := OpenJournal(dir, o)
				if err != nil {
					t.Fatal(err)
				}
				for n := range 5 {
					if _, err := j.Append(entry(n*5 + 1)); err != nil {
						t.Fatal(err)
					}
				}
				record = (j.active.Load().end().offset() - segmentHeader) / 5
				if err := crash(j); err != nil {
					t.Fatal(err)
				}
				damage(t, dir, c.spoil)
				o.BootID = boot
				j, err = OpenJournal(dir, o)
				if boot == testBoot && !c.torn {
					if !errors.Is(err, ErrDamaged) {
						t.Fatalf("opened: %v", err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := len(liveNumbers(t, j)); got != c.kept || (j.Recovered().Damage != nil) == c.torn {
					t.Errorf("boot %s: %d entries, want %d; damage %v", boot, got, c.kept, j.Recovered().Damage)
				}
				if err := errors.Join(crash(j)); err != nil {
					t.Fatal(err)
				}
				if j, err = OpenJournal(dir, o); err != nil { // what was found once is found again
					t.Fatal(err)
				}
				if got := len(liveNumbers(t, j)); got != c.kept {
					t.Errorf("boot %s: %d entries at the second opening, want %d", boot, got, c.kept)
				}
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestHoleBetweenSegments: a segment that is missing is never passed over.
func TestHoleBetweenSegments(t *testing.T) {
	dir := t.TempDir()
	o := smallJournal()
	j, err := OpenJournal(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 4000 {
		if _, err := j.Append(entry(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := crash(j); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*", "*"+segmentSuffix))
	if err != nil || len(names) < 3 {
		t.Fatalf("segments %v, %v", names, err)
	}
	slices.Sort(names)
	if err := os.Remove(names[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(dir, o); !errors.Is(err, ErrDamaged) {
		t.Fatalf("opened: %v", err)
	}
	o.BootID = "boot-2"
	j = openJournal(t, dir, o)
	if got := liveNumbers(t, j); len(got) == 0 || got[len(got)-1] != len(got)-1 || j.Recovered().Damage == nil {
		t.Fatalf("%d entries, damage %v", len(got), j.Recovered().Damage)
	}
}
