#!/bin/bash
# Boots the image on emulated arm64: bash tests/vm/arm64/run.sh [--fresh] [IMAGE]   (as root)
#
# Needs once: apt-get install qemu-system-arm qemu-user-static mmdebstrap fdisk e2fsprogs dosfstools mtools
# Without IMAGE one is made ($EDGE_NODE_VM_CACHE, default /var/cache/edge-node-vm; 20 to 40 minutes the first time), and
# kept until --fresh. Settings go onto its boot partition, as provisioning does, a check into its root (check.sh).
# First on -M virt: the service, our wheels, a call. Then on -M raspi3b, a Pi 3B: until the service is active. QEMU does
# not run the GPU's firmware: it gets kernel, initial file system and device tree, taken from the image's boot partition.
# EDGE_NODE_VM_ONLY=virt or raspi3b: that one only.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
cache=${EDGE_NODE_VM_CACHE:-/var/cache/edge-node-vm}
out=test-output/vm
complain() {
    echo "arm64: $*" >&2
    exit 1
}
for tool in qemu-system-aarch64 sfdisk debugfs mcopy mmd; do
    command -v "$tool" >/dev/null || [ -x "/usr/sbin/$tool" ] ||
        complain "$tool is missing: apt-get install qemu-system-arm fdisk e2fsprogs mtools"
done
[ -x .venv/bin/python ] || bash provisioning/dev.sh setup
mkdir -p "$out" "$cache/arm64"
work=$(mktemp -d "$cache/arm64/run.XXXXXX")
trap 'rm -rf "$work"' EXIT
export PATH=$PATH:/usr/sbin MTOOLS_SKIP_CHECK=1

image=$cache/arm64/edge-node.img
[ "${1:-}" = --fresh ] && { rm -f "$image"; shift; }
if [ -n "${1:-}" ]; then
    image=$1
elif [ ! -e "$image" ]; then
    bash provisioning/package.sh --out "$cache/arm64/release" --arch aarch64 --python 3.13
    .venv/bin/edge-node image build --out "$image" --cache "$cache/arm64" \
        --deb "$(ls "$cache/arm64/release/"edge-node_*_all.deb)" \
        --bundle "$(ls "$cache/arm64/release/"edge-node-*-aarch64-cp313.tar)"
fi
.venv/bin/edge-node image verify "$image"

card=$work/card.img
cp --sparse=always "$image" "$card"
truncate -s 8G "$card"    # a card that is larger than the image; QEMU's raspi3b takes powers of two only
start() { sfdisk --json "$card" | .venv/bin/python -c "import json, sys
print(json.load(sys.stdin)['partitiontable']['partitions'][$1]['start'] * 512)"; }
boot="$card@@$(start 0)" root="$card?offset=$(start 1)"

cat >"$work/edge-node.toml" <<'TOML'
[node]
id = "virtual"
[channel]
url = "ws://127.0.0.1:9292"
name = "home/virtual"
api_key = "pk_live_of_nobody"
[video]
source = "test"
width_px = 320
height_px = 180
fps = 5
[audio]
microphone = "none"
speaker = "none"
[[gpio.led]]
name = "status"
pin = "GPIO27"
TOML
mmd -i "$boot" ::/edge-node 2>/dev/null || true
mcopy -o -i "$boot" "$work/edge-node.toml" ::/edge-node/edge-node.toml
printf '[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/bash /opt/check/check.sh\n' \
    >"$work/check.service"
# Emulated on a busy machine everything takes up to fifty times as long as on the board: the units' deadlines are lifted.
printf '[Service]\nTimeoutStartSec=infinity\nWatchdogSec=0\n' >"$work/patient.conf"
mkdir -p "$work/boot"
for pattern in vmlinuz- initrd.img-; do
    name=$(mdir -b -i "$boot" ::/ | sed -n "s|^::/\(${pattern}.*\)|\1|p" | tail -n 1)
    mcopy -i "$boot" "::/$name" "$work/boot/$pattern"
done
mcopy -i "$boot" ::/bcm2837-rpi-3-b.dtb "$work/boot/"
debugfs -w -f - "$root" >/dev/null 2>&1 <<DEBUGFS
mkdir /opt/check
write $here/check.sh /opt/check/check.sh
write $here/call.py /opt/check/call.py
write $work/check.service /etc/systemd/system/check.service
symlink /etc/systemd/system/multi-user.target.wants/check.service ../check.service
mkdir /etc/systemd/system/edge-node.service.d
write $work/patient.conf /etc/systemd/system/edge-node.service.d/patient.conf
mkdir /etc/systemd/system/edge-node-firstboot.service.d
write $work/patient.conf /etc/systemd/system/edge-node-firstboot.service.d/patient.conf
DEBUGFS

failed=0
# boots NAME DEADLINE_S WORDS… : until the check said its last word.
boots() {
    local name=$1 deadline=$2 began=$SECONDS console=$out/arm64-$1.txt
    shift 2
    [[ " ${EDGE_NODE_VM_ONLY:-virt raspi3b} " == *" $name "* ]] || return 0
    echo "arm64: $name"
    timeout "$deadline" qemu-system-aarch64 "$@" -accel tcg,thread=multi -nographic -no-reboot -nodefaults \
        -serial "file:$console" -kernel "$work/boot/vmlinuz-" -initrd "$work/boot/initrd.img-" </dev/null || true
    grep -a -o 'CHECK .*' "$console" | tr -d '\r' || true
    echo "arm64: $name took $((SECONDS - began)) s"
    if grep -a -q 'CHECK NOT OK' "$console" || ! grep -a -q 'CHECK end' "$console"; then
        tail -n 15 "$console" >&2
        failed=1
    fi
}
words="root=LABEL=edge-node rw rootwait net.ifnames=0 panic=-1"
[ "$(debugfs -R 'stat /state' "$root" 2>/dev/null | grep -c Inode)" = 0 ] || words="${words/ rw/ ro} edge_node.overlay"
sed -i 's/^ExecStart=.*/& call/' "$work/check.service"
cp --sparse=always "$card" "$work/call.img"
debugfs -w -f - "$work/call.img?offset=$(start 1)" >/dev/null 2>&1 <<DEBUGFS
rm /etc/systemd/system/check.service
write $work/check.service /etc/systemd/system/check.service
DEBUGFS
boots virt 1800 -M virt -cpu cortex-a72 -smp 2 -m 1024 -drive "file=$work/call.img,format=raw,if=virtio" \
    -netdev user,id=n0,restrict=on -device virtio-net-pci,netdev=n0,romfile= -append "console=ttyAMA0 $words"
boots raspi3b 2400 -M raspi3b -dtb "$work/boot/bcm2837-rpi-3-b.dtb" -drive "file=$card,format=raw,if=sd" \
    -append "console=ttyS1,115200 console=ttyAMA0,115200 cma=64M $words"
[ "$failed" = 0 ] || complain "not everything passed"
echo "ok all"
