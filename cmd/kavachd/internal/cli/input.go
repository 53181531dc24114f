package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// maxInputFile bounds a file with permissions: more would not fit into a request.
const maxInputFile = 4 << 20

// readAtMost reads all of r, and refuses more than limit bytes.
func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return data, nil
}

// readFile reads a file, or standard input for "-".
func readFile(env Env, file string, limit int64) ([]byte, error) {
	if file == "-" {
		return readAtMost(env.Stdin, limit)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	data, err := readAtMost(f, limit)
	if err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return data, errors.Join(err, f.Close())
}

// expiry are the flags that say when something ends.
type expiry struct {
	ttl   time.Duration
	at    string
	never bool
}

func (e *expiry) flags(cmd *cobra.Command, absent string) {
	f := cmd.Flags()
	f.DurationVar(&e.ttl, "ttl", 0, "ends after this long, as 24h ("+absent+")")
	f.StringVar(&e.at, "expires-at", "", "ends at this time, as 2027-01-31T12:00:00Z")
	f.BoolVar(&e.never, "never-expires", false, "never ends")
	cmd.MarkFlagsMutuallyExclusive("ttl", "expires-at", "never-expires")
}

// message returns nil if no flag was given.
func (e *expiry) message(cmd *cobra.Command) (*kavachv1.Expiry, error) {
	switch {
	case cmd.Flags().Changed("ttl"):
		return &kavachv1.Expiry{Expiry: &kavachv1.Expiry_Ttl{Ttl: durationpb.New(e.ttl)}}, nil
	case e.at != "":
		at, err := time.Parse(time.RFC3339, e.at)
		if err != nil {
			return nil, usagef("--expires-at %q is not a time such as 2027-01-31T12:00:00Z", e.at)
		}
		return &kavachv1.Expiry{Expiry: &kavachv1.Expiry_At{At: timestamppb.New(at)}}, nil
	case e.never:
		return &kavachv1.Expiry{Expiry: &kavachv1.Expiry_Never{Never: &emptypb.Empty{}}}, nil
	}
	return nil, nil
}

// consistency is the flag that says how current an answer must be.
type consistency struct{ text string }

func (c *consistency) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.text, "consistency", "default",
		"how current the answer must be: default (sees every acknowledged write), fresh, settled, at-least=REVISION, stale-ok=DURATION")
	_ = cmd.RegisterFlagCompletionFunc("consistency", cobra.FixedCompletions(
		[]cobra.Completion{"default", "fresh", "settled", "at-least=", "stale-ok="}, cobra.ShellCompDirectiveNoFileComp))
}

// message returns nil for the default.
func (c *consistency) message() (*kavachv1.Consistency, error) {
	name, value, _ := strings.Cut(c.text, "=")
	switch {
	case c.text == "" || c.text == "default":
		return nil, nil
	case c.text == "fresh":
		return &kavachv1.Consistency{Level: &kavachv1.Consistency_Fresh{Fresh: true}}, nil
	case c.text == "settled":
		return &kavachv1.Consistency{Level: &kavachv1.Consistency_Settled{Settled: true}}, nil
	case name == "at-least" && value != "":
		return &kavachv1.Consistency{Level: &kavachv1.Consistency_AtLeast{AtLeast: value}}, nil
	case name == "stale-ok":
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return nil, usagef("--consistency stale-ok=%s: give a duration above 0, as stale-ok=30s", value)
		}
		return &kavachv1.Consistency{Level: &kavachv1.Consistency_StaleOk{StaleOk: durationpb.New(d)}}, nil
	}
	return nil, usagef("--consistency %q is not default, fresh, settled, at-least=REVISION or stale-ok=DURATION", c.text)
}

// paging are the flags of lists.
type paging struct {
	limit int
	token string
}

// maxPage is the most rows that one answer brings.
const maxPage = 1000

func (p *paging) flags(cmd *cobra.Command) {
	cmd.Flags().IntVar(&p.limit, "limit", 100, "at most so many rows; 0 for all")
	cmd.Flags().StringVar(&p.token, "page-token", "", "go on after an earlier page (its nextPageToken)")
}

// next returns the size of the next page when so many rows are there already; false if that is enough.
func (p *paging) next(have int) (int32, bool) {
	if p.limit <= 0 {
		return maxPage, true
	}
	return int32(min(p.limit-have, maxPage)), have < p.limit
}

// more tells on standard error that there are more rows.
func (p *paging) more(env Env, token string) {
	if token != "" {
		fmt.Fprintf(env.Stderr, "There are more: --limit 0 shows all, --page-token %s goes on.\n", token)
	}
}

// enum parses the short, lower-case name of a value of an enum: autonomous for AGENT_TYPE_AUTONOMOUS.
func enum(flag, prefix, text string, values map[string]int32) (int32, error) {
	if text == "" {
		return 0, nil
	}
	if n, ok := values[prefix+strings.ToUpper(strings.ReplaceAll(text, "-", "_"))]; ok && n != 0 {
		return n, nil
	}
	return 0, usagef("%s %q is not %s", flag, text, strings.Join(enumNames(prefix, values), ", "))
}

// enumNames lists the short names in order of their numbers.
func enumNames(prefix string, values map[string]int32) []string {
	names := make([]string, len(values))
	for name, n := range values {
		names[n] = strings.ToLower(strings.TrimPrefix(name, prefix))
	}
	return names[1:]
}

// object reads JSON text of an object as a Struct.
func object(flag, text string) (*structpb.Struct, error) {
	if text == "" {
		return nil, nil
	}
	s := &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(text), s); err != nil {
		return nil, usagef("%s must be a JSON object, as '{\"team\":\"sre\"}'", flag)
	}
	return s, nil
}

// argumentsJSON makes the text of the call's arguments from --arg name=value and --args-json.
func argumentsJSON(pairs []string, text string) (string, error) {
	if text != "" {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		var fields map[string]json.RawMessage
		if err := dec.Decode(&fields); err != nil || dec.More() {
			return "", usagef("--args-json must be a JSON object, as '{\"path\":\"/etc/hosts\",\"n\":1}'")
		}
		return text, nil
	}
	if len(pairs) == 0 {
		return "", nil
	}
	var b bytes.Buffer
	seen := map[string]bool{}
	for i, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return "", usagef("--arg %q: give name=value", pair)
		}
		if seen[name] {
			return "", usagef("--arg %s stands twice", name)
		}
		seen[name] = true
		b.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
		for j, part := range []string{name, value} {
			quoted, err := json.Marshal(part)
			if err != nil {
				return "", fmt.Errorf("--arg %s: %w", name, err)
			}
			if j == 1 {
				b.WriteByte(':')
			}
			b.Write(quoted)
		}
	}
	b.WriteByte('}')
	return b.String(), nil
}

// timeFlag reads a time, or how long ago it was: 2027-01-31T12:00:00Z, 15m.
func timeFlag(flag, text string, now time.Time) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return timestamppb.New(now.Add(-ago)), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, usagef("%s %q is neither a time such as 2027-01-31T12:00:00Z nor how long ago, such as 15m", flag, text)
	}
	return timestamppb.New(at), nil
}

// Texts of cells.

func when(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

func whenOr(t *timestamppb.Timestamp, absent string) string {
	if t == nil {
		return absent
	}
	return when(t)
}

func short(prefix, name string) string { return strings.TrimPrefix(name, prefix) }

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
