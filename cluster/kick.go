package cluster

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// kickDelay is how long an entry waits for another one to follow before followers are told by a kick that it is
// committed (PROTOCOLS R7).
const kickDelay = time.Millisecond

// barrier is the part of the Raft library that a kick needs.
type barrier interface {
	Barrier(timeout time.Duration) raft.Future
}

// kicker sends an empty entry behind the last write of a burst. Followers learn from the next message that an entry is
// committed, and on an idle cluster that message comes only after the library's CommitTimeout or twice that.
// At most one kick is under way; one that is asked for meanwhile follows it.
type kicker struct {
	raft    barrier
	timeout time.Duration
	wg      sync.WaitGroup

	mu struct {
		sync.Mutex
		running, again bool
	}
}

// kick returns at once.
func (k *kicker) kick() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.running {
		k.mu.again = true
		return
	}
	k.mu.running = true
	k.wg.Go(k.run)
}

func (k *kicker) run() {
	for {
		// An error means that this node doesn't lead any more, and then the kick is nobody's business.
		_ = k.raft.Barrier(k.timeout).Error()
		k.mu.Lock()
		if !k.mu.again {
			k.mu.running = false
			k.mu.Unlock()
			return
		}
		k.mu.again = false
		k.mu.Unlock()
	}
}

// wait returns when no kick is under way. No kick may be asked for any more.
func (k *kicker) wait() { k.wg.Wait() }
