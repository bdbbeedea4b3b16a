#!/bin/bash
# The life of an installation, under a real systemd in a container without any network, as root:
#
#   bash tests/vm/nspawn/run.sh [bookworm|trixie|both] [--fresh] [--shell]
#
# From a clean root file system and a provisioned card: the package with its bundle, first boot, enrolment, a call with
# pictures, a freeze, crashes, wrong settings, an update, a bad update, removal, purge.
# Needs: apt-get install mmdebstrap systemd-container, and .venv (bash provisioning/dev.sh setup).
# Root file systems (about 1 min each, from the Debian mirror), wheels and releases (by the content of the checkout) are
# made once and kept in $EDGE_NODE_NSPAWN_CACHE (default /var/cache/edge-node-nspawn); each run works on a copy, both
# suites side by side. --fresh makes the root file systems anew, --shell gives a root shell in place of the checks.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../../.." && pwd)
cache=${EDGE_NODE_NSPAWN_CACHE:-/var/cache/edge-node-nspawn}
deadline_s=900
cgroups=(/sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup)
# What the package depends on, and what a minimal system lacks of a usual one.
packages=systemd,systemd-sysv,dbus,apt,python3,python3-venv,openssl,adduser,libportaudio2,libasound2-plugins,libspeexdsp1,procps,iproute2

complain() {
    echo "nspawn: $*" >&2
    exit 1
}

suites=() fresh=no shell=no
for word in "$@"; do
    case $word in
        bookworm | trixie) suites+=("$word") ;;
        both) suites=(bookworm trixie) ;;
        --fresh) fresh=yes ;;
        --shell) shell=yes ;;
        *) complain "unknown word $word (use bookworm, trixie, both, --fresh, --shell)" ;;
    esac
done
[ "${#suites[@]}" -gt 0 ] || suites=(bookworm trixie)
[ "$(id -u)" = 0 ] || complain "booting a container needs root: run with sudo"
for tool in mmdebstrap systemd-nspawn dpkg-deb openssl; do
    command -v "$tool" >/dev/null || complain "$tool is missing: apt-get install mmdebstrap systemd-container dpkg-dev openssl"
done

[ -x "$checkout/.venv/bin/edge-node" ] || complain "there is no .venv: run bash provisioning/dev.sh setup first"

python_of() { if [ "$1" = bookworm ]; then echo 3.11; else echo 3.13; fi; }

root_of() { echo "$cache/$1-$(echo "$packages" | sha256sum | cut -c1-8)"; }

need_root() {
    local root
    root=$(root_of "$1")
    [ "$fresh" = no ] || rm -rf "$root"
    [ ! -e "$root/.complete" ] || return 0
    echo "nspawn: making a $1 root file system in $root"
    mkdir -p "$cache"
    rm -rf "$root"
    mmdebstrap --quiet --variant=minbase --include="$packages" "$1" "$root"
    touch "$root/.complete"
}

# aside KIND: a folder that the next run removes if this one cannot.
aside() { mktemp -d "$cache/$1.$$.XXXXXX"; }

sweep() {
    local left pid base
    for left in "$cache"/run.* "$cache"/checkout.*; do
        pid=$(basename "$left" | cut -d. -f2)
        if [ ! -d "$left" ] || { [[ $pid =~ ^[0-9]+$ ]] && kill -0 "$pid" 2>/dev/null; }; then continue; fi
        umount "$left/root" 2>/dev/null || true
        rm -rf "$left"
    done
    for base in "${cgroups[@]}"; do
        for left in "$base"/run.*; do
            pid=$(basename "$left" | cut -d. -f2)
            if [ -d "$left" ] && ! kill -0 "$pid" 2>/dev/null; then
                find "$left" -depth -type d -exec rmdir {} + 2>/dev/null || true
            fi
        done
    done
}

