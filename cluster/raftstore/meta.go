package raftstore

import (
	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/storage"
)

// virtualID names the one snapshot there is: the state.
const virtualID = "state"

// snapshotMeta describes the state as a snapshot. There is none before the first stamp: nothing is compacted then, and
// the log tells all.
//
// The position is the later of what was applied and what the library knew at the stamp: barriers and no-ops raise the
// library's index, never ours. With ours alone a follower of an idle cluster would be sent the state again and again,
// because the entry before the next append is compacted.
//
// The configuration is the state's if it came after the stamp, else the stamp's. The one with the higher index would be
// wrong: RecoverCluster writes index 1, and its configuration must beat the one that the state remembers.
func snapshotMeta(m storage.Meta) (meta raft.SnapshotMeta, ok bool) {
	if m.Stamp == nil {
		return raft.SnapshotMeta{}, false
	}
	at, config := position(m), m.Stamp.Configuration
	if m.Config != nil && m.Config.Index > m.Stamp.Index {
		config = *m.Config
	}
	return raft.SnapshotMeta{
		Version:            raft.SnapshotVersionMax,
		ID:                 virtualID,
		Index:              at.Index,
		Term:               at.Term,
		Configuration:      raft.DecodeConfiguration(config.Data),
		ConfigurationIndex: config.Index,
	}, true
}

// position is where the state stands in the library's eyes.
func position(m storage.Meta) storage.Position {
	if m.Stamp != nil && m.Stamp.Index > m.Applied.Index {
		return m.Stamp.Position
	}
	return m.Applied
}
