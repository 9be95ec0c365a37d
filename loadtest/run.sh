#!/bin/sh
# Runs loadtest/redeem.js against three nodes on one private MariaDB, and stops all of them afterwards.
# The settings of redeem.js (RATE, DURATION, BUDGET, USERS, USER_LIMIT) are taken from the environment; arguments are handed to k6.
# k6 is installed into .bin the first time.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
. internal/testdb.sh

k6_version=v1.8.1
bin=$PWD/.bin
node_pids=
work=

finish() {
  for pid in $node_pids; do kill "$pid" 2>/dev/null || true; done
  for pid in $node_pids; do wait "$pid" 2>/dev/null || true; done
  mariadb_stop
  [ -z "$work" ] || rm -rf "$work"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# start_node NAME starts a node on a free port and adds its address to TARGETS.
start_node() {
  for attempt in 1 2 3 4 5; do
    port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
    "$bin/tranche" --listen "127.0.0.1:$port" --data-dir "$work/$1" --node-name "$1" --dsn "${MARIADB_DSN}tranche" \
      --drain-wait 0s --log-level warn >"$work/$1.log" 2>&1 &
    node=$!
    for tick in $(seq 300); do
      kill -0 "$node" 2>/dev/null || break
      if curl -fs -o "$work/ready" "http://127.0.0.1:$port/readyz"; then
        node_pids="$node_pids $node"
        TARGETS=${TARGETS:+$TARGETS,}http://127.0.0.1:$port
        return 0
      fi
      sleep 0.1
    done
    kill "$node" 2>/dev/null || true
    wait "$node" 2>/dev/null || true
  done
  cat "$work/$1.log" >&2
  return 1
}

work=$(mktemp -d "${TMPDIR:-/tmp}/tranche-load.XXXXXX")
[ -x "$bin/k6" ] || GOBIN=$bin go install "go.k6.io/k6@$k6_version"
go build -buildvcs=false -o "$bin/tranche" ./server
mariadb_install
mariadb_start
mariadb --no-defaults --host=127.0.0.1 --port="$mariadb_port" --user=root --execute='CREATE DATABASE tranche'

# The nodes are this run's own: nothing of a fleet in the environment may leak into them.
unset TRANCHE_ADMIN_KEY TRANCHE_CHECKOUT_KEY TRANCHE_CONFIG
TARGETS=
for name in node-1 node-2 node-3; do start_node "$name"; done
echo "three nodes on one MariaDB: $TARGETS"

export TARGETS
# Not in this shell's place: it still has to stop what it started.
K6_NO_USAGE_REPORT=true "$bin/k6" run --quiet "$@" loadtest/redeem.js
