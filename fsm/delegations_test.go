package fsm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
	"github.com/kavachd/kavachd/storage"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// family makes agents 10, 11, …, each with the permissions of its text; "" is none.
func family(b *bench, lists ...string) {
	b.t.Helper()
	b.ok(settings(&raftv1.Settings{MaxAgentsPerOwner: 10_000}))
	for i, l := range lists {
		var list []string
		if l != "" {
			list = []string{l}
		}
		b.ok(create(10+i, nil, list...))
	}
}

func TestCreateDelegation(t *testing.T) {
	b := newBench(t)
	family(b, "mcp:* *", "", "")
	got := b.ok(delegate(50, 10, 11, nil, "mcp:github read"))
	want := &raftv1.Delegation{
		Id: testID(50), Tenant: "default", From: testID(10), To: testID(11), Permissions: perms("mcp:github read"),
		ExpiresAt: start + day, MaxDepth: 3, Depth: 1, CreatedAt: start, CreatedSeq: b.index << 16, Revision: b.index,
	}
	if d := cmp.Diff(want, got.GetDelegation().GetDelegation(), protocmp.Transform()); d != "" {
		t.Error("result:", d)
	}
	if d := cmp.Diff(want, b.delegation(50), protocmp.Transform()); d != "" {
		t.Error("stored:", d)
	}
	out := b.entry(delegate(51, 11, 12, nil, "mcp:github read"), delegate(52, 10, 12, nil, "mcp:x write"))
	for _, o := range out {
		if o.Refused != nil {
			t.Fatal(o.Refused)
		}
	}
	if d := b.delegation(51); d.GetDepth() != 2 || d.GetCreatedSeq() != b.index<<16 {
		t.Errorf("a delegation of what was received: %v", d)
	}
	if d := b.delegation(52); d.GetDepth() != 1 || d.GetCreatedSeq() != b.index<<16|1 {
		t.Errorf("the second of an entry: %v", d)
	}
	b.check()
}

func TestCreateDelegationRefuses(t *testing.T) {
	b := newBench(t)
	family(b, "mcp:* *", "", "mcp:* *", "mcp:* *", "")
	b.ok(create(20, func(c *raftv1.CreateAgent) { c.Tenant = "other" }, "mcp:* *"))
	b.ok(revoke(12))
	b.ok(update(13, func(c *raftv1.UpdateAgent) { c.Expiry = ttl(1) }))
	b.ok(delegate(50, 10, 11, nil, "mcp:github read"))
	b.wall++
	for _, tc := range []struct {
		name     string
		reason   status.Reason
		path     string
		from, to int
		list     string
		edit     func(*raftv1.CreateDelegation)
	}{
		{"to itself", status.InvalidArgument, "to_agent_id", 10, 10, "mcp:x read", nil},
		{"unknown giver", status.AgentNotFound, "from_agent_id", 99, 11, "mcp:x read", nil},
		{"unknown receiver", status.AgentNotFound, "to_agent_id", 10, 99, "mcp:x read", nil},
		{"revoked giver", status.AgentRevoked, "from_agent_id", 12, 11, "mcp:x read", nil},
		{"expired giver", status.AgentExpired, "from_agent_id", 13, 11, "mcp:x read", nil},
		{"revoked receiver", status.AgentRevoked, "to_agent_id", 10, 12, "mcp:x read", nil},
		{"across tenants", status.AgentNotFound, "to_agent_id", 10, 20, "mcp:x read", nil},
		{"no permissions", status.InvalidArgument, "permissions", 10, 11, "", func(c *raftv1.CreateDelegation) { c.Permissions = nil }},
		{"no actions", status.InvalidArgument, "permissions[0].actions", 10, 11, "mcp:x", nil},
		{"max_depth 0", status.InvalidArgument, "max_depth", 10, 11, "mcp:x read", func(c *raftv1.CreateDelegation) { c.MaxDepth = 0 }},
		{"max_depth 17", status.InvalidArgument, "max_depth", 10, 11, "mcp:x read", func(c *raftv1.CreateDelegation) { c.MaxDepth = 17 }},
		{"past expiry", status.InvalidArgument, "expiry", 10, 11, "mcp:x read", func(c *raftv1.CreateDelegation) { c.Expiry = at(1) }},
		{"escalation", status.InsufficientPermissions, "permissions[0].resource", 10, 11, "tool:x read", nil},
		{"prefix escalation", status.InsufficientPermissions, "permissions[0].resource", 11, 14, "mcp:github:* read", nil},
		{"action escalation", status.InsufficientPermissions, "permissions[0].resource", 11, 14, "mcp:github write", nil},
		{"cycle", status.DelegationCycle, "to_agent_id", 11, 10, "mcp:github read", nil},
		{"id in use", status.AlreadyExists, "", 10, 11, "mcp:x read", func(c *raftv1.CreateDelegation) { c.Id = testID(50) }},
		{"no id", status.InvalidArgument, "delegation_id", 10, 11, "mcp:x read", func(c *raftv1.CreateDelegation) { c.Id = nil }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.t = t
			e := b.refused(tc.reason, delegate(60, tc.from, tc.to, tc.edit, tc.list))
			if tc.path != "" && (len(e.Fields) == 0 || e.Fields[0].Path != tc.path) {
				t.Errorf("fields %v, want %s", e.Fields, tc.path)
			}
		})
	}
	b.t = t
	b.ok(delegate(61, 10, 13, nil, "mcp:x read")) // an expired receiver may be revived
	b.check()
}

