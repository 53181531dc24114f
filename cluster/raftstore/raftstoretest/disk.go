package raftstoretest

import (
	"encoding/binary"
	"errors"
	"maps"
	"sync"

	"github.com/hashicorp/raft"
)

// Disk is a log and a stable store in memory, on which every write is durable at once. It fails when it is asked for a
// gap, as a real log would leave one. It is safe for concurrent use.
type Disk struct {
	mu          sync.Mutex
	first, last uint64 // 0 and 0: empty
	logs        map[uint64]*raft.Log
	kv          map[string]string
}

var (
	_ raft.LogStore    = (*Disk)(nil)
	_ raft.StableStore = (*Disk)(nil)
)

// errNotFound has the text that the Raft library compares.
var errNotFound = errors.New("not found")

// NewDisk returns an empty Disk.
func NewDisk() *Disk { return &Disk{logs: map[uint64]*raft.Log{}, kv: map[string]string{}} }

// Clone returns what a power cut at this moment would leave.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &Disk{first: d.first, last: d.last, logs: maps.Clone(d.logs), kv: maps.Clone(d.kv)}
}

// FirstIndex implements raft.LogStore.
func (d *Disk) FirstIndex() (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.first, nil
}

// LastIndex implements raft.LogStore.
func (d *Disk) LastIndex() (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last, nil
}

// GetLog implements raft.LogStore.
func (d *Disk) GetLog(index uint64, out *raft.Log) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	l, ok := d.logs[index]
	if !ok {
		return raft.ErrLogNotFound
	}
	*out = *l
	return nil
}

// StoreLog implements raft.LogStore.
func (d *Disk) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (d *Disk) StoreLogs(logs []*raft.Log) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range logs {
		c := *l
		d.logs[l.Index] = &c
		if d.first == 0 {
			d.first = l.Index
		}
		d.last = max(d.last, l.Index)
	}
	return nil
}

// DeleteRange implements raft.LogStore, bounds included.
func (d *Disk) DeleteRange(low, high uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.first == 0 { // the library asks for this after an install
		return nil
	}
	for i := low; i <= high; i++ {
		delete(d.logs, i)
	}
	if low <= d.first {
		d.first = high + 1
	}
	if high >= d.last {
		d.last = low - 1
	}
	if d.first > d.last {
		d.first, d.last = 0, 0
	}
	return nil
}

// Set implements raft.StableStore.
func (d *Disk) Set(key, value []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kv[string(key)] = string(value)
	return nil
}

// Get implements raft.StableStore.
func (d *Disk) Get(key []byte) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := d.kv[string(key)]
	if !ok {
		return nil, errNotFound
	}
	return []byte(v), nil
}

// SetUint64 implements raft.StableStore.
func (d *Disk) SetUint64(key []byte, v uint64) error {
	return d.Set(key, binary.BigEndian.AppendUint64(nil, v))
}

// GetUint64 implements raft.StableStore.
func (d *Disk) GetUint64(key []byte) (uint64, error) {
	b, err := d.Get(key)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b), nil
}
