package fsm

import (
	"slices"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// source is authz.Source over a Reader: what CoveredBy asks at apply, where the state is the transaction's. It compiles
// what it is asked for and keeps it for one command, in which nothing that it has read may change but by forget.
//
// A Source can't fail, so the first fault is kept and everything reads as absent from then on; whoever asked looks at
// err before the answer.
type source struct {
	r *Reader
	// at is the moment by which delegations are live: those that are over are never asked for.
	at int64
	// ageless makes agents read as unexpired: see cascade.
	ageless  bool
	agents   map[ids.ID]*authz.Agent
	received map[ids.ID][]*authz.Delegation
	err      error
}

var _ authz.Source = (*source)(nil)

func newSource(r *Reader, at int64, ageless bool) *source {
	return &source{r: r, at: at, ageless: ageless, agents: map[ids.ID]*authz.Agent{}, received: map[ids.ID][]*authz.Delegation{}}
}

// Agent implements authz.Source.
func (s *source) Agent(id ids.ID) *authz.Agent {
	if a, ok := s.agents[id]; ok || s.err != nil {
		return a
	}
	rec, err := s.r.Agent(id)
	var a *authz.Agent
	if err == nil && rec != nil {
		if s.ageless {
			rec.ExpiresAt = 0
		}
		a, err = CompileAgent(rec)
	}
	if err != nil {
		s.err = err
		return nil
	}
	s.agents[id] = a
	return a
}

// AgentByToken implements authz.Source. Nothing at apply asks by token.
func (s *source) AgentByToken(h ids.Hash) *authz.Agent {
	rec, err := s.r.AgentByToken(h)
	if err != nil || rec == nil {
		s.err = err
		return nil
	}
	return s.Agent(ids.ID(rec.GetId()))
}

// Received implements authz.Source: the live ones, which are all that count.
func (s *source) Received(id ids.ID) []*authz.Delegation {
	if list, ok := s.received[id]; ok || s.err != nil {
		return list
	}
	a := s.Agent(id)
	if a == nil {
		return nil
	}
	list, err := s.load(a.Tenant, id)
	if err != nil {
		s.err = err
		return nil
	}
	s.received[id] = list
	return list
}

func (s *source) load(tenant string, to ids.ID) ([]*authz.Delegation, error) {
	edges, err := s.r.liveEdges(storage.LiveReceivedFrom(tenant, to, s.at+1), storage.LiveReceivedPrefix(tenant, to))
	if err != nil {
		return nil, err
	}
	list := make([]*authz.Delegation, 0, len(edges))
	for _, e := range edges {
		rec, err := must(s.r, storage.DelegationKey(tenant, e.id), &raftv1.Delegation{})
		if err != nil {
			return nil, err
		}
		d, err := CompileDelegation(rec)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, nil
}

// forget drops what was read of a receiver, one of whose delegations has just ended.
func (s *source) forget(to ids.ID) { delete(s.received, to) }

// liveEdges reads one of the two live indexes from lower on, in order of creation.
func (r *Reader) liveEdges(lower, prefix []byte) ([]edge, error) {
	var list []edge
	_, upper := storage.PrefixRange(prefix)
	err := r.r.Scan(lower, upper, false, func(key, value []byte) (bool, error) {
		_, _, _, created, err := storage.ParseLiveReceivedKey(key)
		if key[0] == storage.TableLiveGiven {
			_, _, _, created, err = storage.ParseLiveGivenKey(key)
		}
		if err != nil || len(value) != len(ids.ID{}) {
			return false, corruptf("%s: malformed", storage.PrintKey(key))
		}
		list = append(list, edge{created, ids.ID(value)})
		return true, nil
	})
	slices.SortFunc(list, compareEdges)
	return list, err
}
