package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// patience bounds what a test waits for; reaching it is a failure.
const patience = time.Minute

// devNode is `kavachd dev`, running in this process.
type devNode struct {
	environ []string // KAVACH_ADDR and KAVACH_TOKEN as it printed them
	admin   string
	stop    func() (code int, stderr string)
}

// startDev starts `kavachd dev` and waits for what it prints.
func startDev(t *testing.T, args ...string) *devNode {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		defer w.Close()
		code <- Main(ctx, append([]string{"dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...), Env{Stdin: strings.NewReader(""), Stdout: w, Stderr: &stderr, Version: "test"})
	}()
	d := &devNode{}
	d.stop = func() (int, string) {
		cancel()
		_, _ = io.Copy(io.Discard, r) // ends with the node
		c := <-code
		code <- c // stop may be called again
		return c, stderr.String()
	}
	t.Cleanup(func() { d.stop() })
	timer := time.AfterFunc(patience, cancel)
	defer timer.Stop()
	lines := bufio.NewScanner(r)
	for d.admin == "" && lines.Scan() {
		if export, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "export "); ok {
			d.environ = append(d.environ, export)
		}
		if _, rest, ok := strings.Cut(lines.Text(), "http://"); ok {
			d.admin, _, _ = strings.Cut(rest, "/")
		}
	}
	if d.admin == "" || len(d.environ) != 2 {
		c, text := d.stop()
		t.Fatalf("dev ended with %d before it was ready: %s", c, text)
	}
	return d
}

// masks replace what differs from run to run, in this order.
var masks = []struct {
	find *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`kvk_[A-Za-z0-9_-]{20,}`), "kvk_SECRET"},
	{regexp.MustCompile(`kv_[A-Za-z0-9_-]{43}`), "kv_SECRET"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z`), "TIME.milliseconds......Z"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "TIME...............Z"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "NODE"},
	{regexp.MustCompile(`[0-9a-f]{8}\.\d+\.\d+`), "REVISION"},
	{regexp.MustCompile(`(Revision: +|revision: "|\(revision\) +|the revision is )\d+`), "${1}N"},
	{regexp.MustCompile(`(nextPageToken: |--page-token )[A-Za-z0-9_-]{20,}`), "${1}PAGE"},
	{regexp.MustCompile(`Replicated: +not yet.*\n`), ""}, // true for a second at most
	{regexp.MustCompile(`(Took: +|"duration": ")[0-9.]+[mµn]?s`), "${1}D"},
}

var anyID = regexp.MustCompile(`\b(agt|dlg|key|aud)_[0-9a-z]{26}\b`)

// transcript runs command lines against a node and writes down what they print. Ids are numbered in order of appearance;
// $agt1 in a command line is the first agent's.
type transcript struct {
	t       *testing.T
	environ []string
	ids     map[string]string // id -> agt1
	names   map[string]string // agt1 -> id
	counts  map[string]int
	text    strings.Builder
	last    result
}

func (tr *transcript) run(stdin, line string, code int) {
	tr.t.Helper()
	shown := line
	for name, id := range tr.names {
		line = regexp.MustCompile(`\$`+name+`\b`).ReplaceAllString(line, id)
	}
	tr.last = kavachd(tr.t, tr.environ, stdin, fields(line)...)
	if tr.last.code != code {
		tr.t.Errorf("%s: exit code %d, want %d\n%s%s", shown, tr.last.code, code, tr.last.stdout, tr.last.stderr)
	}
	out := tr.last.stdout + tr.last.stderr
	for _, id := range anyID.FindAllString(out, -1) {
		if _, ok := tr.ids[id]; !ok {
			kind := id[:3]
			tr.counts[kind]++
			name := fmt.Sprintf("%s%d", kind, tr.counts[kind])
			tr.ids[id], tr.names[name] = name, id
		}
	}
	for _, m := range masks {
		out = m.find.ReplaceAllString(out, m.with)
	}
	out = anyID.ReplaceAllStringFunc(out, func(id string) string {
		return fmt.Sprintf("%-30s", "$"+tr.ids[id])
	})
	var clean strings.Builder
	for l := range strings.Lines(out) {
		clean.WriteString(strings.TrimRight(l, " \n") + "\n")
	}
	fmt.Fprintf(&tr.text, "$ kavachd %s\n%s(%d)\n\n", shown, clean.String(), tr.last.code)
}

// fields splits at spaces, but for those within single quotes.
func fields(line string) []string {
	var out []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
			continue
		}
		out = append(out, strings.Fields(part)...)
	}
	return out
}

