package promises

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/kavachd/kavachd/cluster/clustertest"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// TestOwnerLimitRace: 64 callers on three nodes make agents of one owner at once; exactly max_agents_per_owner succeed.
func TestOwnerLimitRace(t *testing.T) {
	t.Parallel()
	w := start(t)
	const callers, limit = 64, 10
	var made, refused atomic.Int64
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			_, err := w.at(i%3).agents.CreateAgent(t.Context(), &kavachv1.CreateAgentRequest{OwnerId: "crowd", Name: fmt.Sprintf("a%d", i)})
			switch reason := reasonOf(err); {
			case err == nil:
				made.Add(1)
			case reason == "AGENT_LIMIT_EXCEEDED" && connect.CodeOf(err) == connect.CodeResourceExhausted:
				refused.Add(1)
			default:
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	all.Wait()
	if made.Load() != limit || refused.Load() != callers-limit {
		t.Fatalf("%d made and %d refused, want %d and %d", made.Load(), refused.Load(), limit, callers-limit)
	}
	for i := range 3 {
		res, err := w.at(i).agents.ListAgents(t.Context(), &kavachv1.ListAgentsRequest{OwnerId: "crowd"})
		if err != nil || len(res.GetAgents()) != limit {
			t.Errorf("node %d lists %d agents: %v", i, len(res.GetAgents()), err)
		}
	}
}

// TestOldTokenIsDeadEverywhere: from the moment in which a rotation returns, no node accepts the old token, whichever node
// rotated, while callers on all nodes ask all the time.
func TestOldTokenIsDeadEverywhere(t *testing.T) {
	t.Parallel()
	w := start(t)
	agent, token := w.newAgent(t, "alice")
	type state struct{ dead, alive string }
	var now atomic.Pointer[state]
	now.Store(&state{alive: token})
	ctx, stop := context.WithCancel(t.Context())
	var asked atomic.Int64
	var all sync.WaitGroup
	for i := range 3 {
		all.Go(func() {
			for ctx.Err() == nil {
				s := now.Load() // whatever it calls dead was replaced before this call begins
				if s.dead == "" {
					continue
				}
				d, err := w.byToken(ctx, i, s.dead)
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					t.Errorf("node %d: %v", i, err)
					return
				}
				if d.GetAllowed() || d.GetReasonCode() != kavachv1.ReasonCode_REASON_CODE_INVALID_TOKEN {
					t.Errorf("node %d honors a token after its rotation returned: %v", i, d)
				}
				asked.Add(1)
			}
		})
	}
	for r := range 60 {
		res, err := w.at(r%3).agents.RotateAgentToken(t.Context(), &kavachv1.RotateAgentTokenRequest{AgentId: agent})
		if err != nil {
			t.Fatal(err)
		}
		now.Store(&state{dead: now.Load().alive, alive: res.GetToken()})
		if d, err := w.byToken(t.Context(), (r+1)%3, res.GetToken()); err != nil || !d.GetAllowed() {
			t.Fatalf("rotation %d: the new token on another node: %v, %v", r, d, err)
		}
	}
	target := asked.Load() + 30
	w.Await("more decisions about the last dead token", func() error {
		if n := asked.Load(); n < target {
			return fmt.Errorf("%d of %d", n, target)
		}
		return nil
	})
	stop()
	all.Wait()
}

