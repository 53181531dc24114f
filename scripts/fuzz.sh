#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other, for FUZZTIME each. The targets are found, not listed.
cd "$(dirname "$0")/.."
STEP_TITLE=fuzz
. scripts/lib.sh
FUZZTIME=${FUZZTIME:-10s}

# fuzz TARGET PACKAGE runs one target. The go command sometimes ends a run that found nothing with "context deadline
# exceeded", when a worker is slow to stop at the end of the time; a finding names the input that it wrote, or the seed
# that failed. Such an end, and no other, is run once more.
fuzz() {
  local out rc=0
  out=$(mktemp)
  go test -run '^$' -fuzz "^$1\$" -fuzztime "$FUZZTIME" "$2" >"$out" 2>&1 || rc=$?
  cat "$out"
  if [ "$rc" -ne 0 ] && grep -qx '    context deadline exceeded' "$out" && ! grep -qE 'Failing input|failure while|panic|_test\.go:' "$out"; then
    echo 'no finding, but the go command did not end well: once more'
    rc=0
    go test -run '^$' -fuzz "^$1\$" -fuzztime "$FUZZTIME" "$2" || rc=$?
  fi
  rm -f "$out"
  return "$rc"
}

found=0
while IFS=: read -r file target; do
  found=$((found + 1))
  step "fuzz-$target" fuzz "$target" "./$(dirname "$file")"
done < <(git ls-files -co --exclude-standard -- '*_test.go' ':!**/testdata/**' |
  xargs grep -oHE '^func Fuzz[A-Za-z0-9_]+' | sed 's/:func /:/' | sort -u)

if [ "$found" -eq 0 ]; then
  echo "no fuzz target found: something is wrong with the search"
  exit 1
fi
summary 0
