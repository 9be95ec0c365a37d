#!/bin/sh
# Prints what each part of a redemption costs. It runs a whole node under load and profiles it.
#
#   MODE=strict        or strict-limited, or fast
#   REQUESTS=100000    how many redemptions
#   PROFILES=FOLDER    keeps the profiles there, for `go tool pprof`; by default in a temporary folder
#
# TRANCHE_TEST_DSN names a database server; else it starts a private MariaDB.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
. internal/testdb.sh
mode=${MODE:-strict}
requests=${REQUESTS:-100000}
profiles=${PROFILES:-$(mktemp -d "${TMPDIR:-/tmp}/tranche-profile.XXXXXX")}
mkdir -p "$profiles"
profiles=$(cd -- "$profiles" && pwd)
trap mariadb_stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ -z "${TRANCHE_TEST_DSN:-}" ]; then
  mariadb_install
  mariadb_start --log-bin=binlog --server-id=1 --sync-binlog=1
  export TRANCHE_TEST_DSN="$MARIADB_DSN"
fi

go test -c -o "$profiles/node.test" ./server/node
(cd server/node && GOGC=300 "$profiles/node.test" -test.run '^$' -test.bench "^BenchmarkRedeem/$mode\$" -test.benchtime "${requests}x" -test.benchmem \
  -test.cpuprofile "$profiles/cpu.out" -test.memprofile "$profiles/mem.out" -test.memprofilerate 4096) >"$profiles/bench"
grep '^Benchmark' "$profiles/bench"

# top PROFILE INDEX OPTION... lists all functions with their cost, callees included.
top() {
  profile=$1 index=$2
  shift 2
  go tool pprof -top -cum -nodecount=100000 -nodefraction=0 -edgefraction=0 -sample_index="$index" -unit="$unit" "$@" "$profiles/node.test" "$profiles/$profile" 2>/dev/null
}
unit=us top cpu.out cpu -ignore 'node\.redeemOn' >"$profiles/cpu"
unit=B top mem.out alloc_space -ignore 'node\.redeemOn' >"$profiles/space"
unit= top mem.out alloc_objects -ignore 'node\.redeemOn' >"$profiles/objects"

go tool nm "$profiles/node.test" | awk '{ print $NF }' >"$profiles/names"

awk -v requests="$((requests + 1))" '
  function base(f) { sub(/ \(inline\)$/, "", f); return f }
  FNR == 1 { file++ }
  file == 4 { known[$1] = 1; next }
  $2 ~ /%$/ {
    name = $6; for (i = 7; i <= NF; i++) name = name " " $i
    cost[file, base(name)] = $4 + 0
    known[base(name)] = 1
  }
  / of .* total/ { for (i = 1; i <= NF; i++) if ($i == "for") total[file] = $(i + 1) + 0 } # without the client
  function row(what, names, n, i, list, c, b, o) {
    n = split(names, list, "|")
    for (i = 1; i <= n; i++) if (!(list[i] in known)) { print "profile.sh: there is no " list[i] > "/dev/stderr"; missing = 1 }
    for (i = 1; i <= n; i++) { c += cost[1, list[i]]; b += cost[2, list[i]]; o += cost[3, list[i]] }
    printf "%-62s %8.1f %8.0f %8.1f\n", what, c / requests, b / requests, o / requests
  }
  END {
    a = "tranche/server/api."; h = "net/http."; j = "tranche/internal/journal."; s = "tranche/internal/settle."; m = "github.com/go-sql-driver/mysql.(*mysqlConn)."
    printf "%-62s %8s %8s %8s\n", "a redemption", "us CPU", "bytes", "objects"
    row("net/http reads the request", h "(*conn).readRequest")
    row("net/http watches for the client to hang up", h "(*connReader).backgroundRead|" h "(*connReader).startBackgroundRead|" h "(*connReader).abortPendingRead")
    row("gin, and all below", "github.com/gin-gonic/gin.(*Engine).ServeHTTP")
    row("  the JSON of the request", a "(*exchange).readObject")
    row("  the allocator", "tranche/allocator.(*Allocator).Redeem")
    row("    the journal record", "tranche/allocator.encodeRecord")
    row("    joins a group of the journal and waits", j "(*Journal).Append")
    row("    hands the entry to the settler", s "(*Settler).Book")
    row("    waits for its settling", s "(*Settler).Settle")
    row("  the JSON of the answer", a "(*exchange).encode")
    row("  the header of the answer", a "(*server).write")
    row("net/http writes the answer", h "(*response).finishRequest")
    row("the journal writes and syncs, a group at a time", j "(*Journal).Run")
    row("  of it the fsync", j "(*osFile).Sync")
    row("settling, a batch at a time", s "(*queue).run")
    row("  decides what is new", "tranche/internal/ledger.Decide")
    row("  statements in the driver, COMMIT among them", m "QueryContext|" m "ExecContext")
    row("  the COMMIT", "tranche/internal/store.(*Store).commit")
    row("garbage collection in the background", "runtime.gcBgMarkWorker|runtime.bgsweep")
    row("the scheduler looks for work", "runtime.mcall")
    printf "%-62s %8.1f %8.0f %8.1f\n", "all of the node", total[1] / requests, total[2] / requests, total[3] / requests
    exit missing
  }' "$profiles/cpu" "$profiles/space" "$profiles/objects" "$profiles/names"
echo "profiles: $profiles"
