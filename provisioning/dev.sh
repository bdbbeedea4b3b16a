#!/usr/bin/env bash
# Sets up a fresh Debian or Raspberry Pi OS machine, then runs a command of the project.
#
#   bash provisioning/dev.sh simulate [words…]   the whole appliance on this machine (hub, node, console, virtual panel)
#   bash provisioning/dev.sh test [words…]       lint, types and every test; words go to pytest
#   bash provisioning/dev.sh check [words…]      lint, types and the quick tests
#   bash provisioning/dev.sh run|hub|monitor|doctor|…   any other `edge-node` command
#   bash provisioning/dev.sh setup               only the set-up
#   bash provisioning/dev.sh lock                writes the hashed requirement files anew
#
# The first time it installs Debian packages and makes .venv from the hashed requirement files; after that it is silent.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv
REQUIREMENTS=provisioning/requirements/dev.txt
RUN_PACKAGES=(python3 python3-venv libportaudio2 libasound2-plugins fonts-dejavu-core)
TEST_PACKAGES=(openssl libspeexdsp1 espeak-ng pulseaudio pulseaudio-utils chromium systemd fdisk dosfstools mtools)

say() { printf '%s\n' "$*" >&2; }
die() { say "dev.sh: $*"; exit 1; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    die "needs root to install Debian packages: run it as root, or install sudo"
  fi
}

installed() { [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null | cut -c1-2)" = ii ]; }

need_packages() {
  local missing=() package
  for package in "$@"; do installed "$package" || missing+=("$package"); done
  [ "${#missing[@]}" -eq 0 ] && return
  command -v apt-get >/dev/null || die "needs Debian packages, and there is no apt-get here: ${missing[*]}"
  say "dev.sh: installing ${missing[*]}"
  local log; log=$(mktemp)
  if ! { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive \
         apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "apt-get could not install ${missing[*]}; the whole log is in $log"
  fi
  rm -f "$log"
}

# The distribution's own Python comes first: picamera2 and libcamera are built for it.
find_python() {
  local candidate
  for candidate in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  die "needs Python 3.11, 3.12 or 3.13 with the venv module: use Debian 12, Debian 13 or Raspberry Pi OS of the same age"
}

need_venv() {
  local python stamp
  python=$(find_python)
  stamp="$("$python" -V) $(sha256sum "$REQUIREMENTS" pyproject.toml | sha256sum | cut -d' ' -f1) $PWD"
  [ "$(cat "$VENV/.stamp" 2>/dev/null)" = "$stamp" ] && return
  say "dev.sh: making $VENV"
  rm -rf "$VENV"
  local options=()
  installed python3-picamera2 && options+=(--system-site-packages)
  "$python" -m venv "${options[@]}" "$VENV"
  "$VENV/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$REQUIREMENTS" 2>&1 | { grep -v '^WARNING' || true; } >&2
  "$VENV/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . 2>&1 | { grep -v '^WARNING' || true; } >&2
  "$VENV/bin/edge-node" --version >/dev/null
  printf '%s' "$stamp" >"$VENV/.stamp"
}

lint() {
  "$VENV/bin/ruff" format --check --quiet . || die "some files are not formatted: run $VENV/bin/ruff format ."
  "$VENV/bin/ruff" check --quiet .
  "$VENV/bin/mypy" --no-error-summary
}

lock() {
  "$VENV/bin/pip" install --quiet uv
  local extras name
  for extras in "" hub "hub aec qr" dev; do
    name=${extras// /-}
    # shellcheck disable=SC2086
    "$VENV/bin/uv" pip compile pyproject.toml ${extras:+--extra} ${extras// / --extra } --universal --generate-hashes \
      --no-emit-index-url --no-annotate --no-header --python-version 3.11 --quiet \
      -o "provisioning/requirements/${name:-core}.txt"
  done
}

command=${1:-help}
[ "$#" -gt 0 ] && shift
case "$command" in
  help | -h | --help) sed -n '2,11p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
  test | check) need_packages "${RUN_PACKAGES[@]}" "${TEST_PACKAGES[@]}" ;;
  *) need_packages "${RUN_PACKAGES[@]}" ;;
esac
need_venv
case "$command" in
  setup) ;;
  lock) lock ;;
  check) lint; exec "$VENV/bin/python" -m pytest -m "not slow" "$@" ;;
  test) lint; exec "$VENV/bin/python" -m pytest "$@" ;;
  *) exec "$VENV/bin/edge-node" "$command" "$@" ;;
esac
