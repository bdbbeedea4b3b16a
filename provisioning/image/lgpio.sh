#!/usr/bin/env bash
# Builds the wheel of lgpio for Debian 13's Python, which has none: neither Debian's archive nor PyPI (as of 0.2.2.0).
#
#   bash provisioning/image/lgpio.sh arm64|amd64 OUT_DIR     (root; apt-get install mmdebstrap qemu-user-static)
#
# In a folder of unpacked packages, with the compiler of the target: nothing of this machine goes into it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
arch=${1:?arm64 or amd64} out=${2:?OUT_DIR}
version=0.2.2.0
sha256=11372e653b200f76a0b3ef8a23a0735c85ec678a9f8550b9893151ed0f863fff

mkdir -p "$out"
out=$(cd "$out" && pwd)
case $arch in arm64) machine=aarch64 ;; amd64) machine=x86_64 ;; *) echo "lgpio.sh: arm64 or amd64, not $arch" >&2; exit 2 ;; esac
if ls "$out/lgpio-$version-"*"_$machine.whl" 2>/dev/null; then exit 0; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "lgpio==$version --hash=sha256:$sha256" >"$work/requirements.txt"
.venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --no-build-isolation \
  --require-hashes --requirement "$work/requirements.txt" --dest "$work"
[ "$arch" = "$(dpkg --print-architecture)" ] || bash provisioning/image/binfmt.sh
root=$work/root
mmdebstrap --quiet --variant=extract --architectures="$arch" \
  --include=coreutils,dash,gcc,libc6-dev,python3-dev,python3-setuptools,python3-wheel,swig trixie "$root"
for folder in bin sbin lib lib64; do
  [ -e "$root/$folder" ] || { mkdir -p "$root/usr/$folder"; ln -s "usr/$folder" "$root/$folder"; }
done
tar -xzf "$work/lgpio-$version.tar.gz" -C "$root/tmp"
# PYPI=1: with lgpio's own C sources, not against a liblgpio of the system.
chroot "$root" /usr/bin/env -i PATH=/usr/bin HOME=/tmp PYPI=1 SOURCE_DATE_EPOCH=1795219200 \
  sh -c "cd /tmp/lgpio-$version && python3 setup.py --quiet bdist_wheel" >"$work/log" 2>&1 ||
  { tail -n 20 "$work/log" >&2; exit 1; }
install -m 0644 "$root/tmp/lgpio-$version/dist/"lgpio-*.whl "$out/"
ls "$out/lgpio-$version-"*"_$machine.whl"
