package raftstore

import (
	"time"

	"github.com/hashicorp/raft"
)

// Profile is a set of Raft timings. All members of a cluster should use the same.
type Profile struct {
	Heartbeat     time.Duration // a follower that hears nothing for this long asks for votes; also the election timeout
	Lease         time.Duration // a leader that hears no majority for this long steps down; above the slowest fsync
	CommitTimeout time.Duration // how late an idle follower learns that an entry is committed
}

// FastProfile is for log disks whose fsync stays well under its lease.
func FastProfile() Profile {
	return Profile{Heartbeat: 500 * time.Millisecond, Lease: 400 * time.Millisecond, CommitTimeout: 20 * time.Millisecond}
}

// SlowProfile is for slow disks and busy machines, tests among them.
func SlowProfile() Profile {
	return Profile{Heartbeat: 2 * time.Second, Lease: 1600 * time.Millisecond, CommitTimeout: 20 * time.Millisecond}
}

// Config returns the Raft library's configuration that this package needs. The caller may change Logger, NotifyCh, the
// snapshot settings and TrailingLogs, nothing else:
//   - NoSnapshotRestoreOnStart, because the state is the snapshot, and Open has checked it against the log;
//   - never RestoreCommittedLogs, which in 1.8.0 starts a node without its peers, or not at all;
//   - never PreVoteDisabled: a node that comes back would unseat the leader.
func Config(id raft.ServerID, p Profile) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = id
	c.HeartbeatTimeout = p.Heartbeat
	c.ElectionTimeout = p.Heartbeat
	c.LeaderLeaseTimeout = p.Lease
	c.CommitTimeout = p.CommitTimeout
	c.MaxAppendEntries = 128 // entries are coalesced already
	c.ShutdownOnRemove = false
	c.NoLegacyTelemetry = true
	c.NoSnapshotRestoreOnStart = true
	c.SnapshotInterval = 30 * time.Second
	c.SnapshotThreshold = 8192
	c.TrailingLogs = 1 << 16 // more than comes in while a state is sent and taken, or an install ends in another
	return c
}
