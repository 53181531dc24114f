package storage

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Reader reads one version of the state. View and Tx are Readers.
type Reader interface {
	// Get returns the value of key, nil if there is none. The result belongs to the caller. A value of no bytes comes
	// back as an empty slice that is not nil. ErrOwnKey for an empty key or one that begins with 0x00.
	Get(key []byte) ([]byte, error)
	// Scan calls fn for each record with lower <= key < upper, in order of keys, or from the last to the first if
	// reverse. A nil bound is open. key and value are valid until fn returns. Scan ends when fn returns false or an
	// error, which it passes on. Writes that fn makes to the same Tx aren't seen by the Scan that runs.
	Scan(lower, upper []byte, reverse bool, fn func(key, value []byte) (more bool, err error)) error
}

// dataStart is the lowest key that is not the node's own.
var dataStart = []byte{ownPrefix + 1}

func checkKey(key []byte) error {
	if len(key) == 0 || key[0] == ownPrefix {
		return fmt.Errorf("key %x: %w", key, ErrOwnKey)
	}
	return nil
}

// scan is Reader.Scan over anything that has iterators.
func scan(g getter, lower, upper []byte, reverse bool, fn func(key, value []byte) (bool, error)) (err error) {
	if bytes.Compare(lower, dataStart) < 0 {
		lower = dataStart
	}
	if upper != nil && bytes.Compare(lower, upper) >= 0 {
		return nil
	}
	it, err := g.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("scan from %x: %w", lower, err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	first, step := it.First, it.Next
	if reverse {
		first, step = it.Last, it.Prev
	}
	for valid := first(); valid; valid = step() {
		v, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("scan at %x: %w", it.Key(), err)
		}
		more, err := fn(it.Key(), v)
		if err != nil || !more {
			return err
		}
	}
	return it.Error()
}

// readSums reads the stored sums of all tables.
func readSums(g getter) (Sums, error) {
	it, err := g.NewIter(&pebble.IterOptions{LowerBound: []byte(tableSumPrefix), UpperBound: []byte{ownPrefix, tableSumPrefix[1] + 1}})
	if err != nil {
		return nil, fmt.Errorf("read table sums: %w", err)
	}
	sums := Sums{}
	for valid := it.First(); valid && err == nil; valid = it.Next() {
		var (
			letter byte
			sum    TableSum
			v      []byte
		)
		if v, err = it.ValueAndErr(); err != nil {
			break
		}
		if letter, err = tableSumLetter(it.Key()); err != nil {
			break
		}
		if sum, err = readTableSum(v); err == nil {
			sums[letter] = sum
		}
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil {
		return nil, fmt.Errorf("read table sums: %w", err)
	}
	return sums, nil
}
