package fsm

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

func TestCreateAgent(t *testing.T) {
	b := newBench(t)
	got := b.ok(create(10, func(c *raftv1.CreateAgent) { c.Metadata = []byte(`{"a":1}`) }, "tool:x read"))
	want := &raftv1.Agent{
		Id: testID(10), Tenant: "default", Owner: "alice", Name: "agent 10", Type: 1, Permissions: perms("tool:x read"),
		Metadata: []byte(`{"a":1}`), ExpiresAt: start + day, CreatedAt: start, UpdatedAt: start, Revision: b.index,
	}
	if d := cmp.Diff(want, got.GetAgent().GetAgent(), protocmp.Transform()); d != "" {
		t.Error("result (without hashes):", d)
	}
	want.TokenHash = testHash("t10")
	if d := cmp.Diff(want, b.agent(10), protocmp.Transform()); d != "" {
		t.Error("stored:", d)
	}
	if b.byToken("t10") != 10 || b.byToken("t11") != 0 {
		t.Error("the token does not lead to the agent")
	}
	if want := []TouchedAgent{{"default", ids.ID(testID(10))}}; !cmp.Equal(b.last.Touched.Agents, want) {
		t.Errorf("touched %v", b.last.Touched)
	}
	b.check()
}

func TestCreateAgentExpiry(t *testing.T) {
	b := newBench(t)
	b.ok(settings(&raftv1.Settings{TokenExpiry: 2 * hour, MaxAgentsPerOwner: 100}))
	for i, tc := range []struct {
		expiry *raftv1.Expiry
		want   int64 // -1: refused
	}{
		{nil, start + 2*hour},
		{&raftv1.Expiry{}, start + 2*hour},
		{never(), 0},
		{ttl(1), start + 1},
		{ttl(0), -1},
		{ttl(-hour), -1},
		{ttl(math.MaxInt64), -1},
		{at(start + 1), start + 1},
		{at(start), -1},
		{at(start - 1), -1},
		{at(-1), -1},
		{&raftv1.Expiry{Expiry: &raftv1.Expiry_Never{}}, -1},
	} {
		c := create(100+i, func(c *raftv1.CreateAgent) { c.Expiry = tc.expiry })
		if tc.want < 0 {
			if e := b.refused(status.InvalidArgument, c); e.Fields[0].Path != "expiry" {
				t.Errorf("%v: %v", tc.expiry, e)
			}
			continue
		}
		b.ok(c)
		if got := b.agent(100 + i).GetExpiresAt(); got != tc.want {
			t.Errorf("%v: ends %d, want %d", tc.expiry, got-start, tc.want-start)
		}
	}
	b.check()
}

