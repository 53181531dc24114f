package fsm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
)

// TestCallerIsCheckedAgain: the log decides. A caller whose key was revoked, expired or never there by then is refused,
// even behind a command of the same entry.
func TestCallerIsCheckedAgain(t *testing.T) {
	b := newBench(t)
	b.ok(createKey(20, nil))
	b.ok(createKey(21, func(c *raftv1.CreateKey) { c.Expiry = ttl(hour) }))
	b.ok(by(20, "", create(10, nil)))
	b.ok(by(21, "", create(11, nil)))
	out := b.entry(revokeKey(20), by(20, "", create(12, nil)), create(13, nil))
	if out[1].Refused == nil || out[1].Refused.Reason != status.Unauthenticated || out[0].Refused != nil || out[2].Refused != nil {
		t.Errorf("%v", out)
	}
	b.wall += hour
	b.refused(status.Unauthenticated, by(21, "", create(14, nil))) // at its very end
	b.refused(status.Unauthenticated, by(99, "", create(14, nil)))
	none := create(14, nil)
	none.Caller = &raftv1.Caller{NodeId: "n1"}
	b.refused(status.Unauthenticated, none)
	short := create(14, nil)
	short.Caller = &raftv1.Caller{KeyId: []byte{1}}
	b.refused(status.Unauthenticated, short)
	b.check()
}

// TestOnlyNodesActWithoutKey names every kind of command that needs no key.
func TestOnlyNodesActWithoutKey(t *testing.T) {
	b := newBench(t)
	free := map[string]bool{
		"append_audit_block": true, "init_cluster": true, "leader_epoch": true, "register_node": true, "purge_expired": true,
		"bootstrap_key": true,
	}
	for name, c := range everyCommand() {
		c.Caller = &raftv1.Caller{NodeId: "n1"}
		o := b.do(c)
		got := o.Refused == nil || o.Refused.Reason != status.Unauthenticated
		if got != free[name] {
			t.Errorf("%s without a key: refused %v", name, o.Refused)
		}
	}
}

func TestTenantBoundKey(t *testing.T) {
	b := newBench(t)
	in := func(tenant string) func(*raftv1.CreateAgent) {
		return func(c *raftv1.CreateAgent) { c.Tenant = tenant }
	}
	b.ok(createKey(20, func(c *raftv1.CreateKey) { c.Tenant = "blue" }))
	b.ok(create(10, in("red"), "a *"))
	b.ok(by(20, "blue", create(11, in("blue"), "a *")))
	b.ok(by(20, "", create(12, in("blue")))) // bound by the key, whatever the node says
	b.refused(status.PermissionDenied, by(20, "red", create(13, in("red"))))
	b.refused(status.PermissionDenied, by(20, "", create(13, in("red"))))
	b.refused(status.PermissionDenied, by(20, "", create(13, nil))) // default
	b.refused(status.AgentNotFound, by(20, "", update(10, func(*raftv1.UpdateAgent) {})))
	b.refused(status.AgentNotFound, by(20, "", revoke(10)))
	b.refused(status.AgentNotFound, by(20, "", rotate(10, "r", 0)))
	b.refused(status.AgentNotFound, by(20, "", delegate(50, 10, 11, nil, "a read")))
	b.refused(status.AgentNotFound, by(20, "", delegate(50, 11, 10, nil, "a read")))
	b.ok(by(20, "", delegate(50, 11, 12, nil, "a read")))
	b.refused(status.DelegationNotFound, by(2, "red", revokeDelegation(50))) // an admin who acts in red
	b.ok(by(20, "", revokeDelegation(50)))
	b.refused(status.PermissionDenied, by(20, "", settings(&raftv1.Settings{MaxAgentsPerOwner: 1})))
	b.refused(status.PermissionDenied, by(20, "", createKey(21, nil)))
	b.refused(status.PermissionDenied, by(20, "", createKey(21, func(c *raftv1.CreateKey) { c.Tenant = "red" })))
	b.ok(by(20, "", createKey(21, func(c *raftv1.CreateKey) { c.Tenant = "blue" })))
	b.refused(status.KeyNotFound, by(20, "", revokeKey(2)))
	b.ok(by(20, "", revokeKey(21)))
	b.check()
}

