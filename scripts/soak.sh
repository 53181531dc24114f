#!/usr/bin/env bash
# Long runs, each with a bound. SOAK=name takes one of them. Figures, seeds and durations go to docs/performance.md.
# Each run is a test of the ordinary suite with its count raised by an environment variable or a flag.
cd "$(dirname "$0")/.."
STEP_TITLE=soak
. scripts/lib.sh

ran=0
# soak NAME COMMAND… runs one of them, if SOAK asks for it or for all.
soak() {
  if [ -z "${SOAK:-}" ] || [ "${SOAK:-}" = "$1" ]; then
    ran=$((ran + 1))
    show "$@"
  fi
}

# The naive evaluator against authz, 1,000,000 random cases with delegation chains; the seed is printed by rapid.
soak oracle env KAVACH_ORACLE_CASES=1000000 go test -count=1 -v -run '^TestOracle$' -timeout 120m ./authz
# Random command sequences, cut differently, restarted, snapshotted, restored: one digest. 10,000 sequences.
soak fsm env KAVACH_FSM_SEQUENCES=10000 go test -count=1 -v -run '^TestReplicasAgree$' -timeout 120m ./fsm
# Every fuzz target, a minute each.
soak fuzz env FUZZTIME="${SOAK_FUZZTIME:-1m}" scripts/fuzz.sh
# The tests of the packages where goroutines meet, again and again under the race detector.
soak race go test -race -count="${SOAK_RACE:-10}" -timeout 120m ./cluster/... ./audit/... ./authz/state/...
# Every broken variant of the protocols, in the model checker.
soak models scripts/models.sh

if [ "$ran" -eq 0 ]; then
  echo "no long run is called $SOAK"
  exit 1
fi
summary 0
