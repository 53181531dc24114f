package raftstore_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/cluster/raftstore/raftstoretest"
)

var errPower = errors.New("powered off")

// fusedStore loses power after a number of writes, and writes down the keys.
type fusedStore struct {
	raft.StableStore
	left int // writes until the power goes; negative: never
	keys []string
}

func (s *fusedStore) spend(key []byte) error {
	if s.left == 0 {
		return errPower
	}
	s.left--
	s.keys = append(s.keys, string(key))
	return nil
}

func (s *fusedStore) SetUint64(key []byte, v uint64) error {
	if err := s.spend(key); err != nil {
		return err
	}
	return s.StableStore.SetUint64(key, v)
}

func (s *fusedStore) Set(key, v []byte) error {
	if err := s.spend(key); err != nil {
		return err
	}
	return s.StableStore.Set(key, v)
}

// voter is a real follower f of a group {f, x, y}; the test plays the others.
type voter struct {
	t    *testing.T
	disk *raftstoretest.Disk
	wrap func(raft.StableStore) raft.StableStore
}

// idleFSM is for tests in which nothing is applied.
type idleFSM struct{ raft.MockFSM }

// withFollower runs play against f, started on the disk with a power supply for so many writes.
func (v *voter) withFollower(writes int, play func(*raft.InmemTransport)) (keys []string) {
	v.t.Helper()
	_, ft := raft.NewInmemTransportWithTimeout("f", 5*time.Second)
	_, lt := raft.NewInmemTransportWithTimeout("l", 5*time.Second)
	lt.Connect("f", ft)
	c := raftstore.Config("f", raftstore.Profile{Heartbeat: time.Hour, Lease: time.Hour, CommitTimeout: time.Second})
	c.Logger = hclog.NewNullLogger()
	fuse := &fusedStore{StableStore: v.disk, left: -1}
	r, err := raft.NewRaft(c, &idleFSM{}, v.disk, v.wrap(fuse), raft.NewInmemSnapshotStore(), ft)
	if err != nil {
		v.t.Fatal(err)
	}
	fuse.left, fuse.keys = writes, nil
	play(lt)
	if err := r.Shutdown().Error(); err != nil {
		v.t.Fatal(err)
	}
	return fuse.keys
}

func (v *voter) ask(lt *raft.InmemTransport, who string, term uint64, last, lastTerm uint64) bool {
	var resp raft.RequestVoteResponse
	err := lt.RequestVote("f", "f", &raft.RequestVoteRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(who), Addr: []byte(who)},
		Term:      term, LastLogIndex: last, LastLogTerm: lastTerm,
	}, &resp)
	v.t.Logf("term %d: %s, whose log ends at %d@%d, asks f: granted %v, error %v", term, who, last, lastTerm, resp.Granted, err)
	return resp.Granted
}

// tornVote plays a history that Raft allows, in which f loses power after so many writes of its vote for y. It tells
// whether x, which lacks a committed entry, then gets f's vote, and how many writes there were.
func tornVote(t *testing.T, writes int, wrap func(raft.StableStore) raft.StableStore) (granted bool, wrote int) {
	v := &voter{t: t, disk: raftstoretest.NewDisk(), wrap: wrap}
	boot(t, v.disk, wrap(v.disk), raftstoretest.Servers("f", "x", "y"))
	for i := uint64(2); i <= 10; i++ {
		storeLog(t, v.disk, &raft.Log{Index: i, Term: 4, Type: raft.LogCommand})
	}
	// Term 5: x leads, elected by x and f.
	v.withFollower(-1, func(lt *raft.InmemTransport) {
		if !v.ask(lt, "x", 5, 10, 4) {
			t.Fatal("x should have f's vote in term 5")
		}
	})
	// Term 6: y leads, elected by x and y, and commits entry 11 on y and f; x never gets it.
	storeLog(t, v.disk, &raft.Log{Index: 11, Term: 6, Type: raft.LogCommand})
	// Term 7: y asks again; f loses power while it stores its vote.
	keys := v.withFollower(writes, func(lt *raft.InmemTransport) { v.ask(lt, "y", 7, 11, 6) })
	// f is back. x and f are a majority: with f's vote, entry 11 would be lost.
	v.withFollower(-1, func(lt *raft.InmemTransport) { granted = v.ask(lt, "x", 7, 10, 5) })
	return granted, len(keys)
}

func boot(t *testing.T, logs raft.LogStore, stable raft.StableStore, c raft.Configuration) {
	t.Helper()
	storeLog(t, logs, &raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(c)})
	if err := stable.SetUint64([]byte("CurrentTerm"), 1); err != nil {
		t.Fatal(err)
	}
}

func storeLog(t *testing.T, logs raft.LogStore, l *raft.Log) {
	t.Helper()
	if err := logs.StoreLog(l); err != nil {
		t.Fatal(err)
	}
}

func plainVote(s raft.StableStore) raft.StableStore { return s }

// The library's own two writes: one power cut gives the vote to a candidate that lacks a committed entry.
func TestTornVoteWithoutShield(t *testing.T) {
	granted := false
	for writes := 1; ; writes++ { // the first is the term's, without which the library panics
		g, wrote := tornVote(t, writes, plainVote)
		granted = granted || g
		if wrote < writes {
			break
		}
	}
	if !granted {
		t.Error("the stale candidate was refused after every cut: the library has repaired it, AtomicVote can go")
	}
}

func TestTornVoteWithShield(t *testing.T) {
	for writes := 1; ; writes++ {
		granted, wrote := tornVote(t, writes, raftstore.AtomicVote)
		if granted {
			t.Errorf("power cut after write %d: the stale candidate got the vote", writes)
		}
		if wrote < writes {
			break
		}
	}
}

// AtomicVote relies on the order of the library's two writes, and must yield what it was given.
func TestAtomicVoteOrder(t *testing.T) {
	v := &voter{t: t, disk: raftstoretest.NewDisk(), wrap: plainVote}
	boot(t, v.disk, v.disk, raftstoretest.Servers("f", "x", "y"))
	keys := v.withFollower(-1, func(lt *raft.InmemTransport) { v.ask(lt, "x", 5, 10, 4) })
	term, cand := slices.Index(keys, "LastVoteTerm"), slices.Index(keys, "LastVoteCand")
	if term < 0 || cand != term+1 {
		t.Errorf("the library stores a vote as %v", keys)
	}

	s := raftstore.AtomicVote(raftstoretest.NewDisk())
	if _, err := s.Get([]byte("LastVoteCand")); err == nil || err.Error() != "not found" {
		t.Errorf("no vote yet: %v; the library compares the text", err)
	}
	if err := s.Set([]byte("LastVoteCand"), []byte("x")); err == nil {
		t.Error("a candidate without a term was stored")
	}
	for _, vote := range []struct {
		term uint64
		cand string
	}{{5, "x"}, {7, "y"}, {9, ""}} {
		if err := errors.Join(s.SetUint64([]byte("LastVoteTerm"), vote.term), s.Set([]byte("LastVoteCand"), []byte(vote.cand))); err != nil {
			t.Fatal(err)
		}
		gotTerm, err := s.GetUint64([]byte("LastVoteTerm"))
		gotCand, err2 := s.Get([]byte("LastVoteCand"))
		if gotTerm != vote.term || string(gotCand) != vote.cand || err != nil || err2 != nil {
			t.Errorf("stored %v, got %d %q, %v %v", vote, gotTerm, gotCand, err, err2)
		}
	}
}
