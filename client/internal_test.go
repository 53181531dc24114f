package client

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestKinds: which call may be repeated is part of the promise; a new one is looked at here.
func TestKinds(t *testing.T) {
	t.Parallel()
	want := map[kind][]string{
		reading: {
			"AccessService/ListApiKeys", "AgentService/GetAgent", "AgentService/ListAgents", "AuditService/ExportAuditLog",
			"AuditService/GetAuditEntry", "AuditService/QueryAuditLog", "AuthorizationService/Authorize",
			"AuthorizationService/AuthorizeByToken", "AuthorizationService/BatchAuthorize", "AuthorizationService/ExplainAuthorization",
			"ClusterService/GetClusterStatus", "ClusterService/GetSettings", "ClusterService/ListMembers",
			"DelegationService/GetDelegation", "DelegationService/GetEffectivePermissions", "DelegationService/ListDelegations",
		},
		keyed: {
			"AccessService/CreateApiKey", "AccessService/RevokeApiKey", "AgentService/CreateAgent", "AgentService/RevokeAgent",
			"AgentService/RotateAgentToken", "AgentService/UpdateAgent", "ClusterService/UpdateSettings",
			"DelegationService/CreateDelegation", "DelegationService/RevokeDelegation",
		},
		oneShot: {"AccessService/Bootstrap", "ClusterService/RemoveMember", "ClusterService/TransferLeadership"},
	}
	got := map[kind][]string{}
	for name, m := range methods() {
		got[m.kind] = append(got[m.kind], name[len("/kavach.v1."):])
		if len(m.revision) == 0 && m.procedure != "/kavach.v1.AccessService/Bootstrap" {
			t.Errorf("%s: no revision in its answer", name)
		}
	}
	for _, names := range got {
		slices.Sort(names)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}

func TestOlder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"c.0.9", "c.0.10", true},
		{"c.0.10", "c.0.9", false},
		{"c.0.10", "c.0.10", false},
		{"c.0.10", "c.1.3", true}, // a restored cluster goes on in a new history
		{"c.1.3", "c.0.10", false},
		{"c.0.1", "d.0.2", false}, // another cluster: the last that came counts
		{"", "c.0.1", false},
		{"text", "c.0.1", false},
		{"c.0.1", "", false},
	} {
		if got := older(c.a, c.b); got != c.want {
			t.Errorf("older(%q, %q) = %v", c.a, c.b, got)
		}
	}
}

// TestBackoff: between half of base<<n and all of it, never above the limit.
func TestBackoff(t *testing.T) {
	t.Parallel()
	for _, chance := range []float64{0, 0.5, 0.999} {
		b := backoff{base: 100 * time.Millisecond, limit: 3 * time.Second, chance: func() float64 { return chance }}
		for n, ms := range map[int]int{0: 100, 1: 200, 4: 1600, 5: 3000, 31: 3000, 32: 3000, 1000: 3000} {
			whole := time.Duration(ms) * time.Millisecond
			want := whole/2 + time.Duration(chance*float64(whole/2))
			if got := b.delay(n); got != want {
				t.Errorf("delay(%d) with chance %v = %v, want %v", n, chance, got, want)
			}
		}
	}
}

// picks asks the pool for nodes until the round is over, and gives them all back.
func picks(p *pool, hints ...string) (hosts []string) {
	var tried []*endpoint
	for {
		e, _ := p.pick(tried, hints)
		if e == nil {
			break
		}
		tried = append(tried, e)
		hosts = append(hosts, e.addr.host)
	}
	for _, e := range tried {
		p.release(e, unsaid)
	}
	return hosts
}

// take picks one node, the others being tried.
func take(t *testing.T, p *pool, host string) *endpoint {
	t.Helper()
	var tried []*endpoint
	for _, e := range p.mu.endpoints { // nobody else changes them here
		if e.addr.host != host {
			tried = append(tried, e)
		}
	}
	e, _ := p.pick(tried, nil)
	if e == nil {
		t.Fatalf("%s can't be chosen", host)
	}
	return e
}

