# Shared by the scripts beside it: sourced, never run.
# shellcheck shell=bash

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}"
# One profile for everything, so that nothing is compiled twice.
profile=(--locked --profile ci)
bin_dir="$CARGO_TARGET_DIR/ci"
venv="$root/.venv"

say() { printf '%s\n' "$*"; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# now_ms: milliseconds since some fixed instant.
now_ms() { echo $(($(date +%s%N) / 1000000)); }

# seconds MS: "12.3 s".
seconds() { printf '%d.%d s' $(($1 / 1000)) $(($1 % 1000 / 100)); }

# phase NAME COMMAND...: runs it under a heading, remembers how long it took. Its exit status is the phase's.
phase_names=()
phase_times=()
phase() {
  local name=$1 start status=0
  shift
  printf '\n== %s\n' "$name"
  start=$(now_ms)
  "$@" || status=$?
  phase_names+=("$name")
  phase_times+=($(($(now_ms) - start)))
  return "$status"
}

print_phases() {
  local i
  printf '\nphases\n'
  for i in "${!phase_names[@]}"; do
    printf '  %-24s %s\n' "${phase_names[$i]}" "$(seconds "${phase_times[$i]}")"
  done
}

# as_root COMMAND...: directly, or through sudo where that asks no question.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    return 1
  fi
}

# ensure_packages PACKAGE...: installs the Debian packages that are missing. The only thing that is ever installed
# outside this folder.
ensure_packages() {
  local missing=() package
  command -v dpkg-query >/dev/null || return 0
  for package in "$@"; do
    # Installed, whatever it is now called: "ok installed" is the last part of the status.
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing Debian packages: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >/dev/null &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null ||
    die "can't install ${missing[*]}; do it by hand: apt-get install ${missing[*]}"
}

# ensure_network: what the tests in network namespaces need besides root.
ensure_network() {
  command -v ip >/dev/null || ensure_packages iproute2
}

# ensure_rust: a toolchain that is new enough, and a linker for it.
ensure_rust() {
  if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    export PATH="$HOME/.cargo/bin:$PATH"
  fi
  command -v cargo >/dev/null || die "no Rust toolchain; see https://rustup.rs"
  local wanted have
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  have=$(rustc --version | cut -d' ' -f2)
  [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n1)" = "$wanted" ] ||
    die "Rust $wanted or newer is needed, this is $have"
  command -v cc >/dev/null || ensure_packages gcc libc6-dev
}

# ensure_component NAME: rustfmt and clippy are left out of minimal toolchains.
ensure_component() {
  case $1 in
    rustfmt) cargo fmt --version >/dev/null 2>&1 && return ;;
    clippy) cargo clippy --version >/dev/null 2>&1 && return ;;
  esac
  command -v rustup >/dev/null && rustup component add "$1" || die "the toolchain lacks $1"
}

# ensure_homeserver: the pinned Synapse in a private environment under .venv.
ensure_homeserver() {
  local wanted stamp="$venv/.installed"
  wanted=$(sha256sum scripts/requirements.txt | cut -d' ' -f1)
  [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
  say "installing the homeserver for tests and demo into .venv ($(sed -n 's/^matrix-synapse==/Synapse /p' scripts/requirements.txt))"
  command -v python3 >/dev/null && python3 -c 'import ensurepip, venv' 2>/dev/null ||
    ensure_packages python3 python3-venv ca-certificates
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: -r scripts/requirements.txt ||
    die "the homeserver can't be installed (see above)"
  echo "$wanted" >"$stamp"
}

# ensure_oldest_homeserver: the oldest Synapse that is supported, in .venv-oldest, with the driver for PostgreSQL.
ensure_oldest_homeserver() {
  local wanted stamp=.venv-oldest/.installed
  wanted=$(sha256sum scripts/requirements-oldest.txt | cut -d' ' -f1)
  [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
  say "installing the oldest supported homeserver into .venv-oldest ($(sed -n 's/^matrix-synapse==/Synapse /p' scripts/requirements-oldest.txt))"
  rm -rf .venv-oldest
  python3 -m venv .venv-oldest
  .venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -r scripts/requirements-oldest.txt ||
    die "the oldest homeserver can't be installed (see above)"
  echo "$wanted" >"$stamp"
}

# start_postgres FOLDER: a PostgreSQL of our own in there, reached by a socket only; sets CAUSEWAY_TEST_SYNAPSE_DB. Never
# as root, which it refuses.
start_postgres() {
  ensure_packages postgresql
  postgres_folder=$1
  postgres_bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n1)
  "$venv/bin/python" -c 'import psycopg2' 2>/dev/null ||
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
      "$(grep '^psycopg2-binary==' scripts/requirements-oldest.txt)" || die "the driver for PostgreSQL can't be installed"
  mkdir -p "$postgres_folder" && chmod 755 "$(dirname "$postgres_folder")"
  postgres_run=()
  if [ "$(id -u)" = 0 ]; then
    chown postgres "$postgres_folder"
    postgres_run=(setpriv --reuid postgres --regid postgres --init-groups)
  fi
  "${postgres_run[@]}" "$postgres_bin/initdb" --pgdata "$postgres_folder/data" --auth trust --username causeway \
    --encoding UTF8 --no-sync >/dev/null || die "PostgreSQL can't be set up (see above)"
  "${postgres_run[@]}" "$postgres_bin/pg_ctl" --pgdata "$postgres_folder/data" --log "$postgres_folder/log" --wait \
    --options "-c listen_addresses='' -c unix_socket_directories='$postgres_folder' -c max_connections=200" start >/dev/null ||
    die "PostgreSQL doesn't start (see above)"
  export CAUSEWAY_TEST_SYNAPSE_DB="host=$postgres_folder user=causeway dbname=postgres"
}

# stop_postgres: the one that start_postgres started.
stop_postgres() {
  "${postgres_run[@]}" "$postgres_bin/pg_ctl" --pgdata "$postgres_folder/data" --mode fast stop >/dev/null
}

# ensure_clients: Matrix clients that tests drive, in an environment of their own; the one for Node where Node is there.
ensure_clients() {
  local wanted stamp=.venv-clients/.installed
  wanted=$(cat scripts/requirements-clients.txt tests/clients/package-lock.json | sha256sum | cut -d' ' -f1)
  [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
  say "installing Matrix clients for tests (matrix-nio, matrix-js-sdk)"
  command -v npm >/dev/null || ensure_packages nodejs npm
  rm -rf .venv-clients tests/clients/node_modules
  python3 -m venv .venv-clients
  .venv-clients/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -r scripts/requirements-clients.txt ||
    die "matrix-nio can't be installed (see above)"
  npm ci --prefix tests/clients --silent --no-audit --no-fund --ignore-scripts ||
    die "matrix-js-sdk can't be installed (see above)"
  echo "$wanted" >"$stamp"
}
