package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

const agentTypePrefix, agentStatusPrefix = "AGENT_TYPE_", "AGENT_STATUS_"

func newAgent(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "agent",
		Aliases: []string{"agents"},
		Short:   "Make, change, rotate and revoke agents",
		GroupID: groupAPI,
		Example: `  kavachd agent create --owner user-123 --name reader --allow 'mcp:github:*=read'
  kavachd agent list --owner user-123
  kavachd agent rotate agt_...`,
	}
	a := newAPI(env, cmd)
	cmd.AddCommand(newAgentCreate(a), newAgentGet(a), newAgentList(a), newAgentUpdate(a), newAgentRevoke(a), newAgentRotate(a))
	return cmd
}

// agentTable writes all of one agent.
func agentTable(t *table, agent *kavachv1.Agent) {
	t.field("Agent", agent.GetAgentId())
	t.field("Name", agent.GetName())
	t.field("Owner", agent.GetOwnerId())
	t.field("Tenant", agent.GetTenant())
	t.field("Type", short(agentTypePrefix, agent.GetType().String()))
	t.field("Status", short(agentStatusPrefix, agent.GetStatus().String()))
	t.field("Expires", whenOr(agent.GetExpiresAt(), "never"))
	t.field("Created", when(agent.GetCreatedAt()))
	t.field("Updated", when(agent.GetUpdatedAt()))
	t.field("Rotated", when(agent.GetRotatedAt()))
	if fields := agent.GetMetadata().GetFields(); len(fields) > 0 {
		text, err := marshalCompact(agent.GetMetadata())
		if err == nil {
			t.field("Metadata", text)
		}
	}
	t.field("Revision", number(agent.GetRevision()))
	t.line("")
	permissionTable(t, agent.GetPermissions())
}

// secretTable shows a secret first, with the one thing to know about it.
func secretTable(t *table, name, secret string) {
	t.field(name, secret)
	t.line("It is shown this once: keep it in your secrets manager.")
	t.line("")
}

func newAgentCreate(a *api) *cobra.Command {
	var (
		owner, name, tenant, kind, metadata string
		perms                               permissions
		exp                                 expiry
		validateOnly, rejectWarnings        bool
		mut                                 mutation
	)
	cmd := &cobra.Command{
		Use:   "create --owner OWNER --name NAME",
		Short: "Make an agent and show its token, once",
		Long: `Make an agent and show its token, once.

Permissions are tried in the order given; the first that matches decides. Constraints (approval, time window, addresses,
argument patterns, calls per hour) go into a file for --permissions, with the API's field names:

  - resource: mcp:github:*
    actions: [read]
  - resource: mcp:deploy:production
    actions: [execute]
    constraints:
      require_approval: true
      max_calls_per_hour: 5`,
		Example: `  kavachd agent create --owner user-123 --name reader --allow 'mcp:github:*=read' --allow 'mcp:jira:*=read,comment'
  kavachd agent create --owner user-123 --name deployer --permissions perms.yaml --ttl 8h
  kavachd agent create --owner user-123 --name ci --type service --never-expires --permissions perms.yaml -o json`,
		Args: cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			list, err := perms.messages(a.env)
			if err != nil {
				return err
			}
			until, err := exp.message(cmd)
			if err != nil {
				return err
			}
			meta, err := object("--metadata", metadata)
			if err != nil {
				return err
			}
			typ, err := enum("--type", agentTypePrefix, kind, kavachv1.AgentType_value)
			if err != nil {
				return err
			}
			req := &kavachv1.CreateAgentRequest{
				OwnerId: owner, Tenant: tenant, Name: name, Type: kavachv1.AgentType(typ), Permissions: list, Expiry: until, Metadata: meta,
				ValidateOnly: validateOnly, RejectWarnings: rejectWarnings, Idempotency: &kavachv1.Idempotency{Key: mut.id()},
			}
			res, err := write(cmd, a, mut.id(), func(ctx context.Context, e *endpoint) (*kavachv1.CreateAgentResponse, error) {
				return e.agents.CreateAgent(ctx, req)
			})
			if err != nil {
				return err
			}
			warn(a.env, res.GetWarnings())
			return a.message(res, func(t *table) {
				if validateOnly {
					t.line("The request is valid. Nothing was changed.")
					return
				}
				secretTable(t, "Token", res.GetToken())
				agentTable(t, res.GetAgent())
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&owner, "owner", "", "the owner's id in your own auth system (required)")
	f.StringVar(&name, "name", "", "a name for people (required)")
	f.StringVar(&tenant, "tenant", "", "the tenant (default: default)")
	f.StringVar(&kind, "type", "", "autonomous, delegated or service (default: autonomous)")
	f.StringVar(&metadata, "metadata", "", "a JSON object to keep with the agent")
	f.BoolVar(&validateOnly, "validate-only", false, "check everything, change nothing")
	f.BoolVar(&rejectWarnings, "reject-warnings", false, "refuse permissions that can never be reached, or whose constraint is shadowed")
	perms.flags(cmd)
	exp.flags(cmd, "default: the cluster's token_expiry")
	mut.flag(cmd)
	required(cmd, "owner", "name")
	return cmd
}

func newAgentGet(a *api) *cobra.Command {
	var level consistency
	cmd := &cobra.Command{
		Use:     "get AGENT",
		Short:   "Show an agent",
		Example: "  kavachd agent get agt_...\n  kavachd agent get agt_... -o yaml",
		Args:    names("AGENT"),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			want, err := level.message()
			if err != nil {
				return err
			}
			req := &kavachv1.GetAgentRequest{AgentId: args[0], Consistency: want}
			res, err := read(cmd, a, func(ctx context.Context, e *endpoint) (*kavachv1.GetAgentResponse, error) {
				return e.agents.GetAgent(ctx, req)
			})
			if err != nil {
				return err
			}
			return a.message(res, func(t *table) { agentTable(t, res.GetAgent()) })
		}),
	}
	level.flag(cmd)
	return cmd
}

