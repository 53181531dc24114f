package audit

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	raftv1 "github.com/kavachd/kavachd/gen/kavach/raft/v1"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// hostile are texts that a careless writer or reader of CSV breaks on.
var hostile = []string{
	"", "plain", `say "no"`, `"`, `""`, "a,b", ",", "line\nbreak", "line\r\nbreak", "\r", "\n", "tail\r\n", " space ", "=1+1", "+1", "-1", "@SUM(A1)",
	"\t=1", "\r=1", "'=1", "'", "''", "＝1+1", "＋1", " =1", "\u00a0=1", "\ufeff=1", "a=1", "日本語, \"ünïcödé\"\n🙂", "=HYPERLINK(\"http://x\",\"y\")",
	"=cmd|' /C calc'!A0", `\`, `\"`, "#", "null", "1e5", "\u2028", "a\tb", "%1", "|x",
}

// columns are the fields of the header.
func columns() []string { return strings.Split(strings.TrimSuffix(csvHeader, "\r\n"), ",") }

// export exports entries from a trail of acts, in pages of the real size.
func export(tb testing.TB, format Format, entries ...*raftv1.AuditEntry) []byte {
	tb.Helper()
	tr := newTrail()
	for _, e := range entries {
		if err := tr.act(e); err != nil {
			tb.Fatal(err)
		}
	}
	var out bytes.Buffer
	n, missing, err := Export(tb.Context(), &out, format, Filter{}, func(ctx context.Context, q Query) (*Page, error) {
		return Find(ctx, tr.view(), q, nil)
	})
	if err != nil || n != uint64(len(entries)) || len(missing) > 0 {
		tb.Fatalf("%d entries of %d, missing %v: %v", n, len(entries), missing, err)
	}
	return out.Bytes()
}

// hostileEntries have hostile texts in every text column.
func hostileEntries() (entries []*raftv1.AuditEntry) {
	for i, s := range hostile {
		e := entry(i)
		e.AgentId, e.Owner, e.Action, e.Resource, e.Reason, e.UserAgent, e.Parameters, e.Refusal = s, s, s, s, s, s, []byte(s), s
		entries = append(entries, e)
	}
	return entries
}

// unmark takes the mark against formulas away again.
func unmark(cell string) string { return strings.TrimPrefix(cell, "'") }

// checkRows compares what a reader made of an export with the entries.
func checkRows(t *testing.T, rows [][]string, entries []*raftv1.AuditEntry, text func(string) string) {
	t.Helper()
	if diff := cmp.Diff(columns(), rows[0]); diff != "" {
		t.Fatalf("header (-want +got):\n%s", diff)
	}
	if len(rows)-1 != len(entries) {
		t.Fatalf("%d rows, want %d", len(rows)-1, len(entries))
	}
	for i, e := range entries {
		row := map[string]string{}
		for k, name := range columns() {
			row[name] = rows[i+1][k]
		}
		for name, want := range map[string]string{
			"agentId": e.AgentId, "userId": e.Owner, "action": e.Action, "resource": e.Resource, "reason": e.Reason,
			"userAgent": e.UserAgent, "parameters": string(e.Parameters), "refusal": e.Refusal,
		} {
			if got := unmark(row[name]); got != text(want) {
				t.Errorf("%s of row %d is %q, want %q", name, i, got, text(want))
			}
			if c := row[name]; c != "" && strings.IndexByte("=+-@\t\r", c[0]) >= 0 {
				t.Errorf("%s of row %d begins as a formula: %q", name, i, c)
			}
		}
	}
}

func TestCSVByGo(t *testing.T) {
	entries := hostileEntries()
	out := export(t, FormatCSV, entries...)
	rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	// Go's reader makes every line break inside of a field one character.
	checkRows(t, rows, entries, func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") })
}

// TestCSVByPython reads the export with the csv module that most users' scripts read it with.
func TestCSVByPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Log("python3 is not here; Go's reader has its own test")
		return
	}
	entries := hostileEntries()
	cmd := exec.Command(python, "-c", `import csv, io, json, sys
text = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", newline="")
json.dump(list(csv.reader(text, strict=True)), sys.stdout)`)
	cmd.Stdin = bytes.NewReader(export(t, FormatCSV, entries...))
	out, err := cmd.Output()
	if err != nil {
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("%v: %s", err, e.Stderr)
		}
		t.Fatal(err)
	}
	var rows [][]string
	if err := json.Unmarshal(out, &rows); err != nil {
		t.Fatal(err)
	}
	checkRows(t, rows, entries, func(s string) string { return s })
}

