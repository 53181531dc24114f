package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

const delegationStatusPrefix, directionPrefix = "DELEGATION_STATUS_", "DELEGATION_DIRECTION_"

func newDelegate(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delegate",
		Aliases: []string{"delegation", "delegations"},
		Short:   "Hand permissions from agent to agent",
		GroupID: groupAPI,
		Example: `  kavachd delegate create --from agt_... --to agt_... --allow 'mcp:github:issues=read' --ttl 1h
  kavachd delegate effective agt_...`,
	}
	a := newAPI(env, cmd)
	cmd.AddCommand(newDelegateCreate(a), newDelegateGet(a), newDelegateList(a), newDelegateRevoke(a), newDelegateEffective(a))
	return cmd
}

func delegationTable(t *table, d *kavachv1.Delegation) {
	t.field("Delegation", d.GetDelegationId())
	t.field("From", d.GetFromAgentId())
	t.field("To", d.GetToAgentId())
	t.field("Tenant", d.GetTenant())
	t.field("Status", short(delegationStatusPrefix, d.GetStatus().String()))
	t.field("Effective", yesNo(d.GetEffective()))
	t.field("Depth", number(uint64(d.GetDepth()))+" of "+number(uint64(d.GetMaxDepth())))
	t.field("Expires", whenOr(d.GetExpiresAt(), "with its giver"))
	t.field("Created", when(d.GetCreatedAt()))
	t.field("Revoked", when(d.GetRevokedAt()))
	t.field("Revision", number(d.GetRevision()))
	t.line("")
	permissionTable(t, d.GetPermissions())
}

func newDelegateCreate(a *api) *cobra.Command {
	var (
		from, to                     string
		perms                        permissions
		exp                          expiry
		depth                        uint32
		validateOnly, rejectWarnings bool
		mut                          mutation
	)
	cmd := &cobra.Command{
		Use:   "create --from AGENT --to AGENT (--allow PERMISSION | --permissions FILE)",
		Short: "Give permissions that the giver holds",
		Long: `Give permissions that the giver holds. Each must be covered by one that the giver has now, its own or received.

The receiver never gets more than the giver has: what the giver loses later, the receiver loses at once.`,
		Example: `  kavachd delegate create --from agt_... --to agt_... --allow 'mcp:github:issues=read' --ttl 1h --max-depth 2`,
		Args:    cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			list, err := perms.messages(a.env)
			if err != nil {
				return err
			}
			until, err := exp.message(cmd)
			if err != nil {
				return err
			}
			req := &kavachv1.CreateDelegationRequest{
				FromAgentId: from, ToAgentId: to, Permissions: list, Expiry: until,
				ValidateOnly: validateOnly, RejectWarnings: rejectWarnings, Idempotency: &kavachv1.Idempotency{Key: mut.id()},
			}
			if cmd.Flags().Changed("max-depth") {
				req.MaxDepth = &depth
			}
			res, err := write(cmd, a, mut.id(), func(ctx context.Context, e *endpoint) (*kavachv1.CreateDelegationResponse, error) {
				return e.delegs.CreateDelegation(ctx, req)
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
				delegationTable(t, res.GetDelegation())
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "the giver (required)")
	f.StringVar(&to, "to", "", "the receiver (required)")
	f.Uint32Var(&depth, "max-depth", 3, "how long a chain may grow, 1 to 16")
	f.BoolVar(&validateOnly, "validate-only", false, "check everything, change nothing")
	f.BoolVar(&rejectWarnings, "reject-warnings", false, "refuse permissions that can never be reached, or whose constraint is shadowed")
	perms.flags(cmd)
	cmd.MarkFlagsOneRequired("allow", "permissions")
	exp.flags(cmd, "default: with the giver, at the latest after the cluster's token_expiry")
	mut.flag(cmd)
	required(cmd, "from", "to")
	return cmd
}

func newDelegateGet(a *api) *cobra.Command {
	var level consistency
	cmd := &cobra.Command{
		Use:     "get DELEGATION",
		Short:   "Show a delegation",
		Example: "  kavachd delegate get dlg_...",
		Args:    names("DELEGATION"),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			want, err := level.message()
			if err != nil {
				return err
			}
			req := &kavachv1.GetDelegationRequest{DelegationId: args[0], Consistency: want}
			res, err := read(cmd, a, func(ctx context.Context, e *endpoint) (*kavachv1.GetDelegationResponse, error) {
				return e.delegs.GetDelegation(ctx, req)
			})
			if err != nil {
				return err
			}
			return a.message(res, func(t *table) { delegationTable(t, res.GetDelegation()) })
		}),
	}
	level.flag(cmd)
	return cmd
}

