package storage

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Limits of one record. They bound what a reader of a stream allocates.
const (
	MaxKey   = 4 << 10 // bytes
	MaxValue = 2 << 20 // bytes
)

// ErrRecordTooLarge is returned for a key above MaxKey or a value above MaxValue.
var ErrRecordTooLarge = errors.New("record too large")

// Tx is an overlay over the current generation: it reads its own writes, and nobody else sees them before Commit. There
// is no savepoint: check first, then write. It belongs to one goroutine, which must end it by Commit or Abort; at most
// one is open at a time. After an error of Set or Delete only Abort makes sense.
type Tx struct {
	g    *generation
	b    *pebble.Batch
	sums map[byte]*TableSum // of the tables that were touched, as they will be
	err  error              // why there is no transaction, or what broke it
}

var _ Reader = (*Tx)(nil)

// Begin starts a transaction. After Close every use of it fails with ErrClosed.
func (s *Store) Begin() *Tx {
	g := s.acquire()
	if g == nil {
		return &Tx{err: ErrClosed}
	}
	return &Tx{g: g, b: g.db.NewIndexedBatch(), sums: map[byte]*TableSum{}}
}

// Get implements Reader.
func (tx *Tx) Get(key []byte) ([]byte, error) {
	if tx.err != nil {
		return nil, tx.err
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return get(tx.b, key)
}

// Scan implements Reader.
func (tx *Tx) Scan(lower, upper []byte, reverse bool, fn func(key, value []byte) (bool, error)) error {
	if tx.err != nil {
		return tx.err
	}
	return scan(tx.b, lower, upper, reverse, fn)
}

// Set stores a record; key and value are copied. It fails with ErrOwnKey or ErrRecordTooLarge, which leave the
// transaction as it was, or with a fault of Pebble.
func (tx *Tx) Set(key, value []byte) error {
	if tx.err == nil && (len(key) > MaxKey || len(value) > MaxValue) {
		return fmt.Errorf("key of %d bytes, value of %d: %w", len(key), len(value), ErrRecordTooLarge)
	}
	sum, err := tx.countOut(key)
	if err != nil {
		return err
	}
	sum.insert(key, value)
	return tx.broken(tx.b.Set(key, value, nil))
}

// Delete removes a record, if it is there.
func (tx *Tx) Delete(key []byte) error {
	if _, err := tx.countOut(key); err != nil {
		return err
	}
	return tx.broken(tx.b.Delete(key, nil))
}

// countOut takes the record that key has now out of its table's sum, and returns that sum.
func (tx *Tx) countOut(key []byte) (*TableSum, error) {
	if tx.err != nil {
		return nil, tx.err
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	sum := tx.sums[key[0]]
	if sum == nil {
		sum = &TableSum{}
		b, err := get(tx.b, tableSumKey(key[0]))
		if err != nil {
			return nil, tx.broken(err)
		}
		if b != nil {
			if *sum, err = readTableSum(b); err != nil {
				return nil, tx.broken(err)
			}
		}
		tx.sums[key[0]] = sum
	}
	old, err := get(tx.b, key)
	if err != nil {
		return nil, tx.broken(err)
	}
	if old != nil {
		if sum.Records == 0 {
			return nil, tx.broken(fmt.Errorf("table %q counts no records, but has %x: %w", key[0], key, ErrCorrupt))
		}
		sum.remove(key, old)
	}
	return sum, nil
}

func (tx *Tx) broken(err error) error {
	if err != nil && tx.err == nil {
		tx.err = err
	}
	return err
}

// Commit makes the transaction visible, together with the position of the last entry that it contains, the
// configuration if one passed (nil: none), and the sums of the touched tables. It isn't synced: the Raft log is.
func (tx *Tx) Commit(at Position, config *Configuration) error {
	if tx.g == nil {
		return tx.err
	}
	err := tx.err
	if err == nil {
		err = tx.write(at, config)
	}
	if err == nil {
		err = tx.b.Commit(pebble.NoSync)
	}
	if err == nil {
		err = tx.g.s.log.err() // Pebble answers nil when the write of its log failed
	}
	return errors.Join(err, tx.end())
}

func (tx *Tx) write(at Position, config *Configuration) error {
	for letter, sum := range tx.sums { // the order of these writes to distinct keys can't be seen
		if err := sum.check(); err != nil {
			return fmt.Errorf("table %q: %w", letter, err)
		}
		put := func(key []byte) error { return tx.b.Set(key, sum.append(nil), nil) }
		if sum.Records == 0 {
			put = func(key []byte) error { return tx.b.Delete(key, nil) }
		}
		if err := put(tableSumKey(letter)); err != nil {
			return err
		}
	}
	if config != nil {
		if err := tx.b.Set(keyConfig, config.append(nil), nil); err != nil {
			return err
		}
	}
	return tx.b.Set(keyApplied, at.Append(nil), nil)
}

// Abort drops the transaction. It may follow Commit, and then does nothing.
func (tx *Tx) Abort() error {
	if tx.g == nil {
		return nil
	}
	return tx.end()
}

func (tx *Tx) end() error {
	g, b := tx.g, tx.b
	tx.g, tx.b = nil, nil
	if tx.err == nil {
		tx.err = errors.New("transaction has ended")
	}
	return errors.Join(b.Close(), g.release())
}
