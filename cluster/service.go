package cluster

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"net/http"

	"connectrpc.com/connect"

	nodev1 "github.com/kavachd/kavachd/gen/kavach/node/v1"
	"github.com/kavachd/kavachd/gen/kavach/node/v1/nodev1connect"
	"github.com/kavachd/kavachd/status"
)

// service answers other nodes. Who asks has proved that it knows the join secret; which cluster it means stands in each
// request.
type service struct {
	gate     *gate
	identity *identity
	entrance *entrance
	members  *membership
	confirm  func(*nodev1.ConfirmRequest) *nodev1.ConfirmResponse
	own      *rounds[readIndex]
	proposer *proposer
	leader   func() (id, address string)
	journal  *journal
}

var _ nodev1connect.NodeServiceHandler = (*service)(nil)

// handler returns the service behind the check of the node's authorization.
func (s *service) handler(authorization string) (path string, h http.Handler) {
	path, inner := nodev1connect.NewNodeServiceHandler(s, connect.WithReadMaxBytes(maxNodeMessage))
	want := []byte(authorization)
	return path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			http.Error(w, "nodes only", http.StatusUnauthorized) // Connect's clients read it as unauthenticated
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// errOtherCluster is answered before anything is done.
var errOtherCluster = connect.NewError(connect.CodeFailedPrecondition, errors.New("this node belongs to another cluster"))

// enter admits a request for cluster. leave must be called if err is nil.
func (s *service) enter(cluster []byte) (leave func(), err error) {
	c := s.identity.cluster()
	if c == (clusterID{}) || !bytes.Equal(cluster, c[:]) {
		return nil, errOtherCluster
	}
	return s.gate.enter()
}

// Identify implements NodeServiceHandler. It is the one call that needs no common cluster.
func (s *service) Identify(_ context.Context, q *nodev1.IdentifyRequest) (*nodev1.IdentifyResponse, error) {
	leave, err := s.gate.enter()
	if err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	defer leave()
	return s.entrance.identify(q), nil
}

// Join implements NodeServiceHandler.
func (s *service) Join(ctx context.Context, q *nodev1.JoinRequest) (*nodev1.JoinResponse, error) {
	leave, err := s.enter(q.GetClusterId())
	if err != nil {
		return nil, wire(err)
	}
	defer leave()
	voter, err := s.members.admit(ctx, q)
	if err != nil {
		return &nodev1.JoinResponse{Refusal: s.refuse(err)}, nil
	}
	a := &nodev1.JoinResponse{ClusterId: q.GetClusterId(), Voter: voter}
	for _, n := range s.members.replica.registered() {
		a.Nodes = append(a.Nodes, n)
	}
	return a, nil
}

// Forward implements NodeServiceHandler. A command is never forwarded again: a node that doesn't lead says so.
func (s *service) Forward(ctx context.Context, q *nodev1.ForwardRequest) (*nodev1.ForwardResponse, error) {
	leave, err := s.enter(q.GetClusterId())
	if err != nil {
		if status.ReasonOf(err) == status.NodeStopping {
			return &nodev1.ForwardResponse{Refusal: refusal(err)}, nil
		}
		return nil, wire(err)
	}
	defer leave()
	if q.GetHops() != 1 || q.GetCommand() == nil {
		return &nodev1.ForwardResponse{Refusal: refusal(status.New(status.Internal, "malformed forward: %d hops", q.GetHops()))}, nil
	}
	result, revision, err := s.proposer.submit(ctx, q.GetCommand())
	if err != nil {
		return &nodev1.ForwardResponse{Revision: revision, Refusal: s.refuse(err)}, nil
	}
	return &nodev1.ForwardResponse{Result: result, Revision: revision}, nil
}

// ReadIndex implements NodeServiceHandler.
func (s *service) ReadIndex(ctx context.Context, q *nodev1.ReadIndexRequest) (*nodev1.ReadIndexResponse, error) {
	leave, err := s.enter(q.GetClusterId())
	if err != nil {
		return nil, wire(err)
	}
	defer leave()
	ri, err := s.own.get(ctx)
	if err != nil {
		return &nodev1.ReadIndexResponse{Refusal: s.refuse(err)}, nil
	}
	return &nodev1.ReadIndexResponse{Index: ri.index, Term: ri.term}, nil
}

// Confirm implements NodeServiceHandler.
func (s *service) Confirm(_ context.Context, q *nodev1.ConfirmRequest) (*nodev1.ConfirmResponse, error) {
	leave, err := s.enter(q.GetClusterId())
	if err != nil {
		return nil, wire(err)
	}
	defer leave()
	return s.confirm(q), nil
}

// Transfer implements NodeServiceHandler.
func (s *service) Transfer(ctx context.Context, q *nodev1.TransferRequest) (*nodev1.TransferResponse, error) {
	leave, err := s.enter(q.GetClusterId())
	if err != nil {
		return nil, wire(err)
	}
	defer leave()
	return &nodev1.TransferResponse{Refusal: s.refuse(s.members.transfer(ctx, q.GetTarget()))}, nil
}

// Remove implements NodeServiceHandler.
func (s *service) Remove(ctx context.Context, q *nodev1.RemoveRequest) (*nodev1.RemoveResponse, error) {
	leave, err := s.enter(q.GetClusterId())
	if err != nil {
		return nil, wire(err)
	}
	defer leave()
	return &nodev1.RemoveResponse{Refusal: s.refuse(s.members.remove(ctx, q.GetNodeId()))}, nil
}

// QueryJournal implements NodeServiceHandler.
func (s *service) QueryJournal(_ context.Context, q *nodev1.QueryJournalRequest, stream *connect.ServerStream[nodev1.QueryJournalResponse]) error {
	leave, err := s.enter(q.GetClusterId())
	if err != nil {
		return wire(err)
	}
	defer leave()
	return wire(s.journal.answer(q, stream.Send))
}

// refuse adds where the leader is to what says that it isn't here.
func (s *service) refuse(err error) *nodev1.Refusal {
	r := refusal(err)
	if r != nil && r.GetLeaderAddress() == "" && r.GetReason() == string(status.NotLeader) {
		_, r.LeaderAddress = s.leader()
	}
	return r
}

// wire turns an error into one for the node that asked. It carries no cause: that is for the log of this node.
func wire(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*connect.Error](err); ok {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, errors.New(string(status.ReasonOf(err))))
}
