#!/bin/sh
# Vets the code and runs the tests with the race detector, the storage and system tests on a private MariaDB.
#
#   ./test.sh                               everything
#   ./test.sh ./internal/store -run Settle  arguments are handed to go test
#
# TRANCHE_TEST_DSN='user:password@tcp(host:port)/'  use that server instead of starting one; tests make databases of their own in it
# TRANCHE_TEST_LONG=1                               the long versions of the system tests too
# CI=1                                              a missing Debian package is a failure, not a warning
#
# A C compiler, MariaDB, Galera and Redis are installed by apt where they are missing. No system service is left running.
#
# "make test" is the short way: what SQLite and the fake can show, with nothing installed.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")"
. internal/testdb.sh

trap mariadb_stop EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# without WHAT CONSEQUENCE: says loudly what is missing and what that costs, and ends the run where CI is set.
without() {
  printf '\n******** %s is missing and could not be installed by apt.\n******** %s\n\n' "$1" "$2" >&2
  [ -z "${CI:-}" ] || exit 1
}

has go || {
  echo "test.sh: there is no go in PATH; README.md says which version is needed and where it is from" >&2
  exit 1
}

# SQLite is C that was translated to Go. The race detector makes it ten times slower and would find races in that code only. These flags
# come after those of -race, and the compiler takes the last one.
race='-race -gcflags=modernc.org/...=-race=false'
export CGO_ENABLED=1
if ! has "${CC:-gcc}" && ! apt_install gcc libc6-dev; then
  without 'A C compiler' 'The tests run without the race detector.'
  race=
  export CGO_ENABLED=0
fi

if [ -z "${TRANCHE_TEST_DSN:-}" ]; then
  if ! mariadb_install; then
    without MariaDB 'What needs a database server is NOT tested.'
  # Tests kill nodes, not this server: it need not bring its files to the disk.
  elif mariadb_start --innodb-flush-log-at-trx-commit=2 --skip-innodb-doublewrite; then
    export TRANCHE_TEST_DSN="$MARIADB_DSN"
  else
    echo 'test.sh: MariaDB did not start' >&2
    exit 1
  fi
  # A test of the store starts two members of a cluster by itself; it needs MariaDB and this library.
  if has mariadbd && galera_install; then
    export TRANCHE_TEST_GALERA="$galera_library"
  else
    without Galera 'A cluster of several members that write is NOT tested.'
  fi
fi

if [ -n "${TRANCHE_TEST_LONG:-}" ]; then
  timeout=60m
else
  timeout=20m
  echo 'Short versions. "make test-long" adds: a MariaDB stopped for 20 s under 2 000 requests a second, 100 000 redemptions whose replies get lost, ten kills in a row, four freezes, 100 000 carts, 100 000 units over twenty uneven nodes.'
fi
if [ $# -eq 0 ]; then
  # The rivals are a module of their own.
  has redis-server || has redis-check-rdb || apt_install redis-tools || without Redis 'The rivals that Tranche is compared with are NOT tested.'
  (cd loadtest/rivals && go vet ./... && go test -timeout "$timeout" ./...)
  set -- ./...
fi
go vet ./...
# More tests at a time than there are processors: those that may run beside others mostly wait.
go test $race -parallel $(($(getconf _NPROCESSORS_ONLN) + 2)) -timeout "$timeout" "$@"
