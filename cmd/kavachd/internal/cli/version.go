package cli

import (
	"encoding/json"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(env Env) *cobra.Command {
	out := output{env: env}
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Example: "  kavachd version\n  kavachd version -o json",
		GroupID: groupHelp,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			build := struct {
				Version  string `json:"version"`
				Commit   string `json:"commit,omitempty"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{env.Version, commit(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			data, err := json.Marshal(build)
			if err != nil {
				return err
			}
			return out.print(data, func(t *table) {
				t.field("Version", build.Version)
				t.field("Commit", build.Commit)
				t.field("Go", build.Go)
				t.field("Platform", build.Platform)
			})
		},
	}
	out.flag(cmd)
	return cmd
}

// commit returns the commit the program was built from, as far as the build knew it.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
