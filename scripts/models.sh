#!/usr/bin/env bash
# The model checker must report every broken variant of the protocols as a violation. Works on a copy.
cd "$(dirname "$0")/.."
set -euo pipefail
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r models/. "$copy"
cd "$copy"
rm -f results/mutants.log
./run.sh mutants
runs=$(grep -c '^\$ ' results/mutants.log)
caught=$(grep -c '^exit 1$' results/mutants.log || true) # 1: a violation, 0: none, 2: stopped at a bound
echo "$caught of $runs broken variants reported as a violation"
[ "$runs" -gt 0 ] && [ "$caught" -eq "$runs" ]
