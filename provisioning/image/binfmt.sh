#!/usr/bin/env bash
# Lets this machine run programs for arm64: bash provisioning/image/binfmt.sh   (root; apt-get install qemu-user-static)
set -euo pipefail
[ "$(uname -m)" != aarch64 ] || exit 0
formats=/proc/sys/fs/binfmt_misc
[ -e "$formats/register" ] || mount -t binfmt_misc none "$formats"
[ ! -e "$formats/qemu-aarch64" ] || exit 0
conf=/usr/lib/binfmt.d/qemu-aarch64.conf
[ -e "$conf" ] || { echo "binfmt.sh: $conf is missing: apt-get install qemu-user-static" >&2; exit 1; }
cat "$conf" >"$formats/register"
