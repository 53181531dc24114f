package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

// good is a configuration that can be run.
const good = `
data_dir: /data
cluster:
  peers: [127.0.0.1:7400]
  join_secret: sixteen-bytes-ok
`

func load(t *testing.T, src Sources) (Loaded, []string) {
	t.Helper()
	if src.ReadFile == nil {
		src.ReadFile = func(name string) ([]byte, error) { return nil, errors.New(name + ": no such file") }
	}
	if src.Data != nil && src.File == "" {
		src.File = "k.yaml"
	}
	loaded, err := Load(src)
	if err == nil {
		return loaded, nil
	}
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("Load returned a %T: %v", err, err)
	}
	return loaded, strings.Split(problems.Error(), "\n")
}

func TestTable(t *testing.T) {
	seen := map[string]string{}
	for _, o := range Options() {
		for _, name := range []string{o.Key, o.Env(), "--" + o.Flag()} {
			if other, ok := seen[name]; ok && name != "--" {
				t.Errorf("%s is a name of both %s and %s", name, other, o.Key)
			}
			seen[name] = o.Key
		}
		if o.Doc == "" || !strings.HasSuffix(o.Doc, ".") {
			t.Errorf("%s: its documentation is no sentence: %q", o.Key, o.Doc)
		}
		if o.Secret != (o.Flag() == "") {
			t.Errorf("%s: secret %v, flag %q", o.Key, o.Secret, o.Flag())
		}
		var c Config
		if err := o.set(&c, o.Default); err != nil {
			t.Errorf("%s: default %q: %v", o.Key, o.Default, err)
		}
		if got := o.get(&c); got != o.Default {
			t.Errorf("%s: default %q reads back as %q", o.Key, o.Default, got)
		}
	}
	def := Default()
	if got := def.ValidateSolo(); len(got) != 1 || got[0].Path != "cluster.join_secret" {
		t.Errorf("the defaults lack more than a secret: %v", got)
	}
}

func TestFile(t *testing.T) {
	loaded, problems := load(t, Sources{Data: []byte(`
# All kinds of values.
data_dir: /data
api:
  listen: "[::1]:9000"
  advertise: localhost:9000
cluster:
  peers:
    - localhost:9000
    - 127.0.0.1:9010
  replica: false
  join_secret: sixteen-bytes-ok
log: {level: debug, format: json}
shutdown_timeout: 1m
`)})
	if problems != nil {
		t.Fatal(problems)
	}
	want := Default()
	want.DataDir = "/data"
	want.API = Listener{"[::1]:9000", "localhost:9000"}
	want.Cluster = Cluster{Peers: []string{"localhost:9000", "127.0.0.1:9010"}, JoinSecret: "sixteen-bytes-ok"}
	want.Log = Log{"debug", "json"}
	want.ShutdownTimeout = time.Minute
	if diff := cmp.Diff(want, loaded.Config); diff != "" {
		t.Error(diff)
	}
	if got, want := loaded.From["api.advertise"], "k.yaml:6"; got != want {
		t.Errorf("source of api.advertise: %s, want %s", got, want)
	}
}