func TestDelegationDefaultExpiry(t *testing.T) {
	b := newBench(t)
	family(b, "a read", "")
	b.ok(update(10, func(c *raftv1.UpdateAgent) { c.Expiry = ttl(hour) }))
	b.ok(delegate(50, 10, 11, nil, "a read"))
	b.ok(update(10, func(c *raftv1.UpdateAgent) { c.Expiry = never() }))
	b.ok(delegate(51, 10, 11, nil, "a read"))
	b.ok(delegate(52, 10, 11, func(c *raftv1.CreateDelegation) { c.Expiry = never() }, "a read"))
	if x, y, z := b.delegation(50).GetExpiresAt(), b.delegation(51).GetExpiresAt(), b.delegation(52).GetExpiresAt(); x != start+hour || y != start+day || z != 0 {
		t.Errorf("expiries %d, %d, %d", x-start, y-start, z)
	}
}

// TestDepth: 1 + the depth of the shallowest grant that covers, never beyond the smallest max_depth of the path.
func TestDepth(t *testing.T) {
	b := newBench(t)
	family(b, "a *", "", "", "", "", "")
	deep := func(n uint32) func(*raftv1.CreateDelegation) {
		return func(c *raftv1.CreateDelegation) { c.MaxDepth = n }
	}
	b.ok(delegate(50, 10, 11, deep(3), "a read"))
	b.ok(delegate(51, 11, 12, deep(16), "a read"))
	b.refused(status.DelegationDepthExceeded, delegate(52, 12, 13, deep(2), "a read")) // its own max_depth
	b.ok(delegate(52, 12, 13, deep(16), "a read"))
	b.refused(status.DelegationDepthExceeded, delegate(53, 13, 14, deep(16), "a read")) // that of the first on the path
	b.ok(delegate(54, 10, 13, deep(16), "a *"))                                         // a shallower one
	b.ok(delegate(55, 13, 14, deep(16), "a read"))
	if got := b.delegation(55).GetDepth(); got != 2 {
		t.Errorf("depth %d, the shallowest covering grant has 1", got)
	}
	b.check()
}

func TestReceivedLimit(t *testing.T) {
	b := newBench(t)
	family(b, "a read", "", "a read")
	for i := range maxReceived {
		b.ok(delegate(1000+i, 10, 11, nil, "a read"))
	}
	b.refused(status.LimitExceeded, delegate(5000, 12, 11, nil, "a read"))
	b.ok(revokeDelegation(1000))
	b.ok(delegate(5000, 12, 11, func(c *raftv1.CreateDelegation) { c.Expiry = ttl(1) }, "a read"))
	b.refused(status.LimitExceeded, delegate(5001, 12, 11, nil, "a read"))
	b.wall++
	b.ok(delegate(5001, 12, 11, nil, "a read")) // one has expired
}

// TestCycleThroughAnExpiredAgent: an agent on the way that is expired may be revived, so the cycle is refused.
func TestCycleThroughAnExpiredAgent(t *testing.T) {
	b := newBench(t)
	family(b, "a read", "", "a read")
	forever := func(c *raftv1.CreateDelegation) { c.Expiry = never() }
	b.ok(delegate(50, 10, 11, forever, "a read"))
	b.ok(delegate(51, 11, 12, forever, "a read"))
	b.ok(update(11, func(c *raftv1.UpdateAgent) { c.Expiry = ttl(1) }))
	b.wall++
	b.refused(status.DelegationCycle, delegate(52, 12, 10, nil, "a read"))
	b.ok(revokeDelegation(51))
	b.ok(delegate(52, 12, 10, nil, "a read"))
}

