package audit

import (
	"slices"
	"testing"
)

// FuzzCursor: any bytes are refused, or say the same when they are written again.
func FuzzCursor(f *testing.F) {
	c := Cursor{After: Position{Time: -5}, Block: 9, Journals: []JournalEnd{{JournalID{1}, 3}, {JournalID{2}, 4}}}
	b, err := c.AppendBinary(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCursor(b)
		if err != nil {
			return
		}
		again, err := c.AppendBinary(nil)
		if err != nil || !slices.Equal(b, again) {
			t.Fatalf("%x became %x: %v", b, again, err)
		}
	})
}
