package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/hashicorp/raft"

	nodev1 "github.com/kavachd/kavachd/gen/kavach/node/v1"
	"github.com/kavachd/kavachd/gen/kavach/node/v1/nodev1connect"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/status"
)

// ledBy stands for what the Raft library says of the leader.
type ledBy string

// LeaderWithID implements leaderInfo.
func (l ledBy) LeaderWithID() (raft.ServerAddress, raft.ServerID) { return "", raft.ServerID(l) }

// newForwarder makes the forwarder of a follower whose leader's API is at address.
func newForwarder(address string) (*forwarder, *peers) {
	r := &replica{}
	r.nodes.Store(&registry{"leader": {NodeId: "leader", ApiAddress: address}})
	p := newPeers((&net.Dialer{}).DialContext, "Kavach-Node test")
	return &forwarder{
		self: "me", directory: &directory{self: "me", raft: ledBy("leader"), replica: r, peers: p, hint: func(string) string { return "" }},
		proposer: &proposer{queue: newQueue(DefaultLimits())}, cluster: func() clusterID { return clusterID{1} }, limit: time.Second,
	}, p
}

// TestNoBlindRetry checks decision 6: a leader that takes a write and falls silent has perhaps done it. It is asked once.
func TestNoBlindRetry(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler) // the connection breaks, without an answer
	}))
	defer server.Close()
	f, p := newForwarder(strings.TrimPrefix(server.URL, "http://"))
	defer p.close()
	_, _, err := f.propose(t.Context(), named(""))
	if status.ReasonOf(err) != status.OutcomeUnknown || asked.Load() != 1 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}

// TestForwardTriesAgainOnProof checks what is tried again until the deadline: a leader that can't be reached, one that says
// it isn't, one that stops, and one that doesn't know this node.
func TestForwardTriesAgainOnProof(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, answer := range map[string]func() (*nodev1.ForwardResponse, error){
		"not leading": func() (*nodev1.ForwardResponse, error) {
			return &nodev1.ForwardResponse{Refusal: refusal(notLeader())}, nil
		},
		"stopping": func() (*nodev1.ForwardResponse, error) {
			return &nodev1.ForwardResponse{Refusal: refusal(stopping())}, nil
		},
		"another cluster": func() (*nodev1.ForwardResponse, error) { return nil, errOtherCluster },
		"unauthenticated": func() (*nodev1.ForwardResponse, error) {
			return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("who are you"))
		},
	} {
		var asked atomic.Int64
		mux := http.NewServeMux()
		mux.Handle(nodev1connect.NewNodeServiceHandler(forwardService{answer: answer, asked: &asked}))
		server := httptest.NewServer(mux)
		f, p := newForwarder(strings.TrimPrefix(server.URL, "http://"))
		_, _, err := f.propose(t.Context(), named(""))
		if status.ReasonOf(err) != status.NoLeader || asked.Load() < 2 {
			t.Errorf("%s: asked %d times: %v", name, asked.Load(), err)
		}
		p.close()
		server.Close()
	}
	f, p := newForwarder(strings.TrimPrefix(closed.URL, "http://"))
	defer p.close()
	if _, _, err := f.propose(t.Context(), named("")); status.ReasonOf(err) != status.NoLeader {
		t.Errorf("unreachable: %v", err)
	}
}

// TestForwardCarriesTheAnswer checks that a refusal comes back as it was made, and that the hop is counted.
func TestForwardCarriesTheAnswer(t *testing.T) {
	refused := status.New(status.AgentLimitExceeded, "10 agents").WithField("owner_id", "has 10")
	var asked atomic.Int64
	mux := http.NewServeMux()
	mux.Handle(nodev1connect.NewNodeServiceHandler(forwardService{asked: &asked, answer: func() (*nodev1.ForwardResponse, error) {
		return &nodev1.ForwardResponse{Refusal: refusal(refused), Revision: 9}, nil
	}}))
	server := httptest.NewServer(mux)
	defer server.Close()
	f, p := newForwarder(strings.TrimPrefix(server.URL, "http://"))
	defer p.close()
	_, revision, err := f.propose(t.Context(), named(""))
	e, ok := errors.AsType[*status.Error](err)
	if !ok || e.Reason != refused.Reason || e.Message != refused.Message || len(e.Fields) != 1 || revision != 9 || asked.Load() != 1 {
		t.Errorf("revision %d, %v, asked %d times", revision, err, asked.Load())
	}
}

type forwardService struct {
	nodev1connect.UnimplementedNodeServiceHandler
	answer func() (*nodev1.ForwardResponse, error)
	asked  *atomic.Int64
}

func (s forwardService) Forward(_ context.Context, q *nodev1.ForwardRequest) (*nodev1.ForwardResponse, error) {
	s.asked.Add(1)
	if q.GetHops() != 1 {
		return nil, errors.New("the hop isn't counted")
	}
	return s.answer()
}

// TestServiceRefuses checks what stands before the node protocol: the secret, the cluster, the hop count.
func TestServiceRefuses(t *testing.T) {
	id := &identity{}
	id.mu.cluster, id.mu.stage = clusterID{1}, stageMember
	s := &service{gate: newGate(), identity: id, proposer: &proposer{queue: newQueue(DefaultLimits())}, leader: func() (string, string) { return "x", "x:1" }}
	mux := http.NewServeMux()
	mux.Handle(s.handler("Kavach-Node secret"))
	server := httptest.NewServer(mux)
	defer server.Close()
	call := func(authorization string, q *nodev1.ForwardRequest) (*nodev1.ForwardResponse, error) {
		p := newPeers((&net.Dialer{}).DialContext, authorization)
		defer p.close()
		return p.at(strings.TrimPrefix(server.URL, "http://")).Forward(t.Context(), q)
	}
	mine := clusterID{1}
	good := &nodev1.ForwardRequest{Command: &raftv1.Command{}, Hops: 1, ClusterId: mine[:]}
	if _, err := call("Kavach-Node guess", good); connect.CodeOf(err) != connect.CodeUnauthenticated || !neverReached(err) {
		t.Errorf("another secret: %v", err)
	}
	if _, err := call("Kavach-Node secret", &nodev1.ForwardRequest{Hops: 1}); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("no cluster: %v", err)
	}
	if a, err := call("Kavach-Node secret", good); err != nil || a.GetRefusal().GetReason() != string(status.NotLeader) || a.GetRefusal().GetLeaderAddress() != "x:1" {
		t.Errorf("a node that doesn't lead: %v, %v", a, err)
	}
	good.Hops = 2
	if a, err := call("Kavach-Node secret", good); err != nil || a.GetRefusal().GetReason() != string(status.Internal) {
		t.Errorf("a second hop: %v, %v", a, err)
	}
	if err := s.gate.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	good.Hops = 1
	if a, err := call("Kavach-Node secret", good); err != nil || a.GetRefusal().GetReason() != string(status.NodeStopping) {
		t.Errorf("a stopping node: %v, %v", a, err)
	}
}
