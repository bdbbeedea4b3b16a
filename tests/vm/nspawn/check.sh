#!/bin/bash
# Runs in the guest, as root, under its systemd; run.sh reads what it prints.
set -uo pipefail

unit=edge-node.service
failures=0
settings=/etc/edge-node/edge-node.toml
check=/opt/check
tag="$(uname -m)-cp$(python3 -c 'import sys; print("%d%d" % sys.version_info[:2])')"

ok() { echo "ok $* ($SECONDS s)"; }

not_ok() {
    echo "NOT OK $*"
    failures=$((failures + 1))
    systemctl status "$unit" --no-pager --lines=15 2>&1 | sed 's/^/    /'
}

show() { systemctl show "$unit" --property="$1" --value; }

# within SECONDS COMMAND…: repeats the command until it succeeds.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

new_main_pid() { [ "$(show MainPID)" != "$1" ] && [ "$(show MainPID)" != 0 ] && [ "$(show ActiveState)" = active ]; }
status_has() { [[ $(show StatusText) == *"$1"* ]]; }
# systemd 252 takes a restart for done while the start goes on.
up_with() { status_has "$1" && [ "$(show ActiveState)" = active ]; }
journal_has() { journalctl -u "$unit" --no-pager -o cat | grep -q "$1"; }
milliseconds() { date +%s%3N; }
answers() { edge-node status --json 2>/dev/null | grep -q "\"version\": \"$1\""; }

# In a mount namespace of its own: the node's would keep what it got from here.
read_only() {
    unshare --mount sh -c 'at=/var/lib/edge-node; mount --bind $at $at && mount -o remount,bind,ro $at && exec "$@"' sh "$@"
}

# doctor WANTED_STATUS CONFIG PATTERN…: edge-node doctor --check, and its findings as "level area text -> todo".
doctor() {
    local wanted=$1 config=$2 got pattern
    shift 2
    ${around:-} edge-node doctor --json --check --config "$config" >/run/doctor.json
    got=$?
    python3 -c 'import json
for f in json.load(open("/run/doctor.json")):
    print(f["level"], f["area"], f["text"], "->", f["todo"])' >/run/doctor
    for pattern in "$@"; do
        grep -qE -- "^$pattern" /run/doctor || { not_ok "doctor does not find: $pattern"; sed 's/^/    /' /run/doctor; }
    done
    [ "$got" = "$wanted" ] || { not_ok "doctor ends with $got"; sed 's/^/    /' /run/doctor; }
}

# What the file system holds, without what changes by itself and what dpkg, users and the journal write of anything.
inventory() {
    find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /opt/check \
        -o -path /var/lib/dpkg -o -path /var/log -o -path /var/cache/apt -o -path /var/cache/debconf \
        -o -path /var/lib/systemd -o -path /var/lib/apt -o -path '*/__pycache__' \) -prune \
        -o -print | grep -vE '^/etc/((passwd|group|shadow|gshadow)-?|\.pwd\.lock|machine-id|resolv.conf)$|^/root' | sort
}

# WebRTC needs an address besides 127.0.0.1, and there is no network.
ip link set lo up
ip addr add 10.9.9.1/32 dev lo
inventory >"$check/before"

# A quick watchdog and quick restarts, so that the freezes and crashes below do not take minutes.
mkdir -p "/run/systemd/system/$unit.d"
{
    printf '[Service]\nWatchdogSec=4\nRestartSec=500ms\n'
    [ "$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')" -lt 254 ] || printf 'RestartSteps=1\nRestartMaxDelaySec=1s\n'
} >"/run/systemd/system/$unit.d/quick.conf"
systemctl daemon-reload

# 1. What cloud-init runs from the card: the package with its bundle, without internet; the card's settings and claim.
export DEBIAN_FRONTEND=noninteractive
code=$(sed -n 's/^code = "\(.*\)"/\1/p' /boot/firmware/edge-node/claim.toml)
[ -n "$code" ] || not_ok "there is a claim on the card"
began=$SECONDS
sh /boot/firmware/edge-node/install.sh >"$check/apt" 2>&1
if [ "$(edge-node --version)" = "edge-node 9.0.0" ] && [ "$(show ActiveState)" = active ] && [ "$(show NRestarts)" = 0 ]; then
    ok "installed from the card without internet, and started without a hub, in $((SECONDS - began)) s"