func testPool(probe func(context.Context, address) health, hosts ...string) *pool {
	var addrs []address
	for _, h := range hosts {
		addrs = append(addrs, address{"http", h})
	}
	b := backoff{base: 100 * time.Millisecond, limit: 3 * time.Second, chance: func() float64 { return 0 }}
	return newPool(addrs, slog.New(slog.DiscardHandler), b, probe)
}

// TestPick: in turn among equals; hints, then few under way, before others of the same health; doubtful ones last; gone
// ones only when all are.
func TestPick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := testPool(func(ctx context.Context, _ address) health { <-ctx.Done(); return gone }, "a", "b", "c")
		defer p.close()
		first := map[string]int{}
		for range 30 {
			e, n := p.pick(nil, nil)
			if n != 3 {
				t.Errorf("%d could be chosen", n)
			}
			first[e.addr.host]++
			p.release(e, answered)
		}
		if first["a"] != 10 || first["b"] != 10 || first["c"] != 10 {
			t.Errorf("not in turn: %v", first)
		}
		if got := picks(p, "c"); got[0] != "c" {
			t.Errorf("the hint c was not followed: %v", got)
		}
		busy, _ := p.pick(nil, []string{"a"})
		for range 5 {
			if got := picks(p); got[0] == "a" {
				t.Error("the busy node was chosen first")
			}
		}
		p.release(busy, slow)
		for range 5 {
			if got := picks(p, "a"); got[2] != "a" {
				t.Errorf("the slow node comes last, even when named: %v", got)
			}
		}
		p.release(take(t, p, "a"), broken)
		p.release(take(t, p, "b"), broken)
		if got := picks(p); !slices.Equal(got, []string{"c"}) {
			t.Errorf("with a and b gone: %v", got)
		}
		p.release(take(t, p, "c"), broken)
		if got := picks(p); len(got) != 3 {
			t.Errorf("with all gone: %v", got)
		}
	})
}

// TestWatch: a node that is gone is probed at once, then less and less often, by one goroutine, until it is well.
func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at []time.Duration
		var up atomic.Bool
		p := testPool(func(context.Context, address) health {
			at = append(at, time.Since(begin))
			if up.Load() {
				return well
			}
			return gone
		}, "a")
		for range 3 {
			e, _ := p.pick(nil, nil)
			p.release(e, broken)
		}
		time.Sleep(10 * time.Second)
		up.Store(true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		// Half of 100 ms, doubled up to half of 3 s: without chance here.
		var want []time.Duration
		for _, ms := range []int{0, 50, 150, 350, 750, 1550, 3050, 4550, 6050, 7550, 9050, 10550} {
			want = append(want, time.Duration(ms)*time.Millisecond)
		}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("probes (-want +got):\n%s", diff)
		}
		if s := p.status()[0]; s.Health != "well" {
			t.Errorf("at the end: %+v", s)
		}
		e, _ := p.pick(nil, nil)
		p.release(e, broken) // a watcher begins again, and close ends it
		up.Store(false)
		p.close()
	})
}

// TestShare: an attempt has its part of what is left, and at most its limit.
func TestShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 900*time.Millisecond)
		defer cancel()
		for _, c := range []struct {
			untried int
			limit   time.Duration
			want    time.Duration
		}{
			{3, time.Second, 300 * time.Millisecond},
			{1, time.Second, 900 * time.Millisecond},
			{3, 100 * time.Millisecond, 100 * time.Millisecond},
		} {
			if got := share(ctx, c.limit, c.untried); got != c.want {
				t.Errorf("share(%v, %d) = %v, want %v", c.limit, c.untried, got, c.want)
			}
		}
	})
}

// TestFollow: a node's hint is followed to nodes that are known; to others only if the Client discovers.
func TestFollow(t *testing.T) {
	t.Parallel()
	for _, discover := range []bool{false, true} {
		p := testPool(nil, "a:1")
		c := &core{pool: p, discover: discover}
		c.follow(p.mu.endpoints[0], []string{"b:2", "a:1", "http://u@x/", ""})
		want := []string{"a:1"}
		if discover {
			want = append(want, "b:2")
		}
		got := picks(p)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("discover %v (-want +got):\n%s", discover, diff)
		}
		p.close()
	}
}
