package raftstore

import (
	"errors"
	"fmt"

	"github.com/kavachd/kavachd/storage"
)

// entryFormat is the first byte of every entry's payload. Don't renumber: a node that meets a format which it doesn't
// know stops, it never skips.
const entryFormat = 1

// frameLen is the length of what Frame puts before a payload: format(1) history(16).
const frameLen = 1 + 16

// MaxPayload is the longest payload that fits into an entry of MaxEntry bytes.
const MaxPayload = MaxEntry - frameLen

// ErrFrame is returned for an entry whose first bytes can't be read, ErrHistory for one of another history.
var (
	ErrFrame   = errors.New("entry of an unknown format")
	ErrHistory = errors.New("entry belongs to another history")
)

// frame puts format and history before payload.
func frame(history storage.Position, payload []byte) []byte {
	b := make([]byte, 0, frameLen+len(payload))
	return append(history.Append(append(b, entryFormat)), payload...)
}

// unframe checks format and history of an entry and returns its payload, which shares data's memory.
func unframe(history storage.Position, data []byte) ([]byte, error) {
	if len(data) < frameLen {
		return nil, fmt.Errorf("%d bytes: %w", len(data), ErrFrame)
	}
	if data[0] != entryFormat {
		return nil, fmt.Errorf("format %d, this binary knows %d only: %w", data[0], entryFormat, ErrFrame)
	}
	h, err := storage.ReadPosition(data[1:])
	if err != nil {
		return nil, err
	}
	if h != history {
		return nil, fmt.Errorf("entry of history %v, state of history %v: %w", h, history, ErrHistory)
	}
	return data[frameLen:], nil
}