func newAgentList(a *api) *cobra.Command {
	var (
		owner, tenant, state, kind, prefix string
		page                               paging
		level                              consistency
	)
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List agents, the oldest first",
		Example: `  kavachd agent list --owner user-123
  kavachd agent list --status active --limit 0 -o json`,
		Args: cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			want, err := level.message()
			if err != nil {
				return err
			}
			st, err := enum("--status", agentStatusPrefix, state, kavachv1.AgentStatus_value)
			if err != nil {
				return err
			}
			typ, err := enum("--type", agentTypePrefix, kind, kavachv1.AgentType_value)
			if err != nil {
				return err
			}
			req := &kavachv1.ListAgentsRequest{
				OwnerId: owner, Tenant: tenant, Status: kavachv1.AgentStatus(st), Type: kavachv1.AgentType(typ), NamePrefix: prefix,
				PageToken: page.token, Consistency: want,
			}
			all := &kavachv1.ListAgentsResponse{}
			for {
				var more bool
				if req.PageSize, more = page.next(len(all.GetAgents())); !more {
					break
				}
				res, err := read(cmd, a, func(ctx context.Context, e *endpoint) (*kavachv1.ListAgentsResponse, error) {
					return e.agents.ListAgents(ctx, req)
				})
				if err != nil {
					return err
				}
				all.Agents = append(all.Agents, res.GetAgents()...)
				all.NextPageToken, all.Revision = res.GetNextPageToken(), res.GetRevision()
				if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			page.more(a.env, all.GetNextPageToken())
			return a.message(all, func(t *table) {
				t.header("AGENT", "NAME", "OWNER", "TENANT", "TYPE", "STATUS", "EXPIRES", "PERMISSIONS")
				for _, one := range all.GetAgents() {
					t.row(one.GetAgentId(), one.GetName(), one.GetOwnerId(), one.GetTenant(), short(agentTypePrefix, one.GetType().String()),
						short(agentStatusPrefix, one.GetStatus().String()), whenOr(one.GetExpiresAt(), "never"), number(uint64(len(one.GetPermissions()))))
				}
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&owner, "owner", "", "of this owner")
	f.StringVar(&tenant, "tenant", "", "of this tenant (default: the API key's)")
	f.StringVar(&state, "status", "", "active, revoked or expired")
	f.StringVar(&kind, "type", "", "autonomous, delegated or service")
	f.StringVar(&prefix, "name-prefix", "", "whose name begins so")
	page.flags(cmd)
	level.flag(cmd)
	return cmd
}

func newAgentUpdate(a *api) *cobra.Command {
	var (
		name, kind, metadata                        string
		perms                                       permissions
		noPermissions, validateOnly, rejectWarnings bool
		exp                                         expiry
		expected                                    uint64
		mut                                         mutation
	)
	cmd := &cobra.Command{
		Use:   "update AGENT",
		Short: "Change an agent: only what a flag names",
		Long: `Change an agent: only what a flag names. The list of permissions is replaced as a whole, atomically.

An agent that has expired is revived by a new expiry. A revoked one can't be changed.`,
		Example: `  kavachd agent update agt_... --allow 'mcp:github:*=read'
  kavachd agent update agt_... --ttl 24h
  kavachd agent update agt_... --permissions perms.yaml --expected-revision 42`,
		Args: names("AGENT"),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			req := &kavachv1.UpdateAgentRequest{
				AgentId: args[0], UpdateMask: &fieldmaskpb.FieldMask{}, Name: name, ExpectedRevision: expected,
				ValidateOnly: validateOnly, RejectWarnings: rejectWarnings, Idempotency: &kavachv1.Idempotency{Key: mut.id()},
			}
			mask := func(path string) { req.UpdateMask.Paths = append(req.UpdateMask.Paths, path) }
			if cmd.Flags().Changed("name") {
				mask("name")
			}
			if kind != "" {
				typ, err := enum("--type", agentTypePrefix, kind, kavachv1.AgentType_value)
				if err != nil {
					return err
				}
				req.Type = kavachv1.AgentType(typ)
				mask("type")
			}
			if perms.given() || noPermissions {
				var err error
				if req.Permissions, err = perms.messages(a.env); err != nil {
					return err
				}
				mask("permissions")
			}
			var err error
			if req.Expiry, err = exp.message(cmd); err != nil {
				return err
			}
			if req.Expiry != nil {
				mask("expiry")
			}
			if metadata != "" {
				if req.Metadata, err = object("--metadata", metadata); err != nil {
					return err
				}
				mask("metadata")
			}
			if len(req.GetUpdateMask().GetPaths()) == 0 {
				return usagef("nothing to change: give --name, --type, --allow, --permissions, --no-permissions, --ttl, --expires-at, --never-expires or --metadata")
			}
			res, err := write(cmd, a, mut.id(), func(ctx context.Context, e *endpoint) (*kavachv1.UpdateAgentResponse, error) {
				return e.agents.UpdateAgent(ctx, req)
			})
			if err != nil {
				return err
			}
			warn(a.env, res.GetWarnings())
			return a.message(res, func(t *table) {
				if validateOnly {
					t.line("The request is valid. Nothing was changed.")
					return
				}
				agentTable(t, res.GetAgent())
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "the new name")
	f.StringVar(&kind, "type", "", "the new type: autonomous, delegated or service")
	f.StringVar(&metadata, "metadata", "", "the new metadata, a JSON object, as a whole")
	f.BoolVar(&noPermissions, "no-permissions", false, "take all permissions away")
	f.Uint64Var(&expected, "expected-revision", 0, "refuse if the agent's revision is another (0: no check)")
	f.BoolVar(&validateOnly, "validate-only", false, "check everything, change nothing")
	f.BoolVar(&rejectWarnings, "reject-warnings", false, "refuse permissions that can never be reached, or whose constraint is shadowed")
	perms.flags(cmd)
	cmd.MarkFlagsMutuallyExclusive("no-permissions", "allow", "permissions")
	exp.flags(cmd, "counted from the change")
	mut.flag(cmd)
	return cmd
}

func newAgentRevoke(a *api) *cobra.Command {
	var (
		expected uint64
		mut      mutation
	)
	cmd := &cobra.Command{
		Use:   "revoke AGENT",
		Short: "End an agent for good, and every delegation that derives from it",
		Long: `End an agent for good, and every delegation that derives from it.

When this returns, no node of the cluster allows the agent anything. It can't be undone; repeating it changes nothing.`,
		Example: "  kavachd agent revoke agt_...",
		Args:    names("AGENT"),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			req := &kavachv1.RevokeAgentRequest{AgentId: args[0], ExpectedRevision: expected, Idempotency: &kavachv1.Idempotency{Key: mut.id()}}
			res, err := write(cmd, a, mut.id(), func(ctx context.Context, e *endpoint) (*kavachv1.RevokeAgentResponse, error) {
				return e.agents.RevokeAgent(ctx, req)
			})
			if err != nil {
				return err
			}
			return a.message(res, func(t *table) {
				t.line("Revoked %s and %d delegations.", res.GetAgent().GetAgentId(), res.GetDelegationsRevoked())
			})
		}),
	}
	cmd.Flags().Uint64Var(&expected, "expected-revision", 0, "refuse if the agent's revision is another (0: no check)")
	mut.flag(cmd)
	return cmd
}

func newAgentRotate(a *api) *cobra.Command {
	var mut mutation
	var expected uint64
	cmd := &cobra.Command{
		Use:   "rotate AGENT",
		Short: "Replace an agent's token and show the new one, once",
		Long: `Replace an agent's token and show the new one, once.

When this returns, no node of the cluster accepts the old token, unless --grace keeps it for a while.`,
		Example: "  kavachd agent rotate agt_...\n  kavachd agent rotate agt_... --grace 10m",
		Args:    names("AGENT"),
	}
	grace := cmd.Flags().Duration("grace", 0, "how long the old token still works, at most until the agent expires")
	cmd.Flags().Uint64Var(&expected, "expected-revision", 0, "refuse if the agent's revision is another (0: no check)")
	mut.flag(cmd)
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		req := &kavachv1.RotateAgentTokenRequest{AgentId: args[0], ExpectedRevision: expected, Idempotency: &kavachv1.Idempotency{Key: mut.id()}}
		if *grace != 0 {
			req.GracePeriod = durationpb.New(*grace)
		}
		res, err := write(cmd, a, mut.id(), func(ctx context.Context, e *endpoint) (*kavachv1.RotateAgentTokenResponse, error) {
			return e.agents.RotateAgentToken(ctx, req)
		})
		if err != nil {
			return err
		}
		return a.message(res, func(t *table) {
			secretTable(t, "Token", res.GetToken())
			t.field("Agent", res.GetAgent().GetAgentId())
			t.field("Old token", oldToken(res))
		})
	})
	return cmd
}

func oldToken(res *kavachv1.RotateAgentTokenResponse) string {
	if until := res.GetPreviousValidUntil(); until != nil {
		return "works until " + when(until)
	}
	return "refused by every node"
}

// required marks flags as required; the only error is a flag that does not exist, which every test of the tree would see.
func required(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(fmt.Sprintf("flag of %s: %v", cmd.Name(), err))
		}
	}
}
