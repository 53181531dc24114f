package raftstore_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/cluster/raftstore/raftstoretest"
	"github.com/kavachd/kavachd/storage"
)

// history is a log that was committed, and the state after each of its entries, computed from a map.
type history struct {
	logs []*raft.Log             // logs[i] has index i+1
	sums map[uint64]storage.Sums // by index
}

// drawHistory draws commands, removals, configurations and no-ops, with growing terms.
func drawHistory(t *rapid.T, n int) *history {
	h := &history{sums: map[uint64]storage.Sums{0: {}}}
	model := map[string]string{}
	term := uint64(1)
	members := raft.EncodeConfiguration(raftstoretest.Servers("f", "l", "x"))
	for i := uint64(1); i <= uint64(n); i++ {
		l := &raft.Log{Index: i, Type: raft.LogNoop}
		switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case i == 1 || kind == 0:
			l.Type, l.Data = raft.LogConfiguration, members
		case kind == 1:
			term++
		default:
			key, value := fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "key")), ""
			if kind > 3 {
				value = rapid.StringN(1, 20, 200).Draw(t, "value")
			}
			l.Type, l.Data = raft.LogCommand, frameOf(storage.Position{}, raftstoretest.Command(key, value))
			delete(model, "k/"+key)
			if value != "" {
				model["k/"+key] = value
			}
			model["n/"+string(binary.BigEndian.AppendUint64(nil, i))] = "\x01"
		}
		l.Term = term
		h.logs = append(h.logs, l)
		h.sums[i] = naiveSums(model)
	}
	return h
}

// frameOf is a second implementation of the frame: format, history, payload.
func frameOf(h storage.Position, payload []byte) []byte {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte{1}, h.Index), h.Term)
	return append(b, payload...)
}

// naiveSums is a second implementation of the sums, over numbers of any size.
func naiveSums(model map[string]string) storage.Sums {
	type table struct {
		records, size uint64
		digest        *big.Int
	}
	tables := map[byte]*table{}
	for k, v := range model {
		tb := tables[k[0]]
		if tb == nil {
			tb = &table{digest: new(big.Int)}
			tables[k[0]] = tb
		}
		sum := sha256.Sum256(append(binary.BigEndian.AppendUint32(nil, uint32(len(k))), k+v...))
		tb.digest.Add(tb.digest, new(big.Int).SetBytes(sum[:]))
		tb.records++
		tb.size += uint64(len(k) + len(v))
	}
	sums := storage.Sums{}
	for letter, tb := range tables {
		s := storage.TableSum{Records: tb.records, Bytes: tb.size}
		tb.digest.Mod(tb.digest, new(big.Int).Lsh(big.NewInt(1), 256)).FillBytes(s.Digest[:])
		sums[letter] = s
	}
	return sums
}

// replica is one node of a random run. Its log holds everything that was committed so far.
type replica struct {
	t     *rapid.T
	h     *history
	fs    *vfs.MemFS
	disk  *raftstoretest.Disk
	s     *raftstore.Store
	fatal error
	next  uint64 // the library's next entry
}

func newReplica(t *rapid.T, h *history) *replica {
	r := &replica{t: t, h: h, fs: vfs.NewCrashableMem(), disk: raftstoretest.NewDisk()}
	r.open()
	return r
}

func (r *replica) open() {
	s, err := raftstore.Open(r.fs, "state", r.disk, raftstoretest.Machine{},
		raftstore.Hooks{Fatal: func(err error) { r.fatal = err }}, raftstore.WithStorage(storage.Small()))
	if err != nil {
		r.t.Fatal(err)
	}
	r.s, r.next = s, 1
	metas, err := s.List()
	if err != nil {
		r.t.Fatal(err)
	}
	if len(metas) > 0 { // where the library goes on
		r.next = metas[0].Index + 1
	}
	r.check()
}

func (r *replica) close() {
	if err := r.s.Close(); err != nil {
		r.t.Fatal(err)
	}
}

// check compares the state with the oracle's at the same index.
func (r *replica) check() {
	v := r.s.Storage().View()
	at, _ := v.Applied()
	got, err := v.Digests()
	if err := errors.Join(err, v.Check(), v.Close()); err != nil {
		r.t.Fatal(err)
	}
	if published, _ := r.s.Applied(); published != at || r.fatal != nil {
		r.t.Fatalf("published %d, the state is at %d, fatal %v", published, at, r.fatal)
	}
	if want := r.h.sums[at]; !got.Equal(want) {
		r.t.Fatalf("at %d: sums %v, the oracle has %v", at, got, want)
	}
}

