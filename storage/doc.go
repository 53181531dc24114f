// Package storage keeps the state of a node in Pebble: generations, transactions, views, running digests, and the
// logical stream in which a state travels.
//
// It owns the directory of the state, the layout of keys and values, and everything under the first byte 0x00. It must
// not know what Raft, a command or a decision is, and it reads no clock and no randomness. All files go through a vfs.FS.
//
// # Concurrency
//
// Store, Hold and View are safe for concurrent use. A Tx, Stream, Parser or Builder belongs to one goroutine. At most
// one Tx is open at a time, and Flip is called by the goroutine that owns it: the applying one. Close waits until every
// Tx, View and Hold has ended. The package starts no goroutine of its own; Pebble's end with Close.
//
// # Generations
//
// The directory holds one Pebble per generation, gen-000001 and so on, and CURRENT with the name of one of them. A
// restore builds the next generation beside, durably, then points CURRENT to it. A generation that was replaced lives
// on until its last view, stream or hold is closed, and is then removed.
//
// # What a crash leaves
//
// Pebble's write-ahead log is on and not synced per transaction: a power cut takes a suffix of the transactions, never
// one from the middle, and the Raft log has them all. Only a stamp and a built generation are synced.
//
//	crash at                        on disk                            repaired by                      test
//	first Open, before CURRENT      a first generation, maybe torn     Open makes it again              TestOpenPowerCut
//	Tx.Commit                       the transactions before it, all    the Raft log applies the rest    TestPowerCutAtEveryWrite
//	                                or a prefix; sums always fit
//	Hold.Stamp, before its sync     the old stamp                      the log isn't compacted yet      TestPowerCutAtEveryWrite
//	Hold.Stamp, after its sync      the stamp and all before it        nothing to repair                TestPowerCutAtEveryWrite
//	Builder, up to Finish           a part of the next generation      Open deletes it                  TestPowerCutAtEveryWrite
//	Flip, CURRENT.tmp written       the next generation, not named     Open deletes both                TestPowerCutAtEveryWrite
//	Flip, renamed, not synced       either name in CURRENT             Open takes what it finds and     TestPowerCutAtEveryWrite
//	                                                                   deletes the other
//	Flip, synced                    the next generation and the old    Open deletes the old one         TestPowerCutAtEveryWrite
//
// The tests stand in cluster/raftstore, which drives all of these steps, but for the first.
package storage
