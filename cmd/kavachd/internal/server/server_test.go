package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kavachd/kavachd/cmd/kavachd/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// solo is the configuration of a node of its own.
func solo(t *testing.T) Options {
	c := config.Default()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	c.API.Listen, c.Raft.Listen, c.AdminListen = "127.0.0.1:0", "127.0.0.1:0", ""
	c.Cluster.JoinSecret = "a-secret-of-17-bytes"
	c.ShutdownTimeout = 10 * time.Second
	return Options{Config: c, Solo: true, Log: slog.New(slog.DiscardHandler), Version: "test"}
}

// TestRunUntilCanceled: ready is told once, the context's end is an orderly stop, and the port is free again.
func TestRunUntilCanceled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	opt := solo(t)
	var at Addresses
	calls := 0
	opt.Ready = func(ctx context.Context, a Addresses) error {
		calls++
		at = a
		cancel()
		return ctx.Err()
	}
	if err := Run(ctx, opt); err != nil {
		t.Fatal(err)
	}
	if calls != 1 {
		t.Errorf("ready was told %d times", calls)
	}
	l, err := net.Listen("tcp", at.API)
	if err != nil {
		t.Fatalf("the port is not free: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestReadyFails: an error of Ready ends the node and is Run's.
func TestReadyFails(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	opt := solo(t)
	want := errors.New("no key today")
	opt.Ready = func(context.Context, Addresses) error { return want }
	if err := Run(ctx, opt); !errors.Is(err, want) {
		t.Errorf("Run returned %v", err)
	}
}

// TestRunRefuses: what stands in the way is told at once, with the key of the setting, and nothing keeps running.
func TestRunRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*config.Config)
		want   string
	}{
		{"API address taken", func(c *config.Config) { c.API.Listen = taken.Addr().String() }, "api.listen: "},
		{"Raft address taken", func(c *config.Config) { c.Raft.Listen = taken.Addr().String() }, "raft.listen: "},
		{"admin address taken", func(c *config.Config) { c.AdminListen = taken.Addr().String() }, "admin.listen: "},
		{"data directory is a file", func(c *config.Config) { c.DataDir = file }, "data_dir: "},
		{"secret too short", func(c *config.Config) { c.Cluster.JoinSecret = "short" }, "start the node: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			opt := solo(t)
			test.change(&opt.Config)
			err := Run(t.Context(), opt)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("%v, want %s...", err, test.want)
			}
		})
	}
}

// TestStopFinishesRequests: a request that has begun when the node is told to stop gets its answer.
func TestStopFinishesRequests(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	opt := solo(t)
	answer := make(chan error, 1)
	opt.Ready = func(_ context.Context, at Addresses) error {
		body, rest := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+at.API+"/kavach.v1.AccessService/Bootstrap", body)
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Expect", "100-continue") // the body is sent when the handler asks for it
		transport := &http.Transport{ExpectContinueTimeout: time.Minute}
		go func() {
			defer transport.CloseIdleConnections()
			res, err := transport.RoundTrip(req)
			if err == nil {
				if res.StatusCode != http.StatusOK {
					err = errors.New(res.Status)
				}
				err = errors.Join(err, res.Body.Close())
			}
			answer <- err
		}()
		// The first half is taken only when the node is at work on the request.
		if _, err := io.WriteString(rest, `{"name":`); err != nil {
			return err
		}
		cancel()
		_, err = io.WriteString(rest, `"first"}`)
		return errors.Join(err, rest.Close())
	}
	if err := Run(ctx, opt); err != nil {
		t.Error(err)
	}
	if err := <-answer; err != nil {
		t.Errorf("the request that had begun: %v", err)
	}
}

// TestDataDirIsClosed: the directory is made for its owner only, and one that was open to others is closed.
func TestDataDirIsClosed(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{open, filepath.Join(t.TempDir(), "a", "b")} {
		if err := dataDir(dir); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o700 {
			t.Errorf("%s has mode %v", dir, got)
		}
	}
}
