#!/usr/bin/env bash
# go.mod and go.sum, here and of each tool, hold what is needed and nothing else. Works on a copy of the files that git
# knows or would add, so that nothing is changed and nothing local counts.
cd "$(dirname "$0")/.."
set -euo pipefail
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -co --exclude-standard -z | xargs -0 ls -d 2>/dev/null | tar -c -T - | tar -x -C "$copy"
cd "$copy"
go mod tidy -diff
go mod verify
