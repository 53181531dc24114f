package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// permissions are the flags that say what is allowed.
type permissions struct {
	allow []string
	file  string
}

func (p *permissions) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&p.allow, "allow", nil, "a permission as 'resource=action,action'; repeat it for more, in the order in which they are tried")
	cmd.Flags().StringVar(&p.file, "permissions", "", "file with the list of permissions, constraints included, YAML or JSON; - for standard input")
	cmd.MarkFlagsMutuallyExclusive("allow", "permissions")
}

// given tells whether either flag was.
func (p *permissions) given() bool { return len(p.allow) > 0 || p.file != "" }

// messages reads the flags.
func (p *permissions) messages(env Env) ([]*kavachv1.Permission, error) {
	if p.file != "" {
		data, err := readFile(env, p.file, maxInputFile)
		if err != nil {
			return nil, usagef("--permissions: %w", err)
		}
		list, err := parsePermissions(data)
		if err != nil {
			return nil, usagef("--permissions %s: %w", p.file, err)
		}
		return list, nil
	}
	var list []*kavachv1.Permission
	for _, text := range p.allow {
		one, err := parseAllow(text)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

// parseAllow reads resource=action,action. The last '=' counts, since a resource may hold one.
func parseAllow(text string) (*kavachv1.Permission, error) {
	i := strings.LastIndexByte(text, '=')
	if i <= 0 || i == len(text)-1 {
		return nil, usagef("--allow %q: give resource=action,action, as 'mcp:github:*=read,comment'", text)
	}
	actions := strings.Split(text[i+1:], ",")
	for j, action := range actions {
		if actions[j] = strings.TrimSpace(action); actions[j] == "" {
			return nil, usagef("--allow %q: an action is empty", text)
		}
	}
	return &kavachv1.Permission{Resource: text[:i], Actions: actions}, nil
}

// parsePermissions reads a list, or an object whose only key is permissions, with the API's field names. An unknown field
// is an error, with its line.
func parsePermissions(data []byte) ([]*kavachv1.Permission, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data)) // JSON is YAML
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("is empty; an empty list is written []")
		}
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("holds more than one document")
	}
	list := doc.Content[0]
	if list.Kind == yaml.MappingNode && len(list.Content) == 2 && list.Content[0].Value == "permissions" {
		list = list.Content[1]
	}
	if list.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("line %d: must be a list of permissions, or one key, permissions, that holds it", list.Line)
	}
	out := make([]*kavachv1.Permission, 0, len(list.Content))
	for i, n := range list.Content {
		value, err := fromYAML(n, 0)
		if err != nil {
			return nil, fmt.Errorf("permissions[%d]: %w", i, err)
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("permissions[%d] (line %d): %w", i, n.Line, err)
		}
		one := &kavachv1.Permission{}
		if err := protojson.Unmarshal(text, one); err != nil {
			return nil, fmt.Errorf("permissions[%d] (line %d): %s", i, n.Line, protoProblem(err))
		}
		out = append(out, one)
	}
	return out, nil
}

// protoProblem cuts protojson's own prefix and position, which is one in text that the user never saw.
func protoProblem(err error) string {
	text := strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: ")
	if _, rest, ok := strings.Cut(text, "): "); ok && strings.Contains(text, "(line ") {
		return rest
	}
	return text
}

// maxNesting bounds the depth of a file's tree; a permission needs 5.
const maxNesting = 16

// fromYAML turns a node into what encoding/json writes. Aliases are refused (they can make a small file huge), and so are
// keys that stand twice.
func fromYAML(n *yaml.Node, depth int) (any, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("line %d: nested too deeply", n.Line)
	}
	switch n.Kind {
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, child := range n.Content {
			value, err := fromYAML(child, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case yaml.MappingNode:
		object := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if _, ok := object[key.Value]; ok {
				return nil, fmt.Errorf("line %d: %s stands twice", key.Line, key.Value)
			}
			value, err := fromYAML(n.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			object[key.Value] = value
		}
		return object, nil
	case yaml.ScalarNode:
		return scalar(n)
	}
	return nil, fmt.Errorf("line %d: aliases are not allowed", n.Line)
}

func scalar(n *yaml.Node) (any, error) {
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool":
		var b bool
		err := n.Decode(&b)
		return b, err
	case "!!int":
		var i int64
		if err := n.Decode(&i); err != nil {
			return nil, fmt.Errorf("line %d: %q is too large", n.Line, n.Value)
		}
		return i, nil
	case "!!float":
		var f float64
		err := n.Decode(&f)
		return f, err
	}
	return n.Value, nil
}

// permissionTable writes a list of permissions.
func permissionTable(t *table, list []*kavachv1.Permission) {
	if len(list) == 0 {
		t.line("No permissions.")
		return
	}
	t.header("#", "RESOURCE", "ACTIONS", "CONSTRAINTS")
	for i, p := range list {
		t.row(number(uint64(i)), p.GetResource(), strings.Join(p.GetActions(), ","), dash(constraintsText(p.GetConstraints())))
	}
}

// constraintsText says in one line what must hold besides.
func constraintsText(c *kavachv1.Constraints) string {
	var parts []string
	for _, a := range c.GetAllowedArgPatterns() {
		name := a.GetArgument()
		if name == "" {
			name = "every argument"
		}
		parts = append(parts, fmt.Sprintf("%s ~ %s", name, a.GetPattern()))
	}
	if c.GetRequireApproval() {
		parts = append(parts, "approval")
	}
	if w := c.GetTimeWindow(); w != nil {
		zone := w.GetTimeZone()
		if zone == "" {
			zone = "UTC"
		}
		parts = append(parts, fmt.Sprintf("%s-%s %s", w.GetStart(), w.GetEnd(), zone))
	}
	if ips := c.GetIpAllowlist(); len(ips) > 0 {
		parts = append(parts, "from "+strings.Join(ips, " "))
	}
	if c != nil && c.MaxCallsPerHour != nil {
		scope := ""
		if c.GetQuotaScope() == kavachv1.QuotaScope_QUOTA_SCOPE_RESOURCE {
			scope = " per resource"
		}
		parts = append(parts, fmt.Sprintf("%d calls/h%s", c.GetMaxCallsPerHour(), scope))
	}
	return strings.Join(parts, "; ")
}

// warn tells of warnings on standard error; the answer's other forms hold them anyway.
func warn(env Env, list []*kavachv1.Warning) {
	for _, w := range list {
		fmt.Fprintf(env.Stderr, "Warning: %s: %s: %s\n", printable(w.GetField()), w.GetReason(), printable(w.GetMessage()))
	}
}
