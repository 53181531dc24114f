package storage

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// parse returns the records of a stream that comes in pieces of n bytes.
func parse(b []byte, n int) (records []string, h Header, archive bool, err error) {
	p := NewParser(func(k, v []byte) error {
		records = append(records, fmt.Sprintf("%s=%s", k, v))
		return nil
	})
	for len(b) > 0 {
		m := min(n, len(b))
		if _, err := p.Write(b[:m]); err != nil {
			return nil, h, false, err
		}
		b = b[m:]
	}
	h, archive, err = p.Finish()
	return records, h, archive, err
}

// A state of any size, down to nothing and over the limits of blocks, travels whole, in pieces of any size.
func TestStreamRoundTrip(t *testing.T) {
	for _, sizes := range [][]int{
		{}, {0}, {blockSize - recordOverhead - 3}, {blockSize - recordOverhead - 2}, {blockSize, 0, blockSize}, {3 * blockSize, 1, 1}, {MaxValue},
	} {
		s := open(t, vfs.NewMem())
		var records []string
		for i, n := range sizes {
			records = append(records, fmt.Sprintf("a%02d=%s", i, bytes.Repeat([]byte("v"), n)))
		}
		put(t, s, 3, records...)
		b := stream(t, s, Position{8, 2})
		for _, piece := range []int{1 << 30, 4097, 61} {
			got, h, archive, err := parse(b, piece)
			if diff := cmp.Diff(records, got); diff != "" || err != nil || archive || h.Applied != (Position{8, 2}) {
				t.Errorf("sizes %v, pieces of %d: %v, %v", sizes, piece, err, len(diff))
			}
		}
		if _, _, archive, err := parse(append([]byte(ArchiveMagic), b...), 100); err != nil || !archive {
			t.Errorf("as an archive: %v %v", archive, err)
		}
	}
}

// An archive begins the history that its stamp names, whatever it says itself; a plain stream keeps its own.
func TestArchiveBeginsHistory(t *testing.T) {
	from, to := open(t, vfs.NewMem()), open(t, vfs.NewMem())
	put(t, from, 3, "a=x")
	archive := append([]byte(ArchiveMagic), stream(t, from, Position{3, 1})...)
	build(t, to, archive, Position{9, 4})
	history := func(s *Store) Position {
		v := s.View()
		m, err := v.Meta()
		must(t, errors.Join(err, v.Close()))
		return m.History
	}
	if h := history(to); h != (Position{9, 4}) {
		t.Error(h)
	}
	follower := open(t, vfs.NewMem())
	build(t, follower, stream(t, to, Position{12, 5}), Position{12, 5})
	if h := history(follower); h != (Position{9, 4}) {
		t.Error(h)
	}
}

