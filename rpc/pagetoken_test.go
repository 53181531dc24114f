package rpc

import (
	"bytes"
	"encoding/base64"
	"testing"
	"time"

	"pgregory.net/rapid"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/status"
)

// fixedPages returns tokens on a clock that the test turns.
func fixedPages(tb testing.TB, key byte) (*pageTokens, *time.Time) {
	tb.Helper()
	now := time.Unix(1_800_000_000, 0)
	p, err := newPageTokens([32]byte{key}, func() time.Time { return now })
	if err != nil {
		tb.Fatal(err)
	}
	return p, &now
}

func bound(tb testing.TB, cluster, method, tenant, owner string) pageBinding {
	tb.Helper()
	b, err := bindPages(cluster, method, tenant, &kavachv1.ListAgentsRequest{OwnerId: owner})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestPageToken(t *testing.T) {
	p, now := fixedPages(t, 1)
	b := bound(t, "c", "ListAgents", "", "ada")
	token, err := p.seal(b, []byte("cursor"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.open(b, token)
	if err != nil || string(got) != "cursor" {
		t.Fatalf("open: %q, %v", got, err)
	}
	for name, other := range map[string]pageBinding{
		"another cluster": bound(t, "d", "ListAgents", "", "ada"),
		"another method":  bound(t, "c", "ListKeys", "", "ada"),
		"another tenant":  bound(t, "c", "ListAgents", "acme", "ada"),
		"another filter":  bound(t, "c", "ListAgents", "", "bob"),
		"shifted parts":   bound(t, "cL", "istAgents", "", "ada"),
	} {
		if _, err := p.open(other, token); status.ReasonOf(err) != status.PageTokenInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	foreign, _ := fixedPages(t, 2)
	if _, err := foreign.open(b, token); status.ReasonOf(err) != status.PageTokenInvalid {
		t.Errorf("another key: %v", err)
	}
	*now = now.Add(pageTokenLife - 1)
	if _, err := p.open(b, token); err != nil {
		t.Errorf("within its life: %v", err)
	}
	*now = now.Add(1)
	if _, err := p.open(b, token); status.ReasonOf(err) != status.PageTokenExpired {
		t.Errorf("behind its life: %v", err)
	}
}

// TestPageTokenTampered: every token with one bit changed, cut or extended is refused.
func TestPageTokenTampered(t *testing.T) {
	p, _ := fixedPages(t, 1)
	b := bound(t, "c", "ListAgents", "", "")
	token, err := p.seal(b, []byte("cursor"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			bad := bytes.Clone(raw)
			bad[i] ^= 1 << bit
			if _, err := p.open(b, base64.RawURLEncoding.EncodeToString(bad)); status.ReasonOf(err) != status.PageTokenInvalid {
				t.Fatalf("bit %d of byte %d changed: %v", bit, i, err)
			}
		}
	}
	for _, bad := range []string{token[1:], token[:len(token)-1], token + "A", token + "=", " " + token, "A", "AQ", "!"} {
		if _, err := p.open(b, bad); status.ReasonOf(err) != status.PageTokenInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestPageTokenBounds(t *testing.T) {
	p, _ := fixedPages(t, 1)
	b := bound(t, "c", "ListAgents", "", "")
	if token, err := p.seal(b, nil); token != "" || err != nil {
		t.Errorf("no cursor: %q, %v", token, err)
	}
	if cursor, err := p.open(b, ""); cursor != nil || err != nil {
		t.Errorf("no token: %q, %v", cursor, err)
	}
	token, err := p.seal(b, make([]byte, maxCursorBytes))
	if err != nil || len(token) > 4096 { // the schema's limit of page_token
		t.Errorf("the largest cursor gives %d characters, %v", len(token), err)
	}
	if _, err := p.seal(b, make([]byte, maxCursorBytes+1)); err == nil {
		t.Error("a cursor above the limit is sealed")
	}
}

func TestPageTokenRoundTrip(t *testing.T) {
	p, _ := fixedPages(t, 1)
	rapid.Check(t, func(t *rapid.T) {
		b := pageBinding(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "binding"))
		cursor := rapid.SliceOfN(rapid.Byte(), 1, maxCursorBytes).Draw(t, "cursor")
		token, err := p.seal(b, cursor)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.open(b, token); err != nil || !bytes.Equal(got, cursor) {
			t.Fatalf("open: %x, %v", got, err)
		}
	})
}

// FuzzPageToken: nothing but what seal made is opened.
func FuzzPageToken(f *testing.F) {
	p, _ := fixedPages(f, 1)
	b := bound(f, "c", "ListAgents", "", "")
	other, _ := fixedPages(f, 2)
	for _, tokens := range []*pageTokens{p, other} {
		token, err := tokens.seal(b, []byte("cursor"))
		if err != nil {
			f.Fatal(err)
		}
		if tokens == p {
			token = token[:len(token)-2] + "AA"
		}
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if cursor, err := p.open(b, token); err == nil && token != "" {
			t.Fatalf("opened %q to %x", token, cursor)
		} else if err != nil && status.ReasonOf(err) != status.PageTokenInvalid {
			t.Fatalf("%q: %v", token, err)
		}
	})
}