func TestCreateAgentRefuses(t *testing.T) {
	b := newBench(t)
	b.ok(create(10, nil))
	long := strings.Repeat("x", maxText+1)
	for _, tc := range []struct {
		name   string
		reason status.Reason
		path   string
		edit   func(*raftv1.CreateAgent)
	}{
		{"no id", status.InvalidArgument, "agent_id", func(c *raftv1.CreateAgent) { c.Id = nil }},
		{"short id", status.InvalidArgument, "agent_id", func(c *raftv1.CreateAgent) { c.Id = c.Id[:15] }},
		{"zero id", status.InvalidArgument, "agent_id", func(c *raftv1.CreateAgent) { c.Id = make([]byte, 16) }},
		{"id in use", status.AlreadyExists, "", func(c *raftv1.CreateAgent) { c.Id = testID(10) }},
		{"no token", status.InvalidArgument, "token_hash", func(c *raftv1.CreateAgent) { c.TokenHash = nil }},
		{"token in use", status.AlreadyExists, "", func(c *raftv1.CreateAgent) { c.TokenHash = testHash("t10") }},
		{"no owner", status.InvalidArgument, "owner_id", func(c *raftv1.CreateAgent) { c.Owner = "" }},
		{"long owner", status.InvalidArgument, "owner_id", func(c *raftv1.CreateAgent) { c.Owner = long }},
		{"bad tenant", status.InvalidArgument, "tenant", func(c *raftv1.CreateAgent) { c.Tenant = "a/b" }},
		{"tenant with a dot first", status.InvalidArgument, "tenant", func(c *raftv1.CreateAgent) { c.Tenant = ".a" }},
		{"no name", status.InvalidArgument, "name", func(c *raftv1.CreateAgent) { c.Name = "" }},
		{"long name", status.InvalidArgument, "name", func(c *raftv1.CreateAgent) { c.Name = long }},
		{"type", status.InvalidArgument, "type", func(c *raftv1.CreateAgent) { c.Type = 4 }},
		{"metadata", status.InvalidArgument, "metadata", func(c *raftv1.CreateAgent) { c.Metadata = []byte(`[1]`) }},
		{"metadata cut", status.InvalidArgument, "metadata", func(c *raftv1.CreateAgent) { c.Metadata = []byte(`{"a":`) }},
		{"large metadata", status.InvalidArgument, "metadata", func(c *raftv1.CreateAgent) {
			c.Metadata = []byte(`{"a":"` + strings.Repeat("x", maxMetadata) + `"}`)
		}},
		{"resource", status.InvalidArgument, "permissions[0].resource", func(c *raftv1.CreateAgent) { c.Permissions = []*raftv1.Permission{{Actions: []string{"read"}}} }},
		{"cidr", status.InvalidArgument, "permissions[1].constraints.ip_allowlist[0]", func(c *raftv1.CreateAgent) {
			c.Permissions = perms("a read", "b read")
			c.Permissions[1].IpAllowlist = []string{"10.0.0.0/33"}
		}},
		{"zone", status.InvalidArgument, "permissions[0].constraints.time_window.time_zone", func(c *raftv1.CreateAgent) {
			c.Permissions = perms("a read")
			c.Permissions[0].WindowStart, c.Permissions[0].WindowEnd, c.Permissions[0].WindowZone = "09:00", "17:00", "Mars/Olympus"
		}},
		{"same permission ids", status.InvalidArgument, "permissions[1].id", func(c *raftv1.CreateAgent) {
			c.Permissions = perms("a read", "b read")
			c.Permissions[0].Id, c.Permissions[1].Id = "p", "p"
		}},
		{"scope", status.InvalidArgument, "permissions[0].constraints.quota_scope", func(c *raftv1.CreateAgent) {
			c.Permissions = perms("a read")
			c.Permissions[0].QuotaScope = 3
		}},
		{"negative staleness", status.InvalidArgument, "permissions[0].max_staleness", func(c *raftv1.CreateAgent) {
			c.Permissions = perms("a read")
			c.Permissions[0].MaxStaleness = -1
		}},
		{"negative quota", status.InvalidArgument, "permissions[0].constraints.max_calls_per_hour", func(c *raftv1.CreateAgent) {
			c.Permissions = perms("a read")
			c.Permissions[0].MaxCallsPerHour = -1
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.t = t
			e := b.refused(tc.reason, create(11, tc.edit))
			if tc.path != "" && (len(e.Fields) == 0 || e.Fields[0].Path != tc.path) {
				t.Errorf("fields %v, want %s", e.Fields, tc.path)
			}
		})
	}
	b.t = t
	b.check()
}

