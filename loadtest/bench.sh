#!/bin/sh
# Measures Tranche side by side with its rivals and with the floor, checks their books, and writes the report into docs/bench.
# TRANCHE_TEST_DSN names a database server; else a private MariaDB is started, with the durability that MySQL has by default.
# apt installs wrk, Redis and MariaDB where they are missing. No service is left running.
#
# In the end it prints the table of what Tranche has to show. All of it takes about half an hour, and nobody has to watch.
#
#   ROUNDS=3 SECONDS_EACH=10 SECONDS_SUSTAINED=40   how often and how long
#   CONNECTIONS=64,256 RATES=300,2000               of the closed loops, and of the runs at a fixed rate
#   ORDERS=6000 PERIOD=10s                          of each sale, and how often the rivals roll their logs up
#   ONLY=fast,redis OUT=docs/bench                  some contestants only; another folder
#
# Longer, an hour and a half, with the knees of the curves and narrower spreads:
#   ROUNDS=5 SECONDS_SUSTAINED=60 CONNECTIONS=1,64,256,1024 RATES=300,2000,5000 ./loadtest/bench.sh
#
# A look at whether all of it works, in two minutes:
#   ROUNDS=1 SECONDS_EACH=1 SECONDS_SUSTAINED=2 RATES=300 ORDERS=1000 PERIOD=1s OUT=/tmp/bench ./loadtest/bench.sh
#
# The program gets the arguments: --from docs/bench/results.json writes the report again without measuring.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
. internal/testdb.sh
bin=$PWD/.bin
bench=

finish() {
  # The bench stops what it has started.
  [ -z "$bench" ] || { kill "$bench" 2>/dev/null || true; wait "$bench" || true; }
  mariadb_stop
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

missing() { echo "bench.sh: $1 is missing and could not be installed by apt" >&2; exit 1; }

has wrk || apt_install wrk || missing wrk
# Debian's redis-tools has the server's program, without the service.
has redis-server || has redis-check-rdb || apt_install redis-tools || missing Redis
go build -buildvcs=false -o "$bin/tranche" ./server
go build -buildvcs=false -o "$bin/floor" ./loadtest/floor
(cd loadtest/rivals && go build -buildvcs=false -o "$bin/rivals" . && go build -buildvcs=false -o "$bin/bench" ./bench)
if [ -z "${TRANCHE_TEST_DSN:-}" ]; then
  mariadb_install || missing MariaDB
  mariadb_start --log-bin=binlog --server-id=1 --sync-binlog=1
  TRANCHE_TEST_DSN=$MARIADB_DSN
  export TRANCHE_TEST_DSN
fi

"$bin/bench" --bin "$bin" "$@" &
bench=$!
wait "$bench" && status=0 || status=$?
bench=
exit "$status"