// TestCSVAnyText: any text comes back, and every record ends as RFC 4180 says.
func TestCSVAnyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.SampledFrom([]rune("\"',=+-@\n\t ab")), 0, 8, -1)).Draw(t, "text")
		row := appendCSV(nil, Found{Entry: &raftv1.AuditEntry{Resource: text, Time: 1}})
		if !bytes.HasSuffix(row, []byte("\r\n")) {
			t.Fatalf("the record ends with %q", row[len(row)-2:])
		}
		got, err := csv.NewReader(bytes.NewReader(row)).Read()
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(columns()) || unmark(got[4]) != strings.ReplaceAll(text, "\r\n", "\n") {
			t.Fatalf("%q came back as %q", text, got[4])
		}
	})
}

func TestCSVRow(t *testing.T) {
	e := entry(5)
	e.Path = [][]byte{bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 16)}
	e.PermissionResource, e.PermissionIndex, e.PermissionId = "mcp:*", 3, "p"
	e.Duration, e.Trace, e.RequestId = 1_234_567, "tr", "rq"
	const want = csvHeader +
		"aud_01hf7yat00e000000000000005,agt_00000000000000000000000005,user-5,read,mcp:github:repo-5,denied,No permission grants this,1.234567,," +
		"2023-11-14T22:13:20.000005000Z,node-1,decision,default,NO_MATCHING_PERMISSION,3,p,mcp:*," +
		"dlg_01040g2081040g2081040g2081 dlg_02081040g2081040g2081040g2,,10.1.2.3,kavach-go/1.0,tr,4711,key_070w3ge1r70w3ge1r70w3ge1r7,rq,1,,\"{\"\"branch\"\":\"\"main\"\"}\",false\r\n"
	got := string(export(t, FormatCSV, e))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("export (-want +got):\n%s", diff)
	}
	if head := strings.Join(columns()[:10], ","); head != "id,agentId,userId,action,resource,result,reason,durationMs,tokensCost,timestamp" {
		t.Fatalf("the original's columns come first, not %s", head)
	}
}

func TestJSONLines(t *testing.T) {
	entries := hostileEntries()
	out := export(t, FormatJSONL, entries...)
	if again := export(t, FormatJSONL, entries...); !bytes.Equal(out, again) {
		t.Fatal("two exports of the same entries differ")
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(entries) {
		t.Fatalf("%d lines, want %d", len(lines), len(entries))
	}
	for i, line := range lines {
		var got kavachv1.AuditEntry
		if err := protojson.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ToAPI(Found{Entry: entries[i]}), &got, protocmp.Transform()); diff != "" {
			t.Fatalf("line %d (-want +got):\n%s", i, diff)
		}
	}
}