// TestOwnerLimit: exactly max_agents_per_owner active, unexpired agents of one owner in one tenant.
func TestOwnerLimit(t *testing.T) {
	b := newBench(t)
	b.ok(settings(&raftv1.Settings{MaxAgentsPerOwner: 3}))
	short := func(c *raftv1.CreateAgent) { c.Expiry = ttl(hour) }
	for _, o := range b.entry(create(10, nil), create(11, short), create(12, short)) {
		if o.Refused != nil {
			t.Fatal(o.Refused)
		}
	}
	b.refused(status.AgentLimitExceeded, create(13, nil))
	b.ok(create(14, func(c *raftv1.CreateAgent) { c.Owner = "bob" }))
	b.ok(create(15, func(c *raftv1.CreateAgent) { c.Owner = "alice "; c.Tenant = "other" }))
	b.ok(create(16, func(c *raftv1.CreateAgent) { c.Tenant = "other" }))

	b.ok(revoke(10)) // makes room for one
	b.ok(create(13, nil))
	b.refused(status.AgentLimitExceeded, create(17, nil))

	b.wall += hour // 11 and 12 end now: at their very end
	for _, o := range b.entry(create(17, nil), create(18, nil), create(19, nil)) {
		if o.Refused != nil && o.Refused.Reason != status.AgentLimitExceeded {
			t.Fatal(o.Refused)
		}
	}
	if b.agent(17) == nil || b.agent(18) == nil || b.agent(19) != nil {
		t.Error("one entry made more or fewer agents than the limit leaves room for")
	}

	extend := update(11, func(c *raftv1.UpdateAgent) { c.Expiry = ttl(hour) })
	b.refused(status.AgentLimitExceeded, clone(extend)) // revival counts
	b.ok(update(13, func(c *raftv1.UpdateAgent) { c.Expiry = ttl(hour) }))
	b.ok(revoke(17))
	b.ok(extend)
	b.refused(status.AgentLimitExceeded, update(12, func(c *raftv1.UpdateAgent) { c.Expiry = never() }))
	b.check()
}

func TestUpdateAgent(t *testing.T) {
	b := newBench(t)
	b.ok(create(10, func(c *raftv1.CreateAgent) { c.Metadata = []byte(`{}`) }, "a read", "b write"))
	before := b.agent(10)
	b.wall += second
	name, kind := "new", uint32(3)
	b.ok(update(10, func(c *raftv1.UpdateAgent) { c.Name, c.ExpectedRevision = &name, before.GetRevision() }))
	want := before
	want.Name, want.UpdatedAt, want.Revision = name, b.wall, b.index
	if d := cmp.Diff(want, b.agent(10), protocmp.Transform()); d != "" {
		t.Error("name alone:", d)
	}
	b.ok(update(10, func(c *raftv1.UpdateAgent) {
		c.Type, c.Permissions, c.Metadata, c.Expiry = &kind, &raftv1.PermissionList{}, []byte{}, never()
	}))
	want.Type, want.Permissions, want.Metadata, want.ExpiresAt, want.Revision = kind, nil, nil, 0, b.index
	if d := cmp.Diff(want, b.agent(10), protocmp.Transform()); d != "" {
		t.Error("the rest, emptied:", d)
	}
	b.refused(status.RevisionMismatch, update(10, func(c *raftv1.UpdateAgent) { c.ExpectedRevision = 1 }))
	b.refused(status.AgentNotFound, update(11, func(*raftv1.UpdateAgent) {}))
	b.refused(status.AgentNotFound, update(11, func(c *raftv1.UpdateAgent) { c.Id = nil }))
	b.refused(status.InvalidArgument, update(10, func(c *raftv1.UpdateAgent) { c.Expiry = at(b.wall) }))
	b.refused(status.InvalidArgument, update(10, func(c *raftv1.UpdateAgent) { c.Permissions = &raftv1.PermissionList{Permissions: perms("a")} }))
	b.ok(update(10, func(c *raftv1.UpdateAgent) { c.Expiry = &raftv1.Expiry{} })) // the default
	if got := b.agent(10).GetExpiresAt(); got != b.wall+day {
		t.Errorf("the default expiry is %d", got)
	}
	b.wall += 2 * day // an expired agent can be edited without being revived
	b.ok(update(10, func(c *raftv1.UpdateAgent) { c.Name = &name }))
	if AgentStatus(b.agent(10), b.wall) != StatusExpired {
		t.Error("an update without expiry has revived the agent")
	}
	b.ok(revoke(10))
	b.refused(status.AgentRevoked, update(10, func(c *raftv1.UpdateAgent) { c.Name = &name }))
	b.check()
}

