package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write testdata anew")

// packageDir is where testdata lies, also for tests that work in another folder.
var packageDir = func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
}()

// beKavachd makes this test binary be kavachd itself, for tests with real processes.
const beKavachd = "TEST_BE_KAVACHD"

func TestMain(m *testing.M) {
	if os.Getenv(beKavachd) != "" {
		os.Exit(Process("test"))
	}
	goleak.VerifyTestMain(m)
}

// result is what one command line did.
type result struct {
	code           int
	stdout, stderr string
}

// kavachd runs one command line in this process.
func kavachd(t *testing.T, environ []string, stdin string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := Main(t.Context(), args, Env{Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs, Environ: environ, Version: "test"})
	return result{code, out.String(), errs.String()}
}

// golden compares text with a file in testdata. With -update it writes the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join(packageDir, "testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); go test -update writes it anew:\n%s", file, diff)
	}
}
