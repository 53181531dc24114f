package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// The keys under which the Raft library stores a vote, and ours, which holds both: term(8) candidate.
const (
	keyVoteTerm = "LastVoteTerm"
	keyVoteCand = "LastVoteCand"
	keyVote     = "kavach/vote"
)

// errVoteOrder is returned when the library stores a candidate without its term: a release that changed the order of
// the two writes must not run on this store.
var errVoteOrder = errors.New("a vote's candidate was stored before its term")

// atomicVote stores term and candidate of a vote in one transaction. The library stores them one after the other
// (hashicorp/raft#661); a crash between the two leaves the new term beside the previous candidate, whose next request
// is granted as a repeat before its log is looked at, and committed entries are lost.
//
// It holds the term back until the candidate comes, and writes both under one key. The library calls it from its main
// loop only, so there is no lock.
type atomicVote struct {
	raft.StableStore
	term *uint64 // stored by nobody yet; a crash forgets it together with its candidate
}

// AtomicVote wraps a stable store so that a vote is stored whole or not at all.
func AtomicVote(s raft.StableStore) raft.StableStore { return &atomicVote{StableStore: s} }

// SetUint64 implements raft.StableStore.
func (s *atomicVote) SetUint64(key []byte, v uint64) error {
	if string(key) == keyVoteTerm {
		s.term = &v
		return nil
	}
	return s.StableStore.SetUint64(key, v)
}

// Set implements raft.StableStore.
func (s *atomicVote) Set(key, v []byte) error {
	if string(key) != keyVoteCand {
		return s.StableStore.Set(key, v)
	}
	if s.term == nil {
		return errVoteOrder
	}
	b := append(binary.BigEndian.AppendUint64(nil, *s.term), v...)
	s.term = nil
	return s.StableStore.Set([]byte(keyVote), b)
}

// GetUint64 implements raft.StableStore. Errors pass unwrapped: the library compares the text "not found".
func (s *atomicVote) GetUint64(key []byte) (uint64, error) {
	if string(key) != keyVoteTerm {
		return s.StableStore.GetUint64(key)
	}
	term, _, err := s.vote()
	return term, err
}

// Get implements raft.StableStore.
func (s *atomicVote) Get(key []byte) ([]byte, error) {
	if string(key) != keyVoteCand {
		return s.StableStore.Get(key)
	}
	_, candidate, err := s.vote()
	return candidate, err
}

func (s *atomicVote) vote() (term uint64, candidate []byte, err error) {
	b, err := s.StableStore.Get([]byte(keyVote))
	if err != nil || len(b) == 0 {
		return 0, nil, err
	}
	if len(b) < 8 {
		return 0, nil, fmt.Errorf("stored vote of %d bytes", len(b))
	}
	return binary.BigEndian.Uint64(b), b[8:], nil
}