func TestRotateToken(t *testing.T) {
	b := newBench(t)
	b.ok(create(10, nil))
	b.wall += second
	b.ok(rotate(10, "r1", 0))
	if b.byToken("t10") != 0 || b.byToken("r1") != 10 {
		t.Error("without a grace the old token must be dead and the new one good")
	}
	if a := b.agent(10); a.GetRotatedAt() != b.wall || a.GetRevision() != b.index || a.GetUpdatedAt() != b.wall {
		t.Errorf("times or revision: %v", a)
	}
	b.ok(rotate(10, "r2", hour))
	if a := b.agent(10); b.byToken("r1") != 10 || !bytes.Equal(a.GetPrevTokenHash(), testHash("r1")) || a.GetPrevTokenUntil() != b.wall+hour {
		t.Errorf("the previous token has no grace: %v", a)
	}
	b.ok(rotate(10, "r3", hour)) // ends the earlier grace
	if b.byToken("r1") != 0 || b.byToken("r2") != 10 || b.byToken("r3") != 10 {
		t.Error("each Rotate ends an earlier grace")
	}
	b.ok(rotate(10, "r4", 10*day)) // never past the expiry
	if a := b.agent(10); a.GetPrevTokenUntil() != a.GetExpiresAt() {
		t.Errorf("a grace of %d ends after the agent", a.GetPrevTokenUntil())
	}
	b.ok(update(10, func(c *raftv1.UpdateAgent) { c.Expiry = ttl(second) })) // and a shortened life shortens it
	b.ok(update(10, func(c *raftv1.UpdateAgent) { c.Expiry = ttl(day) }))
	if a := b.agent(10); a.GetPrevTokenUntil() != b.wall+second {
		t.Errorf("an extension has woken a grace: %d", a.GetPrevTokenUntil()-b.wall)
	}
	b.refused(status.AlreadyExists, rotate(10, "r4", 0))
	b.refused(status.AlreadyExists, rotate(10, "r3", 0))
	b.refused(status.InvalidArgument, rotate(10, "r5", -1))
	b.refused(status.AgentNotFound, rotate(11, "r5", 0))
	mismatch := rotate(10, "r5", 0)
	mismatch.GetRotateToken().ExpectedRevision = 1
	b.refused(status.RevisionMismatch, mismatch)
	b.check()
	b.ok(revoke(10)) // ends the grace too; the current token still names the agent
	if b.byToken("r3") != 0 || b.byToken("r4") != 10 || b.agent(10).GetPrevTokenUntil() != 0 {
		t.Error("revocation leaves a grace, or loses whose token it was")
	}
	b.refused(status.AgentRevoked, rotate(10, "r5", 0))
	b.ok(create(12, func(c *raftv1.CreateAgent) { c.Expiry = ttl(second) }))
	b.wall += second
	b.refused(status.AgentExpired, rotate(12, "r5", 0)) // at its very end
	b.check()
}

func TestRotateWithUnboundedGrace(t *testing.T) {
	b := newBench(t)
	b.ok(create(10, func(c *raftv1.CreateAgent) { c.Expiry = never() }))
	b.ok(rotate(10, "r1", math.MaxInt64))
	if got := b.agent(10).GetPrevTokenUntil(); got <= b.wall {
		t.Errorf("the grace overflows to %d", got)
	}
	b.check()
}