// TestCommands runs every command over the API against a real node.
func TestCommands(t *testing.T) {
	d := startDev(t)
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("perms.yaml", []byte(samplePermissionFile), 0o600); err != nil {
		t.Fatal(err)
	}
	tr := &transcript{t: t, environ: d.environ, ids: map[string]string{}, names: map[string]string{}, counts: map[string]int{}}
	tr.run("", "agent create --owner user-123 --name reader --allow mcp:github:*=read --allow mcp:jira:*=read,comment", ExitOK)
	token := field(tr.last.stdout, "Token")
	tr.run("", "agent create --owner user-123 --name deployer --permissions perms.yaml --never-expires --metadata {\"team\":\"sre\"} --type service", ExitOK)
	tr.run("", "agent create --owner user-123 --name bad --allow a:*=read --allow a:b=read --reject-warnings", ExitError)
	tr.run("", "agent create --owner user-123 --name warned --allow a:*=read --allow a:b=read --validate-only", ExitOK)
	tr.run("- resource: a\n  actions: [read]\n  constraints: {ip_allowlist: [10.0.0.0/99]}", "agent create --owner user-123 --name bad --permissions -", ExitError)
	tr.run("", "agent list", ExitOK)
	tr.run("", "agent list --name-prefix read --limit 1 -o yaml", ExitOK)
	tr.run("", "agent get $agt1", ExitOK)
	tr.run("", "agent get agt_unknown", ExitNotFound)
	tr.run("", "authorize --agent $agt1 --action read --resource mcp:github:repos", ExitOK)
	tr.run("", "authorize --agent $agt1 --action write --resource mcp:github:repos", ExitDenied)
	tr.run("", "authorize --agent $agt1 --action write --resource mcp:github:repos --quiet", ExitDenied)
	tr.run("", "authorize --agent $agt2 --action execute --resource mcp:deploy:production --arg path=/var/log --arg branch=main", ExitDenied)
	tr.run(token+"\n", "authorize --token-stdin --action read --resource mcp:github:repos -o json", ExitOK)
	tr.run("", "authorize --agent $agt1 --action comment --resource mcp:jira:1 --explain", ExitOK)
	tr.run("", "agent create --owner user-123 --name sub --type delegated", ExitOK)
	tr.run("", "delegate create --from $agt1 --to $agt3 --allow mcp:github:issues=read --ttl 1h --max-depth 2", ExitOK)
	tr.run("", "delegate create --from $agt1 --to $agt3 --allow mcp:deploy:*=execute", ExitError)
	tr.run("", "delegate get $dlg1", ExitOK)
	tr.run("", "delegate list $agt3 --received", ExitOK)
	tr.run("", "delegate effective $agt3", ExitOK)
	tr.run("", "authorize --agent $agt3 --action read --resource mcp:github:issues", ExitOK)
	tr.run("", "delegate revoke $dlg1", ExitOK)
	tr.run("", "authorize --agent $agt3 --action read --resource mcp:github:issues", ExitDenied)
	tr.run("", "agent rotate $agt1", ExitOK)
	tr.run(token, "authorize --token-stdin --action read --resource mcp:github:repos", ExitDenied)
	tr.run("", "agent update $agt1 --no-permissions --name reader-2", ExitOK)
	tr.run("", "agent update $agt1 --name reader-3 --expected-revision 1", ExitError)
	tr.run("", "agent revoke $agt1", ExitOK)
	tr.run("", "agent rotate $agt1", ExitError)
	tr.run("", "cluster settings set token_expiry=48h max_agents_per_owner=2 audit_policy=all", ExitOK)
	tr.run("", "cluster settings get", ExitOK)
	tr.run("", "cluster settings set max_agents_per_owner=0", ExitError)
	tr.run("", "agent create --owner user-123 --name third", ExitError)
	tr.run("", "access key create gateway --out gateway.key", ExitOK)
	tr.run("", "access key create gateway --out gateway.key", ExitUsage)
	tr.run("", "access key list", ExitOK)
	tr.run("", "agent list --token-file gateway.key --limit 0 --owner nobody", ExitOK)
	tr.run("", "access key revoke $key1", ExitOK)
	tr.run("", "agent list --token-file gateway.key", ExitUnauthorized)
	tr.run("", "audit query --agent $agt3 --kind decision", ExitOK)
	tr.run("", "audit query --result denied --limit 2 --action write", ExitOK)
	tr.run("", "audit query --agent nobody", ExitOK)
	tr.run("", "audit get $aud1", ExitOK)
	tr.run("", "audit export --out trail.csv --agent $agt3 --require-complete", ExitOK)
	tr.run("", "cluster bootstrap-key", ExitError)
	tr.run("", "health", ExitOK)
	tr.run("", "health --live -o json", ExitOK)
	golden(t, "commands.txt", tr.text.String())

	for file, lines := range map[string]int{"trail.csv": 4, "gateway.key": 1} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(data), "\n"); info.Mode().Perm() != 0o600 || got < lines {
			t.Errorf("%s: mode %v, %d lines", file, info.Mode(), got)
		}
	}
	if left, err := filepath.Glob("*.part-*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	checkAdmin(t, d.admin)
	if code, stderr := d.stop(); code != ExitOK || strings.Contains(stderr, "panic") {
		t.Errorf("dev ended with %d: %s", code, stderr)
	}
}

