// Package raftstore joins the state in storage to the Raft library: it is state machine and snapshot store in one, and
// holds the shields that the library needs.
//
// It owns the rules by which log, state and snapshots agree, the frame of an entry, and the library's configuration. It
// must not know what a command means (see Machine), how nodes find each other, or who may call.
//
// # The state is the snapshot
//
// Nothing is stored at snapshot time but a stamp: index, term and configuration as the library knew them, in one synced
// write that makes everything applied before it durable too. A snapshot is read from one version of the state when
// somebody asks for it. An install is built into the next generation of storage as the bytes arrive; Restore only takes
// it: CURRENT first, then memory, then the log is emptied, then the decision state is told, then the index is published.
//
// # Indexes
//
// Applied is the index of the last command or configuration that this node shows to readers. No-ops and barriers never
// reach a state machine, so the library's own index runs ahead of it for ever. Two consequences:
//   - Never wait for the library's commit index. A read index is the leader's own Applied at the moment of its quorum
//     round, once a barrier of its term has come back: every write that was acknowledged before is in it.
//   - After an install Applied counts the barriers that came before. Compare digests of two nodes by command.
//
// # Histories
//
// An operator's restore begins a new history, named by the position that the library burns for it. Every entry carries
// the name of its history, and a node that meets another one ends before it applies anything: the library's Restore
// takes effect on the leader alone at first, and would else let that node diverge in silence.
//
// # Shields, one file each, each with tests that show the defect without it
//
//	vote.go       a vote is stored whole or not at all            TestTornVote…
//	heartbeat.go  no heartbeat beside the library's main loop     TestHeartbeat…
//	log.go        an install empties a log that ends before it    TestDivergentPrefix…
//	fsm.go        … or conflicts with it, which ends the process  TestConflictAtState…
//	log.go        no entry above 512 KiB                          TestSizeCap
//	frame.go      no entry of another history                     TestLonelyRestore
//	stall.go      a limit on silence while something is received  TestStalledInstall
//	config.go     never RestoreCommittedLogs                      TestRestoreCommittedLogs…
//	              VerifyLeader is never used                      TestNothingCallsVerifyLeader
//
// # Concurrency
//
// ApplyBatch, Snapshot and Restore run on the library's applying goroutine, one at a time. Persist runs beside them on
// its snapshot goroutine, sinks on its main loop, Open and streams on its replication goroutines. Everything else is
// safe for concurrent use. The package starts no goroutine. Close comes after the library's Shutdown and the
// transport's; it waits for the streams that are still open.
//
// # What a crash leaves
//
//	crash at                          at the next start                                           test
//	ApplyBatch                        some prefix of the batches; the library applies the rest,   TestPowerCutAtEveryWrite
//	                                  entries at or below Applied are skipped
//	Persist, before it returned       the old stamp; the log isn't compacted yet                  TestPowerCutAtEveryWrite
//	Persist, after it returned        state and log meet: Open refuses a hole                     TestRestart
//	an install, before the flip       the old state; the leader sends it again                    TestReceiverPowerCut
//	between flip and emptied log      the new state; Open empties the log                         TestReceiverPowerCut
//	a log lost or put in another's    ErrHole, if it can be told: the node must be rebuilt        TestOpenRefusesHole
//	place
package raftstore
