#!/bin/sh
# Compares Tranche with a bare Gin handler that reads the same request and writes the same reply. It prints Tranche's share of that
# handler's throughput. "floor with a journal" is the same handler with an fsynced journal: mode fast can hardly be faster.
# The time until the last redemption is settled counts. It takes about five minutes.
#
#   ROUNDS=3 SECONDS_EACH=10 SECONDS_SUSTAINED=40   how often and how long; fast and the floor beside it run for SECONDS_SUSTAINED
#
# It needs wrk (apt: wrk). TRANCHE_TEST_DSN names a database server with a database tranche_compare; else it starts a private MariaDB.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
. internal/testdb.sh
rounds=${ROUNDS:-3}
seconds=${SECONDS_EACH:-10}
sustained=${SECONDS_SUSTAINED:-40}
bin=$PWD/.bin
pids=
work=$(mktemp -d "${TMPDIR:-/tmp}/tranche-compare.XXXXXX")

finish() {
  for pid in $pids; do kill "$pid" 2>/dev/null || true; done
  for pid in $pids; do wait "$pid" 2>/dev/null || true; done
  [ -z "${database:-}" ] || [ -z "${MARIADB_DSN:-}" ] || mariadb_stop
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

has wrk || apt_install wrk || { echo 'compare.sh: wrk is missing' >&2; exit 1; }
go build -buildvcs=false -o "$bin/tranche" ./server
go build -buildvcs=false -o "$bin/floor" ./loadtest/floor
if [ -z "${TRANCHE_TEST_DSN:-}" ]; then
  mariadb_install
  mariadb_start
  database=private
  TRANCHE_TEST_DSN=$MARIADB_DSN
  mariadb --no-defaults --host=127.0.0.1 --port="$mariadb_port" --user=root --execute='CREATE DATABASE tranche_compare'
fi

free_port() { echo $((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000)); }
await() { for tick in $(seq 300); do curl -fs -o "$work/ready" "$1/readyz" && return 0; sleep 0.1; done; return 1; }

node=http://127.0.0.1:$(free_port)
"$bin/tranche" --listen "${node#http://}" --data-dir "$work/node" --dsn "${TRANCHE_TEST_DSN}tranche_compare" --drain-wait 0s --log-level warn \
  >"$work/node.log" 2>&1 &
node_pid=$!
pids="$pids $node_pid"
floor=http://127.0.0.1:$(free_port)
"$bin/floor" --listen "${floor#http://}" >"$work/floor.log" 2>&1 &
pids="$pids $!"
journal=http://127.0.0.1:$(free_port)
mkdir "$work/journal"
"$bin/floor" --listen "${journal#http://}" --journal "$work/journal" >"$work/journal.log" 2>&1 &
pids="$pids $!"
await "$node" || { cat "$work/node.log" >&2; exit 1; }
await "$floor"
await "$journal"

offer() {
  curl -fs -o "$work/offer" "$node/v1/offers" -H 'Content-Type: application/json' \
    -d "{\"id\": \"$1\", \"name\": \"$1\", \"budget\": 1000000000, \"lease_size\": 100000, \"mode\": \"$2\"$3}"
}
offer strict strict ', "user_limit_redemptions": 1'
offer fast fast ''

# measure URL OFFER CONNECTIONS SECONDS prints requests per second and the 99th percentile, and fails on any answer that is not a success.
measure() {
  OFFER=$2 RUN=$$-$(date +%s%N) wrk -t1 -c"$3" -d"${4}s" --latency -s loadtest/redeem.lua "$1" >"$work/wrk"
  if grep -q Non-2xx "$work/wrk"; then cat "$work/wrk" "$work/node.log" >&2; exit 1; fi
  awk '/Requests\/sec/ { rate = $2 } $1 == "99%" { p99 = $2 } END { printf "%s %s", rate, p99 }' "$work/wrk"
}

# settled waits until the journal has nothing left, and prints how many seconds that took.
settled() {
  start=$(date +%s.%N)
  while left=$(curl -fs "$node/metrics" | awk '/^tranche_journal_backlog_records/ { print $2 }') && [ "${left:-some}" != 0 ]; do
    kill -0 "$node_pid" || exit 1
    sleep 0.2
  done
  echo "$start $(date +%s.%N)" | awk '{ print $2 - $1 }'
}

printf '%-28s %5s %12s %10s %12s %10s %7s %9s\n' offer conns requests/s p99 floor p99 share 'p99 share'
line() {
  echo "$2 $3 $4" | awk -v what="$1" '
    function ms(t) { return t ~ /us$/ ? t / 1000 : t ~ /ms$/ ? t + 0 : t * 1000 }
    { printf "%-28s %5s %12s %10s %12s %10s %7.2f %9.2f\n", what, $1, $2, $3, $4, $5, $2 / $4, ms($3) / ms($5) }'
}
for round in $(seq "$rounds"); do
  base=$(measure "$floor" fast 64 "$seconds")
  ours=$(measure "$journal" fast 64 "$seconds")
  line 'floor with a journal' 64 "$ours" "$base"
  base=$(measure "$floor" fast 64 "$sustained")
  ours=$(measure "$node" fast 64 "$sustained")
  rest=$(settled)
  ours=$(echo "$ours $sustained $rest" | awk '{ print $1 * $3 / ($3 + $4), $2 }')
  line 'fast, until all is settled' 64 "$ours" "$base"
  for conns in 64 256; do
    base=$(measure "$floor" strict "$conns" "$seconds")
    ours=$(measure "$node" strict "$conns" "$seconds")
    line 'strict, a limit per user' "$conns" "$ours" "$base"
  done
done
