package cluster

import (
	_ "github.com/kavachd/kavachd/rpc" // want:imports "cluster must not import rpc"
)

type raft interface{ VerifyLeader() error }

func current(r raft) bool {
	return r.VerifyLeader() == nil // want:verify "VerifyLeader is no proof"
}
