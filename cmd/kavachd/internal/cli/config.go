package cli

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/kavachd/kavachd/cmd/kavachd/internal/config"
)

// maxConfigFile bounds the configuration file.
const maxConfigFile = 1 << 20

// nodeConfig are the flags that make a node's configuration.
type nodeConfig struct {
	env  Env
	file string
}

// flags adds --config and one flag for each setting.
func (n *nodeConfig) flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVarP(&n.file, "config", "c", "", "the configuration file (default KAVACH_CONFIG, else none)")
	for _, o := range config.Options() {
		if o.Flag() == "" {
			continue
		}
		// Text for all: the table parses and complains, with the same words for every source.
		f.String(o.Flag(), o.Default, o.Doc)
	}
	_ = cmd.MarkPersistentFlagFilename("config", "yaml", "yml") // the flag is there
}

// load reads all sources. Every problem is in the error.
func (n *nodeConfig) load(cmd *cobra.Command) (config.Loaded, error) {
	src := config.Sources{Environ: n.env.Environ, Flags: map[string]string{}, ReadFile: os.ReadFile}
	for _, o := range config.Options() {
		if f := cmd.Flags().Lookup(o.Flag()); o.Flag() != "" && f.Changed {
			src.Flags[o.Flag()] = f.Value.String()
		}
	}
	src.File = n.file
	if src.File == "" {
		src.File = n.env.lookup("KAVACH_CONFIG")
	}
	if src.File != "" {
		var err error
		if src.Data, err = readFile(n.env, src.File, maxConfigFile); err != nil {
			return config.Loaded{}, &configError{fmt.Errorf("configuration: %w", err)}
		}
	}
	loaded, err := config.Load(src)
	if err != nil {
		err = &configError{fmt.Errorf("configuration:\n%w", err)}
	}
	return loaded, err
}

// configError is a configuration that can't be run; its text may have many lines.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }
func (e *configError) Unwrap() error { return e.err }

func newConfig(env Env) *cobra.Command {
	n := &nodeConfig{env: env}
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Check and print the configuration of a node",
		GroupID: groupNode,
		Example: "  kavachd config check --config /etc/kavachd/kavachd.yaml\n  kavachd config print --config /etc/kavachd/kavachd.yaml",
	}
	n.flags(cmd)
	check := &cobra.Command{
		Use:     "check",
		Short:   "Tell every problem of a configuration (exit code 0 or 2)",
		Example: "  kavachd config check --config /etc/kavachd/kavachd.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := n.load(cmd)
			for _, w := range loaded.Warnings {
				fmt.Fprintf(env.Stderr, "Warning: %s\n", w)
			}
			if err == nil {
				fmt.Fprintln(env.Stdout, "ok")
			}
			return err
		},
	}
	cmd.AddCommand(check, newConfigPrint(n))
	return cmd
}

func newConfigPrint(n *nodeConfig) *cobra.Command {
	out := output{env: n.env}
	cmd := &cobra.Command{
		Use:     "print",
		Short:   "Print every value in force and where it comes from; secrets are masked",
		Long:    "Print every value in force and where it comes from; secrets are masked. A configuration with problems is printed too, as far as it could be read.",
		Example: "  kavachd config print --config /etc/kavachd/kavachd.yaml\n  KAVACH_LOG_LEVEL=debug kavachd config print -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, problems := n.load(cmd)
			data, err := json.Marshal(loaded.Settings())
			if err != nil {
				return err
			}
			err = out.print(data, func(t *table) {
				t.header("SETTING", "VALUE", "FROM")
				for _, s := range loaded.Settings() {
					t.row(s.Key, dash(s.Value), s.Source)
				}
			})
			if err == nil {
				err = problems
			}
			return err
		},
	}
	out.flag(cmd)
	return cmd
}
