package audit

import (
	"encoding/binary"
	"errors"
)

// Cursor is where a page ended, and which entries there were when the first page was read. Later ones are left out of
// the pages that follow.
type Cursor struct {
	After Position
	// Block is the number of the newest block then.
	Block uint64
	// Journals tells how far each live journal had come then.
	Journals []JournalEnd
}

// JournalEnd is the first number of a journal that did not exist yet.
type JournalEnd struct {
	Journal JournalID
	Next    uint64
}

const (
	cursorVersion = 1
	// maxCursorJournals bounds what a cursor says of journals: two a node of the largest cluster. More are left out; what
	// they hold is then missing from the later pages until it is replicated.
	maxCursorJournals = 64
)

// ErrCursor is returned for bytes that are no cursor.
var ErrCursor = errors.New("malformed audit cursor")

// AppendBinary appends the cursor's encoding, for a page token. It is not secret and must be authenticated by the user.
func (c *Cursor) AppendBinary(dst []byte) ([]byte, error) {
	dst = append(dst, cursorVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(c.After.Time))
	dst = append(dst, c.After.ID[:]...)
	dst = binary.BigEndian.AppendUint64(dst, c.Block)
	n := min(len(c.Journals), maxCursorJournals)
	dst = append(dst, byte(n))
	for _, j := range c.Journals[:n] {
		dst = append(dst, j.Journal[:]...)
		dst = binary.BigEndian.AppendUint64(dst, j.Next)
	}
	return dst, nil
}

// ParseCursor reads what AppendBinary made. It returns ErrCursor for anything else.
func ParseCursor(b []byte) (*Cursor, error) {
	const fixed, each = 1 + 8 + 16 + 8 + 1, 16 + 8
	if len(b) < fixed || b[0] != cursorVersion || b[fixed-1] > maxCursorJournals || len(b) != fixed+int(b[fixed-1])*each {
		return nil, ErrCursor
	}
	c := &Cursor{After: Position{Time: int64(binary.BigEndian.Uint64(b[1:]))}, Block: binary.BigEndian.Uint64(b[25:])}
	copy(c.After.ID[:], b[9:])
	for b = b[fixed:]; len(b) > 0; b = b[each:] {
		c.Journals = append(c.Journals, JournalEnd{JournalID(b[:16]), binary.BigEndian.Uint64(b[16:])})
	}
	return c, nil
}
