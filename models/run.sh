#!/bin/bash
# Re-runs every check of the models; one process at a time, single-threaded.
# Usage: ./run.sh [lease|params|o4|quota|mutants|all]      results go to results/*.log
cd "$(dirname "$0")" || exit 1
export GOMAXPROCS=1 GOGC=50
bin=$(mktemp -d)
go build -o "$bin/lease" ./lease && go build -tags n4 -o "$bin/lease4" ./lease && go build -tags long -o "$bin/leasel" ./lease && go build -o "$bin/takeover" ./takeover && go build -o "$bin/quota" ./quota || exit 1
mkdir -p results
r() { echo "\$ $*" | sed "s#$bin/##" ; local rc=0; "$@" 2>/dev/null || rc=$?; echo "exit $rc"; echo; }
mutants() {
  echo "== broken variants of A: each must be reported as a violation"
  for m in nowait noquorum stalevotes anchor nofloor notready nofence fencelie retryfast; do r "$bin/lease" -D 2 -terms 2 -mut $m; done
  for m in keeplease noinc; do r "$bin/lease" -D 2 -terms 1 -restarts 1 -mut $m; done
  r "$bin/lease" -D 2 -terms 2 -takeover -mut keepold
  r "$bin/lease" -D 2 -terms 2 -slow 1 -margin 0
  r "$bin/lease" -D 2 -terms 2 -fast 1 -margin 0
  r "$bin/lease" -D 2 -terms 2 -slow 1 -fast 1 -margin 1
  r "$bin/lease" -D 2 -terms 2 -mut snapholders
  echo "== broken variants of the replicated parameters (A3)"
  r "$bin/lease" -D 2 -Dmin 1 -terms 2 -mut localD
  r "$bin/leasel" -D 2 -Dmin 1 -terms 3 -wlast -mut last1
  r "$bin/leasel" -D 2 -Dmin 1 -terms 3 -wlast -onecand -reepoch -mut last2
  r "$bin/leasel" -D 2 -Dmin 1 -terms 2 -reepoch -mut appliedonly
  r "$bin/leasel" -D 2 -Dmin 1 -terms 2 -reepoch -mut raiseearly
  r "$bin/leasel" -D 2 -Dmin 1 -terms 2 -reepoch -mut mixD
  r "$bin/leasel" -D 2 -Dmin 1 -terms 2 -reepoch -settle -wlast -mut settleown
  r "$bin/leasel" -D 2 -Dmin 1 -terms 3 -settle -wlast -onecand -mut settleearly
  r "$bin/leasel" -D 2 -Dmin 1 -terms 3 -settle -wlast -onecand -reepoch -mut settlestale
  echo "== broken variants of O4, in model A"
  for m in o4few o4maxage o4noself o4sent; do r "$bin/lease" -D 2 -terms 2 -o4 -mut $m; done
  r "$bin/lease" -D 2 -terms 2 -restarts 1 -o4 -mut o4never
  r "$bin/lease" -D 2 -terms 2 -slow 1 -fast 1 -margin 2 -o4 -mut o4nomargin
  r "$bin/lease" -D 2 -terms 2 -slow 1 -fast 1 -margin 1 -o4
  echo "== broken variants of O4, in model C"
  for m in few maxage noself nolock; do r "$bin/takeover" -n 3 -D 2 -mut $m; done
  r "$bin/takeover" -n 3 -D 2 -restarts 1 -mut never
  r "$bin/takeover" -n 5 -D 2 -restarts 1 -mut volatile
  r "$bin/takeover" -n 3 -D 2 -slow 1 -fast 1 -margin 2 -mut nomargin
  r "$bin/takeover" -n 3 -D 2 -slow 1 -fast 1 -margin 1
  r "$bin/takeover" -n 3 -D 2 -slow 1 -fast 2 -margin 2
  r "$bin/takeover" -n 5 -D 1 -member grow -mut few
  for m in grow shrink; do r "$bin/takeover" -n 5 -D 1 -quick -member $m -mut cfgnogap; done
  r "$bin/takeover" -n 5 -D 1 -terms 3 -quick -member grow -mut cfgnowait
  echo "== broken variants of B: each must be reported as a violation"
  for m in restartreturn restartresume anchorreply endatgrant walljump spendaftersettle dupsettle noexpiry; do r "$bin/quota" -N 2 -H 3 -tau 2 -lag 1 -restarts 1 -mut $m; done
  r "$bin/quota" -N 2 -H 2 -tau 2 -lag 0 -restarts 0 -slow 1 -margin 0
  r "$bin/quota" -N 2 -H 2 -tau 2 -lag 0 -restarts 0 -fast 1 -margin 0
  r "$bin/quota" -N 2 -H 2 -tau 2 -lag 0 -restarts 0 -slow 1 -fast 1 -margin 1
}
quota() {
  echo "== model B, the protocol: no violation expected"
  r "$bin/quota" -N 2 -H 3 -tau 2 -lag 1 -restarts 1
  r "$bin/quota" -N 3 -H 3 -tau 2 -lag 0 -restarts 1
  r "$bin/quota" -N 4 -H 2 -tau 1 -lag 0 -restarts 1 -max 120000000
  r "$bin/quota" -N 2 -H 2 -tau 2 -lag 0 -restarts 1 -slow 1 -fast 1 -margin 2 -max 120000000
}
lease() {
  echo "== model A, the protocol: no violation expected"
  r "$bin/lease" -D 2 -terms 2
  r "$bin/lease" -D 3 -terms 2
  r "$bin/lease" -D 1 -terms 3
  r "$bin/lease" -D 2 -terms 2 -restarts 1
  r "$bin/lease" -D 2 -terms 2 -takeover
  r "$bin/lease" -D 1 -terms 3 -takeover
  r "$bin/lease" -D 1 -terms 2 -slow 1 -fast 1 -margin 2
  r "$bin/lease" -D 1 -terms 2 -atomic=false
  r "$bin/lease" -D 1 -terms 2 -takeover -restarts 1
  r "$bin/lease4" -D 1 -terms 2 -max 110000000
}
params() {
  echo "== model A, replicated parameters (A3): no violation expected"
  r "$bin/lease" -D 2 -Dmin 1 -terms 2
  r "$bin/leasel" -D 2 -Dmin 1 -terms 1 -reepoch -settle
  r "$bin/leasel" -D 2 -Dmin 1 -terms 2 -reepoch -settle -wlast
  r "$bin/leasel" -D 2 -Dmin 1 -terms 3 -settle -wlast -onecand
}
o4() {
  echo "== model A with O4: no violation expected"
  r "$bin/lease" -D 2 -terms 2 -o4
  r "$bin/lease" -D 2 -terms 2 -restarts 1 -o4
  r "$bin/lease" -D 1 -terms 3 -o4
  r "$bin/lease" -D 2 -Dmin 1 -terms 2 -o4
  r "$bin/lease4" -D 1 -terms 2 -o4 -wlast -onecand
  echo "== model C, the takeover wait alone, with O4: no violation expected"
  r "$bin/takeover" -n 3 -D 3 -terms 3 -restarts 2
  r "$bin/takeover" -n 3 -D 2 -terms 3 -restarts 1 -slow 1 -fast 1 -margin 2
  r "$bin/takeover" -n 3 -D 2 -terms 2 -restarts 1 -slow 1 -fast 2 -margin 3
  r "$bin/takeover" -n 4 -D 2 -terms 3 -restarts 1
  r "$bin/takeover" -n 4 -D 2 -terms 2 -slow 1 -fast 1 -margin 2
  r "$bin/takeover" -n 5 -D 2 -terms 2 -restarts 2
  r "$bin/takeover" -n 5 -D 1 -terms 2 -slow 1 -fast 1 -margin 2
  r "$bin/takeover" -n 5 -D 1 -terms 3
  for m in grow shrink; do r "$bin/takeover" -n 5 -D 1 -member $m; done
  r "$bin/takeover" -n 5 -D 1 -terms 3 -quick -member grow
  echo "== model C without O4: the rules that only O4 needs are not needed"
  r "$bin/takeover" -n 5 -D 2 -o4=false -mut nolock
  for m in grow shrink; do r "$bin/takeover" -n 5 -D 1 -o4=false -member $m -mut cfgnogap; done
}
case "${1:-all}" in
  lease) lease > results/lease.log ;;
  quota) quota > results/quota.log ;;
  params) params > results/params.log ;;
  o4) o4 > results/o4.log ;;
  mutants) mutants > results/mutants.log ;;
  all) mutants > results/mutants.log; quota > results/quota.log; lease > results/lease.log; params > results/params.log; o4 > results/o4.log ;;
esac
rm -rf "$bin"
