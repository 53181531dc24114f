package ids

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// Hash is the SHA-256 of a secret's text. Only hashes are forwarded, replicated, stored or logged.
type Hash [sha256.Size]byte

// secretBytes is the entropy of an agent token and of an API key: 256 bits, so that a plain SHA-256 suffices.
const secretBytes = 32

// TokenPrefix begins every agent token, KeyPrefix every API key.
const (
	TokenPrefix = "kv_"
	KeyPrefix   = "kvk_"
)

const (
	tokenLen = len(TokenPrefix) + 43
	keyLen   = len(KeyPrefix) + 43 + 8 // 8 hexadecimal digits of CRC-32
)

// NewToken makes an agent token: "kv_" and 32 random bytes in base64url, 43 characters.
func NewToken(random io.Reader) (string, error) {
	body, err := secretBody(random)
	if err != nil {
		return "", err
	}
	return TokenPrefix + body, nil
}

// NewKey makes an API key: "kvk_", 43 characters base64url and a checksum, by which a scanner recognises a leaked key
// and a server refuses a mistyped one without a lookup.
func NewKey(random io.Reader) (string, error) {
	body, err := secretBody(random)
	if err != nil {
		return "", err
	}
	return KeyPrefix + body + checksum(body), nil
}

// HashToken hashes an agent token. ok is false when the text can't be one; such a token is unknown, not an error.
func HashToken(token string) (h Hash, ok bool) {
	if len(token) != tokenLen || !strings.HasPrefix(token, TokenPrefix) || !isBase64URL(token[len(TokenPrefix):]) {
		return Hash{}, false
	}
	return sha256.Sum256([]byte(token)), true
}

// HashKey hashes an API key. ok is false when the text can't be one, its checksum included.
func HashKey(key string) (h Hash, ok bool) {
	if len(key) != keyLen || !strings.HasPrefix(key, KeyPrefix) {
		return Hash{}, false
	}
	body, sum := key[len(KeyPrefix):keyLen-8], key[keyLen-8:]
	if !isBase64URL(body) || checksum(body) != sum {
		return Hash{}, false
	}
	return sha256.Sum256([]byte(key)), true
}

func secretBody(random io.Reader) (string, error) {
	var b [secretBytes]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}

func checksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	return hex.EncodeToString([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

func isBase64URL(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}
