package cluster

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
)

// Labels of keys that derive from the join secret. All nodes must agree on them: never change one.
const (
	labelNodeRPC = "node-rpc"
	labelGossip  = "gossip"
	labelRaft    = "raft"
)

// deriveKey returns HKDF-SHA256 of the join secret for a purpose (RFC 5869, no salt: the secret is all there is to share).
func deriveKey(secret []byte, label string) (key [32]byte) {
	b, err := hkdf.Key(sha256.New, secret, nil, "kavachd "+label, len(key))
	if err != nil {
		panic(err) // only for an output longer than 8160 bytes
	}
	copy(key[:], b)
	return key
}

// nodeAuthorization is the header that proves a node to another one.
func nodeAuthorization(secret []byte) string {
	key := deriveKey(secret, labelNodeRPC)
	return "Kavach-Node " + hex.EncodeToString(key[:])
}
