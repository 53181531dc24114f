#!/usr/bin/env bash
# Refuses a change of the API that breaks its callers: against the latest release if there is one, else against the
# commit before the one that last touched proto/.
cd "$(dirname "$0")/.."
set -euo pipefail
BUF=${BUF:-go tool -modfile=tools/buf/go.mod buf}

against=$(git describe --tags --match 'v*' --abbrev=0 HEAD 2>/dev/null || true)
if [ -z "$against" ] && ! git diff --quiet HEAD -- proto buf.yaml; then
  against=HEAD
fi
if [ -z "$against" ]; then
  last=$(git log -1 --format=%H -- proto)
  against=$(git rev-parse --verify --quiet "$last^" || true)
fi
if [ -z "$against" ] || ! git cat-file -e "$against:buf.yaml" 2>/dev/null; then
  echo "no earlier version of proto/ in this clone's history: nothing to compare with"
  exit 0
fi
echo "against $(git rev-parse --short "$against")"

# A folder instead of a git reference, so that a shallow or partial clone works too.
old=$(mktemp -d)
trap 'rm -rf "$old"' EXIT
git archive "$against" buf.yaml proto third_party/proto | tar -x -C "$old"
$BUF breaking --against "$old"
