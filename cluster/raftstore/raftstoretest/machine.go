package raftstoretest

import (
	"encoding/binary"
	"fmt"

	"github.com/kavachd/kavachd/storage"
)

// Tables of Machine.
const (
	tableValue = 'k' // k/<key> -> value
	tableCount = 'n' // n/<index> -> one byte for each time that the entry was applied
)

// Machine is a small deterministic state machine: a map, and a count of how often each entry was applied.
type Machine struct{}

// Command encodes a write of Machine. An empty value removes the key.
func Command(key, value string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(key)))
	return append(append(b, key...), value...)
}

// FaultyCommand makes Machine fail.
func FaultyCommand() []byte { return []byte{0xff} }

// Result is what Machine answers.
type Result struct {
	Index      uint64
	Key, Value string
}

// Apply implements raftstore.Machine. Its result is a Result.
func (Machine) Apply(tx *storage.Tx, index, _ uint64, payload []byte) (any, error) {
	if len(payload) < 2 || len(payload) < 2+int(binary.BigEndian.Uint16(payload)) {
		return nil, fmt.Errorf("command of %d bytes", len(payload))
	}
	n := 2 + int(binary.BigEndian.Uint16(payload))
	key := append([]byte{tableValue, '/'}, payload[2:n]...)
	if len(payload) == n {
		if err := tx.Delete(key); err != nil {
			return nil, err
		}
	} else if err := tx.Set(key, payload[n:]); err != nil {
		return nil, err
	}
	old, err := tx.Get(countKey(index))
	if err != nil {
		return nil, err
	}
	return Result{index, string(payload[2:n]), string(payload[n:])}, tx.Set(countKey(index), append(old, 1))
}

func countKey(index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tableCount, '/'}, index)
}

// Counts returns, by index, how often each entry was applied.
func Counts(r storage.Reader) (map[uint64]int, error) {
	counts := map[uint64]int{}
	err := r.Scan([]byte{tableCount}, []byte{tableCount + 1}, false, func(key, value []byte) (bool, error) {
		counts[binary.BigEndian.Uint64(key[2:])] = len(value)
		return true, nil
	})
	return counts, err
}

// LastCommand returns the index of the newest command in the state, 0 if there is none.
func LastCommand(r storage.Reader) (index uint64, err error) {
	err = r.Scan([]byte{tableCount}, []byte{tableCount + 1}, true, func(key, _ []byte) (bool, error) {
		index = binary.BigEndian.Uint64(key[2:])
		return false, nil
	})
	return index, err
}
