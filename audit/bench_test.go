package audit

import (
	"crypto/rand"
	"sync"
	"testing"
	"time"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

func benchmarkJournal(b *testing.B) *Journal {
	o := JournalOptions{NodeID: "node-1", Random: rand.Reader, BootID: testBoot, MaxBacklog: 256 << 20}
	j, err := OpenJournal(b.TempDir(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = crash(j) })
	return j
}

// drainBench frees what the benchmark wrote, until stop, so that the disk is not filled.
func drainBench(b *testing.B, j *Journal, stop <-chan struct{}) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		j.mu.Lock()
		st := j.mu.streams[len(j.mu.streams)-1]
		st.from = place{st.segs[len(st.segs)-1], segmentHeader, st.segs[len(st.segs)-1].first}
		err := st.free()
		j.mu.Unlock()
		if err != nil {
			b.Error(err)
			return
		}
	}
}

func BenchmarkAppend1(b *testing.B) { benchmarkAppend(b, 1) }
func BenchmarkAppend8(b *testing.B) { benchmarkAppend(b, 8) }

func benchmarkAppend(b *testing.B, appenders int) {
	j := benchmarkJournal(b)
	stop := make(chan struct{})
	var drain sync.WaitGroup
	drain.Go(func() { drainBench(b, j, stop) })
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for a := range appenders {
		wg.Go(func() {
			e := entry(a + 1)
			for range b.N / appenders {
				if _, err := j.Append(e); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	close(stop)
	drain.Wait()
}

func BenchmarkAppendBatch100(b *testing.B) {
	j := benchmarkJournal(b)
	stop := make(chan struct{})
	var drain sync.WaitGroup
	drain.Go(func() { drainBench(b, j, stop) })
	var batch []*raftv1.AuditEntry
	for n := range 100 {
		batch = append(batch, entry(n))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := j.AppendBatch(batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/entry")
	close(stop)
	drain.Wait()
}
