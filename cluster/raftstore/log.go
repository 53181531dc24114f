package raftstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/kavachd/kavachd/storage"
)

// MaxEntry is the largest entry in bytes, frame included. Bigger ones hold up heartbeats. The proposer refuses a command
// before it is proposed; the log store refuses what gets past it.
const MaxEntry = 512 << 10

// logCacheEntries is how many of the newest entries are kept in memory for followers that are close behind.
const logCacheEntries = 512

// ErrEntryTooLarge is returned by a capped log store.
var ErrEntryTooLarge = errors.New("entry too large")

// OpenLog opens or makes the bolt file that holds the Raft log and the votes, and syncs the directory that holds the
// file: else a power cut takes the whole log, however well its writes were synced.
func OpenLog(path string) (*raftboltdb.BoltStore, error) {
	s, err := raftboltdb.New(raftboltdb.Options{
		Path:                    path,
		MsgpackUseNewTimeFormat: true,
		BoltOptions: &bbolt.Options{
			Timeout:        time.Second, // for the lock of another process
			NoFreelistSync: true,        // a large free list would slow every commit down
			FreelistType:   bbolt.FreelistMapType,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("open raft log %s: %w", path, err)
	}
	if err := syncOSDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(fmt.Errorf("open raft log %s: %w", path, err), s.Close())
	}
	return s, nil
}

func syncOSDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Logs puts the layers over a log store: size cap, then cache. Give the result to both Open and the Raft library: a
// restore empties the log through it, and emptied beneath the cache the log would go on serving old entries.
func Logs(s raft.LogStore) (raft.LogStore, error) {
	return raft.NewLogCache(logCacheEntries, SizeCap(s, MaxEntry))
}

// sizeCap refuses entries above max bytes.
type sizeCap struct {
	raft.LogStore
	max int
}

// SizeCap wraps a log store so that it refuses entries of more than max bytes with ErrEntryTooLarge. A leader that
// meets one steps down.
func SizeCap(s raft.LogStore, maxBytes int) raft.LogStore { return sizeCap{s, maxBytes} }

// StoreLog implements raft.LogStore.
func (s sizeCap) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (s sizeCap) StoreLogs(logs []*raft.Log) error {
	for _, l := range logs {
		if n := len(l.Data) + len(l.Extensions); n > s.max {
			return fmt.Errorf("entry %d of %d bytes, at most %d are allowed: %w", l.Index, n, s.max, ErrEntryTooLarge)
		}
	}
	return s.LogStore.StoreLogs(logs)
}

// IsMonotonic implements raft.MonotonicLogStore for stores that do.
func (s sizeCap) IsMonotonic() bool {
	m, ok := s.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// trimLog empties a log that ends before p, or has another term at p. The library leaves such a log in place after an
// install: below p it may hold entries that were never committed, which this node would hand on as a later leader; at
// p it makes the node refuse every append for ever (hashicorp/raft#697). conflict tells the second case, in which the
// library's memory is wrong now. No log ends before the zero position.
func trimLog(log raft.LogStore, p storage.Position) (conflict bool, err error) {
	first, err := log.FirstIndex()
	if err != nil {
		return false, fmt.Errorf("first index of the log: %w", err)
	}
	last, err := log.LastIndex()
	if err != nil {
		return false, fmt.Errorf("last index of the log: %w", err)
	}
	if first == 0 || p.Index == 0 {
		return false, nil
	}
	if last >= p.Index {
		conflict, err = conflicts(log, p)
		if err != nil || !conflict {
			return false, err
		}
	}
	if err := log.DeleteRange(first, last); err != nil {
		return conflict, fmt.Errorf("empty the log from %d to %d: %w", first, last, err)
	}
	return conflict, nil
}

// conflicts tells whether the log has another term at p. A log that begins after p doesn't.
func conflicts(log raft.LogStore, p storage.Position) (bool, error) {
	var l raft.Log
	switch err := log.GetLog(p.Index, &l); {
	case errors.Is(err, raft.ErrLogNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("entry %d of the log: %w", p.Index, err)
	}
	return l.Term != p.Term, nil
}
