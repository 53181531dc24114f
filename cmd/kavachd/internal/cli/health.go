package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

func newHealth(env Env) *cobra.Command {
	var live bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a node whether it may decide now (exit code 0 or 4), for container health checks",
		Long: `Ask a node whether it may decide now. The exit code is 0 if it may, 4 if it may not or does not answer.

With --live it only has to run, as for a check that restarts it: a node that waits for the others must not be restarted.
No API key is needed. Of several addresses the first is asked.`,
		Example: `  kavachd health
  kavachd health --live --addr 127.0.0.1:7400 --timeout 2s`,
		GroupID: groupAPI,
		Args:    cobra.NoArgs,
	}
	a := newAPI(env, cmd)
	a.anonymous = true
	cmd.Flags().BoolVar(&live, "live", false, "ask only whether the node runs")
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		path := "/readyz"
		if live {
			path = "/livez"
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), a.timeout)
		defer cancel()
		code, text, err := get(ctx, a, a.endpoints[0].base+path)
		if err != nil {
			return err
		}
		if code != http.StatusOK {
			return &notReadyError{fmt.Sprintf("the node at %s is not ready: %s", a.endpoints[0].addr, text)}
		}
		return a.print([]byte(`{"ok":true}`), func(t *table) { t.line("ok") })
	})
	return cmd
}

// get returns the status code and the first line of a small page.
func get(ctx context.Context, a *api, url string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", usagef("%w", err)
	}
	res, err := a.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	err = errors.Join(err, res.Body.Close())
	if err != nil {
		return 0, "", err
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	return res.StatusCode, line, nil
}
