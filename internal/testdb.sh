# A private MariaDB for one run of the tests or of the load. Sourced by test.sh and the scripts in loadtest; plain POSIX sh.
#
#   apt_install PACKAGE...  installs Debian packages, as root or through sudo; fails where neither is to be had
#   mariadb_install         sees to it that mariadbd is there, by apt if need be
#   galera_install          sees to it that Galera's library is there, at $galera_library, by apt if need be
#   mariadb_start OPTION... starts one in a temporary folder on a free loopback port, and sets MARIADB_DSN
#   mariadb_stop            stops it by its process id and removes the folder; does nothing when none was started
#
# Only the -core packages are installed: they are the programs without the system service, so none is left running.
# Whoever sources this calls mariadb_stop from a trap on EXIT.

PATH=$PATH:/usr/sbin:/sbin # where Debian keeps mariadbd, and a plain user's PATH lacks it

mariadb_dir=
mariadb_pid=
MARIADB_DSN=

has() { command -v "$1" >/dev/null 2>&1; }

apt_install() {
  has apt-get || return 1
  if [ "$(id -u)" -eq 0 ]; then as_root=; elif has sudo; then as_root=sudo; else return 1; fi
  echo "installing $* by apt"
  # An update that fails is no reason to stop: the packages may be in reach all the same.
  $as_root apt-get -qq update || true
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 \
    install --no-install-recommends "$@" </dev/null
}

mariadb_install() {
  has mariadbd && has mariadb-install-db && has my_print_defaults && return 0
  apt_install mariadb-server-core mariadb-client-core && has mariadbd
}

galera_library=/usr/lib/galera/libgalera_smm.so

galera_install() {
  [ -e "$galera_library" ] || apt_install galera-4 && [ -e "$galera_library" ]
}

mariadb_start() {
  mariadb_dir=$(mktemp -d "${TMPDIR:-/tmp}/tranche-mariadb.XXXXXX") || return 1
  # Without --user, which would make it change the owner of a system-wide folder; with --force, for machines that cannot look up
  # their own name.
  mariadb-install-db --no-defaults --force --datadir="$mariadb_dir/data" --skip-test-db \
    --auth-root-authentication-method=normal >"$mariadb_dir/install.log" 2>&1 || {
    cat "$mariadb_dir/install.log" >&2
    return 1
  }
  # Nothing tells a free port for sure but binding it, so a taken one means another attempt.
  # The range lies below that of outgoing connections.
  for attempt in 1 2 3 4 5; do
    mariadb_port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
    mariadbd --no-defaults --user="$(id -un)" --datadir="$mariadb_dir/data" --tmpdir="$mariadb_dir" \
      --socket="$mariadb_dir/sock" --pid-file="$mariadb_dir/pid" --log-error="$mariadb_dir/error.log" \
      --bind-address=127.0.0.1 --port="$mariadb_port" --skip-name-resolve --max-connections=600 \
      --innodb-buffer-pool-size=256M --innodb-flush-log-at-trx-commit=1 "$@" \
      </dev/null >/dev/null 2>&1 &
    mariadb_pid=$!
    if mariadb_ready; then
      MARIADB_DSN="root@tcp(127.0.0.1:$mariadb_port)/"
      return 0
    fi
    mariadb_end
    grep -q 'Address already in use' "$mariadb_dir/error.log" || break
    rm -f "$mariadb_dir/error.log"
  done
  cat "$mariadb_dir/error.log" >&2
  return 1
}

# mariadb_ready waits until the server takes connections; fails when it ended, or after a minute.
mariadb_ready() {
  for tick in $(seq 600); do
    grep -qs 'ready for connections' "$mariadb_dir/error.log" && return 0
    kill -0 "$mariadb_pid" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}

# mariadb_end ends the process: politely, and after ten seconds not.
mariadb_end() {
  [ -n "$mariadb_pid" ] || return 0
  kill "$mariadb_pid" 2>/dev/null || true
  for tick in $(seq 100); do
    kill -0 "$mariadb_pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$mariadb_pid" 2>/dev/null || true
  wait "$mariadb_pid" 2>/dev/null || true
  mariadb_pid=
}

mariadb_stop() {
  mariadb_end
  [ -z "$mariadb_dir" ] || rm -rf "$mariadb_dir"
  mariadb_dir=
}
