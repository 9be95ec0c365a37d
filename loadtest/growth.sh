#!/bin/sh
# Measures how the cost of a redemption grows with offers, users, entries, nodes and lease sizes. The report goes into docs/bench.
# TRANCHE_TEST_DSN names a database server; else a private MariaDB is started, with the durability that MySQL has by default.
# apt installs wrk and MariaDB where they are missing. No service is left running. It needs 10 GB of disk under TMPDIR.
#
#   SECONDS_EACH=10 RATE=300       of each run, and redemptions a second where the rate is fixed; all of it takes less than half an hour
#   OFFERS=1,10,100,1000,10000     sizes, from few to many
#   USERS=10000,100000,1000000,10000000
#   LEDGER=100000,1000000,10000000     whole thousands
#   NODES=1,5,20,50,100,200
#   LEASES=1,10,100,1000,10000,100000
#   ONLY=nodes,leases OUT=docs/bench   some axes only: offers, users, ledger, nodes, leases; another folder
#
# A look at whether all of it works, in a minute and a half:
#   SECONDS_EACH=1 OFFERS=1,1000 USERS=1000,100000 LEDGER=1000,100000 NODES=1,20 LEASES=1,1000 OUT=/tmp/growth ./loadtest/growth.sh
#
# The program gets the arguments: --from docs/bench/growth.json writes the report again without measuring.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
. internal/testdb.sh
bin=$PWD/.bin
growth=

finish() {
  # The program stops what it has started.
  [ -z "$growth" ] || { kill "$growth" 2>/dev/null || true; wait "$growth" || true; }
  mariadb_stop
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

missing() { echo "growth.sh: $1 is missing and could not be installed by apt" >&2; exit 1; }

has wrk || apt_install wrk || missing wrk
go build -buildvcs=false -o "$bin/fleet" ./loadtest/fleet
(cd loadtest/rivals && go build -buildvcs=false -o "$bin/growth" ./growth)
if [ -z "${TRANCHE_TEST_DSN:-}" ]; then
  mariadb_install || missing MariaDB
  # A pool for each of 200 nodes; and what fits into memory here should be what does in a small database of a cloud.
  mariadb_start --log-bin=binlog --server-id=1 --sync-binlog=1 --max-connections=8000 --innodb-buffer-pool-size=1G \
    --innodb-log-file-size=512M --innodb-sort-buffer-size=64M
  TRANCHE_TEST_DSN=$MARIADB_DSN
  export TRANCHE_TEST_DSN
fi

"$bin/growth" --bin "$bin" "$@" &
growth=$!
wait "$growth" && status=0 || status=$?
growth=
exit "$status"
