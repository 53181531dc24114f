package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/kavachd/kavachd/fsm"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	"github.com/kavachd/kavachd/status"
)

// oneLog stands for the Raft library: it hands each entry to the test and answers what the test says.
type oneLog struct {
	entries chan *raftv1.Entry
	answers chan func(*raftv1.Entry) (any, error)
}

func newOneLog() *oneLog {
	return &oneLog{entries: make(chan *raftv1.Entry), answers: make(chan func(*raftv1.Entry) (any, error))}
}

type oneFuture struct {
	raft.ApplyFuture
	response any
	err      error
}

func (f oneFuture) Error() error  { return f.err }
func (f oneFuture) Response() any { return f.response }

// Apply implements applier. It returns when the entry is answered, as nothing of the proposer runs meanwhile.
func (l *oneLog) Apply(cmd []byte, _ time.Duration) raft.ApplyFuture {
	e := &raftv1.Entry{}
	if err := proto.Unmarshal(cmd, e); err != nil {
		return oneFuture{err: err}
	}
	l.entries <- e
	response, err := (<-l.answers)(e)
	return oneFuture{response: response, err: err}
}

// applied answers as the state machine would, in a term: each command is refused with its own name.
func applied(term uint64) func(*raftv1.Entry) (any, error) {
	return func(e *raftv1.Entry) (any, error) {
		a := &fsm.Applied{Index: 7, Term: term}
		for _, c := range e.GetCommands() {
			o := fsm.Outcome{Revision: 7, Result: &raftv1.Result{}}
			if name := c.GetCreateAgent().GetName(); name != "" {
				o = fsm.Outcome{Revision: 7, Refused: status.New(status.AgentLimitExceeded, "%s", name)}
			}
			a.Outcomes = append(a.Outcomes, o)
		}
		return a, nil
	}
}

// startReign runs a proposer's reign in term 3 up to its open epoch.
func startReign(t *testing.T, l *oneLog) (p *proposer, end func()) {
	t.Helper()
	p = &proposer{
		queue: newQueue(DefaultLimits()), raft: l, frame: func(b []byte) []byte { return b }, now: time.Now, log: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(t.Context())
	opened := make(chan uint64, 1)
	var wg sync.WaitGroup
	wg.Go(func() { p.reign(ctx, "node", 3, func(base uint64) { opened <- base }, func() {}) })
	e := <-l.entries
	if len(e.GetCommands()) != 1 || e.GetCommands()[0].GetLeaderEpoch().GetTerm() != 3 {
		t.Fatalf("the term begins with %v, not with its epoch alone", e)
	}
	l.answers <- applied(3)
	if base := <-opened; base != 7 {
		t.Fatalf("base is %d", base)
	}
	return p, func() { cancel(); wg.Wait() }
}

// TestResultsByPosition checks that commands that share an entry get their own results.
func TestResultsByPosition(t *testing.T) {
	l := newOneLog()
	p, end := startReign(t, l)
	defer end()
	first := make(chan error, 1)
	go func() {
		_, _, err := p.submit(t.Context(), named("first"))
		first <- err
	}()
	<-l.entries // in flight: what comes now gathers
	const n = 20
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { _, _, errs[i] = p.submit(t.Context(), named(fmt.Sprint("command ", i))) })
	}
	awaitQueued(t, p.queue, n)
	l.answers <- applied(3)
	if e := <-l.entries; len(e.GetCommands()) != n {
		t.Fatalf("the next entry has %d commands, %d waited", len(e.GetCommands()), n)
	}
	l.answers <- applied(3)
	wg.Wait()
	for i, err := range errs {
		if e, ok := errors.AsType[*status.Error](err); !ok || e.Message != fmt.Sprint("command ", i) {
			t.Errorf("command %d got %v", i, err)
		}
	}
	if e, ok := errors.AsType[*status.Error](<-first); !ok || e.Message != "first" {
		t.Errorf("the first command got %v", e)
	}
}

func named(name string) *raftv1.Command {
	return &raftv1.Command{Command: &raftv1.Command_CreateAgent{CreateAgent: &raftv1.CreateAgent{Name: name}}}
}

func awaitQueued(t *testing.T, q *queue, n int) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		q.mu.Lock()
		have := len(q.mu.control)
		q.mu.Unlock()
		if have == n {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d of %d commands are queued", have, n)
		}
	}
}

// TestOutcomes checks which errors of the library prove that nothing was done (RAFT.md 1.2, decision 6).
func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		answer func(*raftv1.Entry) (any, error)
		want   status.Reason
	}{
		{func(*raftv1.Entry) (any, error) { return nil, raft.ErrNotLeader }, status.NotLeader},
		{func(*raftv1.Entry) (any, error) { return nil, raft.ErrLeadershipTransferInProgress }, status.NotLeader},
		{func(*raftv1.Entry) (any, error) { return nil, raft.ErrEnqueueTimeout }, status.QueueFull},
		{func(*raftv1.Entry) (any, error) { return nil, raft.ErrLeadershipLost }, status.OutcomeUnknown},
		{func(*raftv1.Entry) (any, error) { return nil, raft.ErrRaftShutdown }, status.OutcomeUnknown},
		{func(*raftv1.Entry) (any, error) { return nil, raft.ErrAbortedByRestore }, status.OutcomeUnknown},
		{func(*raftv1.Entry) (any, error) { return errors.New("halted"), nil }, status.OutcomeUnknown},
		{func(*raftv1.Entry) (any, error) { return nil, nil }, status.OutcomeUnknown},
		{func(*raftv1.Entry) (any, error) { return &fsm.Applied{Term: 3}, nil }, status.OutcomeUnknown},
		{applied(4), status.OutcomeUnknown}, // another term's entry doesn't count under this one
	} {
		l := newOneLog()
		p, end := startReign(t, l)
		got := make(chan error, 1)
		go func() {
			_, _, err := p.submit(t.Context(), named(""))
			got <- err
		}()
		<-l.entries
		l.answers <- c.answer
		if err := <-got; status.ReasonOf(err) != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
		end()
	}
}

func TestOversizeIsRefused(t *testing.T) {
	p := &proposer{queue: openQueue(Limits{})}
	_, _, err := p.submit(t.Context(), control(MaxCommand))
	if status.ReasonOf(err) != status.CommandTooLarge {
		t.Fatalf("got %v", err)
	}
	if got := p.queue.take(); got != nil {
		t.Fatal("it was queued all the same")
	}
}