func TestProblems(t *testing.T) {
	tests := []struct {
		name, file string
		want       []string
	}{
		{"unknown key", good + "api:\n  listn: 127.0.0.1:1\n", []string{"k.yaml:7: api.listn: unknown setting; did you mean api.listen?"}},
		{"key at the wrong level", good + "listen: 127.0.0.1:1\n", []string{"k.yaml:6: listen: unknown setting; did you mean api.listen?"}},
		{"unlike anything", good + "something_else_entirely: 1\n", []string{"k.yaml:6: something_else_entirely: unknown setting"}},
		{"twice", good + "data_dir: /other\n", []string{"k.yaml:6: data_dir: stands twice; first in line 2"}},
		{"two documents", good + "---\ndata_dir: /x\n", []string{"k.yaml: holds more than one document", "data_dir"}},
		{"no mapping", "- a\n", []string{"k.yaml:1: must hold settings, one key a line", "cluster.peers: is empty", "cluster.join_secret: is empty"}},
		{"section is text", good + "log: debug\n", []string{"k.yaml:6: log: must hold settings, one key a line"}},
		{"value is a section", good + "shutdown_timeout: {a: 1}\n", []string{"k.yaml:6: shutdown_timeout: must be a duration"}},
		{"not YAML", "a: [\n", []string{"k.yaml: line", "cluster.peers", "cluster.join_secret"}},
		{"bad duration", good + "shutdown_timeout: 30\n", []string{`k.yaml:6: shutdown_timeout: "30" is not a duration such as 30s or 5m`}},
		{"bad bool", "cluster: {replica: maybe, join: ['127.0.0.1:1'], join_secret: sixteen-bytes-ok}\n", []string{`k.yaml:1: cluster.replica: "maybe" is not true or false`}},
		{
			"all at once, each with its line", `
data_dir: ""
api:
  listen: 0.0.0.0:7400
raft:
  listen: 127.0.0.1:99999
  timing: quick
gossip:
  listen: nonsense
admin:
  listen: 10.0.0.1:1
cluster:
  peers: [127.0.0.1:7400, 127.0.0.1:7400]
  join: [example.com:7400]
  replica: true
  join_secret: short
log:
  level: loud
  format: xml
shutdown_timeout: 0s
colour: red
`,
			[]string{
				`k.yaml:21: colour: unknown setting`,
				`k.yaml:2: data_dir: is empty; give a directory`,
				`k.yaml:4: api.listen: is 0.0.0.0:7400, which other machines can reach; this version has no TLS yet`,
				`k.yaml:6: raft.listen: has port "99999"; it must be from 1 to 65535`,
				`k.yaml:9: gossip.listen: is "nonsense"; it must be an address and a port`,
				`k.yaml:11: admin.listen: is 10.0.0.1:1, which other machines can reach`,
				`k.yaml:14: cluster.join: is example.com:7400, and cluster.peers is 127.0.0.1:7400,127.0.0.1:7400; peers form`,
				`k.yaml:15: cluster.replica: is true, and cluster.peers is set`,
				`k.yaml:13: cluster.peers[1]: is 127.0.0.1:7400, and so is cluster.peers[0]`,
				`k.yaml:14: cluster.join[0]: has host "example.com"`,
				`k.yaml:16: cluster.join_secret: has 5 bytes; it must have at least 16`,
				`k.yaml:18: log.level: is "loud"; it must be debug, info, warn or error`,
				`k.yaml:19: log.format: is "xml"; it must be text or json`,
				`k.yaml:7: raft.timing: is "quick"; it must be fast or slow`,
				`k.yaml:20: shutdown_timeout: is 0s; it must be from 1s to 10m0s`,
			},
		},
		{"own address not among the peers", "cluster: {peers: ['127.0.0.1:1'], join_secret: sixteen-bytes-ok}\n", []string{"k.yaml:1: cluster.peers: is 127.0.0.1:1, without this node's own API address, which is 127.0.0.1:7400"}},
		{"one address twice", good + "raft: {listen: '127.0.0.1:7400'}\n", []string{"k.yaml:6: raft.listen: is 127.0.0.1:7400, and so is api.listen; each needs its own"}},
		{"port 0", good + "raft: {listen: '127.0.0.1:0'}\n", []string{`k.yaml:6: raft.listen: has port "0"`}},
		{"too many peers", "cluster: {join_secret: sixteen-bytes-ok, peers: ['127.0.0.1:7400', '127.0.0.1:2', '127.0.0.1:3', '127.0.0.1:4', '127.0.0.1:5', '127.0.0.1:6', '127.0.0.1:7', '127.0.0.1:8', '127.0.0.1:9', '127.0.0.1:10']}\n", []string{"k.yaml:1: cluster.peers: has 10 addresses; at most 9"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, got := load(t, Sources{Data: []byte(test.file)})
			if test.name == "two documents" {
				test.want = test.want[:1]
				got = got[:1]
			}
			if len(got) != len(test.want) {
				t.Fatalf("%d problems, want %d:\n%s", len(got), len(test.want), strings.Join(got, "\n"))
			}
			for i := range got {
				if !strings.Contains(got[i], test.want[i]) {
					t.Errorf("problem %d:\n got %s\nwant %s", i, got[i], test.want[i])
				}
			}
		})
	}
}

func TestPrecedence(t *testing.T) {
	file := []byte(good + "log: {level: error}\nshutdown_timeout: 1m\n")
	environ := []string{"KAVACH_LOG_LEVEL=warn", "PATH=/bin", "KAVACH_ADDR=127.0.0.1:1", "KAVACH_PORT_7400_TCP=tcp://10.0.0.1:7400"}
	flags := map[string]string{"log-level": "debug"}
	steps := []struct {
		name        string
		src         Sources
		level, from string
	}{
		{"default", Sources{Data: []byte(good)}, "info", ""},
		{"file over default", Sources{Data: file}, "error", "k.yaml:6"},
		{"environment over file", Sources{Data: file, Environ: environ}, "warn", "KAVACH_LOG_LEVEL"},
		{"flag over environment", Sources{Data: file, Environ: environ, Flags: flags}, "debug", "--log-level"},
		{"flag over default", Sources{Data: []byte(good), Flags: flags}, "debug", "--log-level"},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			loaded, problems := load(t, step.src)
			if problems != nil {
				t.Fatal(problems)
			}
			if loaded.Log.Level != step.level || loaded.From["log.level"] != step.from {
				t.Errorf("%s from %q, want %s from %q", loaded.Log.Level, loaded.From["log.level"], step.level, step.from)
			}
			if step.src.Environ != nil && !cmp.Equal(loaded.Warnings, []string{"environment: KAVACH_PORT_7400_TCP is no setting and was ignored"}) {
				t.Errorf("warnings: %q", loaded.Warnings)
			}
		})
	}
}

