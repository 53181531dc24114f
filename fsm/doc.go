// Package fsm is the state machine: commands in, replicated state out. It is the only writer of that state.
//
// It owns what every command means (agents, tokens, delegations, API keys, settings, idempotency, the audit trail's
// blocks, the registry of nodes), the records and their indexes, and the readers that others use. Keys are spelled in
// storage/keys.go; the rules of permissions and chains are authz'. It must not know Raft, clocks, randomness, a node's
// configuration, or who reads the outcome: Apply is a function of the state, the entry, its index and its term, and
// runs alike on a leader, a follower, in replay and after a restore. No map is iterated, no float is used.
//
// # Commands
//
// Each kind has a file of its own: a check, which reads and never writes, and a write, which can no longer be refused.
// The check is exported for validate_only and runs again in Apply, where the log decides: its refusal is an Outcome,
// equal on every node. A transaction has no savepoint, so a refused command must not have written; Apply verifies that.
// What every command passes: the caller's key as it is now, the remembered request, the check, the write, the record of
// the request, the audit entry.
//
// # Faults
//
// A fault is not an outcome: the entry can't be applied and the node must stop. The causes are a closed list (Cause),
// each with the operator's way out. The transaction of a fault is to be dropped.
//
// # Concurrency
//
// A Machine keeps nothing between calls; Apply must be called by one goroutine at a time, as a storage.Tx demands.
// A Reader is as safe as the storage.Reader below it: over a View, for concurrent use.
//
// # After a crash
//
// Nothing is kept outside the transaction, so a crash leaves whole Raft batches or nothing (storage's table). Load
// rebuilds the decision state from what is stored; Check rebuilds every index and compares.
package fsm
