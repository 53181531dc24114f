package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// output prints answers in the form that the user asked for.
type output struct {
	env    Env
	format string
}

// flag adds -o. The environment may set another default.
func (o *output) flag(cmd *cobra.Command) {
	def := o.env.lookup("KAVACH_OUTPUT")
	if def == "" {
		def = "table"
	}
	cmd.PersistentFlags().StringVarP(&o.format, "output", "o", def, "form of the answer: table, json or yaml")
	// The only error is a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
}

// check refuses an unknown form before anything is sent.
func (o *output) check() error {
	switch o.format {
	case "table", "json", "yaml":
		return nil
	}
	return usagef("-o %q is not table, json or yaml", o.format)
}

// message prints an API message; fill makes its table.
func (o *output) message(m proto.Message, fill func(*table)) error {
	data, err := marshalJSON(m)
	if err != nil {
		return err
	}
	return o.print(data, fill)
}

// marshalJSON returns the API's JSON, false and zero values written out.
func marshalJSON(m proto.Message) ([]byte, error) {
	data, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write the answer as JSON: %w", err)
	}
	return data, nil
}

// print prints JSON text in the wanted form.
func (o *output) print(data []byte, fill func(*table)) error {
	if err := o.check(); err != nil {
		return err
	}
	var text bytes.Buffer
	switch o.format {
	case "json":
		if err := json.Indent(&text, data, "", "  "); err != nil {
			return fmt.Errorf("write the answer as JSON: %w", err)
		}
		text.WriteByte('\n')
	case "yaml":
		if err := writeYAML(&text, data); err != nil {
			return err
		}
	default:
		t := newTable(&text, o.env.color())
		fill(t)
		if err := t.flush(); err != nil {
			return err
		}
	}
	_, err := o.env.Stdout.Write(text.Bytes())
	return err
}

// writeYAML turns JSON into block YAML, in the same order of fields. JSON is YAML: only the style is changed.
func writeYAML(w *bytes.Buffer, data []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("write the answer as YAML: %w", err)
	}
	plain(&doc)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return fmt.Errorf("write the answer as YAML: %w", err)
	}
	return enc.Close()
}

// plain drops flow and quotes; the encoder quotes again what would read as something else.
func plain(n *yaml.Node) {
	empty := len(n.Content) == 0 && (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode)
	if n.Kind == yaml.ScalarNode && n.Style&yaml.DoubleQuotedStyle != 0 {
		n.Tag = "!!str"
	}
	if !empty {
		n.Style = 0
	}
	for _, child := range n.Content {
		plain(child)
	}
}

// table is rows of cells, or one column of names and one of values.
type table struct {
	w     *tabwriter.Writer
	color bool
	wide  int // cells in a row
}

func newTable(buf *bytes.Buffer, color bool) *table {
	return &table{w: tabwriter.NewWriter(buf, 0, 0, 2, ' ', tabwriter.StripEscape), color: color}
}

// Colors of a cell. All have the same length, so that a column stays aligned.
const (
	colorNone  = "\x1b[39m"
	colorGood  = "\x1b[32m"
	colorBad   = "\x1b[31m"
	colorWarn  = "\x1b[33m"
	colorReset = "\x1b[39m"
)

// header writes the names of the columns.
func (t *table) header(cells ...string) { t.row(cells...) }

// row writes one row.
func (t *table) row(cells ...string) {
	t.wide = len(cells)
	for i, cell := range cells {
		if i > 0 {
			fmt.Fprint(t.w, "\t")
		}
		fmt.Fprint(t.w, t.paint(cell))
	}
	fmt.Fprintln(t.w)
}

// field writes one name and its value, unless that is empty.
func (t *table) field(name, value string) {
	if value != "" {
		t.row(name+":", value)
	}
}

// line writes a line that takes no part in the columns.
func (t *table) line(format string, args ...any) {
	fmt.Fprintf(t.w, format+"\n", args...)
}

func (t *table) flush() error {
	if err := t.w.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// paint cleans a cell (a table must not be broken, or a terminal steered, by somebody's name) and colors known words.
func (t *table) paint(cell string) string {
	cell = printable(cell)
	if !t.color {
		return cell
	}
	color := colorNone
	switch word, _, _ := strings.Cut(cell, " "); word {
	case "ALLOWED", "ACTIVE", "yes", "alive", "ready":
		color = colorGood
	case "DENIED", "REVOKED", "no", "unreachable":
		color = colorBad
	case "EXPIRED", "RATE_LIMITED", "suspect", "left":
		color = colorWarn
	}
	return color + cell + colorReset
}

// printable replaces control characters, which could steer a terminal, by their Go escapes.
func printable(s string) string {
	clean := true
	for _, r := range s {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0xfffd {
			clean = false
		}
	}
	if clean {
		return s
	}
	quoted := fmt.Sprintf("%q", s)
	return quoted[1 : len(quoted)-1]
}