else
    not_ok "installation: $(cat "$check/apt")"
fi
[ "$(stat -c '%U:%G %a' /etc/edge-node)" = "root:edge-node 750" ] || not_ok "/etc/edge-node"
[ "$(stat -c '%U:%G %a' "$settings")" = "root:edge-node 640" ] || not_ok "$settings is $(stat -c '%U:%G %a' "$settings")"
systemctl is-enabled --quiet "$unit" edge-node-settle.service edge-node-firstboot.service || not_ok "the units are enabled"
[ "$(show User)" = edge-node ] || not_ok "user"
[ ! -e /boot/firmware/edge-node/claim.toml ] && ! grep -rq "$code" /boot && ok "nothing secret is left on the card" ||
    not_ok "the card: $(ls /boot/firmware/edge-node; journalctl -u edge-node-firstboot --no-pager | tail)"

# 2. It enrols and joins when the hub comes.
install -m 0640 -g edge-node "$check/hub.toml" /etc/edge-node/hub.toml
install -D -m 0600 -o edge-node -g edge-node "$check/enrolment.json" /var/lib/edge-node/hub/enrolment.json
rm "$check/enrolment.json"
chown edge-node: /var/lib/edge-node/hub
systemctl enable --quiet --now edge-node-hub.service || not_ok "the hub starts"
if within 60 status_has "on home/front-door"; then
    systemctl status "$unit" --no-pager --lines=0 | grep -q 'Status: "on home/front-door' || not_ok "systemctl status"
    edge-node hub device list | grep -q front-door || not_ok "the hub knows the device: $(edge-node hub device list 2>&1)"
    ok "enrolled and joined: $(show StatusText)"
else
    not_ok "the node enrols and joins when the hub comes"
fi

# 3. The control socket, telemetry.
owner=$(stat -c '%U:%G %a' /run/edge-node/control.sock)
[ "$owner" = "edge-node:edge-node 660" ] || not_ok "control socket is $owner"
sed 's/^dev_key/[channel]\nurl = "ws:\/\/127.0.0.1:9292"\nname = "monitor"\napi_key/; /^$/,$d' /etc/edge-node/hub.toml >/run/monitor.toml
sample=$(edge-node monitor --config /run/monitor.toml --channel 'telemetry/*' --once --json 2>&1)
[[ $sample == *'"node": "front-door"'* ]] && ok "monitor prints a sample" || not_ok "monitor: $sample"

# 4. A press rings somebody who answers, sees and hears, all inside the sandbox.
/opt/edge-node/current/venv/bin/python "$check/peer.py" /run/peer-ready >/run/peer 2>/run/peer-errors &
peer=$!
within 30 test -e /run/peer-ready || not_ok "the peer joins: $(cat /run/peer-errors)"
edge-node press || not_ok "a press"
if wait "$peer" && grep -q '"video": "320x240"' /run/peer && grep -q '"audio":' /run/peer; then
    ok "rung, answered, seen and heard: $(cat /run/peer)"
else
    not_ok "the call: $(cat /run/peer /run/peer-errors)"
fi
within 10 status_has "no call" || not_ok "hanging up ends it"
entry=$(journalctl -u "$unit" EDGE_NODE_EVENT=call.active -o json --no-pager -n 1)
[[ $entry == *'"CALL_ID"'* && $entry == *'"PEER_ID"'* && $entry == *'"MESSAGE_ID"'* && $entry == *'"COMPONENT":"node"'* ]] &&
    ok "the journal's entries have fields" || not_ok "fields: $entry"

# 5. Reload keeps the process.
pid=$(show MainPID)
sed -i 's/^name = "Front door"/name = "Back door"/' "$settings"
if systemctl reload "$unit" && within 20 status_has "on home/front-door" && [ "$(show MainPID)" = "$pid" ] &&
    within 20 sh -c "edge-node status --json | grep -q 'Back door'"; then
    ok "reload takes new settings"
else
    not_ok "reload"
fi

# 6. The doctor: what is here, what is not; then one fault after the other.
before=$failures
mkdir -p /run/systemd/timesync && touch /run/systemd/timesync/synchronized  # a container cannot ask the kernel
doctor 1 "$settings" 'ok board .*generic Linux.*Debian' 'ok camera .*video\.source = "test"' 'ok encoder H\.264 in software' \
    'ok sound .*audio\.microphone = "test"' 'ok sound .*audio\.speaker = "none"' \
    'problem pins no GPIO chip.*button call, input case, led status, relay door -> set gpio\.driver' \
    'note service on home/front-door.*degraded: panel' 'ok service it has its account and its groups' \
    'note network no way to the internet' 'ok network ws://127\.0\.0\.1:9292 answers' 'ok clock synchronised' \
    'ok storage .* used' "ok settings $settings is right"
