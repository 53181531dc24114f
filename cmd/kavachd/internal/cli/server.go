package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/kavachd/kavachd/cmd/kavachd/internal/config"
	"github.com/kavachd/kavachd/cmd/kavachd/internal/server"
)

func newServer(env Env) *cobra.Command {
	n := &nodeConfig{env: env}
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a node",
		Long: `Run a node until SIGTERM or SIGINT. It then finishes its requests, hands its leadership over and ships its audit
journal, within shutdown_timeout; a second signal ends it at once. Either way nothing that was acknowledged is lost.

Settings come from flags, the environment (KAVACH_...), the file and the defaults, in this order of strength; each is in
docs/configuration.md. "kavachd config check" tells what is wrong with them.`,
		Example: `  kavachd server --config /etc/kavachd/kavachd.yaml

  # Three nodes on one machine: the same, with other ports and directories, for the second and third
  kavachd server --data-dir /tmp/k1 --api-listen 127.0.0.1:7400 --raft-listen 127.0.0.1:7401 --gossip-listen 127.0.0.1:7402 \
    --cluster-peers 127.0.0.1:7400,127.0.0.1:7410,127.0.0.1:7420 --cluster-join-secret-file /tmp/join-secret

  # Then, once
  kavachd cluster bootstrap-key --out admin.key`,
		GroupID: groupNode,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := n.load(cmd)
			if err != nil {
				return err
			}
			log := newLogger(env.Stderr, loaded.Log)
			for _, w := range loaded.Warnings {
				log.Warn("configuration", "warning", w)
			}
			err = server.Run(cmd.Context(), server.Options{Config: loaded.Config, Log: log, Version: env.Version})
			if err != nil {
				return &fatalError{err}
			}
			return nil
		},
	}
	n.flags(cmd)
	return cmd
}

// fatalError ended a node. Its text is the program's, not an answer of the API.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

// newLogger makes the logger that the configuration, already validated, asks for.
func newLogger(w io.Writer, c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		panic(fmt.Sprintf("log level %q was validated: %v", c.Level, err))
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// asFatal tells whether err ended a node.
func asFatal(err error) bool {
	var fatal *fatalError
	return errors.As(err, &fatal)
}
