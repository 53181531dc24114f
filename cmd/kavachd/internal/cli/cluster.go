package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

const auditPolicyPrefix = "AUDIT_POLICY_"

func newCluster(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cluster",
		Short:   "See and steer the cluster",
		GroupID: groupAPI,
		Example: `  kavachd cluster status
  kavachd cluster status --each --addr 10.0.0.1:7400,10.0.0.2:7400,10.0.0.3:7400
  kavachd cluster bootstrap-key --out admin.key`,
	}
	a := newAPI(env, cmd)
	settings := &cobra.Command{
		Use:     "settings",
		Short:   "Show and change the settings of the whole cluster",
		Example: "  kavachd cluster settings get\n  kavachd cluster settings set token_expiry=48h",
	}
	settings.AddCommand(newSettingsGet(a), newSettingsSet(a))
	cmd.AddCommand(newStatus(a), newMembers(a), settings, newTransfer(a), newRemove(a), newBootstrapKey(env))
	return cmd
}

func newStatus(a *api) *cobra.Command {
	var each, digests bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the cluster stands, as one node or each node sees it",
		Long: `Show how the cluster stands, as the first node that answers sees it; with --each, as each node of --addr does.

Healthy is: one leader, the same on every node; every node ready; applied indexes close together. The exit code is 4 if
a node did not answer or is not ready.`,
		Example: "  kavachd cluster status\n  kavachd cluster status --each --addr 10.0.0.1:7400,10.0.0.2:7400,10.0.0.3:7400",
		Args:    cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			if each {
				return statusOfEach(cmd, a, digests)
			}
			res, err := read(cmd, a, func(ctx context.Context, e *endpoint) (*kavachv1.GetClusterStatusResponse, error) {
				return e.cluster.GetClusterStatus(ctx, &kavachv1.GetClusterStatusRequest{})
			})
			if err != nil {
				return err
			}
			if err := a.message(res, func(t *table) { statusTable(t, res, digests) }); err != nil {
				return err
			}
			if !res.GetReady() {
				return &notReadyError{"node " + res.GetNodeId() + " is not ready: " + res.GetNotReadyReason()}
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&digests, "digests", false, "show the digest of each table too, with --each one of all tables: equal on all nodes at one applied index")
	cmd.Flags().BoolVar(&each, "each", false, "ask every address, one row each")
	return cmd
}

// notReadyError ends a command whose answer, already printed, tells of trouble.
type notReadyError struct{ message string }

func (e *notReadyError) Error() string { return e.message }

func statusTable(t *table, s *kavachv1.GetClusterStatusResponse, digests bool) {
	t.field("Cluster", s.GetClusterId())
	t.field("Node", s.GetNodeId())
	t.field("State", s.GetState())
	leader := s.GetLeaderId()
	if leader == "" {
		leader = "none known"
	} else if addr := s.GetLeaderAddress(); addr != "" {
		leader += " at " + addr
	}
	t.field("Leader", leader)
	ready := "yes"
	if !s.GetReady() {
		ready = "no: " + s.GetNotReadyReason()
	}
	t.field("Ready", ready)
	t.field("Term", number(s.GetTerm()))
	t.field("Committed", number(s.GetCommitIndex()))
	t.field("Applied", number(s.GetAppliedIndex()))
	t.field("Audit backlog", number(s.GetAuditBacklog())+" entries")
	t.field("Time", when(s.GetTime()))
	t.field("Version", s.GetVersion())
	t.line("")
	memberTable(t, s.GetMembers())
	if digests {
		t.line("")
		t.header("TABLE", "RECORDS", "DIGEST")
		for _, d := range s.GetDigests() {
			t.row(d.GetTable(), number(d.GetRecords()), d.GetDigest())
		}
	}
}

func memberTable(t *table, list []*kavachv1.Member) {
	t.header("MEMBER", "API", "RAFT", "VOTER", "LEADER", "HEALTH")
	for _, m := range list {
		t.row(m.GetNodeId(), dash(m.GetApiAddress()), m.GetRaftAddress(), yesNo(m.GetVoter()), leaderMark(m.GetLeader()), dash(m.GetHealth()))
	}
}

// leaderMark leaves a cell nearly empty where a "no" would look like trouble.
func leaderMark(leader bool) string {
	if leader {
		return "leader"
	}
	return "-"
}

