package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// walk visits every command of ours.
func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	if cmd.Name() == "completion" || cmd.Name() == "help" {
		return // cobra's own
	}
	visit(cmd)
	for _, sub := range cmd.Commands() {
		walk(sub, visit)
	}
}

// TestHelp pins the help of every command, and that each has an example and a sentence.
func TestHelp(t *testing.T) {
	var all strings.Builder
	walk(newRoot(Env{}), func(cmd *cobra.Command) {
		args := slices.Concat(strings.Fields(cmd.CommandPath())[1:], []string{"--help"})
		got := kavachd(t, nil, "", args...)
		if got.code != ExitOK || got.stderr != "" {
			t.Errorf("%v: exit code %d, stderr %q", args, got.code, got.stderr)
		}
		if cmd.Example == "" || cmd.Short == "" {
			t.Errorf("%s has no example or no short text", cmd.CommandPath())
		}
		if strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: its short text ends with a period", cmd.CommandPath())
		}
		all.WriteString("$ " + cmd.CommandPath() + " --help\n" + got.stdout + "\n")
	})
	golden(t, "help.txt", all.String())
}

// TestUsage: what is wrong on the command line is told before anything is sent, with exit code 2.
func TestUsage(t *testing.T) {
	// Nothing listens on port 1: a command that got as far as sending would end with 4.
	environ := []string{"KAVACH_ADDR=127.0.0.1:1"}
	var all strings.Builder
	for _, line := range []string{
		"nonsense",
		"agnet list",
		"agent lst",
		"agent list more",
		"agent get",
		"agent list --nonsense",
		"agent list --status dead",
		"agent list -o xml",
		"agent list --timeout 0x",
		"agent list --timeout -1s",
		"agent list --addr nonsense",
		"agent list --token-file /does/not/exist",
		"agent list --consistency sometimes",
		"agent list --consistency stale-ok=0s",
		"agent create",
		"agent create --owner o --name n --allow mcp:github",
		"agent create --owner o --name n --allow mcp:github=",
		"agent create --owner o --name n --allow a=read --permissions p.yaml",
		"agent create --owner o --name n --ttl 1h --never-expires",
		"agent create --owner o --name n --expires-at tomorrow",
		"agent create --owner o --name n --type robot",
		"agent create --owner o --name n --metadata []",
		"agent create --owner o --name n --permissions /does/not/exist",
		"agent update agt_1",
		"authorize --action read --resource r",
		"authorize --agent a --token t --action read --resource r",
		"authorize --token-stdin --action read --resource r",
		"authorize --agent a --action read --resource r --arg x",
		"authorize --agent a --action read --resource r --arg x=1 --arg x=2",
		"authorize --agent a --action read --resource r --args-json [1]",
		"delegate create --from a --to b",
		"delegate list a --given --received",
		"audit query --since yesterday",
		"audit query --result maybe",
		"audit export --format xml",
		"audit export --out /does/not/exist/trail.csv",
		"cluster settings set",
		"cluster settings set token_expiry",
		"cluster settings set colour=red",
		"cluster settings set token_expiry=soon",
		"cluster settings set token_expiry=1h token_expiry=2h",
		"cluster settings set audit_policy=some",
		"cluster remove n1",
		"cluster bootstrap-key --join-secret-file /does/not/exist",
		"cluster bootstrap-key --out /does/not/exist/key",
		"dev --listen 0.0.0.0:7400",
		"dev --log-level loud",
		"server --api-listen 0.0.0.0:7400",
		"server --config /does/not/exist",
		"config check",
	} {
		got := kavachd(t, environ, "", strings.Fields(line)...)
		if got.code != ExitUsage || got.stdout != "" {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", line, got.code, got.stdout, got.stderr)
		}
		all.WriteString("$ kavachd " + line + "\n" + got.stderr + "\n")
	}
	golden(t, "usage.txt", all.String())
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := kavachd(t, nil, "", "completion", shell); got.code != ExitOK || !strings.Contains(got.stdout, "kavachd") {
			t.Errorf("completion %s: exit code %d, %d bytes", shell, got.code, len(got.stdout))
		}
	}
	got := kavachd(t, nil, "", "__complete", "agent", "list", "--consistency", "")
	if !strings.Contains(got.stdout, "settled") {
		t.Errorf("completion of --consistency: %q", got.stdout)
	}
}
