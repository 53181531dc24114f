package cluster_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kavachd/kavachd/audit"
	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/cluster"
	"github.com/kavachd/kavachd/cluster/clustertest"
	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/ids"
	"github.com/kavachd/kavachd/status"
)

var auditUnavailable = status.New(status.AuditUnavailable, "")

// TestEveryDecisionHasOneEntry decides on every node and finds each entry, exactly once, from every node: at once, while it
// stands in another node's journal, and still when it has been shipped. Gossip is on, as in the wild.
func TestEveryDecisionHasOneEntry(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{Gossip: true})
	a := c.Admin()
	id, token, cmd := a.CreateAgent(&raftv1.Permission{Id: "docs", Resource: "doc:*", Actions: []string{"read"}})
	propose(t, c.Nodes[0], cmd)
	want := map[string]bool{}
	for i, n := range c.Nodes {
		for j := range 5 {
			d, err := n.Decide(soon(t), cluster.Level{}, a.Hash, []cluster.Check{
				{Request: authz.Request{ByToken: true, Token: token, TokenOK: true, Action: "read", Resource: fmt.Sprintf("doc:%d:%d", i, j)}, RequestID: "r"},
				{Request: authz.Request{AgentID: "nobody", Action: "read", Resource: "doc"}, AgentText: "nobody"},
			})
			if err != nil || d.Verdicts[0].Code != authz.Allowed || d.Verdicts[1].Code != authz.AgentNotFound {
				t.Fatalf("%+v, %v", d, err)
			}
			for _, entry := range d.AuditIDs {
				want[string(entry[:])] = true
			}
		}
	}
	for _, n := range c.Nodes {
		findAll(t, n, want)
	}
	filter := audit.Filter{AgentID: id.Text(ids.PrefixAgent), Kind: uint32(kavachv1.AuditKind_AUDIT_KIND_DECISION)}
	page, _, err := c.Nodes[1].QueryAudit(soon(t), cluster.Level{}, audit.Query{Filter: filter, Limit: 100})
	if err != nil || len(page.Entries) != 15 {
		t.Fatalf("%d entries of the agent, want 15: %v", len(page.Entries), err)
	}
	e := page.Entries[0].Entry
	if e.GetPermissionId() != "docs" || e.GetPermissionResource() != "doc:*" || e.GetRequestId() != "r" || e.GetRevision() == 0 ||
		e.GetReasonCode() != uint32(kavachv1.ReasonCode_REASON_CODE_ALLOWED) || !bytes.Equal(e.GetCallerKey(), a.Caller.GetKeyId()) {
		t.Errorf("an entry says %v", e)
	}
	c.Await("everything is shipped", func() error {
		for _, n := range c.Nodes {
			if s, err := n.Status(); err != nil || s.JournalBacklog != 0 {
				return fmt.Errorf("node %d: %d entries (%w)", n.Index(), s.JournalBacklog, err)
			}
		}
		return nil
	})
	for _, n := range c.Nodes {
		findAll(t, n, want)
	}
	var csv bytes.Buffer
	if n, missing, err := c.Nodes[2].ExportAudit(soon(t), &csv, audit.FormatCSV, filter); err != nil || n != 15 || len(missing) > 0 {
		t.Errorf("export: %d, %v, %v", n, missing, err)
	}
	if lines := strings.Count(csv.String(), "\r\n"); lines != 16 {
		t.Errorf("the export has %d lines:\n%s", lines, csv.String())
	}
	c.Await("gossip sees all", func() error {
		members, err := c.Nodes[0].Members()
		if err != nil || slices.ContainsFunc(members, func(m cluster.Member) bool { return !m.Alive }) {
			return fmt.Errorf("%+v (%w)", members, err)
		}
		return nil
	})
	gone := c.Followers()[0]
	name := gone.ID()
	gone.Stop()
	page, _, err = c.Leader().QueryAudit(soon(t), cluster.Level{}, audit.Query{Filter: filter, Limit: 100})
	if err != nil || !slices.Contains(page.Missing, name) || len(page.Entries) != 15 {
		t.Errorf("without node %s: %d entries, missing %v, %v", name, len(page.Entries), page.Missing, err)
	}
	sameDigests(t, c)
}

// findAll looks for decisions through a node, page by page, and for each one by its id.
func findAll(t *testing.T, n *clustertest.Node, want map[string]bool) {
	t.Helper()
	got := map[string]int{}
	q := audit.Query{Filter: audit.Filter{Kind: uint32(kavachv1.AuditKind_AUDIT_KIND_DECISION)}, Limit: 7}
	for {
		page, _, err := n.QueryAudit(soon(t), cluster.Level{}, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range page.Entries {
			got[string(f.Entry.GetId())]++
		}
		if len(page.Missing) > 0 {
			t.Errorf("node %d misses %v", n.Index(), page.Missing)
		}
		if page.Next == nil {
			break
		}
		q.Cursor = page.Next
	}
	if len(got) != len(want) {
		t.Errorf("node %d finds %d entries, want %d", n.Index(), len(got), len(want))
	}
	for id := range want {
		if got[id] != 1 {
			t.Errorf("node %d finds entry %x %d times", n.Index(), id, got[id])
		}
		if f, _, err := n.AuditEntry(soon(t), cluster.Level{}, ids.ID([]byte(id))); err != nil || f == nil {
			t.Errorf("node %d doesn't find entry %x by its id: %v", n.Index(), id, err)
		}
	}
}

// TestAuditPolicy turns decisions' entries off, and on for denials.
func TestAuditPolicy(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{Size: 1})
	a := c.Admin()
	n := c.Nodes[0]
	_, token, cmd := a.CreateAgent(clustertest.Allow("doc:*", "read"))
	propose(t, n, cmd)
	for _, p := range []struct {
		policy          kavachv1.AuditPolicy
		allowed, denied bool
	}{
		{kavachv1.AuditPolicy_AUDIT_POLICY_ALL, true, true},
		{kavachv1.AuditPolicy_AUDIT_POLICY_DENIALS, false, true},
		{kavachv1.AuditPolicy_AUDIT_POLICY_OFF, false, false},
	} {
		propose(t, n, a.Settings(&raftv1.Settings{AuditPolicy: uint32(p.policy)}))
		d, err := n.Decide(soon(t), cluster.Level{}, a.Hash, []cluster.Check{
			{Request: authz.Request{ByToken: true, Token: token, TokenOK: true, Action: "read", Resource: "doc:1"}},
			{Request: authz.Request{ByToken: true, Token: token, TokenOK: true, Action: "write", Resource: "doc:1"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := !d.AuditIDs[0].IsZero(); got != p.allowed {
			t.Errorf("%v: an allowed call has an entry: %t", p.policy, got)
		}
		if got := !d.AuditIDs[1].IsZero(); got != p.denied {
			t.Errorf("%v: a denied call has an entry: %t", p.policy, got)
		}
	}
}

// TestClosedJournalAnswersNothing closes the journal beneath a node: nothing may be answered that is not on record.
func TestClosedJournalAnswersNothing(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, clustertest.Options{Size: 1})
	a := c.Admin()
	n := c.Nodes[0]
	_, token, cmd := a.CreateAgent(clustertest.Allow("doc:*", "read"))
	propose(t, n, cmd)
	if err := n.Journal().Close(); err != nil {
		t.Fatal(err)
	}
	code, err := decideByToken(soon(t), n, a, token)
	if code != 0 || !errors.Is(err, auditUnavailable) {
		t.Errorf("answered %v, %v", code, err)
	}
}
