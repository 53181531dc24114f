# Shared by the scripts beside it: steps with a time each, and a loud end at the first red one.
# Source it with bash from the repository root.
set -euo pipefail

LOGS=.cache/logs
mkdir -p "$LOGS"
STEP_NAMES=()
STEP_TIMES=()
STEP_TITLE=${STEP_TITLE:-steps}

# step NAME COMMAND… runs the command with its output in a log, which is shown only if it fails.
step() { _step quiet "$@"; }

# show NAME COMMAND… runs the command with its output on the screen and in a log.
show() { _step loud "$@"; }

_step() {
  local how=$1 name=$2 log began rc=0
  shift 2
  log=$LOGS/$name.log
  began=$SECONDS
  printf '\n== %s: %s\n' "$name" "$*"
  if [ "$how" = loud ]; then
    "$@" 2>&1 | tee "$log" || rc=$?
  else
    "$@" >"$log" 2>&1 || rc=$?
  fi
  STEP_NAMES+=("$name")
  STEP_TIMES+=($((SECONDS - began)))
  if [ "$rc" -ne 0 ]; then
    printf '\n== RED: %s failed with exit code %s after %s s\n' "$name" "$rc" "$((SECONDS - began))"
    if [ "$how" = quiet ]; then
      show_log "$log"
    fi
    summary 1
    exit 1
  fi
  printf '== ok: %s, %s s\n' "$name" "$((SECONDS - began))"
}

# show_log FILE prints a log, without its middle if it is very long.
show_log() {
  local lines
  lines=$(wc -l <"$1")
  if [ "$lines" -le 600 ]; then
    cat "$1"
  else
    head -n 100 "$1"
    printf '   … %s lines left out; the whole log is in %s …\n' "$((lines - 500))" "$1"
    tail -n 400 "$1"
  fi
}

# summary FAILED prints the table of times and the closing line.
summary() {
  local i failed=$1
  printf '\n'
  for i in "${!STEP_NAMES[@]}"; do
    printf '%8s s  %s\n' "${STEP_TIMES[$i]}" "${STEP_NAMES[$i]}"
  done
  printf '%8s s  in all\n\n' "$SECONDS"
  printf '%s: %s passed, %s failed\n' "$STEP_TITLE" "$((${#STEP_NAMES[@]} - failed))" "$failed"
}

# can_race is true where the race detector works: it needs a C compiler.
can_race() {
  [ "$(go env CGO_ENABLED)" = 1 ] && command -v "$(go env CC | cut -d' ' -f1)" >/dev/null 2>&1
}

# go_files lists our own Go files, those that are not added yet included.
go_files() {
  git ls-files -co --exclude-standard -- '*.go' ':!gen' ':!models'
}
