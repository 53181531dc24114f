package cli

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kavachd/kavachd/cmd/kavachd/internal/config"
	"github.com/kavachd/kavachd/cmd/kavachd/internal/server"
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/gen/kavach/v1/kavachv1connect"
)

// dev is one node to try things on.
type dev struct {
	env      Env
	data     string // the user's folder; empty: one that goes at the end
	listen   string
	admin    string
	logLevel string
}

// Files in dev's folder.
const (
	devNodeDir  = "node"
	devSecret   = "join-secret"
	devAdminKey = "admin-key"
)

func newDev(env Env) *cobra.Command {
	d := &dev{env: env}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run one node to try things on, and print an admin key",
		Long: `Run one node on loopback, to try things on. It prints its address and an admin key, ready to be pasted into another
shell, and runs until Ctrl-C.

Without --data all is gone at the end. With it the folder keeps the data and the same admin key (in DIR/admin-key).
Not for production: one node, whose key lies on the disk.`,
		Example: `  kavachd dev
  kavachd dev --data ./kavach-data
  kavachd dev --listen 127.0.0.1:0 --log-level debug`,
		GroupID: groupNode,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVar(&d.data, "data", "", "folder that keeps the data (default: a temporary one, removed at the end)")
	f.StringVar(&d.listen, "listen", defaultAddr, "loopback address of the API; port 0 takes a free one")
	f.StringVar(&d.admin, "admin-listen", "", "loopback address of /metrics and /debug/pprof/ (default: not served)")
	f.StringVar(&d.logLevel, "log-level", "warn", "debug, info, warn or error, on standard error")
	return cmd
}

func (d *dev) run(ctx context.Context) (err error) {
	dir := d.data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "kavachd-dev-"); err != nil {
			return fmt.Errorf("make a temporary folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return usagef("--data: %w", err)
	}
	secret, err := keepSecret(filepath.Join(dir, devSecret))
	if err != nil {
		return err
	}
	c := config.Default()
	c.DataDir = filepath.Join(dir, devNodeDir)
	c.API.Listen, c.AdminListen, c.Log.Level = d.listen, d.admin, d.logLevel
	c.Raft.Listen, c.Gossip.Listen = "127.0.0.1:0", "127.0.0.1:0" // nobody else needs to find them
	c.Cluster.JoinSecret = secret
	c.ShutdownTimeout = 10 * time.Second
	if problems := c.ValidateSolo(); len(problems) > 0 {
		return &configError{problems}
	}
	err = server.Run(ctx, server.Options{
		Config: c, Solo: true, Log: newLogger(d.env.Stderr, c.Log), Version: d.env.Version,
		Ready: func(ctx context.Context, at server.Addresses) error { return d.ready(ctx, dir, at) },
	})
	if err != nil {
		return &fatalError{err}
	}
	return nil
}

// keepSecret reads the join secret of the folder, or makes one.
func keepSecret(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err == nil {
		return strings.TrimSpace(string(data)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("join secret: %w", err)
	}
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	secret := base64.RawURLEncoding.EncodeToString(random[:])
	if err := writePrivate(file, secret); err != nil {
		return "", fmt.Errorf("join secret: %w", err)
	}
	return secret, nil
}

// writePrivate makes a file with one line that nobody else can read, whole or not at all.
func writePrivate(file, line string) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".part-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(line + "\n")
	if syncErr := tmp.Sync(); err == nil {
		err = syncErr
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // the error that led here is told
	}
	return err
}

// ready makes the admin key, or finds it, and tells how to use it.
func (d *dev) ready(ctx context.Context, dir string, at server.Addresses) error {
	file := filepath.Join(dir, devAdminKey)
	key, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		var made string
		if made, err = bootstrap(ctx, at.API); err == nil {
			err = writePrivate(file, made)
		}
		key = []byte(made)
	}
	if err != nil {
		return fmt.Errorf("the first admin key (kept in %s): %w", file, err)
	}
	where := "in a temporary folder, gone at the end"
	if d.data != "" {
		where = "in " + d.data
	}
	fmt.Fprintf(d.env.Stdout, `kavachd %s: one node, data %s. Ctrl-C ends it.

In another shell:

  export KAVACH_ADDR=%s
  export KAVACH_TOKEN=%s
  kavachd agent create --owner user-123 --name reader --allow 'mcp:github:*=read'

`, d.env.Version, where, at.API, strings.TrimSpace(string(key)))
	if at.Admin != "" {
		fmt.Fprintf(d.env.Stdout, "Metrics and profiles: http://%s/metrics, /debug/pprof/\n", at.Admin)
	}
	return nil
}

// bootstrap asks the new node for its first key, as any client on loopback may.
func bootstrap(ctx context.Context, addr string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	access := kavachv1connect.NewAccessServiceClient(&http.Client{Transport: transport}, "http://"+addr)
	res, err := access.Bootstrap(ctx, &kavachv1.BootstrapRequest{Name: "dev"})
	if err != nil {
		return "", err
	}
	return res.GetSecret(), nil
}
