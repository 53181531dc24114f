package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The node's own keys. They begin with 0x00 and are outside tables, digests, sums and streams: two nodes with the same
// state may differ in them. Don't renumber.
var (
	keyFormat  = []byte("\x00f") // one byte, stateFormat
	keyApplied = []byte("\x00a") // Position of the last entry of the log that the state contains
	keyConfig  = []byte("\x00c") // Configuration that came with an applied entry, or with an install
	keyStamp   = []byte("\x00s") // Stamp of the last snapshot, taken or installed
	keyHistory = []byte("\x00h") // Position that names the history, see Position
)

// ownPrefix is the first byte of the node's own keys; tableSumPrefix begins the sums, one key a table.
const (
	ownPrefix      = 0x00
	tableSumPrefix = "\x00t"
)

// stateFormat is the version of the layout of keys and values that this binary writes.
const stateFormat = 1

// ErrOwnKey is returned for a key that begins with 0x00, or is empty: those belong to storage alone.
var ErrOwnKey = errors.New("key belongs to the node itself")

// ErrCorrupt is returned when a stored or received encoding can't be read.
var ErrCorrupt = errors.New("corrupt encoding")

// Position is the index of a log entry together with its term. A history of the cluster is named by the Position at
// which an operator's restore began it; the first history has the zero Position.
type Position struct{ Index, Term uint64 }

// String returns index@term.
func (p Position) String() string { return fmt.Sprintf("%d@%d", p.Index, p.Term) }

// positionLen is the length of an encoded Position.
const positionLen = 16

// Append appends the encoding of p, 16 bytes big-endian, to dst.
func (p Position) Append(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, p.Index), p.Term)
}

// ReadPosition decodes the first 16 bytes of b. It returns ErrCorrupt if there are fewer.
func ReadPosition(b []byte) (Position, error) {
	if len(b) < positionLen {
		return Position{}, fmt.Errorf("position of %d bytes: %w", len(b), ErrCorrupt)
	}
	return Position{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, nil
}

// Configuration is a membership of the Raft group with the index of its entry. Data is opaque here.
type Configuration struct {
	Index uint64
	Data  []byte
}

func (c Configuration) append(dst []byte) []byte {
	return append(binary.BigEndian.AppendUint64(dst, c.Index), c.Data...)
}

func readConfiguration(b []byte) (Configuration, error) {
	if len(b) < 8 {
		return Configuration{}, fmt.Errorf("configuration of %d bytes: %w", len(b), ErrCorrupt)
	}
	return Configuration{binary.BigEndian.Uint64(b), append([]byte(nil), b[8:]...)}, nil
}

// Stamp is what the Raft library knew when it took or installed a snapshot.
type Stamp struct {
	Position
	Configuration Configuration
}

// Append appends the encoding of s to dst.
func (s Stamp) Append(dst []byte) []byte { return s.Configuration.append(s.Position.Append(dst)) }

// ReadStamp decodes a Stamp. It returns ErrCorrupt if b is too short or holds no configuration: a snapshot without
// members would start a node that knows nobody.
func ReadStamp(b []byte) (Stamp, error) {
	p, err := ReadPosition(b)
	if err != nil {
		return Stamp{}, fmt.Errorf("stamp: %w", err)
	}
	c, err := readConfiguration(b[positionLen:])
	if err != nil {
		return Stamp{}, fmt.Errorf("stamp: %w", err)
	}
	if len(c.Data) == 0 {
		return Stamp{}, fmt.Errorf("stamp without a configuration: %w", ErrCorrupt)
	}
	return Stamp{Position: p, Configuration: c}, nil
}
