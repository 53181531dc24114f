package cluster

import (
	"time"
)

// Consistency names how current an answer has to be.
type Consistency uint8

// The levels of PROTOCOLS A9. Until read leases arrive each but StaleOK is served as Fresh, and StaleOK too.
const (
	Default Consistency = iota // sees every acknowledged write
	AtLeast                    // and the revision that the caller names
	Fresh                      // confirmed by the leader and a majority, without any clock
	Settled                    // linearizable
	StaleOK                    // an old answer rather than none
)

// String returns the level's name.
func (c Consistency) String() string {
	switch c {
	case Default:
		return "default"
	case AtLeast:
		return "at_least"
	case Fresh:
		return "fresh"
	case Settled:
		return "settled"
	case StaleOK:
		return "stale_ok"
	}
	return "unknown"
}

// Level is what a caller demands of an answer.
type Level struct {
	Consistency Consistency
	// Revision is a token of RevisionToken; only for AtLeast.
	Revision string
	// MaxStaleness is only for StaleOK.
	MaxStaleness time.Duration
}

// Served is what an answer was.
type Served struct {
	// Revision is the index of the state that answered; RevisionToken turns it into a token.
	Revision uint64
	// Consistency is the level that was served, which may be stronger than what was demanded.
	Consistency Consistency
	// Stale says that the answer may be old, by at most Age.
	Stale bool
	Age   time.Duration
}
