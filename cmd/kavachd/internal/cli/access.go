package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

func newAccess(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "access",
		Short:   "Make and revoke the API keys of callers",
		GroupID: groupAPI,
		Example: "  kavachd access key create gateway --ttl 720h\n  kavachd access key list",
	}
	a := newAPI(env, cmd)
	key := &cobra.Command{
		Use:     "key",
		Aliases: []string{"keys"},
		Short:   "Make, list and revoke API keys",
		Example: "  kavachd access key create gateway",
	}
	key.AddCommand(newKeyCreate(a), newKeyList(a), newKeyRevoke(a))
	cmd.AddCommand(key)
	return cmd
}

func keyTable(t *table, k *kavachv1.ApiKey) {
	t.field("Key", k.GetKeyId())
	t.field("Name", k.GetName())
	t.field("Role", k.GetRole())
	t.field("Tenant", k.GetTenant())
	t.field("Expires", whenOr(k.GetExpiresAt(), "never"))
	t.field("Created", when(k.GetCreatedAt()))
	t.field("Revoked", when(k.GetRevokedAt()))
}

// secretOut is the flag for a file that takes a secret instead of the screen.
type secretOut struct{ file string }

func (s *secretOut) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.file, "out", "", "write the key into this new file (mode 0600) instead of showing it")
}

// create makes the file before anything is asked of the cluster, so that a key is not made and then lost.
func (s *secretOut) create() (*os.File, error) {
	if s.file == "" {
		return nil, nil
	}
	f, err := os.OpenFile(s.file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, usagef("--out: %w", err)
	}
	return f, nil
}

// keep writes the secret, or removes the file if there is none.
func (s *secretOut) keep(f *os.File, secret string) error {
	if f == nil {
		return nil
	}
	if secret == "" {
		_ = f.Close()
		_ = os.Remove(s.file) // it is empty, and the error that led here is told
		return nil
	}
	_, err := f.WriteString(secret + "\n")
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("the key was made but could not be kept: %w; revoke it and make another", err)
	}
	return nil
}

func newKeyCreate(a *api) *cobra.Command {
	var (
		exp expiry
		out secretOut
		mut mutation
	)
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an API key and show it, once",
		Example: `  kavachd access key create gateway --ttl 720h
  kavachd access key create ci --out ci.key`,
		Args: names("NAME"),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			until, err := exp.message(cmd)
			if err != nil {
				return err
			}
			file, err := out.create()
			if err != nil {
				return err
			}
			req := &kavachv1.CreateApiKeyRequest{Name: args[0], Expiry: until, Idempotency: &kavachv1.Idempotency{Key: mut.id()}}
			res, err := write(cmd, a, mut.id(), func(ctx context.Context, e *endpoint) (*kavachv1.CreateApiKeyResponse, error) {
				return e.access.CreateApiKey(ctx, req)
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
		}),
	}
	exp.flags(cmd, "default: never")
	out.flag(cmd)
	mut.flag(cmd)
	return cmd
}

func newKeyList(a *api) *cobra.Command {
	var (
		page  paging
		level consistency
	)
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the API keys, without their secrets",
		Example: "  kavachd access key list",
		Args:    cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			want, err := level.message()
			if err != nil {
				return err
			}
			req := &kavachv1.ListApiKeysRequest{PageToken: page.token, Consistency: want}
			all := &kavachv1.ListApiKeysResponse{}
			for {
				var more bool
				if req.PageSize, more = page.next(len(all.GetKeys())); !more {
					break
				}
				res, err := read(cmd, a, func(ctx context.Context, e *endpoint) (*kavachv1.ListApiKeysResponse, error) {
					return e.access.ListApiKeys(ctx, req)
				})
				if err != nil {
					return err
				}
				all.Keys = append(all.Keys, res.GetKeys()...)
				all.NextPageToken, all.Revision = res.GetNextPageToken(), res.GetRevision()
				if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			page.more(a.env, all.GetNextPageToken())
			return a.message(all, func(t *table) {
				t.header("KEY", "NAME", "ROLE", "TENANT", "STATUS", "EXPIRES", "CREATED")
				for _, k := range all.GetKeys() {
					state := "ACTIVE"
					if k.GetRevokedAt() != nil {
						state = "REVOKED"
					}
					t.row(k.GetKeyId(), k.GetName(), k.GetRole(), dash(k.GetTenant()), state, whenOr(k.GetExpiresAt(), "never"), when(k.GetCreatedAt()))
				}
			})
		}),
	}
	page.flags(cmd)
	level.flag(cmd)
	return cmd
}

func newKeyRevoke(a *api) *cobra.Command {
	var mut mutation
	cmd := &cobra.Command{
		Use:     "revoke KEY",
		Short:   "End an API key for good, on every node",
		Example: "  kavachd access key revoke key_...",
		Args:    names("KEY"),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			req := &kavachv1.RevokeApiKeyRequest{KeyId: args[0], Idempotency: &kavachv1.Idempotency{Key: mut.id()}}
			res, err := write(cmd, a, mut.id(), func(ctx context.Context, e *endpoint) (*kavachv1.RevokeApiKeyResponse, error) {
				return e.access.RevokeApiKey(ctx, req)
			})
			if err != nil {
				return err
			}
			return a.message(res, func(t *table) { t.line("Revoked %s (%s).", res.GetKey().GetKeyId(), printable(res.GetKey().GetName())) })
		}),
	}
	mut.flag(cmd)
	return cmd
}
