#!/usr/bin/env bash
# Everything about the source that is not a test. Needs Go and git.
cd "$(dirname "$0")/.."
STEP_TITLE=lint
. scripts/lib.sh

BUF=${BUF:-go tool -modfile=tools/buf/go.mod buf}
GOLANGCI_LINT=${GOLANGCI_LINT:-go tool -modfile=tools/lint/go.mod golangci-lint}
GOFUMPT=${GOFUMPT:-go tool -modfile=tools/check/go.mod gofumpt}

# format names every file that gofumpt or buf would write otherwise.
format() {
  local files
  files=$(go_files | xargs $GOFUMPT -l)
  if [ -n "$files" ]; then
    printf 'not formatted; run make fmt:\n%s\n' "$files"
    return 1
  fi
  $BUF format --diff --exit-code proto
}

step format format
step vet go vet ./...
step golangci $GOLANGCI_LINT run --allow-parallel-runners --timeout 15m
step buf-lint $BUF lint
step buf-breaking scripts/breaking.sh
step generated scripts/gen.sh --check
step tidy scripts/tidy.sh
summary 0
