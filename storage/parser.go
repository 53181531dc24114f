package storage

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
)

// Parser takes a stream in pieces of any size. It checks every block before it hands on a record, and the sums of the
// header against the records that came. It holds at most one block, one record and the piece that was written.
type Parser struct {
	set     func(key, value []byte) error
	in      bytes.Buffer
	rest    []byte // of blocks, not yet a whole record
	state   parserState
	archive bool
	h       Header
	left    uint64 // bytes of records to come
	found   Sums
	last    []byte // key of the last record
	sum     hash.Hash
	err     error
}

type parserState uint8

const (
	atMagic parserState = iota
	atHeader
	atBlock
	atEnd
	atDone
)

// NewParser returns a Parser that hands each record to set, in order of keys. key and value are valid until set
// returns. An error of set ends the parsing.
func NewParser(set func(key, value []byte) error) *Parser {
	return &Parser{set: set, found: Sums{}, sum: sha256.New()}
}

// Write implements io.Writer. After the first error every Write returns it.
func (p *Parser) Write(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	p.in.Write(b)
	for {
		more, err := p.step()
		if err != nil {
			p.err = err
			return 0, err
		}
		if !more {
			return len(b), nil
		}
	}
}

// Finish returns the header of a stream that came whole, and whether it was an operator's archive.
func (p *Parser) Finish() (h Header, archive bool, err error) {
	switch {
	case p.err != nil:
		return Header{}, false, p.err
	case p.state != atDone:
		return Header{}, false, fmt.Errorf("stream was cut short: %w", ErrCorrupt)
	}
	return p.h, p.archive, nil
}

// step consumes one part of the stream, if all of it is there.
func (p *Parser) step() (more bool, err error) {
	switch p.state {
	case atMagic:
		return p.magic(), nil
	case atHeader:
		return p.header()
	case atBlock:
		return p.block()
	case atEnd:
		return p.end()
	default:
		if p.in.Len() > 0 {
			return false, fmt.Errorf("stream: bytes after the end: %w", ErrCorrupt)
		}
		return false, nil
	}
}

func (p *Parser) magic() bool {
	if p.in.Len() < len(ArchiveMagic) {
		return false
	}
	if p.archive = string(p.in.Bytes()[:len(ArchiveMagic)]) == ArchiveMagic; p.archive {
		p.in.Next(len(ArchiveMagic))
	}
	p.state = atHeader
	return true
}

func (p *Parser) header() (bool, error) {
	n := headerLen(p.in.Bytes())
	if n == 0 || p.in.Len() < n {
		return false, nil
	}
	b := p.in.Next(n)
	h, err := readHeader(b)
	if err != nil {
		return false, err
	}
	p.sum.Write(b)
	p.h, p.left = h, h.body()
	p.state = atBlock
	return true, nil
}

func (p *Parser) block() (bool, error) {
	if p.left == 0 {
		p.state = atEnd
		return true, nil
	}
	n := int(min(p.left, blockSize))
	if p.in.Len() < n+crcLen {
		return false, nil
	}
	b := p.in.Next(n + crcLen)
	if crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return false, fmt.Errorf("stream: bad block, %d bytes before the end: %w", p.left, ErrCorrupt)
	}
	p.sum.Write(b)
	p.left -= uint64(n)
	p.rest = append(p.rest, b[:n]...)
	return true, p.records()
}

// records hands on the whole records that have come.
func (p *Parser) records() error {
	c := p.rest
	for len(c) >= recordOverhead {
		k, v := binary.BigEndian.Uint32(c), binary.BigEndian.Uint32(c[4:])
		if k == 0 || k > MaxKey || v > MaxValue {
			return fmt.Errorf("stream: record with key of %d bytes, value of %d: %w", k, v, ErrCorrupt)
		}
		n := recordOverhead + int(k) + int(v)
		if len(c) < n {
			break
		}
		key, value := c[recordOverhead:recordOverhead+k], c[recordOverhead+k:n]
		if err := p.record(key, value); err != nil {
			return err
		}
		c = c[n:]
	}
	p.rest = p.rest[:copy(p.rest, c)]
	return nil
}

func (p *Parser) record(key, value []byte) error {
	if key[0] == ownPrefix {
		return fmt.Errorf("stream: %w: %w", ErrOwnKey, ErrCorrupt)
	}
	if bytes.Compare(p.last, key) >= 0 {
		return fmt.Errorf("stream: key %x after %x: %w", key, p.last, ErrCorrupt)
	}
	p.last = append(p.last[:0], key...)
	t := p.found[key[0]]
	t.insert(key, value)
	p.found[key[0]] = t
	return p.set(key, value)
}

func (p *Parser) end() (bool, error) {
	if p.in.Len() < sha256.Size {
		return false, nil
	}
	if !bytes.Equal(p.in.Next(sha256.Size), p.sum.Sum(nil)) || len(p.rest) > 0 {
		return false, fmt.Errorf("stream: bad end: %w", ErrCorrupt)
	}
	if err := compareSums(p.h.Sums, p.found); err != nil {
		return false, errors.Join(errors.New("stream: the sender's sums differ from its records"), err)
	}
	p.state = atDone
	return true, nil
}
