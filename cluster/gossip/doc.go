// Package gossip tells nodes of each other quickly: which are alive, and under which addresses.
//
// It owns a memberlist: encrypted with a key that derives from the join secret, labeled with the cluster's id, so that two
// clusters never mix. What it says is a hint and never authority: anybody who has the key can announce anything. It must
// not know Raft; nothing here may change a configuration or the registry.
//
// # Concurrency
//
// A Gossip is safe for concurrent use. The library calls its delegates under its own lock, so they only write a map of
// ours; the library's Members is never called there, which would deadlock. One goroutine joins again now and then: the
// library forgets the dead, and after a long partition the halves would not find each other (RAFT.md 9.26).
//
// A crash leaves nothing: nothing is kept on disk.
package gossip
