package storage

import (
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatMajorVersion is explicit and never FormatNewest: Open ratchets a directory upward, without a way back.
const formatMajorVersion = pebble.FormatValueSeparation

// Options tune a Store. The zero value is what a node should use.
type Options struct {
	CacheBytes    int64  // block cache shared by all generations; 0 means 64 MiB
	MemTableBytes uint64 // size of one memtable; 0 means 16 MiB
	// Fatal is called when Pebble can't go on, such as after a failed write of its log. It must end the process. nil
	// panics. If it returns, which only tests do, every later use of the Store fails.
	Fatal func(error)
	// Errorf receives Pebble's complaints about background work, which it repeats by itself. nil drops them.
	Errorf func(format string, args ...any)
}

// Small returns options for tests: little memory, so that flushes and compactions really happen.
func Small() Options { return Options{CacheBytes: 1 << 20, MemTableBytes: 256 << 10} }

func (o Options) withDefaults() Options {
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 16 << 20
	}
	return o
}

// pebbleOptions returns what one generation is opened with. The write-ahead log is on: without a sync a power cut
// takes a suffix of the batches, never one from the middle.
func (o Options) pebbleOptions(fs vfs.FS, cache *pebble.Cache, log *logger) *pebble.Options {
	p := &pebble.Options{
		FS:                 fs,
		Cache:              cache,
		FormatMajorVersion: formatMajorVersion,
		Logger:             log,
		MemTableSize:       o.MemTableBytes,
	}
	for i := range p.Levels { // an absent key, such as a fresh idempotency key, shouldn't cost a read of every level
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	p.EnsureDefaults() // MakeWriterOptions panics without it
	return p
}

// logger stands between Pebble and Options. After Fatalf, Pebble returns nil from the very Commit that failed: the
// error is kept, and asked for after each commit.
type logger struct {
	opts   Options
	failed atomic.Pointer[error]
}

func (l *logger) Infof(string, ...any) {}

func (l *logger) Errorf(format string, args ...any) {
	if l.opts.Errorf != nil {
		l.opts.Errorf(format, args...)
	}
}

func (l *logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("pebble: "+format, args...)
	l.failed.CompareAndSwap(nil, &err)
	if l.opts.Fatal == nil {
		panic(err)
	}
	l.opts.Fatal(err)
}

func (l *logger) err() error {
	if p := l.failed.Load(); p != nil {
		return *p
	}
	return nil
}