[ "$(grep -c ^problem /run/doctor)" = 1 ] || not_ok "doctor: $(cat /run/doctor)"
edge-node doctor --check >/run/doctor.txt && not_ok "doctor --check ends with 0"
grep -q '^PROBLEM pins' /run/doctor.txt || not_ok "doctor: $(cat /run/doctor.txt)"
sed 's/^\[gpio\]$/&\ndriver = "mock"/' "$settings" >/run/mock.toml
doctor 0 /run/mock.toml 'note pins no GPIO chip ->'
rm /run/systemd/timesync/synchronized
sed 's/127\.0\.0\.1:9292/127.0.0.1:9/' /run/mock.toml >/run/away.toml
doctor 1 /run/away.toml 'problem network ws://127\.0\.0\.1:9 cannot be reached \(Connection refused\)' \
    'problem network no way to the internet'
cp -a /etc/group /etc/gshadow /run/
groupdel gpio
around=read_only doctor 1 /run/mock.toml 'problem service .*without the group gpio -> run: sudo systemd-sysusers edge-node\.conf' \
    'problem storage /var/lib/edge-node cannot be written'
systemd-sysusers edge-node.conf 2>/run/sysusers || not_ok "the doctor's remedy: $(cat /run/sysusers)"
doctor 0 /run/mock.toml 'ok service it has its account and its groups'
cp -a /run/group /run/gshadow /etc/
[ "$failures" = "$before" ] && ok "the doctor finds what is here and what is wrong, with its exit status"

# 7. What else hardware/DOOR_STATION.md and README.md tell a newcomer to type, as far as it needs no hardware.
before=$failures
page() { "$@" >/run/page 2>&1 </dev/null || not_ok "$*: $(cat /run/page)"; }
page edge-node-slots status
page edge-node config check "$settings"
page edge-node doctor
page edge-node status
page edge-node doctor --audio
page systemctl status edge-node --no-pager
page journalctl -u edge-node -n 50 --no-pager
page edge-node privacy on
page edge-node privacy off
page edge-node tamper
page edge-node tamper clear
page edge-node update status
page edge-node provision template
page cp /usr/share/edge-node/polkit/50-edge-node-wifi.rules /usr/share/edge-node/hardware/alsa/wm8960.conf /run/
edge-node open door >/run/page 2>&1 && not_ok "a door without pins opened"
grep -q '^edge-node: ' /run/page || not_ok "open door: $(cat /run/page)"
[ "$failures" = "$before" ] && ok "the newcomer's commands; open door without a pin: $(cat /run/page)"

# 8. A frozen process is found and replaced; what it was doing is kept.
pid=$(show MainPID)
kill -STOP "$pid"
if within 30 new_main_pid "$pid" && journal_has "Watchdog timeout" && journal_has "failure 1 in a row: watchdog"; then
    grep -q "Watchdog timeout" /opt/edge-node/state/post-mortem/000001.txt && ok "a frozen process is restarted by the watchdog" ||
        not_ok "post-mortem: $(cat /opt/edge-node/state/post-mortem/*)"
else
    not_ok "watchdog"
fi

