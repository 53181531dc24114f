package client

import (
	"strconv"
	"strings"
	"sync"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// AtLeast is the consistency for an answer that rests on the revision or on a newer one.
func AtLeast(revision string) *kavachv1.Consistency {
	return &kavachv1.Consistency{Level: &kavachv1.Consistency_AtLeast{AtLeast: revision}}
}

// Revision returns the newest revision that an answer carried or Observe was given; empty: none. Given to Observe in
// another process, it makes that one read what this one wrote.
func (c *Client) Revision() string { return c.core.seen.get() }

// Observe takes a revision that came another way, as from another process. With Config.ReadYourWrites reads and
// decisions from now on rest on it or on a newer one.
func (c *Client) Observe(revision string) { c.core.seen.observe(revision) }

// tracker keeps the newest revision.
type tracker struct {
	mu     sync.Mutex
	newest string
}

func (t *tracker) get() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.newest
}

func (t *tracker) observe(revision string) {
	if revision == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !older(revision, t.newest) {
		t.newest = revision
	}
}

// forget drops a revision that the cluster doesn't know, unless a newer one has been seen meanwhile.
func (t *tracker) forget(revision string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.newest == revision {
		t.newest = ""
	}
}

// older tells whether a is older than b, in the same cluster. What can't be compared isn't: the one that came last counts.
func older(a, b string) bool {
	ca, ea, ia, okA := split(a)
	cb, eb, ib, okB := split(b)
	if !okA || !okB || ca != cb {
		return false
	}
	return ea < eb || ea == eb && ia < ib
}

// split takes a revision apart: cluster, history, index. It is opaque to callers, not to this package.
func split(revision string) (cluster string, history, index uint64, ok bool) {
	parts := strings.Split(revision, ".")
	if len(parts) != 3 {
		return "", 0, 0, false
	}
	history, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return "", 0, 0, false
	}
	index, err = strconv.ParseUint(parts[2], 10, 64)
	return parts[0], history, index, err == nil
}