// statusOfEach asks all addresses at once, so that dead ones cost one timeout together.
func statusOfEach(cmd *cobra.Command, a *api, digests bool) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), a.timeout)
	defer cancel()
	answers := make([]*kavachv1.GetClusterStatusResponse, len(a.endpoints))
	errs := make([]error, len(a.endpoints))
	var wg sync.WaitGroup
	for i, e := range a.endpoints {
		wg.Go(func() {
			answers[i], errs[i] = e.cluster.GetClusterStatus(ctx, &kavachv1.GetClusterStatusRequest{})
		})
	}
	wg.Wait()
	var texts []string
	failed := 0
	for i, answer := range answers {
		text := fmt.Sprintf(`{"address":%q}`, a.endpoints[i].addr)
		if errs[i] != nil {
			text = fmt.Sprintf(`{"address":%q,"error":%q}`, a.endpoints[i].addr, message(errs[i]))
		} else if status, err := marshalCompact(answer); err == nil {
			text = fmt.Sprintf(`{"address":%q,"status":%s}`, a.endpoints[i].addr, status)
		}
		texts = append(texts, text)
		if errs[i] != nil || !answer.GetReady() {
			failed++
		}
	}
	err := a.print([]byte("["+strings.Join(texts, ",")+"]"), func(t *table) {
		header := []string{"ADDRESS", "READY", "STATE", "NODE", "LEADER", "TERM", "COMMITTED", "APPLIED", "BACKLOG", "WHY NOT"}
		if digests {
			header = append(header, "DIGEST OF ALL")
		}
		t.header(header...)
		for i, s := range answers {
			if errs[i] != nil {
				t.row(a.endpoints[i].addr, "unreachable", "-", "-", "-", "-", "-", "-", "-", message(errs[i]))
				continue
			}
			row := []string{
				a.endpoints[i].addr, yesNo(s.GetReady()), s.GetState(), s.GetNodeId(), dash(s.GetLeaderId()), number(s.GetTerm()),
				number(s.GetCommitIndex()), number(s.GetAppliedIndex()), number(s.GetAuditBacklog()), dash(s.GetNotReadyReason()),
			}
			if digests {
				row = append(row, digestOfAll(s))
			}
			t.row(row...)
		}
	})
	if err == nil && failed > 0 {
		err = &notReadyError{fmt.Sprintf("%d of %d nodes did not answer or are not ready", failed, len(answers))}
	}
	return err
}

// digestOfAll is short enough to compare nodes by eye: the digests of all tables in one.
func digestOfAll(s *kavachv1.GetClusterStatusResponse) string {
	h := sha256.New()
	for _, d := range s.GetDigests() {
		fmt.Fprintf(h, "%s %s\n", d.GetTable(), d.GetDigest())
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func newMembers(a *api) *cobra.Command {
	var level consistency
	cmd := &cobra.Command{
		Use:     "members",
		Short:   "List the members",
		Example: "  kavachd cluster members",
		Args:    cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			want, err := level.message()
			if err != nil {
				return err
			}
			res, err := read(cmd, a, func(ctx context.Context, e *endpoint) (*kavachv1.ListMembersResponse, error) {
				return e.cluster.ListMembers(ctx, &kavachv1.ListMembersRequest{Consistency: want})
			})
			if err != nil {
				return err
			}
			return a.message(res, func(t *table) { memberTable(t, res.GetMembers()) })
		}),
	}
	level.flag(cmd)
	return cmd
}

func newTransfer(a *api) *cobra.Command {
	return &cobra.Command{
		Use:     "transfer [NODE]",
		Short:   "Hand the leadership to another voter",
		Long:    "Hand the leadership to another voter, the healthiest if none is named. Useful before a machine is taken down.",
		Example: "  kavachd cluster transfer",
		Args:    cobra.MaximumNArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			req := &kavachv1.TransferLeadershipRequest{NodeId: strings.Join(args, "")}
			res, err := write(cmd, a, "", func(ctx context.Context, e *endpoint) (*kavachv1.TransferLeadershipResponse, error) {
				return e.cluster.TransferLeadership(ctx, req)
			})
			if err != nil {
				return err
			}
			return a.message(res, func(t *table) { t.line("%s leads now.", res.GetLeaderId()) })
		}),
	}
}