// apply applies the next n entries as one batch, through the log, as the library does.
func (r *replica) apply(n uint64) {
	end := min(r.next+n, uint64(len(r.h.logs)+1))
	var batch []*raft.Log
	for ; r.next < end; r.next++ {
		l := r.h.logs[r.next-1]
		if last, _ := r.disk.LastIndex(); last < r.next {
			if err := r.disk.StoreLog(l); err != nil {
				r.t.Fatal(err)
			}
		}
		if l.Type != raft.LogNoop {
			batch = append(batch, l)
		}
	}
	if len(batch) > 0 {
		r.s.ApplyBatch(batch)
	}
	r.check()
}

// stamp takes a snapshot at the library's index and compacts the log, but for trailing entries.
func (r *replica) stamp(trailing uint64) {
	at := r.h.logs[max(r.next, 2)-2] // the library counts no-ops too
	if r.next == 1 {
		return
	}
	n, err := r.s.Snapshot()
	if err != nil {
		r.t.Fatal(err)
	}
	defer n.Release()
	k, err := r.s.Create(1, at.Index, at.Term, raftstoretest.Servers("f", "l", "x"), 1, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := n.Persist(k); err != nil {
		r.t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		r.t.Fatal(err)
	}
	if first, _ := r.disk.FirstIndex(); first > 0 && at.Index > trailing && first <= at.Index-trailing {
		if err := r.disk.DeleteRange(first, at.Index-trailing); err != nil {
			r.t.Fatal(err)
		}
	}
	r.check()
}

// install takes the state of another replica, if that is ahead.
func (r *replica) install(from *replica) {
	metas, err := from.s.List()
	if err != nil {
		r.t.Fatal(err)
	}
	at, _ := r.s.Applied()
	if len(metas) == 0 || metas[0].Index < max(r.next, at) { // after a restart without a stamp, next is 1 again
		return
	}
	m, out, err := from.s.Open(metas[0].ID)
	if err != nil {
		r.t.Fatal(err)
	}
	defer out.Close()
	k, err := r.s.Create(1, m.Index, m.Term, m.Configuration, m.ConfigurationIndex, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer k.Cancel() // nothing, once it is closed
	var sent int64
	buf := make([]byte, rapid.IntRange(1, 5000).Draw(r.t, "piece"))
	for {
		n, err := out.Read(buf)
		sent += int64(n)
		if _, err := k.Write(buf[:n]); err != nil {
			r.t.Fatal(err)
		}
		if err != nil {
			break
		}
	}
	if sent != m.Size {
		r.t.Fatalf("stream of %d bytes, promised %d", sent, m.Size)
	}
	if err := k.Close(); err != nil {
		r.t.Fatal(err)
	}
	_, rc, err := r.s.Open(k.ID())
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.s.Restore(rc); err != nil {
		r.t.Fatal(err)
	}
	r.next = m.Index + 1
	// The position counts no-ops now, so the oracle is asked at it; it has a state for each index.
	r.check()
}

// restart stops the replica and starts it again, after a power cut that leaves percent of the unsynced data, or, below
// 0, cleanly.
func (r *replica) restart(percent int, rng *rand.Rand) {
	image := r.fs
	if percent >= 0 {
		image = r.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	}
	r.close()
	r.fs = image
	r.open()
}

// The same log, cut into batches anywhere, with restarts, power cuts, snapshots and installs anywhere, gives the state of
// the oracle at every step.
func TestRandomWorkload(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t, rapid.IntRange(5, 60).Draw(t, "entries"))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "crash seed"), 1))
		rs := []*replica{newReplica(t, h), newReplica(t, h)}
		defer func() {
			for _, r := range rs {
				r.close()
			}
		}()
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			i := rapid.IntRange(0, 1).Draw(t, "replica")
			r := rs[i]
			switch rapid.IntRange(0, 7).Draw(t, "step") {
			case 0:
				r.restart(-1, rng)
			case 1:
				r.restart(rapid.SampledFrom([]int{0, 30, 100}).Draw(t, "unsynced"), rng)
			case 2:
				r.stamp(rapid.Uint64Range(0, 10).Draw(t, "trailing"))
			case 3:
				r.install(rs[1-i])
			default:
				r.apply(rapid.Uint64Range(1, 10).Draw(t, "batch"))
			}
		}
		for _, r := range rs {
			r.apply(uint64(len(h.logs)))
		}
	})
}
