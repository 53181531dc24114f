package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Process runs the command line of this process and returns its exit code. The first SIGINT or SIGTERM asks for an orderly
// end. The second one ends the process at once: Process returns, whatever still runs.
func Process(version string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	env := System(version)
	code := make(chan int, 1)
	go func() { code <- Main(ctx, os.Args[1:], env) }()
	select {
	case c := <-code:
		return c
	case <-signals:
		cancel()
	}
	select {
	case c := <-code:
		return c
	case <-signals:
		fmt.Fprintln(env.Stderr, "Error: a second signal: ended at once")
		return ExitError
	}
}

// Main runs one command line and returns the process's exit code.
func Main(ctx context.Context, args []string, env Env) int {
	root := newRoot(env)
	began := false
	prepare(root, &began)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !began {
		err = &usageError{plainly(err)} // cobra complains before it runs anything, without a type of its own
	}
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, errDenied):
		return ExitDenied
	}
	p := explain(err)
	p.show(env.Stderr)
	if p.code == ExitUsage {
		fmt.Fprintf(env.Stderr, "See: %s --help\n", cmd.CommandPath())
	}
	return p.code
}

const rootLong = `kavachd decides what agents may do: identity, permissions, delegation and an audit trail,
replicated over a cluster of nodes, any of which answers.

This one program is a node (server, dev) and the command line over its API (all else).

Where to ask and as whom, for all commands over the API:
  KAVACH_ADDR         addresses of nodes, separated by commas; the next is tried if one does not answer
  KAVACH_TOKEN        the API key (kvk_...), or KAVACH_TOKEN_FILE, a file that holds it

Exit codes:
  0  done; of authorize: allowed       4  unavailable, the same command may succeed later
  1  any other error                   5  not found
  2  wrong usage or configuration      6  API key missing, wrong, or not allowed to do this
  3  authorize: denied`

const rootExample = `  # Try it on this machine: one node, data gone at the end
  kavachd dev

  # Then, in another shell, with the lines that dev printed
  kavachd agent create --owner user-123 --name reader --allow 'mcp:github:*=read'
  kavachd authorize --agent agt_... --action read --resource mcp:github:repos

  # Something is wrong, and it is 3 a.m.
  kavachd health
  kavachd cluster status --each --addr 10.0.0.1:7400,10.0.0.2:7400,10.0.0.3:7400`

func newRoot(env Env) *cobra.Command {
	root := &cobra.Command{
		Use:           "kavachd",
		Short:         "Authorization for agents, replicated",
		Long:          rootLong,
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.AddGroup(
		&cobra.Group{ID: groupNode, Title: "Run a node:"},
		&cobra.Group{ID: groupAPI, Title: "Use the API:"},
		&cobra.Group{ID: groupHelp, Title: "Other:"},
	)
	root.SetHelpCommandGroupID(groupHelp)
	root.SetCompletionCommandGroupID(groupHelp)
	root.AddCommand(newAgent(env), newAuthorize(env), newDelegate(env), newAudit(env), newCluster(env), newAccess(env), newHealth(env))
	root.AddCommand(newServer(env), newDev(env), newConfig(env), newVersion(env))
	return root
}

// Groups of the help.
const (
	groupNode = "node"
	groupAPI  = "api"
	groupHelp = "help"
)

// prepare goes through the tree: began tells when a command's own work begins, so that every error before it is one of
// usage; and a command that only has others below it refuses a word that is none of them (cobra would print the help and
// succeed).
func prepare(cmd *cobra.Command, began *bool) {
	if cmd.HasSubCommands() {
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		cmd.Args = noSuchCommand
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*began = true
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		prepare(sub, began)
	}
}

func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown command %q for %q; did you mean %s?", args[0], cmd.CommandPath(), strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
}

// names is a validator of arguments that have these names in the usage, all required.
func names(list ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(list):
			return fmt.Errorf("%s is missing", list[len(args)])
		case len(args) > len(list):
			return fmt.Errorf("unexpected argument %q", args[len(list)])
		}
		return nil
	}
}

var (
	oneOfMany  = regexp.MustCompile(`^if any flags in the group \[.*\] are set none of the others can be; \[(.*)\] were all set$`)
	atLeastOne = regexp.MustCompile(`^at least one of the flags in the group \[(.*)\] is required$`)
)

// plainly says what cobra says of groups of flags in fewer words.
func plainly(err error) error {
	if m := oneOfMany.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("--%s exclude each other", strings.ReplaceAll(m[1], " ", " and --"))
	}
	if m := atLeastOne.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("give --%s", strings.ReplaceAll(m[1], " ", " or --"))
	}
	return err
}
