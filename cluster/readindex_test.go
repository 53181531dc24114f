package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	nodev1 "github.com/kavachd/kavachd/gen/kavach/node/v1"
	"github.com/kavachd/kavachd/status"
)

// configuration stands for what the Raft library says of members and term.
type configuration struct {
	raft.ConfigurationFuture
	servers []raft.Server
	term    atomic.Uint64
}

func (c *configuration) CurrentTerm() uint64                        { return c.term.Load() }
func (c *configuration) GetConfiguration() raft.ConfigurationFuture { return c }
func (c *configuration) Error() error                               { return nil }
func (c *configuration) Configuration() raft.Configuration {
	return raft.Configuration{Servers: c.servers}
}

// voter is what one other node answers.
type voter func(q *nodev1.ConfirmRequest, id string) (*nodev1.ConfirmResponse, error)

func agrees(q *nodev1.ConfirmRequest, id string) (*nodev1.ConfirmResponse, error) {
	return &nodev1.ConfirmResponse{Term: q.GetTerm(), Nonce: q.GetNonce(), NodeId: id}, nil
}

func older(q *nodev1.ConfirmRequest, id string) (*nodev1.ConfirmResponse, error) {
	return &nodev1.ConfirmResponse{Term: q.GetTerm() - 1, Nonce: q.GetNonce(), NodeId: id}, nil
}

func newer(q *nodev1.ConfirmRequest, id string) (*nodev1.ConfirmResponse, error) {
	return &nodev1.ConfirmResponse{Term: q.GetTerm() + 1, Nonce: q.GetNonce(), NodeId: id}, nil
}

func staleAnswer(q *nodev1.ConfirmRequest, id string) (*nodev1.ConfirmResponse, error) {
	return &nodev1.ConfirmResponse{Term: q.GetTerm(), Nonce: q.GetNonce() - 1, NodeId: id}, nil
}

func stranger(q *nodev1.ConfirmRequest, _ string) (*nodev1.ConfirmResponse, error) {
	return &nodev1.ConfirmResponse{Term: q.GetTerm(), Nonce: q.GetNonce(), NodeId: "stranger"}, nil
}

func silent(*nodev1.ConfirmRequest, string) (*nodev1.ConfirmResponse, error) {
	return nil, errors.New("unreachable")
}

// newConfirmer makes the confirmer of node 0 in term 5, with a base of 10 and an applied index of 12. replicas are voters
// without a vote.
func newConfirmer(t *testing.T, others, replicas []voter) (*confirmer, *configuration) {
	conf := &configuration{servers: []raft.Server{{ID: "0", Suffrage: raft.Voter}}}
	conf.term.Store(5)
	answers := map[raft.ServerID]voter{}
	for i, v := range append(others, replicas...) {
		id := raft.ServerID(fmt.Sprint(i + 1))
		s := raft.Server{ID: id, Suffrage: raft.Voter}
		if i >= len(others) {
			s.Suffrage = raft.Nonvoter
		}
		conf.servers = append(conf.servers, s)
		answers[id] = v
	}
	r := &reign{term: 5, ctx: t.Context(), opened: make(chan struct{})}
	r.open(10)
	return &confirmer{
		node: "0", raft: conf, reign: func() *reign { return r }, applied: func() uint64 { return 11 },
		committed: func() (uint64, error) { return 12, nil },
		ask: func(_ context.Context, id raft.ServerID, q *nodev1.ConfirmRequest) (*nodev1.ConfirmResponse, error) {
			return answers[id](q, string(id))
		},
		cluster: func() clusterID { return clusterID{1} }, limit: time.Minute,
	}, conf
}

