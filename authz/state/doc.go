// Package state holds the decision state: all that a decision reads, in memory, on every node (DESIGN 3): token hash →
// agent, id → agent, delegations by receiver, callers' keys.
//
// It owns the indexes and their versions. It must not know where records come from (fsm loads and refreshes them) nor
// how decisions are made (authz).
//
// Concurrency: the root is immutable. One writer at a time builds the next version beside the current one, copying the
// few nodes on the way to each change, and publishes it by one atomic pointer. A View is one version for good: readers
// take no lock, never wait, and see all of a commit or nothing, in a batch too. State.Version tells a reader that a newer
// one exists; an answer that must rest on the newest (PROTOCOLS R8) compares it with its View's and evaluates again.
// Rejected: tables changed in place under a version counter. They save the writer's copies (about 2 µs a change) but a
// reader of a long batch would starve under writes, and would have to be free of side effects.
//
// Memory: an agent is one struct and one pointer-free block; an index entry is 16 bytes in a leaf of at most 32. What a
// commit replaces is garbage as soon as the last View of the old version is gone; the collector takes it back, no
// arena has to be compacted. Figures: docs/performance.md, BenchmarkMillionAgents.
//
// A crash leaves nothing; the state is rebuilt from storage at start.
package state