// TestExportPages: an export longer than a page is whole, in order, and is what there was when it began.
func TestExportPages(t *testing.T) {
	tr := newTrail()
	const n = 2*ExportPage + 17
	var batch []*raftv1.AuditEntry
	for i := range n {
		e := entry(i)
		e.Time = int64(i + 1)
		if batch = append(batch, e); len(batch) == 1000 || i == n-1 {
			if err := tr.act(batch...); err != nil {
				t.Fatal(err)
			}
			batch = nil
		}
	}
	var out bytes.Buffer
	pages := 0
	got, missing, err := Export(t.Context(), &out, FormatCSV, Filter{}, func(ctx context.Context, q Query) (*Page, error) {
		pages++
		p, err := Find(ctx, tr.view(), q, nil)
		if err == nil {
			err = tr.act(entry(1_000_000 + pages)) // more comes meanwhile
			p.Missing = append(p.Missing, "node-2", fmt.Sprint("node-", 3-pages%2))
		}
		return p, err
	})
	if err != nil || got != n || pages != 3 {
		t.Fatalf("%d entries in %d pages: %v", got, pages, err)
	}
	if diff := cmp.Diff([]string{"node-2", "node-3"}, missing); diff != "" {
		t.Fatalf("missing (-want +got):\n%s", diff)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != n+1 {
		t.Fatalf("%d rows: %v", len(rows), err)
	}
	for i, row := range rows[1:] {
		if want := idText("aud", entry(i).Id); row[0] != want {
			t.Fatalf("row %d is %s, want %s", i, row[0], want)
		}
	}
}

// brokenWriter takes so many bytes and no more.
type brokenWriter int

var errBroken = errors.New("broken pipe")

func (w *brokenWriter) Write(p []byte) (int, error) {
	if *w -= brokenWriter(len(p)); *w < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

func TestExportFails(t *testing.T) {
	one := func(context.Context, Query) (*Page, error) {
		return &Page{Entries: []Found{{Entry: entry(1)}}, Next: &Cursor{}}, nil
	}
	w := brokenWriter(1000)
	if _, _, err := Export(t.Context(), &w, FormatCSV, Filter{}, one); !errors.Is(err, errBroken) {
		t.Errorf("to a broken writer: %v", err)
	}
	if _, _, err := Export(t.Context(), &w, 0, Filter{}, one); err == nil {
		t.Error("without a format: no error")
	}
	calls := 0
	n, _, err := Export(t.Context(), discard{}, FormatJSONL, Filter{}, func(ctx context.Context, q Query) (*Page, error) {
		if calls++; calls == 3 {
			return nil, errBroken
		}
		return one(ctx, q)
	})
	if n != 2 || !errors.Is(err, errBroken) {
		t.Errorf("a page that fails: %d entries, %v", n, err)
	}
}

func TestFilterFromAPI(t *testing.T) {
	if diff := cmp.Diff(Filter{}, FilterFromAPI(nil)); diff != "" {
		t.Errorf("no filter (-want +got):\n%s", diff)
	}
	api := ToAPI(Found{Entry: entry(3)})
	got := FilterFromAPI(&kavachv1.AuditFilter{
		AgentId: "a", OwnerId: "o", Tenant: "t", Result: kavachv1.AuditResult_AUDIT_RESULT_DENIED, Actions: []string{"x"},
		ResourcePattern: "r:*", Since: api.Time, Until: api.Time, Kind: kavachv1.AuditKind_AUDIT_KIND_ADMIN,
	})
	at := entry(3).Time
	want := Filter{AgentID: "a", Owner: "o", Tenant: "t", Result: 2, Actions: []string{"x"}, ResourcePattern: "r:*", Since: at, Until: at, Kind: 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("filter (-want +got):\n%s", diff)
	}
}

// TestToAPIKeepsEverything fails when a stored field has no place in the API's entry.
func TestToAPIKeepsEverything(t *testing.T) {
	plain := ToAPI(Found{Entry: &raftv1.AuditEntry{}})
	e := (&raftv1.AuditEntry{}).ProtoReflect()
	fields := e.Descriptor().Fields()
	for i := range fields.Len() {
		one := &raftv1.AuditEntry{PermissionResource: "r"} // without it there is no grant
		plain.Grant = grant(one)
		f := fields.Get(i)
		m := one.ProtoReflect()
		switch {
		case f.Name() == "permission_resource":
			one.PermissionResource = "other"
		case f.IsList():
			one.Path = [][]byte{make([]byte, 16)}
		case f.Kind().String() == "bytes":
			m.Set(f, protoBytes(make([]byte, 16)))
		case f.Kind().String() == "string":
			m.Set(f, protoString("x"))
		default:
			m.Set(f, protoNumber(f, 1))
		}
		if cmp.Equal(plain, ToAPI(Found{Entry: one}), protocmp.Transform()) {
			t.Errorf("%s is lost", f.Name())
		}
	}
}