// TestRepeatedRotate: an answer of Rotate is lost. The repeat, through another node and with the same key, gives a token
// that works everywhere; the lost one works nowhere.
func TestRepeatedRotate(t *testing.T) {
	t.Parallel()
	w := start(t)
	agent, _ := w.newAgent(t, "alice")
	req := &kavachv1.RotateAgentTokenRequest{AgentId: agent, Idempotency: &kavachv1.Idempotency{Key: "rotate-1"}}
	lost, err := w.at(0).agents.RotateAgentToken(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.at(1).agents.RotateAgentToken(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if again.GetToken() == lost.GetToken() || again.GetRevision() != lost.GetRevision() {
		t.Errorf("the repeat must have the first revision (%s, got %s) and a token of its own", lost.GetRevision(), again.GetRevision())
	}
	for i := range 3 {
		if d, err := w.byToken(t.Context(), i, again.GetToken()); err != nil || !d.GetAllowed() {
			t.Errorf("node %d, the repeat's token: %v, %v", i, d, err)
		}
		if d, err := w.byToken(t.Context(), i, lost.GetToken()); err != nil || d.GetAllowed() {
			t.Errorf("node %d, the lost token: %v, %v", i, d, err)
		}
	}
	other := &kavachv1.RotateAgentTokenRequest{AgentId: agent, ExpectedRevision: 7, Idempotency: req.Idempotency}
	_, err = w.at(2).agents.RotateAgentToken(t.Context(), other)
	if reasonOf(err) != "IDEMPOTENCY_KEY_REUSED" || connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("the key again, for another request: %v", err)
	}
}

// TestRevokedKeyWritesNothing: a key is revoked while callers write with it through every node. No write that begins
// after the revocation succeeds, on any node; and a command that was already under way is refused when it is applied.
func TestRevokedKeyWritesNothing(t *testing.T) {
	t.Parallel()
	w := start(t)
	made, err := w.at(0).access.CreateApiKey(t.Context(), &kavachv1.CreateApiKeyRequest{Name: "writer"})
	if err != nil {
		t.Fatal(err)
	}
	var revoked atomic.Bool
	var before, after, n atomic.Int64
	ctx, stop := context.WithTimeout(t.Context(), clustertest.Patience)
	defer stop()
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			mine := w.as(i%3, made.GetSecret())
			for ctx.Err() == nil && after.Load() < 30 {
				late := revoked.Load()
				_, err := mine.agents.CreateAgent(ctx, &kavachv1.CreateAgentRequest{OwnerId: fmt.Sprintf("o%d", n.Add(1)), Name: "a"})
				switch code := connect.CodeOf(err); {
				case err == nil && late:
					t.Error("a write that began after the revocation of its key succeeded")
					return
				case err == nil:
					before.Add(1)
				case code != connect.CodeUnauthenticated && code != connect.CodePermissionDenied:
					t.Errorf("caller %d: %v", i, err)
					return
				case late:
					after.Add(1)
				}
			}
		})
	}
	w.Await("writes with the key", func() error {
		if before.Load() < 30 {
			return fmt.Errorf("%d so far", before.Load())
		}
		return nil
	})
	if _, err := w.at(1).access.RevokeApiKey(t.Context(), &kavachv1.RevokeApiKeyRequest{KeyId: made.GetKey().GetKeyId()}); err != nil {
		t.Fatal(err)
	}
	revoked.Store(true)
	all.Wait()
	if after.Load() < 30 {
		t.Fatalf("%d writes were refused after the revocation", after.Load())
	}
}

// TestPageTokenOfAnotherNode: page tokens hold on every node, and only for the question that they came from.
func TestPageTokenOfAnotherNode(t *testing.T) {
	t.Parallel()
	w := start(t)
	for range 5 {
		w.newAgent(t, "alice")
	}
	req := &kavachv1.ListAgentsRequest{OwnerId: "alice", PageSize: 2}
	seen := map[string]bool{}
	for i := 0; ; i++ {
		res, err := w.at(i%3).agents.ListAgents(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range res.GetAgents() {
			if seen[a.GetAgentId()] {
				t.Errorf("%s stands twice", a.GetAgentId())
			}
			seen[a.GetAgentId()] = true
		}
		if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
			break
		}
		_, err = w.at((i+2)%3).agents.ListAgents(t.Context(), &kavachv1.ListAgentsRequest{OwnerId: "bob", PageSize: 2, PageToken: req.PageToken})
		if reasonOf(err) != "PAGE_TOKEN_INVALID" || connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("a page token of another question: %v", err)
		}
	}
	if len(seen) != 5 {
		t.Errorf("%d agents on all pages, want 5", len(seen))
	}
}

