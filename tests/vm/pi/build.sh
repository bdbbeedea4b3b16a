#!/bin/bash
# Builds the virtual Pi: bash tests/vm/pi/build.sh   (as root; prints the folder that has vmlinuz, initrd.gz, disk.ext4)
#
# Kept in $EDGE_NODE_VM_CACHE (default /var/cache/edge-node-vm): a Debian root file system (once, from the Debian
# mirror), a disk with our package (anew whenever the package or this folder changed). --fresh makes both anew.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
cache=${EDGE_NODE_VM_CACHE:-/var/cache/edge-node-vm}
pi=$cache/pi
kernel=linux-image-amd64/trixie-backports   # the first Debian kernel with gpio-sim
packages=systemd,systemd-sysv,systemd-timesyncd,udev,dbus,kmod,iproute2,procps,adduser,openssl,ca-certificates,python3
packages+=,python3-venv,python3-systemd,libportaudio2,libasound2-plugins,libspeexdsp1,alsa-utils,gpiod,$kernel
slimmer=(--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*'
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright')

say() { echo "virtual pi: $*" >&2; }

complain() {
    say "$*"
    exit 1
}

tools=(mmdebstrap qemu-system-x86_64 qemu-img mke2fs mkfs.vfat mcopy busybox xz cpio)
needed="apt-get install mmdebstrap qemu-system-x86 qemu-utils e2fsprogs dosfstools mtools busybox-static xz-utils cpio"
for tool in "${tools[@]}"; do
    command -v "$tool" >/dev/null || complain "$tool is missing: $needed"
done
[ "$(id -u)" = 0 ] || complain "making a root file system needs root: run with sudo"
[ -x .venv/bin/python ] || bash provisioning/dev.sh setup >&2

[ "${1:-}" = --fresh ] && rm -rf "$pi"
mkdir -p "$pi"
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

base=$pi/base-$(echo "$packages ${slimmer[*]}" | sha256sum | cut -c1-12).tar
if [ ! -e "$base" ]; then
    say "making a Debian root file system (about two minutes)"
    rm -f "$pi"/base-*.tar
    # The mirror of this machine.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | sort | uniq -c |
        sort -rn | awk 'NR == 1 { print $2 }')
    mmdebstrap --quiet --variant=minbase --include="$packages" "${slimmer[@]}" trixie "$work/base.tar" \
        "deb $mirror trixie main" "deb $mirror trixie-backports main"
    mv "$work/base.tar" "$base"
fi

# Of what the package, the bundle, the disk are made from.
made_of=$(find pyproject.toml edge_node hardware provisioning systemd tests/vm/pi/build.sh tests/vm/pi/guest \
    -type f ! -path '*/__pycache__/*' -exec sha256sum {} + | sort | cat - <(echo "$base") | sha256sum)
if [ "$made_of" = "$(cat "$pi/made-of" 2>/dev/null)" ]; then
    echo "$pi"
    exit 0
fi

say "packing the release"
bash provisioning/package.sh --out "$pi/release" --arch x86_64 --python 3.13 >&2
bash provisioning/image/lgpio.sh amd64 "$cache/wheels" >&2
release=("$pi/release/"edge-node_*_all.deb "$pi/release/"edge-node-*-x86_64-cp313.tar)
wheel=$(ls "$cache/wheels/"lgpio-*_x86_64.whl)

say "installing the release, without a network"
rm -f "$pi/made-of"
root=$work/root
mkdir "$root"
tar -xf "$base" -C "$root" --exclude='./dev/*'
install -d "$root/var/cache/edge-node" "$root/opt/virtual-pi" "$root/tmp/release" "$root/var/log/journal"
cp "${release[0]}" "$wheel" "$root/tmp/release/"
cp "${release[1]}" "$root/var/cache/edge-node/"
install -m 0644 "$here"/guest/{agent.py,hardware.sh} "$root/opt/virtual-pi/"
install -m 0644 "$here"/guest/virtual-pi{,-agent}.service "$root/etc/systemd/system/"
install -m 0644 -D "$here/guest/edge-node.conf" "$root/etc/systemd/system/edge-node.service.d/virtual-pi.conf"
for unit in edge-node edge-node-firstboot; do
    install -m 0644 -D "$here/guest/patient.conf" "$root/etc/systemd/system/$unit.service.d/patient.conf"
done
printf '[Match]\nType=ether\n[Network]\nDHCP=ipv4\n' >"$root/etc/systemd/network/10-ether.network"
echo virtual-pi >"$root/etc/hostname"
printf '127.0.0.1 localhost virtual-pi\n' >"$root/etc/hosts"
mkdir -p "$root/boot/firmware"
echo '/dev/vdb /boot/firmware vfat defaults,nofail 0 2' >"$root/etc/fstab"
rm -f "$root/etc/machine-id"
touch "$root/etc/machine-id"
unshare --net --mount --pid --fork chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
    DEBIAN_FRONTEND=noninteractive sh -euc '
        mount -t proc proc /proc
        mount -t tmpfs tmpfs /dev/shm 2>/dev/null || true
        dpkg -i /tmp/release/edge-node_*_all.deb
        python3 -m zipfile -e /tmp/release/lgpio-*.whl /usr/local/lib/python3.13/dist-packages
        systemctl --quiet enable systemd-networkd virtual-pi virtual-pi-agent edge-node edge-node-settle edge-node-firstboot
        systemctl --quiet mask e2scrub_reap ldconfig systemd-journal-catalog-update systemd-hwdb-update apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer
        rm -rf /tmp/release' >"$work/log" 2>&1 || { cat "$work/log" >&2; complain "the release was not installed"; }
[ -x "$root/opt/edge-node/current/venv/bin/edge-node" ] || { cat "$work/log" >&2; complain "no slot was filled"; }

say "making the disk"
modules=$(echo "$root"/usr/lib/modules/*)
# Unpacked here, as an emulated machine takes seconds for it.
for module in gpio-sim vivid snd-aloop virtio_net virtio_console virtio-rng i6300esb; do
    chroot "$root" modprobe --set-version "${modules##*/}" --show-depends "$module"
done | awk -v root="$root" '$1 == "insmod" && $2 ~ /xz$/ { print root $2 }' | sort -u | xargs xz -d
chroot "$root" depmod "${modules##*/}"
cp "$modules/vmlinuz" "$pi/vmlinuz"
small=$work/initrd
mkdir -p "$small/bin" "$small/modules"
cp "$(command -v busybox)" "$small/bin/busybox"
install -m 0755 "$here/guest/init" "$small/init"
for module in virtio_blk crc16 mbcache crc32c jbd2 ext4; do
    file=$(find "$modules/kernel" -name "$module.ko*")
    case $file in
        *.xz) xz -dc "$file" >"$small/modules/$module.ko" ;;
        *.ko) cp "$file" "$small/modules/" ;;
    esac
done
(cd "$small" && find . | cpio --quiet -o -H newc | gzip -1) >"$pi/initrd.gz"
mke2fs -q -t ext4 -L virtual-pi -d "$root" "$work/disk.ext4" 3G
mv "$work/disk.ext4" "$pi/disk.ext4"
echo "$made_of" >"$pi/made-of"
echo "$pi"
