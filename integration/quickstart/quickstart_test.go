package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// beNode makes this test binary a node that complains and ends.
const beNode = "TEST_BE_A_BROKEN_NODE"

func TestMain(m *testing.M) {
	if os.Getenv(beNode) != "" {
		os.Stderr.WriteString("Error: no luck today\n")
		os.Exit(7)
	}
	goleak.VerifyTestMain(m)
}

const header = "id,agentId,action,resource,result,reason"

// TestCompare: what is missing in the trail, wrong in it, or there twice is found.
func TestCompare(t *testing.T) {
	good := []string{
		"aud_1,agt_1,read,r,allowed,",
		"aud_2,agt_1,write,r,denied,No",
		"aud_3,,read,r,denied,Bad token",
		"aud_4,agt_1,AgentService.CreateAgent,,allowed,",
		"aud_5,agt_2,AgentService.CreateAgent,,allowed,",
		"aud_9,,AuditService.ExportAuditLog,,allowed,",
	}
	change := func(i int, row string) []string {
		rows := append([]string(nil), good...)
		rows[i] = row
		return rows
	}
	tests := []struct {
		name string
		head string
		rows []string
		want string // in the error; empty: none
	}{
		{"all there", header, good, ""},
		{"in another order of columns", "result,id,action,agentId,resource,reason", []string{
			"allowed,aud_1,read,agt_1,r,", "denied,aud_2,write,agt_1,r,", "denied,aud_3,read,,r,", "allowed,aud_4,AgentService.CreateAgent,agt_1,,", "allowed,aud_5,AgentService.CreateAgent,agt_2,,",
		}, ""},
		{"a decision is missing", header, good[1:], "want  aud_1, agt_1, read, allowed\n  got   no such row"},
		{"another result", header, change(1, "aud_2,agt_1,write,r,allowed,"), "want  aud_2, agt_1, write, denied\n  got   no such row"},
		{"another agent", header, change(0, "aud_1,agt_2,read,r,allowed,"), "the agent of aud_1"},
		{"an act is missing", header, append(append([]string(nil), good[:4]...), good[5:]...), "AgentService.CreateAgent"},
		{"an entry twice", header, append(append([]string(nil), good...), good[0]), "rows of decisions, one each"},
		{"a column is missing", "id,agentId,action,resource,result", []string{"a,b,c,d,e"}, "the columns have reason"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rows := [][]string{strings.Split(test.head, ",")}
			for _, row := range test.rows {
				rows = append(rows, strings.Split(row, ","))
			}
			var out bytes.Buffer
			s := &story{trio: &trio{}, print: &printer{w: &out}, agent: "agt_1", sub: "agt_2", entries: []entry{
				{id: "aud_1", agent: "agt_1", action: "read", result: "allowed"},
				{id: "aud_2", agent: "agt_1", action: "write", result: "denied"},
				{id: "aud_3", agent: "", action: "read", result: "denied"},
				{agent: "agt_1", action: "AgentService.CreateAgent", result: "allowed"},
				{agent: "agt_2", action: "AgentService.CreateAgent", result: "allowed"},
			}}
			err := s.compare(rows)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v\nwant %s", err, test.want)
			}
		})
	}
}

// TestBrokenNode: nodes that end by themselves are told with their last words, and nothing stays behind.
func TestBrokenNode(t *testing.T) {
	t.Setenv(beNode, "1")
	dir := filepath.Join(t.TempDir(), "q")
	var out bytes.Buffer
	err := run(t.Context(), options{bin: os.Args[0], dir: dir}, &out)
	if err == nil || !strings.Contains(err.Error(), "node 1 ended by itself (exit status 7)") || !strings.Contains(err.Error(), "no luck today") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder stays: %v", err)
	}
}

// TestDirMustBeNew: a folder that is there is neither used nor removed.
func TestDirMustBeNew(t *testing.T) {
	dir := t.TempDir()
	if err := run(t.Context(), options{bin: os.Args[0], dir: dir}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "--dir must be a new folder") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}