func newRemove(a *api) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove NODE --yes",
		Short: "Take a member out of the cluster for good",
		Long: `Take a member out of the cluster for good. It can come back only with an empty data directory.

Look at "kavachd cluster status --each" first: with fewer than a majority of the remaining voters up, nothing can be
decided any more.`,
		Example: "  kavachd cluster remove 7c9e6679... --yes",
		Args:    names("NODE"),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			if !yes {
				return usagef("this can't be undone: add --yes to remove %s", args[0])
			}
			res, err := write(cmd, a, "", func(ctx context.Context, e *endpoint) (*kavachv1.RemoveMemberResponse, error) {
				return e.cluster.RemoveMember(ctx, &kavachv1.RemoveMemberRequest{NodeId: args[0]})
			})
			if err != nil {
				return err
			}
			return a.message(res, func(t *table) {
				t.line("Removed %s. What is left:", args[0])
				memberTable(t, res.GetMembers())
			})
		}),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "yes, for good")
	return cmd
}

func newSettingsGet(a *api) *cobra.Command {
	var level consistency
	cmd := &cobra.Command{
		Use:     "get",
		Short:   "Show the settings of the whole cluster",
		Example: "  kavachd cluster settings get",
		Args:    cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			want, err := level.message()
			if err != nil {
				return err
			}
			res, err := read(cmd, a, func(ctx context.Context, e *endpoint) (*kavachv1.GetSettingsResponse, error) {
				return e.cluster.GetSettings(ctx, &kavachv1.GetSettingsRequest{Consistency: want})
			})
			if err != nil {
				return err
			}
			return a.message(res, func(t *table) { settingsTable(t, res.GetSettings()) })
		}),
	}
	level.flag(cmd)
	return cmd
}

// setting is one of the cluster's settings with its two ways: from text and to text.
type setting struct {
	name string
	set  func(s *kavachv1.Settings, text string) error
	get  func(s *kavachv1.Settings) string
}

var settings = []setting{
	durationSetting("token_expiry", (*kavachv1.Settings).GetTokenExpiry, func(s *kavachv1.Settings, d *durationpb.Duration) { s.TokenExpiry = d }),
	{
		name: "max_agents_per_owner",
		set: func(s *kavachv1.Settings, text string) error {
			n, err := strconv.ParseUint(text, 10, 32)
			if err != nil {
				return usagef("max_agents_per_owner=%s: give a whole number", text)
			}
			s.MaxAgentsPerOwner = uint32(n)
			return nil
		},
		get: func(s *kavachv1.Settings) string { return number(uint64(s.GetMaxAgentsPerOwner())) },
	},
	{
		name: "audit_policy",
		set: func(s *kavachv1.Settings, text string) error {
			n, err := enum("audit_policy", auditPolicyPrefix, text, kavachv1.AuditPolicy_value)
			s.AuditPolicy = kavachv1.AuditPolicy(n)
			return err
		},
		get: func(s *kavachv1.Settings) string {
			return strings.ToLower(short(auditPolicyPrefix, s.GetAuditPolicy().String()))
		},
	},
	durationSetting("approval_ttl", (*kavachv1.Settings).GetApprovalTtl, func(s *kavachv1.Settings, d *durationpb.Duration) { s.ApprovalTtl = d }),
	durationSetting("purge_after", (*kavachv1.Settings).GetPurgeAfter, func(s *kavachv1.Settings, d *durationpb.Duration) { s.PurgeAfter = d }),
	durationSetting("max_clock_skew", (*kavachv1.Settings).GetMaxClockSkew, func(s *kavachv1.Settings, d *durationpb.Duration) { s.MaxClockSkew = d }),
}

func durationSetting(name string, get func(*kavachv1.Settings) *durationpb.Duration, set func(*kavachv1.Settings, *durationpb.Duration)) setting {
	return setting{
		name: name,
		set: func(s *kavachv1.Settings, text string) error {
			d, err := time.ParseDuration(text)
			if err != nil {
				return usagef("%s=%s: give a duration such as 24h or 500ms", name, text)
			}
			set(s, durationpb.New(d))
			return nil
		},
		get: func(s *kavachv1.Settings) string { return get(s).AsDuration().String() },
	}
}

func settingNames() string {
	names := make([]string, len(settings))
	for i, s := range settings {
		names[i] = s.name
	}
	return strings.Join(names, ", ")
}

func settingsTable(t *table, s *kavachv1.Settings) {
	t.header("SETTING", "VALUE")
	for _, one := range settings {
		t.row(one.name, one.get(s))
	}
	if s.GetRevision() > 0 {
		t.row("(revision)", number(s.GetRevision()))
	}
}

