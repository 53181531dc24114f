//go:build unix

package cli

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is `kavachd server` as a process of its own: this test binary.
type process struct {
	*exec.Cmd
	mu  sync.Mutex
	log bytes.Buffer
	end chan error
}

// spawn starts a command line as a process. It is killed at the end of the test if it still runs.
func spawn(t *testing.T, args ...string) (*process, <-chan string) {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], args...), end: make(chan error, 1)}
	p.Env = append(os.Environ(), beKavachd+"=1")
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	out := make(chan string, 1000) // more than a node logs in these tests; what does not fit is kept in log only
	go func() {
		scanner := bufio.NewScanner(stderr)
		for scanner.Scan() {
			p.mu.Lock()
			p.log.WriteString(scanner.Text() + "\n")
			p.mu.Unlock()
			select {
			case out <- scanner.Text():
			default:
			}
		}
		_, _ = io.Copy(io.Discard, stderr) // a line that is too long must not block the process
		close(out)
		p.end <- p.Wait()
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // it may have ended
		err := <-p.end
		p.end <- err
	})
	return p, out
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// code waits for the end and returns the exit code.
func (p *process) code(t *testing.T) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case err := <-p.end:
		p.end <- err
		return p.ProcessState.ExitCode()
	case <-ctx.Done():
		t.Fatalf("it does not end:\n%s", p.text())
		return 0
	}
}

// await waits for a line with all words.
func await(t *testing.T, p *process, lines <-chan string, words string) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("ended without %q:\n%s", words, p.text())
			}
			if strings.Contains(line, words) {
				return
			}
		case <-timer.C:
			t.Fatalf("no %q:\n%s", words, p.text())
		}
	}
}

// free returns loopback addresses that nobody listens on.
func free(t *testing.T, n int) []string {
	t.Helper()
	var addrs []string
	var open []net.Listener // until the end, so that no address comes twice
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() }) // it may be closed already
		open = append(open, l)
		addrs = append(addrs, l.Addr().String())
	}
	for _, l := range open {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return addrs
}

// TestServer: a node starts, serves, stops on SIGTERM with exit code 0, and has its state at the next start. A second one on
// the same data or the same port ends at once with one clear line.
func TestServer(t *testing.T) {
	dir := t.TempDir()
	addrs := free(t, 5)
	secret, data, key := filepath.Join(dir, "secret"), filepath.Join(dir, "data"), filepath.Join(dir, "admin.key")
	if err := os.WriteFile(secret, []byte("a-join-secret-for-tests\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(data, 0o755); err != nil { // open to others, to see it closed
		t.Fatal(err)
	}
	file := filepath.Join(dir, "k.yaml")
	config := "data_dir: " + data + "\napi: {listen: '" + addrs[0] + "'}\nraft: {listen: '" + addrs[1] + "'}\ngossip: {listen: '" + addrs[2] + "'}\nadmin: {listen: ''}\n" +
		"cluster: {peers: ['" + addrs[0] + "'], join_secret_file: " + secret + "}\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"KAVACH_ADDR=" + addrs[0], "KAVACH_TOKEN_FILE=" + key}

	p, lines := spawn(t, "server", "--config", file)
	await(t, p, lines, "msg=ready")
	for _, line := range []string{"cluster bootstrap-key --out " + key, "agent create --owner o --name kept", "health"} {
		if got := kavachd(t, environ, "", strings.Fields(line)...); got.code != ExitOK {
			t.Fatalf("%s: %d %s", line, got.code, got.stderr)
		}
	}
	if info, err := os.Stat(data); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v, %v", info.Mode(), err)
	}

	other, _ := spawn(t, "server", "--config", file)
	if code := other.code(t); code != ExitError || !strings.Contains(other.text(), "Error: api.listen: listen tcp "+addrs[0]) {
		t.Errorf("on the same port: %d\n%s", code, other.text())
	}
	other, _ = spawn(t, "server", "--config", file, "--api-listen", addrs[3], "--raft-listen", addrs[4], "--cluster-peers", addrs[3])
	if code := other.code(t); code != ExitError || !strings.Contains(other.text(), "Error: start the node: ") {
		t.Errorf("on the same data: %d\n%s", code, other.text())
	}

	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.code(t); code != ExitOK || !strings.Contains(p.text(), "msg=stopping") {
		t.Fatalf("after SIGTERM: %d\n%s", code, p.text())
	}
	if strings.Contains(p.text(), "a-join-secret") || strings.Contains(p.text(), "kvk_") {
		t.Error("a secret is in the log")
	}

	p, lines = spawn(t, "server", "--config", file)
	await(t, p, lines, "msg=ready")
	if got := kavachd(t, environ, "", "agent", "list"); got.code != ExitOK || !strings.Contains(got.stdout, "kept") {
		t.Errorf("after the restart: %d %s%s", got.code, got.stdout, got.stderr)
	}
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := p.code(t); code != ExitOK {
		t.Errorf("after SIGINT: %d\n%s", code, p.text())
	}
}

// TestSecondSignal: a stop that takes long, here for a request that does not end, is cut short by a second signal.
func TestSecondSignal(t *testing.T) {
	addr := free(t, 1)[0]
	p, lines := spawn(t, "dev", "--listen", addr, "--log-level", "info")
	await(t, p, lines, "msg=ready")
	// Half a header: a stop waits some seconds for the rest.
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /kavach.v1.AgentService/ListAgents HTTP/1.1\r\nHost: k"); err != nil {
		t.Fatal(err)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, p, lines, "msg=stopping")
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.code(t); code != ExitError || !strings.Contains(p.text(), "a second signal") {
		t.Errorf("exit code %d\n%s", code, p.text())
	}
}
