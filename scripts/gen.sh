#!/usr/bin/env bash
# Generates gen/ from proto/, and the pages of docs/ that are made by programs. With --check nothing is changed: all is
# generated in a copy, and a difference is an error.
cd "$(dirname "$0")/.."
set -euo pipefail
BUF=${BUF:-go tool -modfile=tools/buf/go.mod buf}

generate() {
  local image
  $BUF generate
  image=$(mktemp)
  $BUF build proto -o "$image#format=binpb"
  go run ./tools/apidoc -image "$image" -out docs/api.md
  rm -f "$image"
  go run ./tools/compat -out docs/kavachos-compatibility.md
}

if [ "${1:-}" != --check ]; then
  generate
  exit 0
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -co --exclude-standard -z | xargs -0 ls -d 2>/dev/null | tar -c -T - | tar -x -C "$copy"
here=$PWD
(cd "$copy" && generate)
rc=0
for path in gen docs/api.md docs/kavachos-compatibility.md; do
  diff -ru "$here/$path" "$copy/$path" || rc=1
done
if [ "$rc" -ne 0 ]; then
  echo "not current: run make gen and commit what changes"
fi
exit "$rc"
