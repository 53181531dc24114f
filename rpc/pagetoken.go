package rpc

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/status"
)

const (
	// pageTokenLife is how long a token may be used.
	pageTokenLife = time.Hour
	// maxCursorBytes bounds what a token carries, and so the token: 4 KiB hold it in base64.
	maxCursorBytes = 2048
	// pageTokenVersion begins every token. Change it with the layout.
	pageTokenVersion = 1
)

// pageTokens makes and opens page tokens: encrypted and authenticated, because a cursor names records; bound to the
// method, the filter and the tenant of the caller; short-lived. Every node of a cluster opens the tokens of every other.
// Safe for concurrent use.
//
// The nonce is random, 96 bits: with less than 2^32 tokens for one key the chance that two are equal is below 2^-32.
type pageTokens struct {
	aead cipher.AEAD
	now  func() time.Time
}

func newPageTokens(key [32]byte, now func() time.Time) (*pageTokens, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("page token cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("page token cipher: %w", err)
	}
	return &pageTokens{aead: aead, now: now}, nil
}

// pageBinding is what a token is good for. Two requests with equal bindings ask for pages of one list.
type pageBinding [sha256.Size]byte

// bindPages hashes the cluster, the method, the tenant of the caller and the filter: the request without page and
// consistency.
func bindPages(cluster, method, tenant string, filter proto.Message) (pageBinding, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(filter)
	if err != nil {
		return pageBinding{}, fmt.Errorf("marshal the filter of %s: %w", method, err)
	}
	h := sha256.New()
	for _, part := range [][]byte{[]byte(cluster), []byte(method), []byte(tenant), raw} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write(part)
	}
	return pageBinding(h.Sum(nil)), nil
}

// seal returns the token for what follows cursor; "" for an empty cursor, which means: no more pages.
func (p *pageTokens) seal(b pageBinding, cursor []byte) (string, error) {
	if len(cursor) == 0 {
		return "", nil
	}
	if len(cursor) > maxCursorBytes {
		return "", fmt.Errorf("a cursor of %d bytes does not fit into a page token (%d)", len(cursor), maxCursorBytes)
	}
	plain := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(cursor)), uint64(p.now().Add(pageTokenLife).UnixNano()))
	plain = append(plain, cursor...)
	sealed := p.aead.Seal([]byte{pageTokenVersion}, nil, plain, b[:]) //nolint:gosec // no nonce is given: the AEAD draws its own
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// open returns the cursor of a token, nil for an empty token. A token that this cluster did not make for this very list
// is PAGE_TOKEN_INVALID, one that is too old PAGE_TOKEN_EXPIRED.
func (p *pageTokens) open(b pageBinding, token string) ([]byte, error) {
	if token == "" {
		return nil, nil
	}
	plain, err := p.decrypt(b, token)
	if err != nil {
		return nil, describe(status.New(status.PageTokenInvalid, "").Wrap(err).
			WithField("page_token", "is not a token of this list: start again without one"))
	}
	until := time.Unix(0, int64(binary.BigEndian.Uint64(plain)))
	if !p.now().Before(until) {
		return nil, describe(status.New(status.PageTokenExpired, "").
			WithField("page_token", "is older than %s: start again without one", pageTokenLife))
	}
	return plain[8:], nil
}

func (p *pageTokens) decrypt(b pageBinding, token string) ([]byte, error) {
	// Strict: without it, spare bits at the end would give one token several spellings.
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return nil, err
	}
	if len(sealed) == 0 || sealed[0] != pageTokenVersion {
		return nil, errors.New("unknown version")
	}
	plain, err := p.aead.Open(nil, nil, sealed[1:], b[:])
	if err != nil {
		return nil, err
	}
	if len(plain) <= 8 {
		return nil, errors.New("too short")
	}
	return plain, nil
}
