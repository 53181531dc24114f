package main

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBuild builds the program as `make build` does: static, with a version that the linker sets.
func TestBuild(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "kavachd")
	build := exec.Command("go", "build", "-ldflags", "-s -w -X main.version=v9.8.7", "-o", bin, ".")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(bin, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "v9.8.7") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = exec.Command(bin, "nonsense").CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 {
		t.Errorf("a wrong command: %v\n%s", err, out)
	}
}
