package raftstore_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kavachd/kavachd/cluster/raftstore"
	"github.com/kavachd/kavachd/cluster/raftstore/raftstoretest"
)

// slowReplies is a transport that can be cut to a peer, and can hold a peer's replies to heartbeats back.
type slowReplies struct {
	*raft.InmemTransport
	mu   sync.Mutex
	cut  map[raft.ServerAddress]bool
	hold chan struct{} // heartbeats' replies wait for it, nil: they don't
	held chan struct{} // receives one value when a reply is held
}

var errCut = errors.New("cut")

func (s *slowReplies) isCut(to raft.ServerAddress) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut[to]
}

func (s *slowReplies) cutOff(to ...raft.ServerAddress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range to {
		s.cut[a] = true
	}
}

// AppendEntriesPipeline implements raft.Transport: every append is a call of its own, which the test can hold.
func (*slowReplies) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// AppendEntries implements raft.Transport.
func (s *slowReplies) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if s.isCut(to) {
		return errCut
	}
	err := s.InmemTransport.AppendEntries(id, to, req, resp) // the follower has handled it now
	s.mu.Lock()
	hold, held := s.hold, s.held
	s.mu.Unlock()
	if heartbeat := req.PrevLogEntry == 0 && len(req.Entries) == 0 && req.LeaderCommitIndex == 0; heartbeat && hold != nil {
		select {
		case held <- struct{}{}:
		default:
		}
		<-hold
	}
	return err
}

// RequestVote implements raft.Transport.
func (s *slowReplies) RequestVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if s.isCut(to) {
		return errCut
	}
	return s.InmemTransport.RequestVote(id, to, req, resp)
}

// deposed brings about a leader L that doesn't know that C has taken over with B's vote and has committed a write. B's
// reply to an old heartbeat of L is under way, and comes in after ask has been called. It returns what ask says on L.
func deposed(t *testing.T, ask func(l *raft.Raft) error) error {
	t.Helper()
	names := []raft.ServerAddress{"L", "B", "C"}
	trans, rafts := map[raft.ServerAddress]*slowReplies{}, map[raft.ServerAddress]*raft.Raft{}
	for _, n := range names {
		_, tr := raft.NewInmemTransportWithTimeout(n, 5*time.Second)
		trans[n] = &slowReplies{InmemTransport: tr, cut: map[raft.ServerAddress]bool{}}
	}
	for _, a := range names {
		for _, b := range names {
			if a != b {
				trans[a].Connect(b, trans[b].InmemTransport)
			}
		}
	}
	for _, n := range names {
		c := raftstore.Config(raft.ServerID(n), raftstore.SlowProfile())
		c.Logger = hclog.NewNullLogger()
		disk := raftstoretest.NewDisk()
		boot(t, disk, disk, raftstoretest.Servers("L", "B", "C"))
		r, err := raft.NewRaft(c, &idleFSM{}, disk, disk, raft.NewInmemSnapshotStore(), trans[n])
		if err != nil {
			t.Fatal(err)
		}
		rafts[n] = r
		t.Cleanup(func() {
			if err := r.Shutdown().Error(); err != nil {
				t.Error(err)
			}
		})
	}
	l, c := rafts["L"], rafts["C"]
	elect := func(n raft.ServerAddress) {
		err := trans["B"].TimeoutNow(raft.ServerID(n), n, &raft.TimeoutNowRequest{RPCHeader: header("B")}, &raft.TimeoutNowResponse{})
		if err != nil {
			t.Fatal(err)
		}
	}
	elect("L")
	raftstoretest.Await(t, "L to lead", func() bool { return l.State() == raft.Leader && l.Barrier(time.Second).Error() == nil })
	// C must have every entry, else B may refuse it its vote.
	raftstoretest.Await(t, "C to have the log of L", func() bool { return c.LastIndex() == l.LastIndex() })

	// 1. L and C can't hear each other; B handles one more heartbeat of L, whose reply is delayed.
	trans["L"].cutOff("C")
	trans["C"].cutOff("L")
	release, held := make(chan struct{}), make(chan struct{}, 1)
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free) // before the shutdowns above, which wait for the reply
	trans["L"].mu.Lock()
	trans["L"].hold, trans["L"].held = release, held
	trans["L"].mu.Unlock()
	<-held
	// 2. C takes over with B's vote and commits a write, which is acknowledged. L's appends to B fail from now on.
	trans["L"].cutOff("B")
	elect("C")
	raftstoretest.Await(t, "C to lead", func() bool { return c.State() == raft.Leader })
	if err := c.Apply([]byte("new"), time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	if l.State() != raft.Leader {
		t.Fatal("L has noticed already")
	}
	// 3. Only now L is asked; then B's old reply arrives.
	done := make(chan error, 1)
	asked := make(chan struct{})
	go func() {
		close(asked)
		done <- ask(l)
	}()
	<-asked
	select {
	case err := <-done: // it needs no reply to say no
		done <- err
	case <-time.After(50 * time.Millisecond): // the call is inside the library, where nothing shows it
	}
	free()
	return <-done
}

// The library's own check of leadership says yes on a leader that was deposed before it was asked.
func TestVerifyLeaderIsUnsound(t *testing.T) {
	t.Parallel()
	if err := deposed(t, func(l *raft.Raft) error { return l.VerifyLeader().Error() }); err != nil {
		t.Errorf("it noticed: %v: the library has repaired it", err)
	}
}

// What is used in its place, an entry through the log, says no.
func TestBarrierIsSound(t *testing.T) {
	t.Parallel()
	if err := deposed(t, func(l *raft.Raft) error { return l.Barrier(0).Error() }); err == nil {
		t.Error("a deposed leader committed a barrier")
	}
}

// verifyLeaderCalls returns the places of Go files below root that mention VerifyLeader in code.
func verifyLeaderCalls(root fs.FS, skip func(name string) bool) (places []string, err error) {
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != ".":
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go" || skip(name):
			return nil
		}
		b, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, name, b, parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parse %s: %w", name, err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && id.Name == "VerifyLeader" {
				places = append(places, set.Position(id.Pos()).String())
			}
			return true
		})
		return nil
	})
	return places, err
}

func TestNothingCallsVerifyLeader(t *testing.T) {
	skip := func(name string) bool {
		// This file shows the defect; models/ has it too; mutants hold what must be caught.
		return name == "cluster/raftstore/verifyleader_test.go" || strings.HasPrefix(name, "models/") || strings.Contains("/"+name, "/testdata/")
	}
	root := os.DirFS("../..")
	if _, err := fs.Stat(root, "go.mod"); err != nil {
		t.Fatal("this isn't the root of the module: ", err)
	}
	places, err := verifyLeaderCalls(root, skip)
	if err != nil || len(places) > 0 {
		t.Errorf("VerifyLeader is unsound, see the tests above; used in %v, error %v", places, err)
	}
	sample := fstest.MapFS{
		"a/x.go":          {Data: []byte("package a\n\n// VerifyLeader in a comment.\nfunc f() { r.VerifyLeader() }\n")},
		"a/y.go":          {Data: []byte("package a\n\nvar g = r.VerifyLeader\n")},
		"a/z.txt":         {Data: []byte("VerifyLeader")},
		"models/v/x.go":   {Data: []byte("package v\n\nvar g = r.VerifyLeader\n")},
		".git/objects.go": {Data: []byte("not Go")},
	}
	places, err = verifyLeaderCalls(sample, skip)
	if want := []string{"a/x.go:4:14", "a/y.go:3:11"}; err != nil || !slices.Equal(places, want) {
		t.Errorf("the check itself finds %v, want %v, error %v", places, want, err)
	}
}
