package client_test

import (
	"crypto/rand"
	"testing"

	"github.com/kavachd/kavachd/ids"
)

// unknownKey is a well-formed key that no cluster knows.
func unknownKey(tb testing.TB) string {
	tb.Helper()
	key, err := ids.NewKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}
