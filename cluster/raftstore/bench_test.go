package raftstore_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/cluster/raftstore/raftstoretest"
	"github.com/kavachd/kavachd/storage"
)

// BenchmarkRaftApply is the bare library: three nodes in one process, bolt on this disk, 256-byte entries. Compare rows
// of one run, never of two machines.
func BenchmarkRaftApply(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			leader := raftstoretest.BareLeader(b, 3)
			data := make([]byte, 256)
			raftstoretest.Callers(b, callers, func() error { return leader.Apply(data, 5*time.Second).Error() })
		})
	}
}

// BenchmarkApplyBatch is what the state costs: one entry that writes two records, with digests and sums, in Pebble on
// this disk.
func BenchmarkApplyBatch(b *testing.B) {
	s, err := raftstore.Open(vfs.Default, b.TempDir(), raftstoretest.NewDisk(), raftstoretest.Machine{}, raftstore.Hooks{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	index := uint64(1)
	for b.Loop() {
		index++
		s.ApplyBatch([]*raft.Log{command(s, index, 1, fmt.Sprint(index%1000), "a value of some length")})
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkInstall reads the state of 20,000 keys of 300 random bytes, sends it, and takes it in, on this disk.
func BenchmarkInstall(b *testing.B) {
	const keys, size = 20_000, 300
	from, err := raftstore.Open(vfs.Default, b.TempDir(), raftstoretest.NewDisk(), raftstoretest.Machine{}, raftstore.Hooks{})
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.NewChaCha8([32]byte{})
	value := make([]byte, size)
	var batch []*raft.Log
	for i := uint64(2); i < keys+2; i++ {
		if _, err := rng.Read(value); err != nil {
			b.Fatal(err)
		}
		if batch = append(batch, command(from, i, 1, fmt.Sprint(i), string(value))); len(batch) == 500 {
			from.ApplyBatch(batch)
			batch = nil
		}
	}
	p := storage.Position{Index: keys + 1, Term: 1}
	stampAt(b, from, p, raftstoretest.Servers("f"))
	for b.Loop() {
		to, err := raftstore.Open(vfs.Default, b.TempDir(), raftstoretest.NewDisk(), raftstoretest.Machine{}, raftstore.Hooks{})
		if err != nil {
			b.Fatal(err)
		}
		m, out, err := from.Open("state")
		if err != nil {
			b.Fatal(err)
		}
		k, err := to.Create(1, p.Index, p.Term, m.Configuration, m.ConfigurationIndex, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(k, out); err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(out.Close(), k.Close()); err != nil {
			b.Fatal(err)
		}
		_, rc, err := to.Open(k.ID())
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(m.Size)
		if err := errors.Join(to.Restore(rc), to.Close()); err != nil {
			b.Fatal(err)
		}
	}
	if err := from.Close(); err != nil {
		b.Fatal(err)
	}
}