func TestRevokeDelegation(t *testing.T) {
	b := newBench(t)
	family(b, "a *", "", "")
	b.ok(delegate(50, 10, 11, nil, "a read"))
	b.ok(delegate(51, 11, 12, nil, "a read"))
	mismatch := revokeDelegation(50)
	mismatch.GetRevokeDelegation().ExpectedRevision = 1
	b.refused(status.RevisionMismatch, mismatch)
	b.refused(status.DelegationNotFound, revokeDelegation(99))
	b.wall += second
	got := b.ok(revokeDelegation(50)).GetRevoke()
	if got.GetDelegationsRevoked() != 1 || got.GetDelegation().GetRevokedAt() != b.wall || b.delegation(51).GetRevokedAt() != b.wall {
		t.Errorf("%v", got)
	}
	if want := []ids.ID{ids.ID(testID(50)), ids.ID(testID(51))}; !cmp.Equal(b.last.Touched.Delegations, want) {
		t.Errorf("touched %v", b.last.Touched)
	}
	if again := b.ok(revokeDelegation(50)).GetRevoke(); again.GetDelegationsRevoked() != 0 || again.GetDelegation().GetRevision() != b.index-1 {
		t.Errorf("a repeat: %v", again)
	}
	b.check()
}

// alive lists which of the delegations are not revoked.
func (b *bench) alive(list ...int) (alive []int) {
	b.t.Helper()
	for _, n := range list {
		if b.delegation(n).GetRevokedAt() == 0 {
			alive = append(alive, n)
		}
	}
	return alive
}

func TestCascade(t *testing.T) {
	for _, tc := range []struct {
		name  string
		setup func(b *bench)
		act   *raftv1.Command
		all   []int
		alive []int
	}{
		{"what the receiver gave from its own stays", func(b *bench) {
			family(b, "a *", "b read", "", "")
			b.ok(delegate(50, 10, 11, nil, "a read"))
			b.ok(delegate(51, 11, 12, nil, "b read"))
			b.ok(delegate(52, 11, 13, nil, "a read"))
		}, revokeDelegation(50), []int{51, 52}, []int{51}},
		{"covered by another way", func(b *bench) {
			family(b, "a *", "", "a *", "")
			b.ok(delegate(50, 10, 11, nil, "a read"))
			b.ok(delegate(51, 12, 11, nil, "a read"))
			b.ok(delegate(52, 11, 13, nil, "a read"))
		}, revokeDelegation(50), []int{51, 52}, []int{51, 52}},
		{"one of two permissions covered: it stays, and what hangs on the other goes", func(b *bench) {
			family(b, "a *", "b read", "", "", "")
			b.ok(delegate(50, 10, 11, nil, "a read"))
			b.ok(delegate(51, 11, 12, nil, "a read", "b read"))
			b.ok(delegate(52, 12, 13, nil, "a read"))
			b.ok(delegate(53, 12, 14, nil, "b read"))
		}, revokeDelegation(50), []int{51, 52, 53}, []int{51, 53}},
		{"a diamond ends when both sides do", func(b *bench) {
			family(b, "a *", "", "", "", "")
			b.ok(delegate(50, 10, 11, nil, "a read"))
			b.ok(delegate(51, 10, 12, nil, "a read"))
			b.ok(delegate(52, 11, 13, nil, "a read"))
			b.ok(delegate(53, 12, 13, nil, "a read"))
			b.ok(delegate(54, 13, 14, nil, "a read"))
		}, revoke(10), []int{50, 51, 52, 53, 54}, nil},
		{"revoking an agent ends what it gave, not what it received", func(b *bench) {
			family(b, "a *", "b read", "")
			b.ok(delegate(50, 10, 11, nil, "a read"))
			b.ok(delegate(51, 11, 12, nil, "b read"))
		}, revoke(11), []int{50, 51}, []int{50}},
		{"an expired giver on the way is not dead: what it gives from its own stays", func(b *bench) {
			family(b, "a *", "b read", "")
			b.ok(delegate(50, 10, 11, nil, "a read"))
			b.ok(delegate(51, 11, 12, nil, "b read"))
			b.ok(update(11, func(c *raftv1.UpdateAgent) { c.Expiry = ttl(1) }))
			b.wall++
		}, revokeDelegation(50), []int{51}, []int{51}},
		{"a way through which it would lie too deep does not keep it", func(b *bench) {
			family(b, "a *", "", "", "", "")
			b.ok(delegate(50, 10, 11, nil, "a read"))
			b.ok(delegate(51, 11, 12, nil, "a read"))
			b.ok(delegate(52, 10, 12, nil, "a read"))
			b.ok(delegate(53, 12, 13, func(c *raftv1.CreateDelegation) { c.MaxDepth = 2 }, "a read"))
		}, revokeDelegation(52), []int{51, 53}, []int{51}},
		{"narrowing revokes nothing", func(b *bench) {
			family(b, "a *", "", "")
			b.ok(delegate(50, 10, 11, nil, "a read"))
			b.ok(delegate(51, 11, 12, nil, "a read"))
		}, update(10, func(c *raftv1.UpdateAgent) { c.Permissions = &raftv1.PermissionList{} }), []int{50, 51}, []int{50, 51}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			tc.setup(b)
			got := b.ok(tc.act)
			if d := cmp.Diff(tc.alive, b.alive(tc.all...)); d != "" {
				t.Error("alive:", d)
			}
			if r := got.GetRevoke(); r != nil && int(r.GetDelegationsRevoked()) != len(tc.all)-len(tc.alive) {
				t.Errorf("%d are said to be revoked", r.GetDelegationsRevoked())
			}
			b.check()
		})
	}
}

