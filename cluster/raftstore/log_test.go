package raftstore_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/cluster/raftstore/raftstoretest"
)

func TestSizeCap(t *testing.T) {
	disk := raftstoretest.NewDisk()
	logs, err := raftstore.Logs(disk)
	if err != nil {
		t.Fatal(err)
	}
	entry := func(index uint64, size int) *raft.Log { return &raft.Log{Index: index, Data: make([]byte, size)} }
	if err := logs.StoreLogs([]*raft.Log{entry(1, 10), entry(2, raftstore.MaxEntry)}); err != nil {
		t.Error(err)
	}
	capped := raftstore.SizeCap(disk, 100)
	withExtensions := entry(3, 60)
	withExtensions.Extensions = make([]byte, 41)
	for name, l := range map[string][]*raft.Log{
		"alone": {entry(3, 101)}, "behind a small one": {entry(3, 1), entry(4, 101)}, "with extensions": {withExtensions},
	} {
		if err := capped.StoreLogs(l); !errors.Is(err, raftstore.ErrEntryTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := capped.StoreLog(entry(3, 101)); !errors.Is(err, raftstore.ErrEntryTooLarge) {
		t.Error(err)
	}
	if err := logs.StoreLog(entry(3, raftstore.MaxEntry+1)); err == nil {
		t.Error("the layers of Logs don't cap")
	}
	if last, _ := disk.LastIndex(); last != 2 {
		t.Errorf("the log ends at %d", last)
	}
	if m, ok := capped.(raft.MonotonicLogStore); !ok || m.IsMonotonic() {
		t.Error("a log that may have gaps is said to have none")
	}
}

func TestOpenLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "raft.db")
	for i := uint64(1); i <= 2; i++ {
		s, err := raftstore.OpenLog(name)
		if err != nil {
			t.Fatal(err)
		}
		if last, err := s.LastIndex(); err != nil || last != i-1 {
			t.Errorf("the log ends at %d, %v", last, err)
		}
		if err := errors.Join(s.StoreLog(&raft.Log{Index: i, Term: 1}), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := raftstore.OpenLog(filepath.Join(t.TempDir(), "missing", "raft.db")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestConfigIsAccepted(t *testing.T) {
	for _, p := range []raftstore.Profile{raftstore.FastProfile(), raftstore.SlowProfile()} {
		c := raftstore.Config("n1", p)
		if err := raft.ValidateConfig(c); err != nil {
			t.Error(err)
		}
		if c.RestoreCommittedLogs || c.PreVoteDisabled || !c.NoSnapshotRestoreOnStart {
			t.Errorf("%+v", c)
		}
	}
}

// A connection may rest between calls, because the library pools it, but not inside one.
func TestStallLimit(t *testing.T) {
	const limit = 150 * time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := raftstore.StallLimit(in, limit)
	defer c.Close()
	send := func(after time.Duration, b byte) {
		time.AfterFunc(after, func() { _, _ = out.Write([]byte{b}) }) // the reader tells whether it came
	}
	var b [1]byte
	for i := range byte(2) { // two calls, each after a long rest
		send(2*limit, i)
		if _, err := c.Read(b[:]); err != nil || b[0] != i {
			t.Fatalf("between calls: %d, %v", b[0], err)
		}
		send(0, 9) // the rest of the call
		if _, err := c.Read(b[:]); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	send(0, 5)
	if _, err := io.ReadFull(c, b[:]); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Second, func() { _ = out.Close() }) // so that a missing limit doesn't hang the test
	if _, err := c.Read(b[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("silence inside a call: %v", err)
	}
}