func TestKeys(t *testing.T) {
	b := newBench(t)
	got := b.ok(createKey(20, nil)).GetKey()
	want := &raftv1.ApiKey{Id: testID(20), Name: "key 20", Role: "admin", CreatedAt: start, Revision: b.index}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Error("result (without the hash):", d)
	}
	b.read(func(r *Reader) {
		k, err := r.KeyByHash(ids.Hash(testHash("k20")))
		if err != nil || k == nil || k.GetName() != "key 20" {
			t.Errorf("by hash: %v, %v", k, err)
		}
		keys, next, err := r.Keys("", ids.ID{}, 1)
		if err != nil || len(keys) != 1 || next.IsZero() {
			t.Fatal(keys, next, err)
		}
		more, next, err := r.Keys("", next, 10)
		if err != nil || len(more) != 1 || !next.IsZero() || more[0].GetName() != "key 20" {
			t.Fatal(more, next, err)
		}
	})
	for _, tc := range []struct {
		reason status.Reason
		edit   func(*raftv1.CreateKey)
	}{
		{status.AlreadyExists, func(c *raftv1.CreateKey) { c.Id = testID(20) }},
		{status.AlreadyExists, func(c *raftv1.CreateKey) { c.Hash = testHash("k20") }},
		{status.InvalidArgument, func(c *raftv1.CreateKey) { c.Hash = nil }},
		{status.InvalidArgument, func(c *raftv1.CreateKey) { c.Id = nil }},
		{status.InvalidArgument, func(c *raftv1.CreateKey) { c.Name = "" }},
		{status.InvalidArgument, func(c *raftv1.CreateKey) { c.Role = "god" }},
		{status.InvalidArgument, func(c *raftv1.CreateKey) { c.Tenant = "/" }},
		{status.InvalidArgument, func(c *raftv1.CreateKey) { c.Expiry = at(start) }},
	} {
		b.refused(tc.reason, createKey(21, tc.edit))
	}
	b.wall += second
	first := b.ok(revokeKey(20))
	b.wall += second
	if d := cmp.Diff(first, b.ok(revokeKey(20)), protocmp.Transform()); d != "" || first.GetKey().GetRevokedAt() == 0 {
		t.Error("a repeat:", d)
	}
	b.refused(status.KeyNotFound, revokeKey(99))
	b.check()
}

func TestBootstrapKeyOnce(t *testing.T) {
	b := newBench(t)
	again := &raftv1.Command{Command: &raftv1.Command_BootstrapKey{BootstrapKey: &raftv1.BootstrapKey{Id: testID(30), Hash: testHash("x")}}}
	b.refused(status.AlreadyBootstrapped, again)
	b.ok(revokeKey(2)) // by itself; the way in stays shut all the same
	b.refused(status.AlreadyBootstrapped, clone(again))
}

func TestInitClusterOnce(t *testing.T) {
	b := newBench(t)
	c := func(n int) *raftv1.Command {
		return &raftv1.Command{Command: &raftv1.Command_InitCluster{InitCluster: &raftv1.InitCluster{ClusterId: testID(n)}}}
	}
	b.wall += second
	if got := b.ok(c(1)).GetCluster(); got.GetCreatedAt() != start {
		t.Errorf("a repeat: %v", got)
	}
	b.refused(status.AlreadyBootstrapped, c(3))
	short := c(1)
	short.GetInitCluster().ClusterId = []byte{1}
	b.refused(status.InvalidArgument, short)
}

func TestLeaderEpoch(t *testing.T) {
	b := newBench(t)
	c := func(term uint64) *raftv1.Command {
		return &raftv1.Command{Command: &raftv1.Command_LeaderEpoch{LeaderEpoch: &raftv1.LeaderEpoch{NodeId: "n1", Term: term}}}
	}
	term := func() (n uint64) {
		b.read(func(r *Reader) {
			cl, err := r.Cluster()
			if err != nil {
				t.Fatal(err)
			}
			n = cl.GetLeaderTerm()
		})
		return n
	}
	b.term = 5
	b.ok(c(5))
	b.ok(c(5))
	b.refused(status.NotLeader, c(6)) // of another term than its entry
	b.refused(status.NotLeader, c(4))
	b.term = 4
	b.refused(status.NotLeader, c(4)) // below the newest
	b.term = 7
	b.ok(c(7))
	if term() != 7 {
		t.Errorf("the newest term is %d", term())
	}
	b.refused(status.InvalidArgument, &raftv1.Command{Command: &raftv1.Command_LeaderEpoch{LeaderEpoch: &raftv1.LeaderEpoch{Term: 7}}})
}