// field returns the value of a line of a table.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// checkAdmin: metrics of the process and of the libraries, profiles, and nothing else.
func checkAdmin(t *testing.T, addr string) {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for path, want := range map[string]string{"/metrics": "kavach_raft_", "/debug/pprof/": "goroutine", "/": "404 page not found"} {
		res, err := client.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if closeErr := res.Body.Close(); err == nil {
			err = closeErr
		}
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s: %v, no %q in %d bytes", path, err, want, len(body))
		}
		if path == "/metrics" && !strings.Contains(string(body), "go_goroutines") {
			t.Error("/metrics lacks the runtime's")
		}
	}
}

// TestDevKeepsData: with --data the second start has the first one's agents and the same key.
func TestDevKeepsData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := startDev(t, "--data", dir)
	if got := kavachd(t, first.environ, "", "agent", "create", "--owner", "o", "--name", "kept"); got.code != ExitOK {
		t.Fatal(got.stderr)
	}
	if code, stderr := first.stop(); code != ExitOK {
		t.Fatalf("%d: %s", code, stderr)
	}
	second := startDev(t, "--data", dir)
	if first.environ[1] != second.environ[1] {
		t.Error("the admin key has changed")
	}
	if got := kavachd(t, second.environ, "", "agent", "list"); got.code != ExitOK || !strings.Contains(got.stdout, "kept") {
		t.Errorf("%d: %s%s", got.code, got.stdout, got.stderr)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, devNodeDir): 0o700, filepath.Join(dir, devSecret): 0o600, filepath.Join(dir, devAdminKey): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), mode)
		}
	}
}

// TestDevLeavesNothing: without --data the folder is gone at the end.
func TestDevLeavesNothing(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	d := startDev(t)
	if made, err := filepath.Glob(filepath.Join(tmp, "*")); err != nil || len(made) != 1 {
		t.Fatalf("folders while it runs: %v, %v", made, err)
	}
	if code, stderr := d.stop(); code != ExitOK {
		t.Fatalf("%d: %s", code, stderr)
	}
	if left, err := filepath.Glob(filepath.Join(tmp, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
