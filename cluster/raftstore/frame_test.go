package raftstore

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kavachd/kavachd/storage"
)

func FuzzUnframe(f *testing.F) {
	h := storage.Position{Index: 258, Term: 3}
	f.Add(frame(h, []byte("payload")), uint64(258), uint64(3))
	f.Add(frame(h, nil), uint64(258), uint64(4))
	f.Add([]byte{entryFormat}, uint64(0), uint64(0))
	f.Add([]byte{}, uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, index, term uint64) {
		h := storage.Position{Index: index, Term: term}
		payload, err := unframe(h, data)
		if err != nil {
			if !errors.Is(err, ErrFrame) && !errors.Is(err, ErrHistory) {
				t.Fatalf("unknown error: %v", err)
			}
			return
		}
		if !bytes.Equal(frame(h, payload), data) {
			t.Fatalf("%x is not what %x was framed to", data, payload)
		}
	})
}

func TestMaxPayloadFits(t *testing.T) {
	if n := len(frame(storage.Position{}, make([]byte, MaxPayload))); n != MaxEntry {
		t.Errorf("the longest payload makes an entry of %d bytes, at most %d are allowed", n, MaxEntry)
	}
}
