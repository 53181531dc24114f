package cluster_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/cluster"
	"github.com/kavachd/kavachd/cluster/clustertest"
	"github.com/kavachd/kavachd/cluster/raftstore/raftstoretest"
)

// BenchmarkWrites compares, in one run, the bare library (one entry a write, 256 bytes) with whole writes: rotations
// proposed on the leader and through a follower, checked, applied to Pebble, audited. Three nodes in one process, bolt on
// this disk, fsync on.
func BenchmarkWrites(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("bare/callers=%d", callers), func(b *testing.B) {
			leader := raftstoretest.BareLeader(b, 3)
			data := make([]byte, 256)
			raftstoretest.Callers(b, callers, func() error { return leader.Apply(data, 5*time.Second).Error() })
		})
	}
	c := clustertest.Start(b, clustertest.Options{})
	a := c.Admin()
	id, _, cmd := a.CreateAgent(clustertest.Allow("doc:*", "read"))
	propose(b, c.Nodes[0], cmd)
	for name, n := range map[string]*clustertest.Node{"leader": c.Leader(), "follower": c.Followers()[0]} {
		for _, callers := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) {
				raftstoretest.Callers(b, callers, func() error {
					_, cmd := a.Rotate(id)
					_, _, err := n.Propose(context.Background(), cmd)
					return err
				})
			})
		}
	}
}

// BenchmarkDecide decides with a confirmed read index for each call, shared by those who wait, audit entry included.
func BenchmarkDecide(b *testing.B) {
	c := clustertest.Start(b, clustertest.Options{})
	a := c.Admin()
	_, token, cmd := a.CreateAgent(clustertest.Allow("doc:*", "read"))
	propose(b, c.Nodes[0], cmd)
	checks := []cluster.Check{{Request: authz.Request{ByToken: true, Token: token, TokenOK: true, Action: "read", Resource: "doc:1"}}}
	for name, n := range map[string]*clustertest.Node{"leader": c.Leader(), "follower": c.Followers()[0]} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) {
				b.ReportAllocs()
				raftstoretest.Callers(b, callers, func() error {
					_, err := n.Decide(context.Background(), cluster.Level{}, a.Hash, checks)
					return err
				})
			})
		}
	}
}
