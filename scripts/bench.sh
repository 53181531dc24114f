#!/usr/bin/env bash
# Runs the benchmarks that BENCH names, COUNT times each, into .cache/bench/<commit>.txt, and compares with the run
# before. Close other programs first: two cores are few.
cd "$(dirname "$0")/.."
set -euo pipefail
BENCHSTAT=${BENCHSTAT:-go tool -modfile=tools/check/go.mod benchstat}
dir=.cache/bench
mkdir -p "$dir"
before=$(ls -t "$dir"/*.txt 2>/dev/null | head -n 1 || true)
after=$dir/$(git describe --always --dirty)-$(date -u +%Y%m%dT%H%M%SZ).txt
go test -run '^$' -bench "${BENCH:-.}" -benchmem -count "${COUNT:-6}" -timeout 60m ${PKG:-./...} | tee "$after"
echo
if [ -n "$before" ]; then
  echo "compared with $before:"
  $BENCHSTAT "$before" "$after"
else
  $BENCHSTAT "$after"
fi
echo "kept in $after"