func TestRevokeAgent(t *testing.T) {
	b := newBench(t)
	b.ok(create(10, nil))
	mismatch := revoke(10)
	mismatch.GetRevokeAgent().ExpectedRevision = 1
	b.refused(status.RevisionMismatch, clone(mismatch))
	b.wall += second
	first := b.ok(revoke(10))
	if a := b.agent(10); a.GetRevokedAt() != b.wall || a.GetRevision() != b.index {
		t.Errorf("%v", a)
	}
	b.wall += second
	for _, again := range []*raftv1.Command{revoke(10), mismatch} { // repeatable, whatever revision is expected
		if d := cmp.Diff(first, b.ok(again), protocmp.Transform()); d != "" {
			t.Error("a repeat:", d)
		}
	}
	b.refused(status.AgentNotFound, revoke(11))
	b.ok(create(12, func(c *raftv1.CreateAgent) { c.Expiry = ttl(1) }))
	b.wall += second
	b.ok(revoke(12)) // an expired one too
	b.check()
}

// TestRefusalLeavesTheEntryAlone: a refused command in the middle of an entry has no effect on the others.
func TestRefusalLeavesTheEntryAlone(t *testing.T) {
	b := newBench(t)
	out := b.entry(create(10, nil), create(10, func(c *raftv1.CreateAgent) { c.TokenHash = testHash("z") }), rotate(10, "r1", 0), revoke(11), revoke(10))
	for i, want := range []status.Reason{"", status.AlreadyExists, "", status.AgentNotFound, ""} {
		got := status.Reason("")
		if out[i].Refused != nil {
			got = out[i].Refused.Reason
		}
		if got != want || out[i].Revision != b.index {
			t.Errorf("command %d: %s at %d, want %s", i, got, out[i].Revision, want)
		}
	}
	b.check()
}

func TestAgentsPages(t *testing.T) {
	b := newBench(t)
	b.ok(settings(&raftv1.Settings{MaxAgentsPerOwner: 100}))
	for i := range 30 {
		b.ok(create(100+i, func(c *raftv1.CreateAgent) {
			c.Owner = []string{"alice", "bob", "alic"}[i%3]
			c.Tenant = []string{"", "other"}[i%2]
			c.Type = uint32(1 + i%3)
			c.Name = fmt.Sprintf("n%02d", i)
			if i%5 == 0 {
				c.Expiry = ttl(second)
			}
		}))
	}
	b.ok(revoke(101))
	b.wall += hour
	all := func(r *Reader, f AgentFilter, limit int) (names []string) {
		var after ids.ID
		for {
			page, next, err := r.Agents(f, after, limit)
			if err != nil || len(page) > limit {
				t.Fatal(len(page), err)
			}
			for _, a := range page {
				names = append(names, a.GetName())
			}
			if next.IsZero() {
				return names
			}
			after = next
		}
	}
	for _, tc := range []struct {
		f    AgentFilter
		want func(i int) bool
	}{
		{AgentFilter{}, func(int) bool { return true }},
		{AgentFilter{Tenant: "other"}, func(i int) bool { return i%2 == 1 }},
		{AgentFilter{Owner: "alice"}, func(i int) bool { return i%3 == 0 }},
		{AgentFilter{Tenant: "default", Owner: "alic"}, func(i int) bool { return i%3 == 2 && i%2 == 0 }},
		{AgentFilter{Type: 2}, func(i int) bool { return i%3 == 1 }},
		{AgentFilter{NamePrefix: "n1"}, func(i int) bool { return i/10 == 1 }},
		{AgentFilter{Status: StatusExpired, Now: b.wall}, func(i int) bool { return i%5 == 0 }},
		{AgentFilter{Status: StatusRevoked, Now: b.wall}, func(i int) bool { return i == 1 }},
		{AgentFilter{Status: StatusActive, Now: b.wall}, func(i int) bool { return i%5 != 0 && i != 1 }},
		{AgentFilter{Tenant: "nobody"}, func(int) bool { return false }},
	} {
		var want []string
		for i := range 30 {
			if tc.want(i) {
				want = append(want, fmt.Sprintf("n%02d", i))
			}
		}
		b.read(func(r *Reader) {
			for _, limit := range []int{1, 7, 1000} {
				if d := cmp.Diff(want, all(r, tc.f, limit)); d != "" {
					t.Errorf("%+v by %d: %s", tc.f, limit, d)
				}
			}
		})
	}
}