# 9. SIGKILL: the relays' safe state is ordered within a second (there are no pins here: it says so).
within 30 status_has "on home/front-door" || not_ok "joins again"
pid=$(show MainPID) at=$(date +%s%6N)
kill -KILL "$pid"
within 30 new_main_pid "$pid" && within 30 status_has "on home/front-door" || not_ok "a crash heals"
said=$(journalctl -u "$unit" --no-pager -o json --output-fields=MESSAGE --since "@$((at / 1000000))" |
    python3 -c 'import json, sys
for line in sys.stdin:
    entry = json.loads(line)
    if "nothing was done for door" in entry["MESSAGE"] and int(entry["__REALTIME_TIMESTAMP"]) >= int(sys.argv[1]):
        print((int(entry["__REALTIME_TIMESTAMP"]) - int(sys.argv[1])) // 1000)
        break' "$at")
[ -n "$said" ] && [ "$said" -lt 1000 ] && ok "killed: ExecStopPost reached the relays' safe state after $said ms" ||
    not_ok "safe state after '$said' ms"

# 10. Failures in a row end in safe mode; an orderly restart ends that.
while [ "$(python3 -c 'import json; print(json.load(open("/opt/edge-node/state/faults"))["failures"])')" -lt 5 ]; do
    pid=$(show MainPID)
    kill -KILL "$pid"
    within 30 new_main_pid "$pid" || { not_ok "restarts after a crash"; break; }
done
within 10 up_with "SAFE MODE, only telemetry: 5 failures in a row" && ok "safe mode: $(show StatusText)" || not_ok "safe mode"
doctor 1 /run/mock.toml 'problem service SAFE MODE.*-> look why: journalctl'
began=$(milliseconds)
systemctl restart "$unit"
took=$(($(milliseconds) - began))
within 30 status_has "on home/front-door" && ok "an orderly restart ($took ms) leaves safe mode" || not_ok "leaving safe mode"

# 11. Wrong settings fail at once and for good, with the reason where one looks first.
cp "$settings" /run/settings.good
printf '[vidoe]\n' >>"$settings"
systemctl restart "$unit" 2>/dev/null && not_ok "it started with wrong settings"
sleep 2  # longer than RestartSec=
restarts=$(show NRestarts)
if [ "$(show ActiveState)" = failed ] && [ "$(show ExecMainStatus)" = 78 ] && [ "$restarts" = 0 ] &&
    [[ $(systemctl status "$unit" --no-pager) == *'Status: "'*'vidoe is no setting (did you mean "video"?)'* ]]; then
    ok "wrong settings: stopped with status 78, and systemctl status says why"
else
    not_ok "exit status 78, $restarts restarts"
fi
doctor 1 "$settings" 'problem service it failed \(exit-code\): .*vidoe' 'problem settings .*vidoe is no setting'
install -m 0640 -g edge-node /run/settings.good "$settings"
systemctl start "$unit" || not_ok "start after 78"
within 30 up_with "on home/front-door" || not_ok "joins after 78"

# 12. The next version by its package: the bundle gets its trial, and is kept.
install -m 0644 "/opt/releases/edge-node-9.0.1-$tag.tar" /var/cache/edge-node/
python3 -B "$check/watch.py" &
watch=$!
began=$SECONDS
apt-get install -y -qq --no-install-recommends /opt/releases/edge-node_9.0.1_all.deb >"$check/apt" 2>&1 || not_ok "upgrade"
kill -TERM "$watch"
wait "$watch"
off=$(cat /run/longest-off)
if answers 9.0.1 && edge-node update status | grep -q "9.0.1 accepted" && [ "${off%.*}" -lt 15 ]; then
    ok "update in $((SECONDS - began)) s, off the channel for $off s"
else
    not_ok "update, off the channel for $off s: $(cat "$check/apt")"
fi

told() { journalctl -u "$unit" "EDGE_NODE_EVENT=$1" -o cat --no-pager | grep -q "$2"; }
within 10 told update.outcome "9.0.1 accepted" && told update.trial "9.0.1 is on trial" && edge-node status --json | grep -q '"update": "9.0.1 accepted"' &&
    ok "the new version tells that it is on trial, and that it was accepted" || not_ok "what became of the update is not told: $(edge-node status --json)"

# 13. Back to the version before, with settings and identity. Whoever asked for it loses the connection during the trial:
# it is judged all the same. Then forward again.
outcome() { edge-node update status | tail -n 1; }
outcome_is() { [ "$(outcome)" = "$1" ]; }
on_trial() { edge-node update status | grep -q "^update to $1: proving itself"; }
identity() { sha256sum "$settings" /var/lib/edge-node/identity.key; }
was=$(identity)
began=$SECONDS
edge-node update rollback >/run/back 2>&1 &
asked=$!
within 30 on_trial 9.0.0 || not_ok "rollback: $(cat /run/back)"
kill -KILL "$asked"
if within 90 outcome_is "9.0.0 accepted" && answers 9.0.0 && within 30 status_has "on home/front-door" && [ "$(identity)" = "$was" ]; then
    ok "rolled back in $((SECONDS - began)) s, though the command was killed: same settings, same key"
else
    not_ok "rollback: $(cat /run/back; edge-node update status; journalctl -u edge-node-settle --no-pager | tail)"
fi
edge-node update rollback >/run/back 2>&1 && answers 9.0.1 && [ "$(identity)" = "$was" ] || not_ok "forward again: $(cat /run/back)"

# 14. Neither slot can run: said where one looks, and nothing else breaks; whole again, it starts by itself.
for slot in a b; do mv "/opt/edge-node/slots/$slot/slot.json" "/opt/edge-node/slots/$slot/aside"; done
kill -KILL "$(show MainPID)"
stands() { [[ $(systemctl status "$unit" --no-pager --lines=20) == *"no slot of edge-node can run: install a bundle"* ]]; }
within 30 stands || not_ok "systemctl status does not say that no slot can run"
edge-node-slots status | grep -q "^slot [ab]: -, runs" || not_ok "status without slots: $(edge-node-slots status)"
for slot in a b; do mv "/opt/edge-node/slots/$slot/aside" "/opt/edge-node/slots/$slot/slot.json"; done
within 60 up_with "on home/front-door" && answers 9.0.1 && ok "without a slot that runs: told, and well as soon as there is one" ||
    not_ok "whole again: $(edge-node-slots status)"
systemctl restart "$unit"
within 30 status_has "on home/front-door" || not_ok "joins again"

# 15. A version that dies is taken back by itself.
began=$SECONDS
edge-node update apply "/opt/releases/edge-node-9.0.2-$tag.tar" >/run/bad 2>&1 && not_ok "a dying version was kept"
if within 30 answers 9.0.1 && edge-node update status | grep -q "9.0.2 taken back" && within 30 status_has "degraded: update" &&
    journalctl -u "$unit" EDGE_NODE_EVENT=update.outcome -o cat --no-pager | grep -q "9.0.2 taken back"; then
    ok "a bad update was taken back in $((SECONDS - began)) s: $(tail -n 1 /run/bad)"
else
    not_ok "bad update: $(cat /run/bad; edge-node update status)"
fi

# 16. No secret anywhere one can read; the sandbox; the journal's limits.
{
    journalctl --no-pager -o json
    systemctl show "$unit" edge-node-hub.service
    cat /proc/[0-9]*/cmdline "/proc/$(show MainPID)/environ" /opt/edge-node/state/post-mortem/* "$check/apt"
} >/run/everything 2>/dev/null
grep -aqE "canary|$code" /run/everything && not_ok "a secret is readable: $(grep -aE "canary|$code" /run/everything | head -3)" ||
    ok "no secret in journal, unit, arguments, environment, post-mortems"
systemd-analyze verify edge-node.service edge-node-hub.service edge-node-settle.service 2>&1 | grep . && not_ok "verify" || ok "verify"
systemd-analyze security --threshold=16 "$unit" >/run/score && ok "$(tail -n 1 /run/score)" || not_ok "score: $(tail -n 1 /run/score)"
systemd-analyze cat-config systemd/journald.conf | grep -q '^SystemMaxUse=50M' || not_ok "journal limits"

# 17. Revocation throws the node out; removal keeps settings and state, purge keeps nothing.
page edge-node hub device revoke front-door
off_channel() { ! status_has "on home/front-door"; }
within 10 off_channel || not_ok "a node that was revoked stays: $(show StatusText)"
began=$(milliseconds)
systemctl stop "$unit"
took=$(($(milliseconds) - began))
[ "$took" -lt 4000 ] && [ "$(show Result)" = success ] && [ ! -e /run/edge-node/control.sock ] || not_ok "stop took $took ms"
systemctl start "$unit"
apt-get remove -y -qq edge-node >/dev/null 2>&1 || not_ok "remove"
[ -e "$settings" ] && [ -d /var/lib/edge-node ] && [ ! -e /opt/edge-node ] && ! systemctl is-active --quiet "$unit" &&
    ok "stop takes $took ms; remove keeps settings and state" || not_ok "remove"
dpkg --purge edge-node >/run/purge 2>&1 || not_ok "purge: $(cat /run/purge)"
inventory >"$check/after"
left=$(comm -13 "$check/before" "$check/after")
[ -z "$left" ] && ! getent passwd edge-node >/dev/null && ok "purge leaves nothing" || not_ok "purge leaves: $left"

[ "$failures" = 0 ] && echo "ok all" || { echo "$failures failed"; journalctl --no-pager -u 'edge-node*' | tail -n 80; }