// TestCutOffNodeRefuses: a node that can't reach its peers, but can be reached by callers, answers UNAVAILABLE. It never
// answers from what it had, be it leader or follower; the others go on.
func TestCutOffNodeRefuses(t *testing.T) {
	t.Parallel()
	w := start(t)
	agent, token := w.newAgent(t, "alice")
	cut := w.Leader()
	w.Network.Isolate(cut.Index())
	other := (cut.Index() + 1) % 3
	var res *kavachv1.RotateAgentTokenResponse
	w.Await("a rotation without the node that led", func() (err error) {
		res, err = w.at(other).agents.RotateAgentToken(t.Context(), &kavachv1.RotateAgentTokenRequest{
			AgentId: agent, Idempotency: &kavachv1.Idempotency{Key: "cut"},
		})
		return err
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	d, err := w.byToken(ctx, cut.Index(), token)
	if code := connect.CodeOf(err); code != connect.CodeUnavailable && code != connect.CodeDeadlineExceeded {
		t.Errorf("the node that is cut off answers %v, %v", d, err)
	}
	if d, err := w.byToken(t.Context(), other, res.GetToken()); err != nil || !d.GetAllowed() {
		t.Errorf("the new token at a node of the majority: %v, %v", d, err)
	}
	w.Network.Heal()
	w.Await("the old token refused by the node that is back", func() error {
		d, err := w.byToken(t.Context(), cut.Index(), token)
		if err == nil && d.GetAllowed() {
			t.Fatal("the node that is back honors the old token")
		}
		return err
	})
}

// TestAuditFromAnyNode: every answered decision stands exactly once in the trail, whichever node is asked, at once.
func TestAuditFromAnyNode(t *testing.T) {
	t.Parallel()
	w := start(t)
	agent, _ := w.newAgent(t, "alice")
	want := map[string]bool{}
	for i := range 30 {
		res, err := w.at(i%3).authz.Authorize(t.Context(), &kavachv1.AuthorizeRequest{AgentId: agent, Action: "read", Resource: "x:1"})
		if err != nil {
			t.Fatal(err)
		}
		want[res.GetDecision().GetAuditId()] = true
	}
	if len(want) != 30 {
		t.Fatalf("%d audit ids for 30 decisions", len(want))
	}
	for i := range 3 {
		got := map[string]int{}
		req := &kavachv1.QueryAuditLogRequest{
			Filter: &kavachv1.AuditFilter{AgentId: agent, Kind: kavachv1.AuditKind_AUDIT_KIND_DECISION}, PageSize: 7,
		}
		for {
			res, err := w.at(i).audit.QueryAuditLog(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if len(res.GetMissingJournals()) > 0 {
				t.Errorf("node %d misses the journals of %v", i, res.GetMissingJournals())
			}
			for _, e := range res.GetEntries() {
				got[e.GetAuditId()]++
			}
			if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		for id := range want {
			if got[id] != 1 {
				t.Errorf("node %d has entry %s %d times", i, id, got[id])
			}
		}
		if len(got) != len(want) {
			t.Errorf("node %d has %d entries, want %d", i, len(got), len(want))
		}
	}
}

// TestSameStateEverywhere: the digests that the nodes show are equal at one applied index, and count what is there.
func TestSameStateEverywhere(t *testing.T) {
	t.Parallel()
	w := start(t)
	for i := range 4 {
		w.newAgent(t, fmt.Sprintf("owner-%d", i))
	}
	w.Await("the same digests on three nodes at one index", func() error {
		var first *kavachv1.GetClusterStatusResponse
		for i := range 3 {
			s, err := w.at(i).ops.GetClusterStatus(t.Context(), &kavachv1.GetClusterStatusRequest{})
			if err != nil {
				return err
			}
			if first == nil {
				first = s
			}
			if s.GetAppliedIndex() != first.GetAppliedIndex() {
				return fmt.Errorf("node %d is at %d, node 0 at %d", i, s.GetAppliedIndex(), first.GetAppliedIndex())
			}
			if d := cmp.Diff(first.GetDigests(), s.GetDigests(), protocmp.Transform()); d != "" {
				t.Fatalf("node %d at %d (-node 0 +node %d):\n%s", i, s.GetAppliedIndex(), i, d)
			}
		}
		records := map[string]uint64{}
		for _, d := range first.GetDigests() {
			records[d.GetTable()] = d.GetRecords()
		}
		if records["agent"] != 4 || records["token"] != 4 || records["key"] != 1 {
			t.Fatalf("records by table: %v", records)
		}
		return nil
	})
}