# release VERSION PYTHON OUT [WORDS OF PYTHON]: what package.sh makes of the checkout with another version number.
release() {
    local version=$1 python=$2 out=$3 copy
    copy=$(aside checkout)
    cp -a "$checkout"/{edge_node,hardware,systemd,provisioning,pyproject.toml,README.md,LICENSE} "$copy/"
    [ ! -e "$checkout/.venv" ] || ln -s "$checkout/.venv" "$copy/.venv"
    sed -i "s/^__version__ = .*/__version__ = \"$version\"/" "$copy/edge_node/version.py"
    if [ $# -gt 3 ]; then sed -i "s/^def main(args.*/&\n    $4/" "$copy/edge_node/cli/run.py"; fi
    (cd "$copy" && PYTHONPATH=$copy bash provisioning/package.sh --out "$out" --key "$cache/key.pem" --arch "$(uname -m)" \
        --python "$python" --wheels "$cache/wheels" >/dev/null)
    rm -rf "$copy"
}

content() {
    (cd "$checkout" && find edge_node hardware systemd provisioning pyproject.toml README.md LICENSE tests/vm/nspawn/run.sh \
        -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
}

# The releases of this very checkout: 9.0.0, 9.0.1, and 9.0.2 that always dies at its start.
need_releases() {
    local python=$1 done
    releases=$cache/releases-$python
    done=$(content)
    [ "$(cat "$releases/content" 2>/dev/null)" != "$done" ] || return 0
    echo "nspawn: making three releases for Python $python"
    rm -rf "$releases"
    mkdir -p "$releases" "$cache/wheels"
    [ -e "$cache/key.pem" ] || (umask 077 && openssl genpkey -algorithm ed25519 -out "$cache/key.pem")
    release 9.0.0 "$python" "$releases"
    release 9.0.1 "$python" "$releases"
    release 9.0.2 "$python" "$releases" 'raise RuntimeError("this version dies")'
    echo "$done" >"$releases/content"
}

# card FOLDER GUEST PYTHON: the boot partition as the fleet's owner writes it, the register as the hub has it.
card() {
    local release
    release=$cache/releases-$3
    mkdir -p "$2/boot/firmware"
    echo "console=tty1 rootwait" >"$2/boot/firmware/cmdline.txt"
    touch "$2"/boot/firmware/{user-data,meta-data,network-config}
    "$checkout/.venv/bin/edge-node" hub claim new front-door --file "$2/opt/check/enrolment.json" --out "$1/claims.csv"
    "$checkout/.venv/bin/edge-node" provision new front-door --name "Front door" --channel home/front-door \
        --fleet "$here/fleet.toml" --claims "$1/claims.csv" --out "$1/cards" --boot "$2/boot/firmware" \
        --add "$release"/edge-node_9.0.0_all.deb "$release"/edge-node-9.0.0-*.tar
    rm -r "$1/cards"
}

# Without registration two guests would share the groups payload and supervisor below ours, and each other's units there.
enter_own_cgroup() {
    local base
    for base in "${cgroups[@]}"; do
        [ ! -e "$base/cgroup.procs" ] || { mkdir "$base/$1" && echo "$BASHPID" >"$base/$1/cgroup.procs"; }
    done
}

leave_own_cgroup() {
    local base
    for base in "${cgroups[@]}"; do
        [ -d "$base/$1" ] || continue
        echo "$BASHPID" >"$base/cgroup.procs"
        find "$base/$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
}

journey() {
    local suite=$1 work guest log
    work=$(aside run)
    # shellcheck disable=SC2064
    trap "umount '$work/root' 2>/dev/null; rm -rf '$work'; leave_own_cgroup '$(basename "$work")'" EXIT
    enter_own_cgroup "$(basename "$work")"
    guest=$work/root
    mkdir "$guest" "$work/upper" "$work/work"
    mount -t overlay overlay -o "lowerdir=$(root_of "$suite"),upperdir=$work/upper,workdir=$work/work" "$guest" 2>/dev/null ||
        cp -a --reflink=auto "$(root_of "$suite")/." "$guest"
    mkdir -p "$guest/opt/check" "$guest/opt/releases" "$guest/etc/systemd/system/default.target.wants"
    cp "$here"/{check.sh,peer.py,watch.py,hub.toml} "$guest/opt/check/"
    card "$work" "$guest" "$(python_of "$suite")" >/dev/null
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
    ln -s ../check.service "$guest/etc/systemd/system/default.target.wants/check.service"
    local container=(systemd-nspawn --quiet --directory="$guest" --register=no --keep-unit --private-network
        "--machine=edge-node-$suite" "--bind-ro=$cache/releases-$(python_of "$suite"):/opt/releases")
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
    if [ "$shell" = yes ]; then
        "${container[@]}" /bin/bash
        return
    fi
    timeout "$deadline_s" "${container[@]}" --boot --console=pipe >"$work/console" 2>&1 </dev/null || true
    log=$guest/opt/check/log
    if [ ! -s "$log" ]; then
        tail -n 40 "$work/console" >&2
        complain "the $suite guest did not get as far as the checks"
    fi
    sed "s/^/$suite: /" "$log"
    grep -q '^ok all' "$log"
}

all_began=$SECONDS
mkdir -p "$cache"
sweep
for suite in "${suites[@]}"; do
    need_root "$suite"
    need_releases "$(python_of "$suite")"
done
echo "nspawn: booting ${suites[*]}"
began=$SECONDS
running=()
for suite in "${suites[@]}"; do
    if [ "$shell" = yes ]; then (journey "$suite"); else
        (journey "$suite") &
        running+=($!)
    fi
done
failed=0
for pid in "${running[@]}"; do wait "$pid" || failed=1; done
[ "$failed" = 0 ] || complain "not everything passed"
echo "nspawn: all of ${suites[*]} in $((SECONDS - began)) s, $((SECONDS - all_began)) s with what was made for it"
