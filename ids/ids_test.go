package ids

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTextRoundTripAndOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a, b ID
		copy(a[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "a"))
		copy(b[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "b"))
		got, err := Parse(PrefixAgent, a.Text(PrefixAgent))
		if err != nil || got != a {
			t.Fatalf("Parse(Text(%x)) = %x, %v", a, got, err)
		}
		if want, got := bytes.Compare(a[:], b[:]), strings.Compare(a.Text("x"), b.Text("x")); want != got {
			t.Fatalf("order of %x and %x: bytes %d, text %d", a, b, want, got)
		}
	})
}

// TestKnownTypeID pins the encoding to the TypeID specification's own example.
func TestKnownTypeID(t *testing.T) {
	id := ID{0x01, 0x88, 0xba, 0xc7, 0x4a, 0xfa, 0x78, 0xaa, 0xbc, 0x3b, 0xbd, 0x1e, 0xef, 0x28, 0xd8, 0x81}
	if got, want := id.Text("prefix"), "prefix_01h2xcejqtf2nbrexx3vqjhp41"; got != want {
		t.Fatalf("Text = %s, want %s", got, want)
	}
}

func TestParseRefuses(t *testing.T) {
	good := ID{1: 9}.Text(PrefixAgent)
	for _, text := range []string{
		"", "agt_", good[:len(good)-1], good + "0", strings.ToUpper(good), "dlg" + good[3:], "agt-" + good[4:],
		"agt_8" + good[5:], "agt_u" + good[5:], "agt_" + strings.Repeat("l", 26),
	} {
		if _, err := Parse(PrefixAgent, text); err == nil {
			t.Errorf("Parse(%q) succeeded", text)
		}
	}
}

func TestNewIsVersion7(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	id, err := New(at, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if id[6]>>4 != 7 || id[8]>>6 != 2 {
		t.Fatalf("version and variant bits of %x", id)
	}
	later, err := New(at.Add(time.Millisecond), rand.Reader)
	if err != nil || bytes.Compare(id[:], later[:]) >= 0 {
		t.Fatalf("%x is not before %x (%v)", id, later, err)
	}
}

func TestSecrets(t *testing.T) {
	token, err := NewToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if len(token) != 46 || !strings.HasPrefix(token, "kv_") {
		t.Errorf("token has the wrong shape (%d characters)", len(token))
	}
	if _, ok := HashToken(token); !ok {
		t.Error("a fresh token is refused")
	}
	if _, ok := HashKey(key); !ok {
		t.Error("a fresh key is refused")
	}
	for i := range key {
		bad := []byte(key)
		if bad[i] = 'A'; key[i] == 'A' {
			bad[i] = 'B'
		}
		if _, ok := HashKey(string(bad)); ok {
			t.Errorf("a key with character %d changed is accepted", i)
		}
	}
	for _, bad := range []string{"", token[1:], token + "A", "xx_" + token[3:], token[:45] + "="} {
		if _, ok := HashToken(bad); ok {
			t.Errorf("HashToken accepts %d characters", len(bad))
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("agt_01h2xcejqtf2nbrexx3vqjhp41")
	f.Add("agt_81h2xcejqtf2nbrexx3vqjhp41")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := Parse(PrefixAgent, text)
		if err == nil && id.Text(PrefixAgent) != text {
			t.Fatalf("%q parses, but prints as %q", text, id.Text(PrefixAgent))
		}
	})
}

func FuzzSecrets(f *testing.F) {
	f.Add("kv_" + strings.Repeat("A", 43))
	f.Add("kvk_" + strings.Repeat("A", 51))
	f.Fuzz(func(t *testing.T, text string) {
		_, token := HashToken(text)
		_, key := HashKey(text)
		if token && key {
			t.Fatalf("%q is both a token and a key", text)
		}
	})
}
