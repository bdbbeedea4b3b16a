#!/bin/bash
# Runs in the guest, as root, under its systemd; run.sh reads what it prints.
set -uo pipefail

unit=edge-node.service
failures=0
settings=/etc/edge-node/edge-node.toml
edge_node=/opt/edge-node/venv/bin/edge-node

ok() { echo "ok $*"; }

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

main_pid_is_not() { [ "$(show MainPID)" != "$1" ] && [ "$(show MainPID)" != 0 ] && [ "$(show ActiveState)" = active ]; }
status_has() { [[ $(show StatusText) == *"$1"* ]]; }
milliseconds() { date +%s%3N; }

# A quick watchdog, so that the freeze below does not take half a minute.
mkdir -p "/run/systemd/system/$unit.d"
printf '[Service]\nWatchdogSec=4\n' >"/run/systemd/system/$unit.d/quick.conf"
systemctl daemon-reload

# 1. Ready before there is a hub.
began=$(milliseconds)
if systemctl start "$unit" && [ "$(show ActiveState)" = active ] && [ "$(show NRestarts)" = 0 ]; then
    ok "start reaches active through notify, without a hub, in $(($(milliseconds) - began)) ms"
else
    not_ok "start"
fi
[ "$(show User)" = edge-node ] && ok "runs as edge-node" || not_ok "user"

# 2. One line of what it does; it joins when the hub comes.
systemctl start edge-node-hub.service || not_ok "the hub starts"
if within 30 status_has "on home/front-door"; then
    ok "status: $(show StatusText)"
    systemctl status "$unit" --no-pager --lines=0 | grep -q 'Status: "on home/front-door' || not_ok "systemctl status"
else
    not_ok "the node joins when the hub comes"
fi

# 3. The control socket, with its permissions; telemetry with the settings of the daemon.
owner=$(stat -c '%U:%G %a' /run/edge-node/control.sock)
[ "$owner" = "edge-node:edge-node 660" ] && ok "control socket is $owner" || not_ok "control socket is $owner"
"$edge_node" status | grep -q "on home/front-door" && ok "edge-node status" || not_ok "edge-node status"
"$edge_node" press && within 10 status_has "ringing" && ok "a press rings" || not_ok "press"
"$edge_node" hangup && within 10 status_has "no call" && ok "hangup ends it" || not_ok "hangup"
sample=$(EDGE_NODE_CHANNEL__API_KEY=$(cat /etc/credstore/edge-node.api_key) "$edge_node" monitor --once --json)
[[ $sample == *'"node": "front-door"'* ]] && ok "monitor prints a sample" || not_ok "monitor: $sample"

# 4. Reload keeps the process.
pid=$(show MainPID)
sed -i 's/^name = "Front door"/name = "Back door"/' "$settings"
if systemctl reload "$unit" && within 20 status_has "on home/front-door" && [ "$(show MainPID)" = "$pid" ] &&
    within 20 sh -c "$edge_node status --json | grep -q 'Back door'"; then
    ok "reload takes new settings"
else
    not_ok "reload"
fi

# 5. A frozen process is found and replaced.
pid=$(show MainPID)
kill -STOP "$pid"
if within 30 main_pid_is_not "$pid" && [ "$(show NRestarts)" = 1 ] &&
    journalctl -u "$unit" --no-pager | grep -q "Watchdog timeout"; then
    ok "a frozen process is restarted by the watchdog"
else
    not_ok "watchdog"
fi

# 6. A crash heals.
pid=$(show MainPID)
kill -KILL "$pid"
within 30 main_pid_is_not "$pid" && within 30 status_has "on home/front-door" && ok "a crash heals" || not_ok "crash"

# 7. Stopping is quick and orderly.
began=$(milliseconds)
systemctl stop "$unit"
took=$(($(milliseconds) - began))
if [ "$took" -lt 3000 ] && [ "$(show Result)" = success ] && [ ! -e /run/edge-node/control.sock ]; then
    ok "stop takes $took ms"
else
    not_ok "stop took $took ms, result $(show Result)"
fi

# 8. Wrong settings fail at once and for good, with the reason in the journal.
cp "$settings" /run/settings.good
printf '[vidoe]\n' >>"$settings"
systemctl reset-failed "$unit" 2>/dev/null || true
systemctl start "$unit" 2>/dev/null && not_ok "it started with wrong settings"
sleep 4  # longer than RestartSec=
if [ "$(show ActiveState)" = failed ] && [ "$(show ExecMainStatus)" = 78 ] && [ "$(show NRestarts)" = 0 ] &&
    journalctl -u "$unit" --no-pager | grep -q 'vidoe is no setting (did you mean "video"?)'; then
    ok "exit status 78 is not restarted and says why"
else
    not_ok "exit status 78"
fi
cp /run/settings.good "$settings"
systemctl start "$unit" && ok "it starts again once they are right" || not_ok "start after 78"

# 9. No secret anywhere one can read.
within 30 status_has "on home/front-door" || not_ok "it joins again"
{ journalctl --no-pager; systemctl show "$unit"; cat "/proc/$(show MainPID)/cmdline" "/proc/$(show MainPID)/environ"; } \
    >/run/everything 2>&1
grep -aq canary /run/everything && not_ok "a secret is readable: $(grep -a canary /run/everything | head -3)" ||
    ok "no secret in journal, unit, arguments, environment"

# 10. The journal has priorities.
journalctl -u "$unit" --no-pager -p warning..emerg -o cat | grep -q . && ok "warnings are warnings in the journal" ||
    not_ok "priorities"
systemd-analyze verify /etc/systemd/system/edge-node.service /etc/systemd/system/edge-node-hub.service 2>&1 |
    grep -v 'Documentation' | grep . && not_ok "verify" || ok "verify"
systemd-analyze security --threshold=20 "$unit" >/run/score && ok "$(tail -n 1 /run/score)" || not_ok "score"

[ "$failures" = 0 ] && echo "ok all" || { echo "$failures failed"; journalctl --no-pager -u 'edge-node*' | tail -n 60; }
