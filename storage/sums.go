package storage

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math/bits"
	"slices"
)

// Digest is the sum, modulo 2^256, of the SHA-256 of every record of a table. It doesn't depend on the order in which
// records came, and it can be kept by adding and taking away. It finds replicas that differ by accident; it is no
// commitment against somebody who chooses records.
type Digest [32]byte

// String returns the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// add adds o to d, taking both as big-endian numbers.
func (d *Digest) add(o Digest) {
	var carry uint64
	for i := 24; i >= 0; i -= 8 {
		var sum uint64
		sum, carry = bits.Add64(binary.BigEndian.Uint64(d[i:]), binary.BigEndian.Uint64(o[i:]), carry)
		binary.BigEndian.PutUint64(d[i:], sum)
	}
}

// sub takes o away from d.
func (d *Digest) sub(o Digest) {
	var borrow uint64
	for i := 24; i >= 0; i -= 8 {
		var diff uint64
		diff, borrow = bits.Sub64(binary.BigEndian.Uint64(d[i:]), binary.BigEndian.Uint64(o[i:]), borrow)
		binary.BigEndian.PutUint64(d[i:], diff)
	}
}

// recordDigest hashes one record. The key's length comes first, so that no two records share an input.
func recordDigest(key, value []byte) (d Digest) {
	h := sha256.New()
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(key)))
	h.Write(n[:])
	h.Write(key)
	h.Write(value)
	h.Sum(d[:0])
	return d
}

// TableSum describes one table: the records whose key begins with its letter.
type TableSum struct {
	Records uint64 // how many
	Bytes   uint64 // of keys and values
	Digest  Digest
}

// Sums holds one TableSum for each table that has records, by the table's letter.
type Sums map[byte]TableSum

// Equal tells whether both describe the same records.
func (s Sums) Equal(o Sums) bool { return maps.Equal(s, o) }

// letters returns the letters in order.
func (s Sums) letters() []byte { return slices.Sorted(maps.Keys(s)) }

// total returns the number of records and of bytes of all tables.
func (s Sums) total() (records, size uint64) {
	for _, t := range s {
		records += t.Records
		size += t.Bytes
	}
	return records, size
}

// insert counts a record in.
func (t *TableSum) insert(key, value []byte) {
	t.Records++
	t.Bytes += uint64(len(key) + len(value))
	t.Digest.add(recordDigest(key, value))
}

// remove counts a record out.
func (t *TableSum) remove(key, value []byte) {
	t.Records--
	t.Bytes -= uint64(len(key) + len(value))
	t.Digest.sub(recordDigest(key, value))
}

// tableSumLen is the length of an encoded TableSum.
const tableSumLen = 16 + sha256.Size

func (t TableSum) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, t.Records), t.Bytes)
	return append(dst, t.Digest[:]...)
}

func readTableSum(b []byte) (t TableSum, err error) {
	if len(b) != tableSumLen {
		return t, fmt.Errorf("table sum of %d bytes: %w", len(b), ErrCorrupt)
	}
	t.Records, t.Bytes = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	copy(t.Digest[:], b[16:])
	return t, nil
}

// check refuses a sum that no set of records can have.
func (t TableSum) check() error {
	if t.Records == 0 && (t.Bytes != 0 || t.Digest != Digest{}) {
		return fmt.Errorf("no records but %d bytes and digest %v: %w", t.Bytes, t.Digest, ErrCorrupt)
	}
	return nil
}

func tableSumKey(letter byte) []byte { return append([]byte(tableSumPrefix), letter) }

func tableSumLetter(key []byte) (byte, error) {
	if len(key) != len(tableSumPrefix)+1 || !bytes.HasPrefix(key, []byte(tableSumPrefix)) || key[len(tableSumPrefix)] == ownPrefix {
		return 0, fmt.Errorf("key of a table sum %x: %w", key, ErrCorrupt)
	}
	return key[len(tableSumPrefix)], nil
}
