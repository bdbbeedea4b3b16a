#!/bin/bash
# Runs in the arm64 guest, once, as root; what it prints goes to the console, where run.sh reads it.
python=/opt/edge-node/current/venv/bin/python
tell() { echo "CHECK $*" >/dev/console; }
up() { cut -d. -f1 /proc/uptime; }

tell "ok started at $(up) s on $(tr -d '\0' </proc/device-tree/model), $(uname -m), $(uname -r)"
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 1
    done
}
active() { [ "$(systemctl show edge-node --property=ActiveState --value)" = active ]; }
if within 900 active; then
    tell "ok edge-node.service is active at $(up) s: $(systemctl show edge-node --property=StatusText --value)"
else
    tell "NOT OK edge-node.service: $(systemctl show edge-node --property=ActiveState,SubState,Result --value | xargs)"
    journalctl --no-pager -u 'edge-node*' | tail -n 40 | sed 's/^/CHECK   /' >/dev/console
fi
journalctl --no-pager -o cat -u edge-node | grep 'is degraded' | grep -v channel | tail -n 2 | sed 's/^/CHECK   /' >/dev/console
[ -z "$(find /boot/firmware/edge-node -type f 2>/dev/null)" ] && grep -q virtual /etc/edge-node/edge-node.toml &&
    tell "ok the first boot took the settings off the card" || tell "NOT OK first boot"
grown=$([ -d /state ] && echo /state || echo /)
[ "$(df --output=size -B1M "$grown" | tail -n 1)" -gt 4096 ] && tell "ok $grown took all of the card" ||
    tell "NOT OK $(df -h "$grown" | tail -n 1); $(journalctl --no-pager -u edge-node-grow | tail -n 5)"
findmnt -n -o SOURCE,FSTYPE,SIZE,OPTIONS / | while read -r line; do tell "ok root: $line"; done
if [ "${1:-}" = call ]; then
    systemctl stop edge-node
    began=$(up)
    if $python -c 'import edge_node.node.build, aiortc, av, numpy, sounddevice, gpiozero, lgpio, livekit' 2>/run/said; then
        tell "ok imports in $(($(up) - began)) s"
    else
        tell "NOT OK imports: $(tail -n 1 /run/said)"
    fi
    ip link set lo up
    ip -br -4 addr show scope global | grep -q . || ip addr add 192.0.2.10/24 dev eth0 2>/dev/null
    began=$(up)
    $python /opt/check/call.py >/run/said 2>&1
    while read -r line; do tell "  $line"; done <<<"$(tail -n 5 /run/said)"
    grep -q 'call ok' /run/said && tell "ok a call in $(($(up) - began)) s" || tell "NOT OK the call"
fi
tell "end"
systemctl --no-block poweroff
