// Package raftstoretest runs Raft clusters in one process for tests: raftstore over a crashable file system in memory, a
// log in memory that can be cloned at any moment, loopback TCP whose links can be cut.
//
// It owns no rule of its own: shields and configuration come from raftstore, and a test that wants one of them missing
// says so in its Spec. Only tests import it. A Node belongs to the test's goroutine; Disk and Network are safe for
// concurrent use. A crash of the test process leaves nothing but temporary directories.
package raftstoretest
