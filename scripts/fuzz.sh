#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other, for FUZZTIME each. The targets are found, not listed.
cd "$(dirname "$0")/.."
STEP_TITLE=fuzz
. scripts/lib.sh
FUZZTIME=${FUZZTIME:-10s}

found=0
while IFS=: read -r file target; do
  found=$((found + 1))
  step "fuzz-$target" go test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" "./$(dirname "$file")"
done < <(git ls-files -co --exclude-standard -- '*_test.go' ':!**/testdata/**' |
  xargs grep -oHE '^func Fuzz[A-Za-z0-9_]+' | sed 's/:func /:/' | sort -u)

if [ "$found" -eq 0 ]; then
  echo "no fuzz target found: something is wrong with the search"
  exit 1
fi
summary 0
