package audit

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// childEnv names the folder, and childFrom the first number, for a copy of this test binary that appends until it is
// killed.
const (
	childEnv  = "KAVACH_AUDIT_CHILD"
	childFrom = "KAVACH_AUDIT_CHILD_FROM"
)

// runChild is the killed process. Every appender says on standard output which entries were acknowledged.
func runChild() bool {
	dir := os.Getenv(childEnv)
	if dir == "" {
		return false
	}
	from, err := strconv.ParseUint(os.Getenv(childFrom), 10, 63)
	var j *Journal
	if err == nil {
		o := smallJournal()
		o.MaxBacklog = 1 << 40
		j, err = OpenJournal(dir, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var next atomic.Uint64
	next.Store(from)
	var wg sync.WaitGroup
	for a := range 8 {
		wg.Go(func() {
			for {
				if err := appendForever(j, &next, a); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
			}
		})
	}
	wg.Wait()
	return true
}

// appendForever appends one entry or batch and says so. Some are large: while those are copied, others are acknowledged,
// or had better not be.
func appendForever(j *Journal, next *atomic.Uint64, appender int) error {
	size := uint64(1)
	if appender == 1 {
		size = 5
	}
	first := next.Add(size) - size
	batch := make([]*raftv1.AuditEntry, size)
	said := make([]byte, 0, 8*size)
	for i := range batch {
		n := first + uint64(i)
		batch[i] = entry(int(n))
		if appender == 0 {
			batch[i].Parameters = large[:]
		}
		said = binary.LittleEndian.AppendUint64(said, n)
	}
	if _, err := j.AppendBatch(batch); err != nil {
		return err
	}
	_, err := os.Stdout.Write(said)
	return err
}

var large [60 << 10]byte

// TestKilled kills a process that appends with many goroutines, again and again, at any moment. Nothing that it had
// acknowledged is missing, nothing stands there twice, and the journal is whole.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	rng := seeded(uint64(os.Getpid()))
	acked := map[uint64]bool{}
	var from uint64
	var id JournalID
	for life := range 12 {
		said := killedLife(t, dir, from, 20+rng.IntN(4000))
		for _, n := range said {
			if acked[n] {
				t.Fatalf("entry %d was acknowledged twice", n)
			}
			acked[n] = true
			from = max(from, n)
		}
		from += 1000 // beyond what was appended and not acknowledged
		o := smallJournal()
		o.MaxBacklog = 1 << 40
		j, err := OpenJournal(dir, o)
		if err != nil {
			t.Fatalf("life %d, killed process %d: %v", life, os.Getpid(), err)
		}
		if r := j.Recovered(); life > 0 && (id != j.ID() || !r.Continued) {
			t.Fatalf("life %d: journal %x goes on, want %x", life, j.ID(), id)
		}
		id = j.ID()
		left := map[uint64]bool{}
		for _, n := range liveNumbers(t, j) {
			if left[uint64(n)] {
				t.Fatalf("life %d: entry %d stands there twice", life, n)
			}
			left[uint64(n)] = true
		}
		for n := range acked {
			if !left[n] {
				t.Fatalf("life %d: entry %d was acknowledged, and is lost", life, n)
			}
		}
		if err := crash(j); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d acknowledged entries in 12 killed processes", len(acked))
}

// killedLife runs a process until it has acknowledged n entries, kills it, and returns what it acknowledged.
func killedLife(t *testing.T, dir string, from uint64, n int) (said []uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, childFrom+"="+strconv.FormatUint(from, 10))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	var b [8]byte
	for {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Error(err)
			}
			break
		}
		if said = append(said, binary.LittleEndian.Uint64(b[:])); len(said) == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		t.Fatalf("the process ended by itself: %v", err)
	}
	if len(said) < n {
		t.Fatalf("%d entries were acknowledged, want %d", len(said), n)
	}
	return said
}
