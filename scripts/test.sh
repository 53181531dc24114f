#!/usr/bin/env bash
# What a newcomer runs. Needs Go, make and git; with a C compiler the race detector too. Ten minutes at most from a
# cold start on two cores.
cd "$(dirname "$0")/.."
STEP_TITLE=test
. scripts/lib.sh

# The packages whose tests are about goroutines that meet.
RACE_PACKAGES=(./authz/state/... ./storage/... ./audit/... ./cluster/...)

step build go build ./...
step vet go vet ./...
show unit go test -timeout 9m ./...
if can_race; then
  show race go test -race -short -timeout 9m "${RACE_PACKAGES[@]}"
else
  printf '\n== note: no C compiler here, so the race detector is left out; .ci/run brings one\n'
fi
show run go run ./integration/quickstart
summary 0
