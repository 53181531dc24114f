package rpc

// Node is the part of *cluster.Node that the API stands on.
type Node interface {
	// DeriveKey returns the cluster's key for a purpose, the same on every node.
	DeriveKey(label string) [32]byte
	// RevisionToken returns the token that names index in this cluster's history.
	RevisionToken(index uint64) string
}
