#!/usr/bin/env bash
# Makes what is given to people: a Debian package, signed bundles of wheels for machines without internet.
#
#   bash provisioning/package.sh [--out DIR] [--key KEY.pem] [--arch aarch64|x86_64]… [--python 3.11|3.13]… [--no-bundles]
#                                [--wheels DIR]
#
# DIR (default dist/) gets edge-node_VERSION_all.deb and one edge-node-VERSION-ARCH-cpXY.tar per kind of machine.
# KEY.pem is an Ed25519 private key (openssl genpkey -algorithm ed25519); without one a key for this DIR is made.
# Needs internet for the wheels; with --wheels they are kept there for the next time. On the device, without internet:
#   apt install ./edge-node_VERSION_all.deb, with the bundle in /var/cache/edge-node or on the card's boot partition.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022   # everybody reads what is in the package, the daemon first of all

die() { echo "package.sh: $*" >&2; exit 1; }
out=dist key='' words=() bundles=yes
while [ "$#" -gt 0 ]; do
  case "$1" in
    --out) out=${2:?}; shift 2 ;;
    --key) key=${2:?}; shift 2 ;;
    --arch | --python | --floor | --wheels) words+=("$1" "${2:?}"); shift 2 ;;
    --no-bundles) bundles=no; shift ;;
    -h | --help) sed -n '2,11p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    *) die "unknown word $1" ;;
  esac
done
command -v dpkg-deb >/dev/null || die "needs dpkg-deb: this is no Debian"
command -v openssl >/dev/null || die "needs openssl: apt-get install openssl"
mkdir -p "$out"
if [ -z "$key" ]; then
  key=$out/release-key.pem
  [ -e "$key" ] || (umask 077 && openssl genpkey -algorithm ed25519 -out "$key")
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=.venv/bin/python
if [ ! -x "$python" ]; then   # a developer's has all that it takes; anybody else gets what it takes, for this once
  python3 -m venv "$work/venv" || die "needs Python with its venv module: apt-get install python3-venv"
  python=$work/venv/bin/python
  "$python" -m pip install --quiet --disable-pip-version-check hatchling packaging
fi
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$work" .
wheel=$(ls "$work"/edge_node-*.whl)
version=$(basename "$wheel" | cut -d- -f2)

root=$work/deb
install -d "$root/DEBIAN" "$root/usr/lib/edge-node/edge_node/update" "$root/usr/sbin" "$root/usr/bin"
sed "s/@VERSION@/$version/" provisioning/deb/control >"$root/DEBIAN/control"
install -m 0755 provisioning/deb/postinst provisioning/deb/prerm provisioning/deb/postrm "$root/DEBIAN/"
install -m 0644 edge_node/{__init__,durable,errors,version}.py "$root/usr/lib/edge-node/edge_node/"
install -m 0644 edge_node/update/*.py "$root/usr/lib/edge-node/edge_node/update/"
for file in __init__ gpiochip safe_state; do
  install -m 0644 -D "edge_node/devices/$file.py" "$root/usr/lib/edge-node/edge_node/devices/$file.py"
done
install -m 0755 provisioning/deb/edge-node-safe-state "$root/usr/sbin/edge-node-safe-state"
install -m 0755 provisioning/deb/edge-node-slots "$root/usr/sbin/edge-node-slots"
install -m 0755 provisioning/deb/edge-node "$root/usr/bin/edge-node"
install -d "$root/usr/share/edge-node/trust" "$root/usr/share/doc/edge-node" "$root/var/cache/edge-node"
cp -r --no-preserve=mode hardware "$root/usr/share/edge-node/hardware"
# The other rules are for one's own cards and cameras: they want numbers put in.
install -m 0644 -D -t "$root/usr/lib/udev/rules.d" hardware/udev/60-edge-node-gpio.rules
openssl pkey -in "$key" -pubout -out "$root/usr/share/edge-node/trust/release.pem"
for file in $(cd systemd && find . -type f -printf '%P\n'); do
  case $file in
    edge-node.service.d/*) target=usr/share/edge-node/systemd/$file ;;   # postinst: only where systemd knows its keys
    sysusers.d/* | tmpfiles.d/* | sysctl.d/*) target=usr/lib/$file ;;
    journald.conf.d/*) target=usr/lib/systemd/$file ;;
    system.conf.d/*) target=usr/share/edge-node/systemd/$file ;;         # postinst: only on a Raspberry Pi
    *) target=usr/lib/systemd/system/$file ;;
  esac
  install -m 0644 -D "systemd/$file" "$root/$target"
done
install -m 0644 -D provisioning/polkit/50-edge-node-wifi.rules "$root/usr/share/edge-node/polkit/50-edge-node-wifi.rules"
install -m 0644 README.md "$root/usr/share/doc/edge-node/README.md"
install -m 0644 LICENSE "$root/usr/share/doc/edge-node/copyright"
printf 'edge-node (%s) stable; urgency=medium\n\n  * See README.md, "Changelog".\n\n -- edge-node <edge-node@localhost>  Sat, 21 Nov 2026 00:00:00 +0000\n' \
  "$version" | gzip -9n >"$root/usr/share/doc/edge-node/changelog.gz"
gzip -9n <provisioning/deb/edge-node.1 | install -m 0644 -D /dev/stdin "$root/usr/share/man/man1/edge-node.1.gz"
install -d "$root/usr/share/man/man8"
for name in edge-node-slots edge-node-safe-state; do
  ln -s ../man1/edge-node.1.gz "$root/usr/share/man/man8/$name.8.gz"
done
install -m 0644 -D provisioning/deb/lintian-overrides "$root/usr/share/lintian/overrides/edge-node"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1795219200}   # the same input gives the same bytes
find "$root" -print0 | xargs -0 touch --no-dereference --date="@$SOURCE_DATE_EPOCH"
deb=$out/edge-node_${version}_all.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$deb" >/dev/null
echo "$deb"
[ "$bundles" = yes ] || exit 0
"$python" -m edge_node.provision.release --wheel "$wheel" --requirements provisioning/requirements/hub-aec-qr.txt \
  --key "$key" --out "$out" "${words[@]}"
