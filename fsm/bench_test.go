package fsm

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// batchSize is how many commands travel in an entry under load.
const batchSize = 64

// BenchmarkApply measures one command of an entry of 64, each with its audit entry and its idempotency key, commit
// included: ns/op and allocs/op are per command.
func BenchmarkApply(b *testing.B) {
	tenPerms := []string{
		"tool:a:* read", "tool:b:* read", "tool:c:* read", "tool:d:* read", "tool:e:* read", "mcp:a:* write", "mcp:b:* write",
		"mcp:c:* write", "mcp:d:* write", "mcp:e read write",
	}
	for _, kind := range []struct {
		name string
		make func(n int) *raftv1.Command
	}{
		{"Create", func(n int) *raftv1.Command {
			return create(10_000+n, func(c *raftv1.CreateAgent) { c.Owner = fmt.Sprint("owner", n) }, tenPerms...)
		}},
		{"Rotate", func(n int) *raftv1.Command { return rotate(100+n%1000, fmt.Sprint("r", n), 0) }},
	} {
		b.Run(kind.name, func(b *testing.B) {
			s := largeBench(b)
			for i := range 1000 {
				s.ok(create(100+i, func(c *raftv1.CreateAgent) { c.Owner = fmt.Sprint("o", i) }, tenPerms...))
			}
			var payloads [][]byte
			for n := 0; n < b.N; n += batchSize {
				e := &raftv1.Entry{Format: Format, Wall: s.wall}
				for i := n; i < min(n+batchSize, b.N); i++ {
					c := by(2, "", audited(i, "AgentService.Method", keyed(fmt.Sprint("k", i), "q", kind.make(i))))
					e.Commands = append(e.Commands, c)
				}
				payload, err := EncodeEntry(e)
				if err != nil {
					b.Fatal(err)
				}
				payloads = append(payloads, payload)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for _, payload := range payloads {
				tx := s.store.Begin()
				a, err := s.m.Apply(tx, s.index+1, 1, payload)
				if err != nil {
					b.Fatal(err)
				}
				s.index++
				if err := tx.Commit(storage.Position{Index: s.index, Term: 1}, nil); err != nil {
					b.Fatal(err)
				}
				for _, o := range a.(*Applied).Outcomes {
					if o.Refused != nil {
						b.Fatal(o.Refused)
					}
				}
			}
		})
	}
}

// largeBench is newBench over a store with the sizes of production.
func largeBench(b *testing.B) *bench {
	b.Helper()
	s := newBench(b)
	store, err := storage.Open(vfs.NewMem(), "state", storage.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	})
	s.store, s.index = store, 0
	s.ok(&raftv1.Command{Command: &raftv1.Command_BootstrapKey{BootstrapKey: &raftv1.BootstrapKey{Id: s.key, Hash: testHash("admin")}}})
	return s
}
