#!/bin/sh
# Runs one of the load scripts against nodes on one private MariaDB, and stops all of them afterwards.
#
#   loadtest/run.sh [NAME] [argument of k6 ...]     NAME is a script of this folder without .js: steady by default
#
# Settings come from the environment. Each script says which it has; these are run.sh's own:
#
#   NODES=3                  how many nodes; 5 for tail
#   OUTAGE_AT=10 OUTAGE=15s  outage stops the database so many seconds after the start, for so long
#   KILL_AT=8 BACK_AFTER=8   nodeloss kills the last node after so many seconds, and starts it again so many seconds later
#
# The report goes into loadtest/reports. The first run installs k6 into .bin.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
. internal/testdb.sh

k6_version=v1.8.1
bin=$PWD/.bin
disturber=
work=

case ${1:-} in '' | -*) name=steady ;; *) name=$1; shift ;; esac
[ -f "loadtest/$name.js" ] || {
  echo "run.sh: there is no loadtest/$name.js, only" loadtest/*.js >&2
  exit 2
}

finish() {
  [ -z "$disturber" ] || kill "$disturber" 2>/dev/null || true
  [ -z "$disturber" ] || wait "$disturber" 2>/dev/null || true
  [ -z "$mariadb_pid" ] || kill -CONT "$mariadb_pid" 2>/dev/null || true
  for node in ${work:+"$work"/*.pid}; do [ ! -f "$node" ] || stop_node "$node"; done
  mariadb_stop
  [ -z "$work" ] || rm -rf "$work"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# stop_node FILE ends the node whose process id is in the file. After fifteen seconds it kills the node.
stop_node() {
  pid=$(cat "$1")
  kill "$pid" 2>/dev/null || return 0
  for tick in $(seq 150); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
  kill -KILL "$pid" 2>/dev/null || true
}

# boot NAME PORT starts a node and waits until it is ready; fails when it ended, or after half a minute.
boot() {
  "$bin/tranche" --listen "127.0.0.1:$2" --data-dir "$work/$1" --node-name "$1" --dsn "${MARIADB_DSN}tranche" \
    --drain-wait 0s --log-level warn >>"$work/$1.log" 2>&1 &
  pid=$!
  echo "$pid" >"$work/$1.pid"
  for tick in $(seq 300); do
    kill -0 "$pid" 2>/dev/null || return 1
    curl -fs -o "$work/ready" "http://127.0.0.1:$2/readyz" && return 0
    sleep 0.1
  done
  return 1
}

# start_node NAME starts a node on a free port and adds its address to TARGETS.
start_node() {
  for attempt in 1 2 3 4 5; do
    port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
    if boot "$1" "$port"; then
      TARGETS=${TARGETS:+$TARGETS,}http://127.0.0.1:$port
      return 0
    fi
    stop_node "$work/$1.pid"
  done
  cat "$work/$1.log" >&2
  return 1
}

# stall stops the database for a while. Statements under way then finish afterwards.
stall() {
  sleep "${OUTAGE_AT:-10}"
  echo 'run.sh: the database stands still'
  kill -STOP "$mariadb_pid"
  sleep "${OUTAGE%s}"
  kill -CONT "$mariadb_pid"
  echo 'run.sh: the database goes on'
}

# lose kills the node that was started last, and starts it again where it was.
lose() {
  sleep "${KILL_AT:-8}"
  echo "run.sh: $last is killed"
  kill -KILL "$(cat "$work/$last.pid")"
  rm "$work/$last.pid"
  sleep "${BACK_AFTER:-8}"
  boot "$last" "$port"
  echo "run.sh: $last is back"
}

work=$(mktemp -d "${TMPDIR:-/tmp}/tranche-load.XXXXXX")
[ -x "$bin/k6" ] || GOBIN=$bin go install "go.k6.io/k6@$k6_version"
go build -buildvcs=false -o "$bin/tranche" ./server
mariadb_install
mariadb_start
mariadb --no-defaults --host=127.0.0.1 --port="$mariadb_port" --user=root --execute='CREATE DATABASE tranche'

# Settings of another fleet in the environment must not reach these nodes.
unset TRANCHE_ADMIN_KEY TRANCHE_CHECKOUT_KEY TRANCHE_CONFIG ADMIN_KEY CHECKOUT_KEY
TARGETS=
[ "$name" = tail ] && nodes=${NODES:-5} || nodes=${NODES:-3}
for i in $(seq "$nodes"); do
  last=node-$i
  start_node "$last"
done
echo "$nodes nodes on one MariaDB: $TARGETS"

mkdir -p loadtest/reports
REPORT=${REPORT:-loadtest/reports/$name.html}
OUTAGE=${OUTAGE:-15s}
export TARGETS REPORT OUTAGE
case $name in
outage) stall & disturber=$! ;;
nodeloss)
  export K6_LOG_OUTPUT="file=$work/k6.log,level=error" # without a line for each refused connection
  lose & disturber=$!
  ;;
esac
# No exec: this shell still has to stop the nodes and the database.
export K6_NO_USAGE_REPORT=true
status=0
"$bin/k6" run --quiet "$@" "loadtest/$name.js" || status=$?
[ ! -f "$work/k6.log" ] || cat "$work/k6.log" >&2
exit "$status"
