package config

import (
	"fmt"
	"io"
	"strings"
)

// masked stands for a secret wherever it would be shown.
const masked = "(set, not shown)"

// Setting is one value in force, as it may be shown.
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

// Settings returns all values in the table's order, secrets masked.
func (l *Loaded) Settings() []Setting {
	list := make([]Setting, 0, len(options))
	for _, o := range options {
		s := Setting{Key: o.Key, Value: o.get(&l.Config), Source: "default"}
		if from, ok := l.From[o.Key]; ok {
			s.Source = from
		}
		if o.Secret && s.Value != "" {
			s.Value = masked
		}
		list = append(list, s)
	}
	return list
}

// Markdown writes docs/configuration.md from the table.
func Markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# Configuration of a node

<!-- Generated from the table in cmd/kavachd/internal/config; do not edit. go test ./cmd/kavachd/internal/config -update writes it. -->

` + "`kavachd server --config FILE`" + ` reads one YAML file, the environment, and flags. Flags win over the environment, the environment
over the file, the file over the defaults. The file is strict: a key that is not listed here, or one that stands twice, is
an error with its line. ` + "`kavachd config check`" + ` tells of every problem at once, ` + "`kavachd config print`" + ` shows the values in
force and where each comes from; secrets are never shown.

Dots in a key are levels in the file:

    data_dir: /var/lib/kavachd
    api:
      listen: 127.0.0.1:7400
    cluster:
      peers: [127.0.0.1:7400, 127.0.0.1:7410, 127.0.0.1:7420]
      join_secret_file: /etc/kavachd/join-secret

A list is a YAML list in the file, and separated by commas elsewhere. A duration is written as 30s, 5m or 2h.

What concerns the whole cluster (lifetimes, limits, the audit policy) is replicated and never stands in a node's file:
` + "`kavachd cluster settings`" + ` shows and changes it.

**Until traffic is encrypted, all addresses must be on loopback** (127.0.0.0/8, ::1, localhost). Others are refused.

| Key | Environment | Flag | Type | Default | Meaning |
| --- | --- | --- | --- | --- | --- |
`)
	for _, o := range options {
		flag, def := "none", "none"
		if o.Flag() != "" {
			flag = "`--" + o.Flag() + "`"
		}
		if o.Default != "" {
			def = "`" + o.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s | %s |\n", o.Key, o.Env(), flag, o.Kind(), def, o.Doc)
	}
	b.WriteString(`
A secret has no flag, because other users of the machine can read a command line.

The command line over the API has variables of its own: KAVACH_ADDR, KAVACH_TOKEN, KAVACH_TOKEN_FILE, KAVACH_TIMEOUT,
KAVACH_OUTPUT; and KAVACH_CONFIG names the file of ` + "`--config`" + `. See ` + "`kavachd --help`" + `. Any other KAVACH_ variable is ignored with
a warning.
`)
	_, err := io.WriteString(w, b.String())
	return err
}
