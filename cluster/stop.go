package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/kavachd/kavachd/status"
)

// Stop ends the node: intake, leadership, journal, Raft, transport, log, store, in this order. Each step has
// Limits.StopWait; what a step could not finish is in the error, and the next step still runs. Pinned views must be closed
// before.
func (n *Node) Stop(ctx context.Context) error {
	var errs []error
	step := func(what string, f func(ctx context.Context) error) {
		ctx, cancel := context.WithTimeout(ctx, n.cfg.Limits.StopWait)
		defer cancel()
		if err := f(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop: %s: %w", what, err))
		}
	}
	step("intake", n.gate.close)
	step("leadership", n.handOver)
	step("journal", n.drain)
	step("gossip", func(context.Context) error { return n.gossip.stop() })
	n.life.cancel()
	step("Raft", n.engine.stopRaft)
	n.life.wg.Wait()
	for _, r := range n.life.rounds {
		r.wait()
	}
	n.forwarder.directory.peers.close()
	step("journal's files", func(context.Context) error { return n.journal.journal.Close() })
	step("transport, log and state", n.engine.close)
	return errors.Join(append(errs, n.identity.close())...)
}

// handOver gives leadership away, so that the cluster needn't wait for a timeout to notice that this node is gone. That
// nobody can take it doesn't keep a node from stopping.
func (n *Node) handOver(ctx context.Context) error {
	err := n.members.transfer(ctx, "")
	if r := status.ReasonOf(err); r == "" || r == status.NotLeader {
		return nil // somebody else leads, or nobody
	}
	if !n.members.alone() {
		n.log.Warn("leadership was not handed over", "error", err)
	}
	return nil
}

// drain ships what stands in the journal. What can't be shipped now stays there for the next start.
func (n *Node) drain(ctx context.Context) error {
	leader, _ := n.forwarder.directory.leader()
	if leader == "" || leader == n.identity.node && !n.members.alone() { // nobody to ship to
		return nil
	}
	if err := n.journal.shipper.Drain(ctx); err != nil {
		n.log.Warn("some audit entries stay in the journal until the next start", "error", err)
	}
	return nil
}
