package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// module is a small repository whose test can be seen to notice and not to notice.
func module(t *testing.T, mutants map[string]string) string {
	t.Helper()
	root := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.com/m\n\ngo 1.26\n")
	write("max/max.go", "package max\n\nfunc Max(a, b int) int {\n\tif a > b {\n\t\treturn a\n\t}\n\treturn b\n}\n")
	write("max/max_test.go", `package max

import (
	"os"
	"testing"
	"time"
)

func TestMax(t *testing.T) {
	if got := Max(2, 1); got != 2 {
		t.Fatalf("got %d", got)
	}
}

func TestWeak(t *testing.T) { _ = Max(1, 1) }

func TestRed(t *testing.T) { t.Fatal("always") }

func TestEnv(t *testing.T) {
	if os.Getenv("BOTH") == "yes" && Max(1, 2) != 2 {
		t.Fatal("the second")
	}
}

func TestHang(t *testing.T) {
	if Max(2, 1) != 2 {
		time.Sleep(time.Hour)
	}
}
`)
	for name, text := range mutants {
		write(filepath.Join("testdata/mutants", name), text)
	}
	return root
}

// edit describes a mutant of Max.
func edit(name, test, find, replace, more string) string {
	return "name: " + name + "\nwhy: because\npackage: ./max\ntest: " + test +
		"\nfile: max/max.go\nfind: \"" + find + "\"\nreplace: \"" + replace + "\"\n" + more
}

func TestVerdicts(t *testing.T) {
	overlay := "name: whole\nwhy: because\npackage: ./max\ntest: ^TestMax$\noverlay: {max/max.go: whole.go}\n"
	tests := []struct {
		name, area string
		mutant     string
		want       Verdict
		by         string
	}{
		{name: "caught", mutant: edit("caught", "^TestMax$", "a > b", "a < b", ""), want: Caught, by: "TestMax"},
		{name: "env", mutant: edit("env", "^TestEnv$", "return b", "return 7", "env: {BOTH: \"yes\"}\n"), want: Caught, by: "TestEnv"},
		{name: "panic", mutant: edit("panic", "^TestMax$", "return a", "panic(1)", ""), want: Caught, by: "TestMax"},
		{name: "weak", mutant: edit("weak", "^TestWeak$", "a > b", "a < b", ""), want: Survived},
		{name: "nobuild", mutant: edit("nobuild", "^TestMax$", "a > b", "a > c", ""), want: Broken},
		{name: "gone", mutant: edit("gone", "^TestMax$", "a >= b", "a < b", ""), want: Stale},
		{name: "twice", mutant: edit("twice", "^TestMax$", "return", "panic", ""), want: Stale},
		{name: "red", mutant: edit("red", "^TestRed$", "a > b", "a < b", ""), want: BaseRed},
		{name: "notest", mutant: edit("notest", "^TestNone$", "a > b", "a < b", ""), want: NoTest},
		{name: "hang", mutant: edit("hang", "^TestHang$", "a > b", "a < b", "timeout: 1s\n"), want: Hung, by: "TestHang"},
		{name: "whole", mutant: overlay, want: Caught, by: "TestMax"},
	}
	files := map[string]string{
		"x/whole.go": "package max\n\nfunc Max(a, b int) int {\n\treturn min(a, b)\n}\n",
	}
	for _, tc := range tests {
		files["x/"+tc.name+".yaml"] = tc.mutant
	}
	root := module(t, files)
	mutants, err := load(filepath.Join(root, "testdata/mutants"))
	if err != nil {
		t.Fatal(err)
	}
	r := newRunner(root, t.TempDir())
	got := map[string]Verdict{}
	want := map[string]Verdict{}
	for _, m := range mutants {
		res, err := r.run(t.Context(), m)
		if err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		got[m.Name+" by "+res.By] = res.Verdict
	}
	for _, tc := range tests {
		want[tc.name+" by "+tc.by] = tc.want
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
}

func TestExitCode(t *testing.T) {
	good := map[string]string{"x/caught.yaml": edit("caught", "^TestMax$", "a > b", "a < b", "")}
	bad := map[string]string{
		"x/weak.yaml": edit("weak", "^TestWeak$", "a > b", "a < b", ""),
		"y/long.yaml": edit("long", "^TestMax$", "a > b", "a < b", "long: true\n"),
	}
	tests := []struct {
		name    string
		mutants map[string]string
		args    []string
		code    int
		text    string
	}{
		{name: "all caught", mutants: good, code: 0, text: "1 of 1 mutants caught"},
		{name: "one survives", mutants: bad, code: 1, text: "1 of 2 mutants caught"},
		{name: "one area", mutants: bad, args: []string{"-area", "y"}, code: 0, text: "1 of 1 mutants caught"},
		{name: "short", mutants: bad, args: []string{"-short"}, code: 1, text: "0 of 1 mutants caught"},
		{name: "none chosen", mutants: bad, args: []string{"-name", "nothing"}, code: 2},
		{name: "none there", mutants: nil, code: 2},
		{name: "bad flag", mutants: good, args: []string{"-name", "("}, code: 2},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			code, err := command(t.Context(), append([]string{"-root", module(t, tc.mutants)}, tc.args...), &out)
			if code != tc.code || (err != nil) != (tc.code == 2) || !strings.Contains(out.String(), tc.text) {
				t.Errorf("code %d (want %d), error %v, output:\n%s", code, tc.code, err, out.String())
			}
		})
	}
}

func TestDescriptionsThatMakeNoSense(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"other", edit("caught", "T", "a", "b", ""), `name is "caught"`},
		{"unknown", edit("unknown", "T", "a", "b", "colour: red\n"), "colour"},
		{"same", edit("same", "T", "a", "a", ""), "the same"},
		{"expression", edit("expression", `"("`, "a", "b", ""), "test:"},
		{"patient", edit("patient", "T", "a", "b", "timeout: 2h\n"), "timeout is 2h"},
		{"empty", "name: empty\nwhy: x\npackage: ./max\ntest: T\n", "nothing to break"},
		{"bare", "name: bare\n", "why is missing"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			root := module(t, map[string]string{"x/" + tc.name + ".yaml": tc.text})
			_, err := load(filepath.Join(root, "testdata/mutants"))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

func TestChangedLines(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"a\nb\nc", "a\nb\nc", 0},
		{"a\nb\nc", "a\nx\nc", 2},
		{"a\nb\nc", "a\nc", 1},
		{"", "a", 2},
		{"a\nb", "b\na", 2},
	}
	for _, tc := range tests {
		if got := changedLines(tc.a, tc.b); got != tc.want {
			t.Errorf("changedLines(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

func TestOldCopyIsStale(t *testing.T) {
	root := module(t, map[string]string{
		"x/old.yaml": "name: old\nwhy: x\npackage: ./max\ntest: T\noverlay: {max/max.go: old.go}\n",
		"x/old.go":   "package max\n" + strings.Repeat("// a line that the source no longer has\n", maxOverlayLines),
	})
	mutants, err := load(filepath.Join(root, "testdata/mutants"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := newRunner(root, t.TempDir()).run(t.Context(), mutants[0])
	if err != nil || res.Verdict != Stale {
		t.Errorf("got %s, %v; want %s", res.Verdict, err, Stale)
	}
}