func TestRegisterNode(t *testing.T) {
	b := newBench(t)
	c := func(n *raftv1.NodeRecord, remove bool) *raftv1.Command {
		return &raftv1.Command{Command: &raftv1.Command_RegisterNode{RegisterNode: &raftv1.RegisterNode{Node: n, Remove: remove}}}
	}
	nodes := func() (list []*raftv1.NodeRecord) {
		b.read(func(r *Reader) {
			var err error
			if list, err = r.Nodes(); err != nil {
				t.Fatal(err)
			}
		})
		return list
	}
	b.ok(c(&raftv1.NodeRecord{NodeId: "n2", ApiAddress: "b:1"}, false))
	b.ok(c(&raftv1.NodeRecord{NodeId: "n1", ApiAddress: "a:1", Revision: 77}, false))
	rev := b.index
	b.ok(c(&raftv1.NodeRecord{NodeId: "n1", ApiAddress: "a:1"}, false)) // changes nothing
	want := []*raftv1.NodeRecord{{NodeId: "n1", ApiAddress: "a:1", Revision: rev}, {NodeId: "n2", ApiAddress: "b:1", Revision: rev - 1}}
	if d := cmp.Diff(want, nodes(), protocmp.Transform()); d != "" {
		t.Error(d)
	}
	b.ok(c(&raftv1.NodeRecord{NodeId: "n1"}, true))
	b.ok(c(&raftv1.NodeRecord{NodeId: "n1"}, true))
	if d := cmp.Diff(want[1:], nodes(), protocmp.Transform()); d != "" {
		t.Error(d)
	}
	b.refused(status.InvalidArgument, c(&raftv1.NodeRecord{}, false))
	b.check()
}

func TestSettings(t *testing.T) {
	b := newBench(t)
	get := func() (s *raftv1.Settings) {
		b.read(func(r *Reader) {
			var err error
			if s, err = r.Settings(); err != nil {
				t.Fatal(err)
			}
		})
		return s
	}
	want := &raftv1.Settings{
		TokenExpiry: day, MaxAgentsPerOwner: 10, AuditPolicy: 1, ApprovalTtl: 300 * second, PurgeAfter: 90 * day, MaxClockSkew: second / 2,
	}
	if d := cmp.Diff(want, get(), protocmp.Transform()); d != "" {
		t.Error("defaults:", d)
	}
	got := b.ok(settings(&raftv1.Settings{TokenExpiry: hour, AuditPolicy: 2})).GetSettings()
	want.TokenExpiry, want.AuditPolicy, want.Revision = hour, 2, b.index
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Error("result:", d)
	}
	if d := cmp.Diff(want, get(), protocmp.Transform()); d != "" || !b.last.Touched.Settings {
		t.Error("stored:", d)
	}
	for _, tc := range []struct {
		path string
		s    *raftv1.Settings
	}{
		{"settings.token_expiry", &raftv1.Settings{TokenExpiry: -1}},
		{"settings.token_expiry", &raftv1.Settings{TokenExpiry: 1}},
		{"settings.token_expiry", &raftv1.Settings{TokenExpiry: maxLifetime + 1}},
		{"settings.max_agents_per_owner", &raftv1.Settings{MaxAgentsPerOwner: maxAgentsPerOwner + 1}},
		{"settings.audit_policy", &raftv1.Settings{AuditPolicy: 4}},
		{"settings.approval_ttl", &raftv1.Settings{ApprovalTtl: 1}},
		{"settings.purge_after", &raftv1.Settings{PurgeAfter: second}},
		{"settings.max_clock_skew", &raftv1.Settings{MaxClockSkew: hour}},
	} {
		if e := b.refused(status.InvalidArgument, settings(tc.s)); e.Fields[0].Path != tc.path {
			t.Errorf("%v: %v", tc.s, e)
		}
	}
	stale := settings(&raftv1.Settings{TokenExpiry: hour})
	stale.GetUpdateSettings().ExpectedRevision = 1
	b.refused(status.RevisionMismatch, stale)
	b.check()
}