func TestEveryKeyFromEverySource(t *testing.T) {
	value := map[string]string{"text": "x", "true or false": "true", "duration": "7s", "list": "a,b"}
	for _, o := range Options() {
		t.Run(o.Key, func(t *testing.T) {
			want := value[o.Kind()]
			section, key, nested := strings.Cut(o.Key, ".")
			file := o.Key + ": " + want + "\n"
			if nested {
				file = section + ":\n  " + key + ": " + want + "\n"
			}
			sources := map[string]Sources{
				"file": {File: "k.yaml", Data: []byte(file)},
				"env":  {Environ: []string{o.Env() + "=" + want}},
			}
			if o.Flag() != "" {
				sources["flag"] = Sources{Flags: map[string]string{o.Flag(): want}}
			}
			for name, src := range sources {
				src.ReadFile = func(string) ([]byte, error) { return []byte("y"), nil }
				loaded, _ := Load(src) // it lacks a secret, and x is no address
				if got := o.get(&loaded.Config); got != want {
					t.Errorf("%s: %s is %q, want %q", name, o.Key, got, want)
				}
				if loaded.From[o.Key] == "" {
					t.Errorf("%s: no source", name)
				}
			}
		})
	}
}

func TestJoinSecret(t *testing.T) {
	const base = "cluster: {peers: ['127.0.0.1:7400'], "
	read := func(name string) ([]byte, error) {
		if name == "/s" {
			return []byte("\n from-the-file-itself \n"), nil
		}
		return nil, errors.New("open " + name + ": no such file")
	}
	tests := []struct {
		name, file string
		environ    []string
		want       string
		problem    string
	}{
		{"inline", base + "join_secret: inline-secret-16}", nil, "inline-secret-16", ""},
		{"environment", base + "}", []string{"KAVACH_CLUSTER_JOIN_SECRET=from-environment"}, "from-environment", ""},
		{"file", base + "join_secret_file: /s}", nil, "from-the-file-itself", ""},
		{"file by environment", base + "}", []string{"KAVACH_CLUSTER_JOIN_SECRET_FILE=/s"}, "from-the-file-itself", ""},
		{"both", base + "join_secret: inline-secret-16, join_secret_file: /s}", nil, "", "k.yaml:1: cluster.join_secret: is set, and so is cluster.join_secret_file (k.yaml:1)"},
		{"file that is not there", base + "join_secret_file: /t}", nil, "", "k.yaml:1: cluster.join_secret_file: can't be read: open /t: no such file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			loaded, problems := load(t, Sources{Data: []byte(test.file), Environ: test.environ, ReadFile: read})
			if test.problem != "" {
				if len(problems) == 0 || !strings.Contains(problems[0], test.problem) {
					t.Fatalf("problems %q, want %q", problems, test.problem)
				}
				return
			}
			if problems != nil || loaded.Cluster.JoinSecret != test.want {
				t.Fatalf("%q, %v", loaded.Cluster.JoinSecret, problems)
			}
			for _, s := range loaded.Settings() {
				if strings.Contains(s.Value, test.want) {
					t.Errorf("%s shows the secret", s.Key)
				}
				if s.Key == "cluster.join_secret" && s.Value != masked {
					t.Errorf("shown as %q", s.Value)
				}
			}
		})
	}
}

// TestProblemsHideSecrets: whatever is wrong with a secret, its value is not in the message.
func TestProblemsHideSecrets(t *testing.T) {
	_, problems := load(t, Sources{Data: []byte("cluster: {join_secret: hunter2-short, join_secret_file: /s}")})
	if text := strings.Join(problems, "\n"); strings.Contains(text, "hunter2") || text == "" {
		t.Errorf("problems: %s", text)
	}
}

// TestExample: the example in deploy/ can be run as it is, but for its secret.
func TestExample(t *testing.T) {
	data, err := os.ReadFile("../../../../deploy/kavachd.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	loaded, problems := load(t, Sources{Data: data, ReadFile: func(string) ([]byte, error) { return []byte("a-secret-of-17-bytes"), nil }})
	if problems != nil || len(loaded.From) < 10 {
		t.Errorf("%v, %d settings", problems, len(loaded.From))
	}
}

const docFile = "../../../../docs/configuration.md"

// TestDocumentation keeps docs/configuration.md equal to the table. With -update it writes the file.
func TestDocumentation(t *testing.T) {
	var want bytes.Buffer
	if err := Markdown(&want); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(docFile, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("docs/configuration.md is not current; run: go test ./cmd/kavachd/internal/config -update\n%s", diff)
	}
}

// FuzzFile: no file makes Load panic, and what it accepts is valid.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{good, "", "a: [", "cluster: {peers: &x [a], join: *x}", "api: {listen: {}}", "? [a]\n: b", "api:\n", "- 1"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		loaded, err := Load(Sources{File: "k.yaml", Data: data, ReadFile: func(string) ([]byte, error) { return []byte("a-secret-of-17-bytes"), nil }})
		if err != nil {
			return
		}
		if problems := loaded.Validate(); len(problems) > 0 {
			t.Errorf("accepted, and invalid: %v", problems)
		}
	})
}
