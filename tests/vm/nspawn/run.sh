#!/bin/bash
# Boots a real systemd in a container and proves the unit there: bash tests/vm/nspawn/run.sh   (as root)
#
# Needs once: apt-get install mmdebstrap systemd-container. The root file system is made on the first run (about 30 s,
# from the Debian mirror) and kept in $EDGE_NODE_NSPAWN_CACHE (default /var/cache/edge-node-nspawn); each run works on
# a copy. --fresh makes it anew, --shell opens a root shell in place of the checks.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../../.." && pwd)
cache=${EDGE_NODE_NSPAWN_CACHE:-/var/cache/edge-node-nspawn}
boot_deadline_s=300

complain() {
    echo "nspawn: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || complain "booting a container needs root: run with sudo"
for tool in mmdebstrap systemd-nspawn; do
    command -v "$tool" >/dev/null || complain "$tool is missing: apt-get install mmdebstrap systemd-container"
done
[ -x "$checkout/.venv/bin/python" ] || complain "there is no .venv: run bash provisioning/dev.sh check first"

# The packages of the host's .venv are used in the guest: so the guest is the Debian with the same Python.
python=$("$checkout/.venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $python in
    3.11) suite=bookworm ;;
    3.13) suite=trixie ;;
    *) complain "no Debian release has Python $python: make .venv with 3.11 or 3.13" ;;
esac

root=$cache/$suite
[ "${1:-}" = --fresh ] && rm -rf "$root"
if [ ! -e "$root/.complete" ]; then
    echo "nspawn: making a $suite root file system in $root"
    mkdir -p "$cache"
    rm -rf "$root"
    mmdebstrap --quiet --variant=minbase \
        --include=systemd,systemd-sysv,dbus,python3,libportaudio2,libasound2-plugins,procps \
        "$suite" "$root"
    touch "$root/.complete"
fi

work=$(mktemp -d "$cache/run.XXXXXX")
trap 'rm -rf "$work"' EXIT
guest=$work/root
cp -a --reflink=auto "$root" "$guest"

# The layout that an installation has: /opt/edge-node/venv with the program, the units, the user, the settings.
venv=$guest/opt/edge-node/venv
mkdir -p "$venv/bin" "$venv/lib/python$python/site-packages" "$guest/opt/edge-node/checkout" "$guest/opt/check"
ln -s /usr/bin/python3 "$venv/bin/python"
printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = %s\n' "$python" >"$venv/pyvenv.cfg"
cat >"$venv/bin/edge-node" <<'PROGRAM'
#!/opt/edge-node/venv/bin/python
import sys

sys.path.insert(0, "/opt/edge-node/checkout")
from edge_node.cli.main import main

sys.exit(main())
PROGRAM
chmod 755 "$venv/bin/edge-node"
cp "$checkout"/systemd/*.service "$guest/etc/systemd/system/"
mkdir -p "$guest/etc/sysusers.d" "$guest/etc/tmpfiles.d" "$guest/etc/edge-node" "$guest/etc/credstore"
cp "$checkout"/systemd/sysusers.d/*.conf "$guest/etc/sysusers.d/"
cp "$checkout"/systemd/tmpfiles.d/*.conf "$guest/etc/tmpfiles.d/"
cp "$here/edge-node.toml" "$here/hub.toml" "$guest/etc/edge-node/"
printf 'pk_dev_canary_in_the_box' >"$guest/etc/credstore/edge-node.api_key"
chmod 600 "$guest/etc/credstore/edge-node.api_key"
version=$(chroot "$guest" systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
if [ "$version" -ge 254 ]; then
    mkdir -p "$guest/etc/systemd/system/edge-node.service.d"
    cp "$checkout"/systemd/edge-node.service.d/50-systemd-254.conf "$guest/etc/systemd/system/edge-node.service.d/"
fi
cp "$here/check.sh" "$guest/opt/check/check.sh"
cat >"$guest/etc/systemd/system/check.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /opt/check/check.sh
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=file:/opt/check/log
StandardError=file:/opt/check/log
UNIT
mkdir -p "$guest/etc/systemd/system/default.target.wants"
ln -s ../check.service "$guest/etc/systemd/system/default.target.wants/check.service"

binds=(
    "--bind-ro=$checkout:/opt/edge-node/checkout"
    "--bind-ro=$checkout/.venv/lib/python$python/site-packages:/opt/edge-node/venv/lib/python$python/site-packages"
)
container=(systemd-nspawn --quiet --directory="$guest" --register=no --keep-unit --private-network "${binds[@]}")
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
if [ "${1:-}" = --shell ]; then
    exec "${container[@]}" /bin/bash
fi
echo "nspawn: booting systemd $version"
timeout "$boot_deadline_s" "${container[@]}" --boot --console=pipe >"$work/console" 2>&1 </dev/null || true
log=$guest/opt/check/log
[ -s "$log" ] || { tail -n 40 "$work/console" >&2; complain "the guest did not get as far as the checks"; }
cat "$log"
grep -q '^ok all' "$log" || complain "not everything passed"