func newDelegateList(a *api) *cobra.Command {
	var (
		given, received bool
		state           string
		page            paging
		level           consistency
	)
	cmd := &cobra.Command{
		Use:     "list AGENT",
		Aliases: []string{"ls"},
		Short:   "List what an agent gave and received, the oldest first",
		Example: "  kavachd delegate list agt_...\n  kavachd delegate list agt_... --received --status active",
		Args:    names("AGENT"),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			want, err := level.message()
			if err != nil {
				return err
			}
			st, err := enum("--status", delegationStatusPrefix, state, kavachv1.DelegationStatus_value)
			if err != nil {
				return err
			}
			req := &kavachv1.ListDelegationsRequest{AgentId: args[0], Status: kavachv1.DelegationStatus(st), PageToken: page.token, Consistency: want}
			switch {
			case given:
				req.Direction = kavachv1.DelegationDirection_DELEGATION_DIRECTION_GIVEN
			case received:
				req.Direction = kavachv1.DelegationDirection_DELEGATION_DIRECTION_RECEIVED
			}
			all := &kavachv1.ListDelegationsResponse{}
			for {
				var more bool
				if req.PageSize, more = page.next(len(all.GetDelegations())); !more {
					break
				}
				res, err := read(cmd, a, func(ctx context.Context, e *endpoint) (*kavachv1.ListDelegationsResponse, error) {
					return e.delegs.ListDelegations(ctx, req)
				})
				if err != nil {
					return err
				}
				all.Delegations = append(all.Delegations, res.GetDelegations()...)
				all.NextPageToken, all.Revision = res.GetNextPageToken(), res.GetRevision()
				if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			page.more(a.env, all.GetNextPageToken())
			return a.message(all, func(t *table) {
				t.header("DELEGATION", "FROM", "TO", "STATUS", "EFFECTIVE", "DEPTH", "EXPIRES", "PERMISSIONS")
				for _, d := range all.GetDelegations() {
					t.row(d.GetDelegationId(), d.GetFromAgentId(), d.GetToAgentId(), short(delegationStatusPrefix, d.GetStatus().String()),
						yesNo(d.GetEffective()), number(uint64(d.GetDepth())), whenOr(d.GetExpiresAt(), "with its giver"), number(uint64(len(d.GetPermissions()))))
				}
			})
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&given, "given", false, "only what it gave")
	f.BoolVar(&received, "received", false, "only what it received")
	f.StringVar(&state, "status", "", "active, revoked or expired")
	cmd.MarkFlagsMutuallyExclusive("given", "received")
	page.flags(cmd)
	level.flag(cmd)
	return cmd
}

func newDelegateRevoke(a *api) *cobra.Command {
	var (
		expected uint64
		mut      mutation
	)
	cmd := &cobra.Command{
		Use:     "revoke DELEGATION",
		Short:   "End a delegation for good, and what below it rests on nothing any more",
		Example: "  kavachd delegate revoke dlg_...",
		Args:    names("DELEGATION"),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			req := &kavachv1.RevokeDelegationRequest{DelegationId: args[0], ExpectedRevision: expected, Idempotency: &kavachv1.Idempotency{Key: mut.id()}}
			res, err := write(cmd, a, mut.id(), func(ctx context.Context, e *endpoint) (*kavachv1.RevokeDelegationResponse, error) {
				return e.delegs.RevokeDelegation(ctx, req)
			})
			if err != nil {
				return err
			}
			return a.message(res, func(t *table) {
				t.line("Revoked %s and %d delegations below it.", res.GetDelegation().GetDelegationId(), res.GetDelegationsRevoked())
			})
		}),
	}
	cmd.Flags().Uint64Var(&expected, "expected-revision", 0, "refuse if the delegation's revision is another (0: no check)")
	mut.flag(cmd)
	return cmd
}

func newDelegateEffective(a *api) *cobra.Command {
	var level consistency
	cmd := &cobra.Command{
		Use:     "effective AGENT",
		Short:   "Show all that an agent holds now, own and received",
		Example: "  kavachd delegate effective agt_...",
		Args:    names("AGENT"),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			want, err := level.message()
			if err != nil {
				return err
			}
			req := &kavachv1.GetEffectivePermissionsRequest{AgentId: args[0], Consistency: want}
			res, err := read(cmd, a, func(ctx context.Context, e *endpoint) (*kavachv1.GetEffectivePermissionsResponse, error) {
				return e.delegs.GetEffectivePermissions(ctx, req)
			})
			if err != nil {
				return err
			}
			return a.message(res, func(t *table) { effectiveTable(t, res.GetPermissions()) })
		}),
	}
	level.flag(cmd)
	return cmd
}

func effectiveTable(t *table, list []*kavachv1.EffectivePermission) {
	if len(list) == 0 {
		t.line("No permissions.")
		return
	}
	t.header("RESOURCE", "ACTIONS", "SOURCE", "DEPTH", "EFFECTIVE", "EXPIRES", "CONSTRAINTS")
	for _, p := range list {
		source := "own"
		if p.GetDelegationId() != "" {
			source = p.GetDelegationId() + " from " + p.GetFromAgentId()
		}
		var constraints []string
		for _, c := range append([]*kavachv1.Constraints{p.GetPermission().GetConstraints()}, p.GetInheritedConstraints()...) {
			if text := constraintsText(c); text != "" {
				constraints = append(constraints, text)
			}
		}
		t.row(p.GetPermission().GetResource(), strings.Join(p.GetPermission().GetActions(), ","), source, number(uint64(p.GetDepth())),
			yesNo(p.GetEffective()), whenOr(p.GetExpiresAt(), "never"), dash(strings.Join(constraints, "; ")))
	}
}
