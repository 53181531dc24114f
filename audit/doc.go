// Package audit owns the way of an audit entry from a decision to the replicated trail and back: the node's journal, the
// shipper that takes it into blocks, queries over both, and the export. Package block, below it, owns the bytes.
//
// It knows nothing of decisions, callers, Raft, or how blocks are stored: it proposes through a function, reads blocks
// through Blocks, and is told by its user what other nodes' journals answered. It reads no clock; the shipper waits by
// timers, randomness comes in as an argument.
//
// # The journal
//
// A journal is a folder of segment files, mapped into memory. An appender encodes its records, reserves their place and
// their numbers by one atomic add, copies them, and stores the length of the first record last: by it the whole batch
// appears at once. Then it waits until everything before is published too, which is seldom more than another's copy. A
// wait for the predecessors is what makes two promises simple: nothing acknowledged stands behind a record that is not
// whole, so that recovery may stop at the first that is not; and what is acknowledged is read by whoever asks next. No
// system call is on the way: the pages are the kernel's as soon as they are written, and outlive the process.
//
// The add that crosses the end of a segment seals it. Whoever comes next begins a new one, once the old one is published
// to its end. A segment's memory is unmapped when the garbage collector finds that nobody refers to it, so that appenders
// need no count of references.
//
// Durability is that of the level "written": a crash of the process loses nothing. A crash of the machine may lose the
// end, while the cluster may have had it already. Numbers must not be given twice then, for the cluster would take new
// entries for repeats. So a journal goes on only within one start of the machine or after Close, which syncs; otherwise it
// is marked foreign, shipped to its end and removed, and a new one, with a new random id, begins.
//
// # What a crash leaves
//
//	step                                 on disk afterwards                      repaired by, and how
//	a segment is made                    a file *.tmp                            OpenJournal removes it
//	it has its name                      an empty segment                        replaced by one of the same name
//	room is reserved                     zeros, then perhaps whole records       recovery stops at the zeros; nothing behind
//	                                     of others                               was acknowledged (TestKilled, TestDamage)
//	records are copied                   the same                                the same
//	the first length is stored           the batch                               it may be there without an answer
//	the segment is full, no next one     a full segment                          a new one begins (TestKilled)
//	a block is proposed                  the journal as before                   proposed again; the cluster's answer says what
//	                                                                             it has (TestExactlyOnce, TestShipperSkips…)
//	a segment is freed                   it, or not; older ones are gone         proposed again, as above
//	a foreign journal is removed         its newer segments                      the same
//	Close syncs                          the segments                            within this start of the machine it goes on
//	Close marks it closed                the mark                                it goes on after any start (TestMachineStopped)
//	OpenJournal takes the mark away      a new, empty segment                    as after a kill
//	the machine stops                    any pages of the segments               the journal is foreign, and ends at the first
//	                                                                             record that is not whole
//
// Within one start of the machine a record that is published and not whole, or a gap between segments, is no crash's
// work: OpenJournal returns ErrDamaged.
//
// # Queries
//
// Entries are in order of (time, id). A block spans at most block.MaxSpan, so that the index by the newest entry serves
// both directions; blocks are opened only when their turn has come, and only if the term with the fewest blocks leads to
// them. A live entry whose number the cluster already has is in a block and left out. The first page notes how far blocks
// and journals had come, and later pages show nothing newer.
//
// # Concurrency
//
// A Journal is safe for concurrent use; Append never takes a lock unless a segment is full. One Shipper has a Journal to
// itself; its Run is one goroutine, which ends with its context. Find, Get and Export keep nothing between calls.
package audit
