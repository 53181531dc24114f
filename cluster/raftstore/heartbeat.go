package raftstore

import "github.com/hashicorp/raft"

// noFastPath sends heartbeats through the library's main loop. The library's fast path answers them on the transport's
// goroutine, beside the main loop, and that race can make replicas diverge (hashicorp/raft#695). Embedding the pointer
// keeps pre-vote, which the library looks for by a type assertion.
//
// The price: a node answers heartbeats only between writes of its log, so the leader's lease must be longer than the
// slowest fsync.
type noFastPath struct{ *raft.NetworkTransport }

var (
	_ raft.WithPreVote = noFastPath{}
	_ raft.WithClose   = noFastPath{}
)

// NoHeartbeatFastPath wraps the transport.
func NoHeartbeatFastPath(t *raft.NetworkTransport) raft.Transport { return noFastPath{t} }

// SetHeartbeatHandler implements raft.Transport. It does nothing, and so heartbeats come like all other calls.
func (noFastPath) SetHeartbeatHandler(func(raft.RPC)) {}
