// Package cluster is a node: it wires the state machine, the store, the Raft library, the transport, gossip and the audit
// journal together, and gives rpc four verbs: Propose, Read, Decide and what an operator asks (Status, Members, Transfer,
// Remove).
//
// # What it owns
//
// The way of a write from any node into one Raft entry of the leader (proposer, forwarder); the proof that a read is
// current (read index, PROTOCOLS A9 fresh); the term-bound work of a leader (reign); how a cluster begins, is joined and
// left (founding, joining, membership); the node's identity on disk. What a command means is fsm's, what a right is,
// authz's: this package decides nothing of the business and spells no storage key.
//
// # Concurrency
//
// All exported methods of a Node are safe for concurrent use between Start and Stop. Every goroutine belongs to a Node,
// ends with its context, and is awaited by Stop. A Raft term's work belongs to a reign, which ends before the next one
// begins.
//
// # What a crash leaves
//
//	step                                   on disk after a crash here           repaired by
//	node-id made                           an id, or a temporary file           next start makes or reads it
//	cluster-id written, marked founding    the id, no Raft state                next start founds again, with the same id
//	Raft bootstrapped, InitCluster not yet the id and a configuration of one    next start leads, and proposes InitCluster again
//	InitCluster applied, mark not yet off  the same, and the cluster's record   next start takes the mark off
//	cluster-id written by a joiner         the id, no Raft state                next start joins again; it never founds
//	an entry proposed, not yet applied     the entry in the log, or not         the caller was told OUTCOME_UNKNOWN; the same idempotency key
//	a decision journaled, not yet shipped  the journal                          next start ships it
package cluster
