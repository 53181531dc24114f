package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Sources is what a configuration is read from, the strongest last.
type Sources struct {
	// File names the file, for messages; empty: there is none.
	File string
	// Data is the file's content.
	Data []byte
	// Environ is the environment, as os.Environ returns it.
	Environ []string
	// Flags are the flags that were given, by name without dashes.
	Flags map[string]string
	// ReadFile reads the join secret's file.
	ReadFile func(string) ([]byte, error)
}

// Loaded is a configuration and where each value came from.
type Loaded struct {
	Config
	// From holds the source of each key that is not the default, as kavachd.yaml:7.
	From map[string]string
	// Warnings tell of what was ignored, such as a KAVACH_* variable that no setting has.
	Warnings []string
}

// ClientEnv are the KAVACH_* variables that the command line reads; they are not settings of a node.
var ClientEnv = []string{"KAVACH_ADDR", "KAVACH_TOKEN", "KAVACH_TOKEN_FILE", "KAVACH_TIMEOUT", "KAVACH_OUTPUT", "KAVACH_CONFIG"}

// Load reads flags over environment over file over defaults, and validates. It returns every problem of every source at
// once, as Problems; the configuration is returned with them as far as it could be read.
func Load(src Sources) (Loaded, error) {
	l := Loaded{Config: Default(), From: map[string]string{}}
	problems := l.file(src)
	problems = append(problems, l.environ(src.Environ)...)
	problems = append(problems, l.flags(src.Flags)...)
	problems = append(problems, l.secretFile(src.ReadFile)...)
	seen := map[string]bool{}
	for _, p := range problems {
		seen[p.Path] = true
	}
	for _, p := range l.Validate() {
		key, _, _ := strings.Cut(p.Path, "[") // a problem of cluster.peers[1] has the source of cluster.peers
		if seen[key] {
			continue // what could not be read is not judged a second time
		}
		p.Source = l.From[key]
		problems = append(problems, p)
	}
	return l, problems.err()
}

// file reads the YAML file: known keys only, each once, one document.
func (l *Loaded) file(src Sources) Problems {
	if src.File == "" {
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(src.Data))
	var doc yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil // an empty file says nothing
	}
	if err != nil {
		return Problems{{Source: src.File, Message: strings.TrimPrefix(err.Error(), "yaml: ")}}
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Problems{{Source: src.File, Message: "holds more than one document"}}
	}
	w := walker{loaded: l, file: src.File, seen: map[string]int{}}
	w.mapping("", doc.Content[0])
	return w.problems
}

// walker goes through the file's tree with the table in hand.
type walker struct {
	loaded   *Loaded
	file     string
	seen     map[string]int // key -> line
	problems Problems
}

func (w *walker) fail(n *yaml.Node, path, format string, args ...any) {
	w.problems = append(w.problems, Problem{Source: fmt.Sprintf("%s:%d", w.file, n.Line), Path: path, Message: fmt.Sprintf(format, args...)})
}

// mapping walks one level. An alias is refused: a file this small needs none, and each value has one line.
func (w *walker) mapping(prefix string, n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // "cluster:" with nothing below it
	}
	if n.Kind != yaml.MappingNode {
		w.fail(n, strings.TrimSuffix(prefix, "."), "must hold settings, one key a line")
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		path := prefix + key.Value
		if line, ok := w.seen[path]; ok {
			w.fail(key, path, "stands twice; first in line %d", line)
			continue
		}
		w.seen[path] = key.Line
		if at := slices.IndexFunc(options, func(o Option) bool { return o.Key == path }); at >= 0 {
			w.value(options[at], value)
			continue
		}
		if slices.ContainsFunc(options, func(o Option) bool { return strings.HasPrefix(o.Key, path+".") }) {
			w.mapping(path+".", value)
			continue
		}
		w.fail(key, path, "unknown setting%s", suggest(path))
	}
}

// value sets one option from its node.
func (w *walker) value(o Option, n *yaml.Node) {
	text := n.Value
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return // no value: the default stays
	case o.Kind() == "list" && n.Kind == yaml.SequenceNode:
		parts := make([]string, 0, len(n.Content))
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				w.fail(item, o.Key, "must be a list of texts")
				return
			}
			parts = append(parts, item.Value)
		}
		text = strings.Join(parts, ",")
	case n.Kind != yaml.ScalarNode:
		w.fail(n, o.Key, "must be a %s", o.Kind())
		return
	}
	if err := o.set(&w.loaded.Config, text); err != nil {
		w.fail(n, o.Key, "%v", err)
		return
	}
	w.loaded.From[o.Key] = fmt.Sprintf("%s:%d", w.file, n.Line)
}

// environ reads KAVACH_*. A name that no setting has is only a warning: a container platform may set such names by
// itself, for a service that is called kavach.
func (l *Loaded) environ(environ []string) Problems {
	var problems Problems
	for _, pair := range environ {
		name, text, ok := strings.Cut(pair, "=")
		if !ok || !strings.HasPrefix(name, "KAVACH_") || slices.Contains(ClientEnv, name) {
			continue
		}
		at := slices.IndexFunc(options, func(o Option) bool { return o.Env() == name })
		if at < 0 {
			l.Warnings = append(l.Warnings, fmt.Sprintf("environment: %s is no setting and was ignored", name))
			continue
		}
		problems = append(problems, l.text(options[at], name, text)...)
	}
	return problems
}

// flags reads the flags that were given.
func (l *Loaded) flags(flags map[string]string) Problems {
	var problems Problems
	for _, o := range options {
		if text, ok := flags[o.Flag()]; ok && o.Flag() != "" {
			problems = append(problems, l.text(o, "--"+o.Flag(), text)...)
		}
	}
	return problems
}

func (l *Loaded) text(o Option, source, text string) Problems {
	if err := o.set(&l.Config, text); err != nil {
		return Problems{{Path: o.Key, Source: source, Message: err.Error()}}
	}
	l.From[o.Key] = source
	return nil
}

// secretFile reads the join secret from its file. Two secrets are refused unless the file is the weaker source's word:
// nobody can see which one counts.
func (l *Loaded) secretFile(read func(string) ([]byte, error)) Problems {
	const key, fileKey = "cluster.join_secret", "cluster.join_secret_file"
	if l.Cluster.JoinSecretFile == "" {
		return nil
	}
	if l.Cluster.JoinSecret != "" {
		return Problems{{
			Path: key, Source: l.From[key],
			Message: fmt.Sprintf("is set, and so is %s (%s): give one of the two", fileKey, l.From[fileKey]),
		}}
	}
	data, err := read(l.Cluster.JoinSecretFile)
	if err != nil {
		return Problems{{Path: fileKey, Source: l.From[fileKey], Message: fmt.Sprintf("can't be read: %v", err)}}
	}
	l.Cluster.JoinSecret = string(bytes.TrimSpace(data))
	l.From[key] = l.Cluster.JoinSecretFile
	return nil
}

// suggest returns a hint at the most similar key, if one is near.
func suggest(path string) string {
	best, distance := "", 4
	for _, o := range options {
		if d := editDistance(path, o.Key); d < distance {
			best, distance = o.Key, d
		}
		if last := o.Key[strings.LastIndexByte(o.Key, '.')+1:]; last == path {
			return fmt.Sprintf("; did you mean %s?", o.Key)
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// editDistance is Levenshtein's, over bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