// TestConfirmNeedsAMajorityNow checks PROTOCOLS A9 fresh: which answers count, and how many are needed.
func TestConfirmNeedsAMajorityNow(t *testing.T) {
	for _, c := range []struct {
		name             string
		others, replicas []voter
		want             bool
	}{
		{"alone", nil, nil, true},
		{"all agree", []voter{agrees, agrees}, nil, true},
		{"an older term agrees too", []voter{older, silent}, nil, true},
		{"one of three is silent", []voter{agrees, silent}, nil, true},
		{"both others are silent", []voter{silent, silent}, nil, false},
		{"one other of two voters is silent", []voter{silent}, nil, false},
		{"a newer term has begun", []voter{newer, newer}, nil, false},
		{"answers to an older round", []voter{staleAnswer, staleAnswer}, nil, false},
		{"other nodes at the voters' addresses", []voter{stranger, stranger}, nil, false},
		{"replicas don't count", []voter{silent, silent}, []voter{agrees, agrees, agrees}, false},
		{"two of five", []voter{agrees, silent, silent, silent}, nil, false},
		{"three of five", []voter{agrees, silent, agrees, silent}, nil, true},
		{"two of four", []voter{agrees, silent, silent}, nil, false},
	} {
		conf, _ := newConfirmer(t, c.others, c.replicas)
		ri, err := conf.round(t.Context())
		if (err == nil) != c.want || err == nil && ri != (readIndex{index: 12, term: 5}) {
			t.Errorf("%s: %v, %v", c.name, ri, err)
		}
		if err != nil && status.ReasonOf(err) != status.ReadIndexUnavailable {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestConfirmWithoutAReign checks that nobody confirms who doesn't lead, whose own term has passed, or whose term isn't open.
func TestConfirmWithoutAReign(t *testing.T) {
	c, conf := newConfirmer(t, []voter{agrees, agrees}, nil)
	conf.term.Store(6)
	if ri, err := c.round(t.Context()); err == nil {
		t.Errorf("confirmed %v in a term that has passed", ri)
	}
	c, _ = newConfirmer(t, []voter{agrees, agrees}, nil)
	c.reign = func() *reign { return nil }
	if _, err := c.round(t.Context()); status.ReasonOf(err) != status.NotLeader {
		t.Errorf("no reign: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	unopened := &reign{term: 5, ctx: ended, opened: make(chan struct{})}
	c.reign = func() *reign { return unopened }
	got := make(chan error, 1)
	go func() {
		_, err := c.round(t.Context())
		got <- err
	}()
	cancel()
	if err := <-got; status.ReasonOf(err) != status.NotLeader {
		t.Errorf("a term that never opened: %v", err)
	}
}

// TestConfirmTakesTheIndexFirst checks the order of A9: what is applied while the questions are under way isn't covered by
// them.
func TestConfirmTakesTheIndexFirst(t *testing.T) {
	c, _ := newConfirmer(t, []voter{agrees, agrees}, nil)
	var asked atomic.Bool
	ask := c.ask
	c.ask = func(ctx context.Context, id raft.ServerID, q *nodev1.ConfirmRequest) (*nodev1.ConfirmResponse, error) {
		asked.Store(true)
		return ask(ctx, id, q)
	}
	c.committed = func() (uint64, error) {
		if asked.Load() {
			return 99, nil
		}
		return 12, nil
	}
	if ri, err := c.round(t.Context()); err != nil || ri.index != 12 {
		t.Errorf("%v, %v", ri, err)
	}
}

// TestAnswerReadsTheTermLate checks the voter's side: the term it has when the question is there, and its own id.
func TestAnswerReadsTheTermLate(t *testing.T) {
	c, conf := newConfirmer(t, nil, nil)
	conf.term.Store(8)
	a := c.answer(&nodev1.ConfirmRequest{Term: 5, Nonce: 77})
	if a.GetTerm() != 8 || a.GetNonce() != 77 || a.GetNodeId() != "0" || a.GetApplied() != 11 {
		t.Errorf("%v", a)
	}
}

// TestReadIndexCoversWhatFollowersSee checks which index a round takes: what is committed but not applied by the leader
// counts, because a follower may have applied it and shown it to somebody; what no state machine publishes doesn't.
func TestReadIndexCoversWhatFollowersSee(t *testing.T) {
	logs := raft.NewInmemStore()
	types := []raft.LogType{raft.LogCommand, raft.LogConfiguration, raft.LogNoop, raft.LogBarrier, raft.LogCommand} // 5 to 9
	for i, typ := range types {
		if err := logs.StoreLog(&raft.Log{Index: uint64(5 + i), Type: typ}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ applied, commit, want uint64 }{
		{4, 5, 5}, {4, 6, 6}, {4, 8, 6}, {6, 8, 6}, {5, 8, 6}, {4, 9, 9}, {9, 9, 9}, {9, 8, 9}, {20, 9, 20},
	} {
		if got, err := newestPublished(logs, c.applied, c.commit); err != nil || got != c.want {
			t.Errorf("applied %d, committed %d: %d (%v), want %d", c.applied, c.commit, got, err, c.want)
		}
	}
	if got, err := newestPublished(logs, 9, 10); err == nil {
		t.Errorf("an entry that isn't there: %d", got)
	}
}