func newSettingsSet(a *api) *cobra.Command {
	var (
		expected     uint64
		validateOnly bool
		mut          mutation
	)
	cmd := &cobra.Command{
		Use:     "set NAME=VALUE...",
		Short:   "Change settings of the whole cluster, all at once",
		Long:    "Change settings of the whole cluster, all at once. Settings: " + settingNames() + ".",
		Example: "  kavachd cluster settings set token_expiry=48h max_agents_per_owner=25\n  kavachd cluster settings set audit_policy=denials",
		Args:    cobra.MinimumNArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			req := &kavachv1.UpdateSettingsRequest{
				Settings: &kavachv1.Settings{}, UpdateMask: &fieldmaskpb.FieldMask{}, ExpectedRevision: expected,
				ValidateOnly: validateOnly, Idempotency: &kavachv1.Idempotency{Key: mut.id()},
			}
			if err := fillSettings(req, args); err != nil {
				return err
			}
			res, err := write(cmd, a, mut.id(), func(ctx context.Context, e *endpoint) (*kavachv1.UpdateSettingsResponse, error) {
				return e.cluster.UpdateSettings(ctx, req)
			})
			if err != nil {
				return err
			}
			return a.message(res, func(t *table) {
				if validateOnly {
					t.line("The request is valid. Nothing was changed.")
					return
				}
				settingsTable(t, res.GetSettings())
			})
		}),
	}
	cmd.Flags().Uint64Var(&expected, "expected-revision", 0, "refuse if the settings' revision is another (0: no check)")
	cmd.Flags().BoolVar(&validateOnly, "validate-only", false, "check everything, change nothing")
	mut.flag(cmd)
	return cmd
}

// fillSettings reads NAME=VALUE, each name once.
func fillSettings(req *kavachv1.UpdateSettingsRequest, args []string) error {
	for _, arg := range args {
		name, text, ok := strings.Cut(arg, "=")
		if !ok {
			return usagef("%q: give NAME=VALUE", arg)
		}
		if slices.Contains(req.GetUpdateMask().GetPaths(), name) {
			return usagef("%s stands twice", name)
		}
		known := false
		for _, one := range settings {
			if one.name != name {
				continue
			}
			known = true
			if err := one.set(req.GetSettings(), text); err != nil {
				return err
			}
		}
		if !known {
			return usagef("%s is no setting; settings are %s", name, settingNames())
		}
		req.UpdateMask.Paths = append(req.UpdateMask.Paths, name)
	}
	return nil
}

func newBootstrapKey(env Env) *cobra.Command {
	var (
		name, secretFile string
		out              secretOut
	)
	cmd := &cobra.Command{
		Use:   "bootstrap-key",
		Short: "Make a new cluster's first admin key, once in its life",
		Long: `Make a new cluster's first admin key, once in its life, and show it, once.

It needs no API key. From the node's own machine (loopback) it needs nothing else; from elsewhere it needs the cluster's
join secret, from --join-secret-file or KAVACH_CLUSTER_JOIN_SECRET.`,
		Example: `  kavachd cluster bootstrap-key --out admin.key
  export KAVACH_TOKEN_FILE=admin.key`,
		Args: cobra.NoArgs,
	}
	a := newAPI(env, cmd)
	a.anonymous = true
	cmd.Flags().StringVar(&name, "name", "admin", "the key's name")
	cmd.Flags().StringVar(&secretFile, "join-secret-file", "", "file that holds the join secret, - for standard input")
	out.flag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		secret := env.lookup("KAVACH_CLUSTER_JOIN_SECRET")
		if secretFile != "" {
			var err error
			if secret, err = readText(env, secretFile); err != nil {
				return usagef("--join-secret-file: %w", err)
			}
		}
		file, err := out.create()
		if err != nil {
			return err
		}
		res, err := write(cmd, a, "", func(ctx context.Context, e *endpoint) (*kavachv1.BootstrapResponse, error) {
			return e.access.Bootstrap(ctx, &kavachv1.BootstrapRequest{JoinSecret: secret, Name: name})
		})
		if keepErr := out.keep(file, res.GetSecret()); err == nil {
			err = keepErr
		}
		if err != nil {
			return err
		}
		if file != nil {
			res.Secret = ""
		}
		return a.message(res, func(t *table) {
			if file == nil {
				secretTable(t, "Secret", res.GetSecret())
			}
			keyTable(t, res.GetKey())
		})
	})
	return cmd
}
