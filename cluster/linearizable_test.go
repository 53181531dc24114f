package cluster_test

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/cluster/clustertest"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
)

// tokenOp is one operation on an agent's token: a rotation to the token of that number, or the question whether it is the
// valid one.
type tokenOp struct {
	rotate bool
	number int
}

// tokenModel is one register: the number of the token that is valid.
var tokenModel = porcupine.Model{
	Init: func() any { return 0 },
	Step: func(state, input, output any) (bool, any) {
		op := input.(tokenOp)
		if op.rotate {
			return true, op.number
		}
		return output.(bool) == (state.(int) == op.number), state
	},
}

// history gathers operations. Times are of one clock.
type history struct {
	begun time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
}

func (h *history) now() int64 { return int64(time.Since(h.begun)) }

func (h *history) add(op porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

// TestRotateAndDecideAreLinearizable rotates one token through all nodes and asks all nodes about tokens, while leadership
// moves and the leader is cut off. The history must be that of one register. A rotation whose outcome is unknown may happen
// at any later time, or never.
func TestRotateAndDecideAreLinearizable(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{})
	a := c.Admin()
	id, first, cmd := a.CreateAgent(clustertest.Allow("doc:*", "read"))
	propose(t, c.Nodes[0], cmd)

	const writers, readers = 2, 4
	var tokens sync.Map // number -> hash
	tokens.Store(0, first)
	var newest atomic.Int64
	h := &history{begun: time.Now()}
	ctx, stop := context.WithCancel(soon(t))
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for open := 0; ctx.Err() == nil && open < 4; { // each that stays open for ever doubles the checker's work
				token, cmd := a.Rotate(id)
				number := int(newest.Add(1))
				tokens.Store(number, token)
				op := porcupine.Operation{ClientId: w, Input: tokenOp{rotate: true, number: number}, Call: h.now()}
				call, cancel := context.WithTimeout(ctx, time.Second)
				_, _, err := c.Nodes[w].Propose(call, cmd)
				cancel()
				switch status.ReasonOf(err) {
				case "":
					op.Return = h.now()
				case status.OutcomeUnknown:
					op.Return = math.MaxInt64
				default: // certainly not done
					continue
				}
				h.add(op)
				if err != nil {
					open++
				}
			}
		})
	}
	for r := range readers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				number := max(0, int(newest.Load())-i%3) // mostly the newest ones
				token, ok := tokens.Load(number)
				if !ok {
					continue
				}
				op := porcupine.Operation{ClientId: writers + r, Input: tokenOp{number: number}, Call: h.now()}
				code, err := decideByToken(ctx, c.Nodes[r%len(c.Nodes)], a, token.(ids.Hash))
				if err != nil {
					continue // it refuses, and says nothing about the state
				}
				op.Output, op.Return = code == authz.Allowed, h.now()
				h.add(op)
			}
		})
	}
	enough := func(n int) {
		h.mu.Lock()
		want := len(h.ops) + n
		h.mu.Unlock()
		c.Await("operations", func() error {
			h.mu.Lock()
			defer h.mu.Unlock()
			if len(h.ops) < want {
				return context.DeadlineExceeded
			}
			return nil
		})
	}
	enough(300)
	if err := c.Leader().Transfer(soon(t), ""); err != nil {
		t.Error(err)
	}
	enough(300)
	old := c.Leader()
	c.Network.Isolate(old.Index())
	c.Leader(others(c, old)...)
	enough(100)
	c.Network.Heal()
	enough(300)
	stop()
	wg.Wait()
	result, info := porcupine.CheckOperationsVerbose(tokenModel, h.ops, 30*time.Second)
	if result != porcupine.Ok {
		t.Errorf("%d operations: %v", len(h.ops), result)
		if err := porcupine.VisualizePath(tokenModel, info, t.ArtifactDir()+"/history.html"); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d operations, %d rotations", len(h.ops), newest.Load())
}