// Every single bit of a stream counts.
func TestStreamDamage(t *testing.T) {
	s := open(t, vfs.NewMem())
	put(t, s, 3, "a=x", "b=some more")
	b := stream(t, s, Position{8, 2})
	for i := range b {
		for _, bit := range []byte{1, 0x80} {
			bad := bytes.Clone(b)
			bad[i] ^= bit
			if _, _, _, err := parse(bad, 1000); !errors.Is(err, ErrCorrupt) {
				t.Errorf("byte %d, bit %x: %v", i, bit, err)
			}
		}
		if _, _, _, err := parse(b[:i], 1000); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if _, _, _, err := parse(append(bytes.Clone(b), 0), 1000); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// forge makes a stream of any records under any header, with good checksums.
func forge(h Header, records ...[2]string) []byte {
	out := h.encode()
	var body []byte
	for _, r := range records {
		body = binary.BigEndian.AppendUint32(body, uint32(len(r[0])))
		body = binary.BigEndian.AppendUint32(body, uint32(len(r[1])))
		body = append(append(body, r[0]...), r[1]...)
	}
	for len(body) > 0 {
		n := min(len(body), blockSize)
		out = append(out, body[:n]...)
		out = binary.BigEndian.AppendUint32(out, crc32.Checksum(body[:n], castagnoli))
		body = body[n:]
	}
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}

func sumsOf(records ...[2]string) Sums {
	s := Sums{}
	for _, r := range records {
		sum := s[r[0][0]]
		sum.insert([]byte(r[0]), []byte(r[1]))
		s[r[0][0]] = sum
	}
	return s
}

// What only a broken or hostile sender makes is refused.
func TestStreamForged(t *testing.T) {
	a, b := [2]string{"a", "1"}, [2]string{"b", "2"}
	if _, _, _, err := parse(forge(Header{Sums: sumsOf(a, b)}, a, b), 7); err != nil {
		t.Fatal("the forge itself: ", err)
	}
	lied := sumsOf(a, b)
	sum := lied['a']
	sum.Digest[3]++
	lied['a'] = sum
	own := [2]string{"\x00a", "1"}
	for name, bad := range map[string][]byte{
		"out of order":      forge(Header{Sums: sumsOf(a, b)}, b, a),
		"twice":             forge(Header{Sums: sumsOf(a, a)}, a, a),
		"an own key":        forge(Header{Sums: sumsOf([2]string{"a", "12"})}, own),
		"an own table":      forge(Header{Sums: sumsOf(own)}, own),
		"another digest":    forge(Header{Sums: lied}, a, b),
		"more than it says": forge(Header{Sums: sumsOf(a)}, a, b),
		"less than it says": forge(Header{Sums: sumsOf(a, b)}, a),
		"a huge table":      forge(Header{Sums: Sums{'a': {Records: 1, Bytes: 1 << 60}}}, a),
		"a huge count":      forge(Header{Sums: Sums{'a': {Records: 1 << 60, Bytes: 1 << 60}}}, a),
		"an empty table":    forge(Header{Sums: Sums{'a': {}}}),
		"an empty key":      forge(Header{Sums: Sums{'a': {Records: 1, Bytes: 1}}}, [2]string{"", "1"}),
	} {
		if _, _, _, err := parse(bad, 1000); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A sender whose sums are wrong fails instead of sending more or less than it promised.
func TestStreamOfWrongSums(t *testing.T) {
	for _, off := range []int{-1, 1} {
		s := open(t, vfs.NewMem())
		put(t, s, 3, "a=x", "b=y")
		v := s.View()
		st, err := v.Stream(Position{8, 2})
		must(t, err)
		sum := st.h.Sums['b']
		sum.Bytes += uint64(off)
		st.h.Sums['b'] = sum
		buf := bytes.Buffer{}
		if _, err := buf.ReadFrom(st); !errors.Is(err, ErrCorrupt) {
			t.Errorf("off by %d: %v after %d bytes", off, err, buf.Len())
		}
		must(t, errors.Join(st.Close(), st.Close(), v.Close()))
		if _, err := st.Read(make([]byte, 1)); err == nil {
			t.Error("read after Close")
		}
	}
}

// A state is the same stream wherever it stands, and the same state again where it arrives.
func TestStreamProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		model := rapid.MapOf(rapid.StringMatching(`[a-d][a-z]{0,4}`), rapid.StringN(0, 50, 200)).Draw(rt, "records")
		s, err := Open(vfs.NewMem(), "state", Small())
		must(t, err)
		defer func() { must(t, s.Close()) }()
		to, err := Open(vfs.NewMem(), "state", Small())
		must(t, err)
		defer func() { must(t, to.Close()) }()
		tx := s.Begin()
		for k, v := range model {
			must(t, tx.Set([]byte(k), []byte(v)))
		}
		must(t, tx.Commit(Position{3, 1}, nil))
		b := stream(t, s, Position{9, 2})
		build(t, to, b, Position{9, 2})
		if !bytes.Equal(stream(t, to, Position{9, 2}), b) {
			rt.Fatal("the state changed on its way")
		}
		v := to.View()
		defer v.Close()
		must(t, v.Check())
	})
}

func FuzzParser(f *testing.F) {
	a, b := [2]string{"a", "1"}, [2]string{"b", "2"}
	f.Add(forge(Header{Sums: sumsOf(a, b), Applied: Position{5, 1}}, a, b), 7)
	f.Add(append([]byte(ArchiveMagic), forge(Header{})...), 1)
	f.Add([]byte(streamMagic), 3)
	f.Fuzz(func(t *testing.T, data []byte, piece int) {
		records, h, _, err := parse(data, max(1, piece))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("unknown error: %v", err)
			}
			return
		}
		if n, _ := h.Sums.total(); n != uint64(len(records)) {
			t.Fatalf("%d records came, the header says %d", len(records), n)
		}
	})
}

func FuzzStreamHeader(f *testing.F) {
	f.Add(Header{Sums: sumsOf([2]string{"a", "1"}), History: Position{2, 1}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		n := headerLen(b)
		if n == 0 || n > len(b) {
			return
		}
		binary.BigEndian.PutUint32(b[n-crcLen:], crc32.Checksum(b[:n-crcLen], castagnoli)) // else nothing gets past it
		h, err := readHeader(b[:n])
		if err != nil {
			return
		}
		if !bytes.Equal(h.encode(), b[:n]) || h.Size() < int64(n) {
			t.Fatalf("%x reads as %+v", b[:n], h)
		}
	})
}

func FuzzStamp(f *testing.F) {
	f.Add(Stamp{Position: Position{5, 1}, Configuration: Configuration{Index: 3, Data: []byte("m")}}.Append(nil))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ReadStamp(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(s.Append(nil), b) {
			t.Fatalf("%x reads as %+v", b, s)
		}
	})
}

func FuzzTableSum(f *testing.F) {
	f.Add(TableSum{Records: 1, Bytes: 2, Digest: Digest{1}}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readTableSum(b)
		if (err == nil) != (len(b) == tableSumLen) || err == nil && !bytes.Equal(s.append(nil), b) {
			t.Fatalf("%x reads as %+v, %v", b, s, err)
		}
	})
}