func TestDelegationsPages(t *testing.T) {
	b := newBench(t)
	family(b, "a *", "", "", "a *")
	var given, received []int
	for i := range 20 {
		n := 100 + i
		switch i % 4 {
		case 0:
			b.ok(delegate(n, 10, 11, nil, "a read"))
			received = append(received, n)
		case 1:
			b.ok(delegate(n, 11, 12, nil, "a read"))
			given = append(given, n)
		case 2:
			b.ok(delegate(n, 13, 11, nil, "a read"))
			received = append(received, n)
		default:
			b.ok(delegate(n, 10, 12, nil, "a read"))
		}
	}
	var both []int
	for i := range 20 {
		if i%4 != 3 {
			both = append(both, 100+i)
		}
	}
	b.ok(revokeDelegation(102))
	b.read(func(r *Reader) {
		for _, tc := range []struct {
			f    DelegationFilter
			want []int
		}{
			{DelegationFilter{Direction: Both}, both},
			{DelegationFilter{Direction: Given}, given},
			{DelegationFilter{Direction: Received}, received},
			{DelegationFilter{Direction: Received, Status: StatusRevoked, Now: b.wall}, []int{102}},
			{DelegationFilter{Status: StatusExpired, Now: b.wall + 2*day}, without(both, 102)},
		} {
			tc.f.Agent = ids.ID(testID(11))
			for _, limit := range []int{1, 3, 1000} {
				var got []int
				for after, more := uint64(0), true; more; {
					page, next, err := r.Delegations(tc.f, after, limit)
					if err != nil || len(page) > limit {
						t.Fatal(len(page), err)
					}
					for _, d := range page {
						got = append(got, int(d.GetId()[15]))
					}
					after, more = next, next != 0
				}
				if d := cmp.Diff(tc.want, got); d != "" {
					t.Errorf("%+v by %d: %s", tc.f, limit, d)
				}
			}
		}
		if page, next, err := r.Delegations(DelegationFilter{Agent: ids.ID(testID(99))}, 0, 10); page != nil || next != 0 || err != nil {
			t.Error("an unknown agent has delegations:", page, next, err)
		}
	})
}

func without(list []int, n int) (out []int) {
	for _, v := range list {
		if v != n {
			out = append(out, v)
		}
	}
	return out
}

// TestEdgesCutAlike: two lists cut at different places merge without a gap.
func TestEdgesCutAlike(t *testing.T) {
	b := newBench(t)
	family(b, "a *", "a *", "")
	for i := range 6 {
		b.ok(delegate(100+2*i, 10, 11, nil, "a read"))
		b.ok(delegate(101+2*i, 11, 12, nil, "a read"))
	}
	b.read(func(r *Reader) {
		prefix := storage.GivenPrefix("default", ids.ID(testID(11)))
		list, more, err := r.edgesFrom(prefix, 0, 4)
		if err != nil || len(list) != 4 || !more {
			t.Fatal(len(list), more, err)
		}
		rest, more, err := r.edgesFrom(prefix, list[3].created, 4)
		if err != nil || len(rest) != 2 || more || rest[0].created <= list[3].created {
			t.Fatal(rest, more, err)
		}
	})
}
