#!/usr/bin/env bash
# Installs edge-node as a service on Raspberry Pi OS or Debian 12/13, from this checkout, with internet.
#
#   sudo bash provisioning/install.sh            the node
#   sudo bash provisioning/install.sh --hub      the node and a hub on this machine, joined with fresh keys
#
# Run it again to upgrade: settings and keys stay as they are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PREFIX=/opt/edge-node
SETTINGS=/etc/edge-node
with_hub=no
case "${1:-}" in
  "") ;;
  --hub) with_hub=yes ;;
  *) echo "install.sh: unknown word $1 (use --hub or nothing)" >&2; exit 2 ;;
esac
[ "$(id -u)" -eq 0 ] || { echo "install.sh: needs root: sudo bash provisioning/install.sh" >&2; exit 1; }

echo "install.sh: Debian packages"
apt-get update -qq
wanted=(systemd python3 python3-venv python3-systemd libportaudio2 libasound2-plugins libspeexdsp1)
# Only Raspberry Pi's archive has picamera2; lgpio is in Debian's too. Neither is needed on a plain machine.
for package in python3-picamera2 python3-lgpio; do
  [ -n "$(apt-cache policy "$package" 2>/dev/null | sed -n 's/^ *Candidate: *\([^(]\)/\1/p')" ] && wanted+=("$package")
done
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null

echo "install.sh: $PREFIX/venv"
# The distribution's own Python with its packages: picamera2 and libcamera are built for it.
/usr/bin/python3 -m venv --system-site-packages --clear "$PREFIX/venv"
"$PREFIX/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --ignore-installed \
  -r provisioning/requirements/hub-aec.txt
"$PREFIX/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps .
ln -sf "$PREFIX/venv/bin/edge-node" /usr/local/bin/edge-node

echo "install.sh: units and settings"
mkdir -p /usr/share/edge-node "$SETTINGS"
cp -r hardware /usr/share/edge-node/
install -m 0644 systemd/*.service /etc/systemd/system/
install -m 0644 -D systemd/sysusers.d/edge-node.conf /usr/lib/sysusers.d/edge-node.conf
install -m 0644 -D systemd/tmpfiles.d/edge-node.conf /usr/lib/tmpfiles.d/edge-node.conf
if [ "$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')" -ge 254 ]; then
  install -m 0644 -D systemd/edge-node.service.d/50-systemd-254.conf \
    /etc/systemd/system/edge-node.service.d/50-systemd-254.conf
fi
systemd-sysusers edge-node.conf

random() { "$PREFIX/venv/bin/python" -c 'import secrets; print(secrets.token_urlsafe(18))'; }
channel='url = "wss://rms.metered.ca"'
key='# api_key = "pk_live_…"        # your publishable key'
if [ "$with_hub" = yes ]; then
  if [ ! -e "$SETTINGS/hub.toml" ]; then
    cat >"$SETTINGS/hub.toml" <<TOML
host = "0.0.0.0"
port = 9292

[[key]]
id = "pk_live_$(random)"

[console]
code = "$(random)"
channel = "home/front-door"
telemetry_channel = "telemetry/front-door"

[tls]                            # browsers give the microphone to https pages only
self_made = true
http_port = 9293                 # hands out the hub's own authority: http://…:9293/ca.crt
TOML
  fi
  channel='url = "wss://127.0.0.1:9292"
ca_file = "/var/lib/edge-node/hub/tls/ca.crt"'
  key="api_key = \"$(sed -n 's/^id = "\(pk_.*\)"/\1/p' "$SETTINGS/hub.toml" | head -n 1)\""
fi
if [ ! -e "$SETTINGS/edge-node.toml" ]; then
  cat >"$SETTINGS/edge-node.toml" <<TOML
# What each key means: edge-node config schema, or README.md, "Settings". Check with: edge-node config check FILE
[node]
id = "front-door"
name = "Front door"

[channel]
$channel
name = "home/front-door"
$key

[video]
source = "auto"

[audio]
microphone = "default"
speaker = "default"

[[gpio.button]]
name = "call"
pin = "GPIO17"

[[gpio.led]]
name = "status"
pin = "GPIO27"

[[gpio.relay]]
name = "door"
pin = "GPIO22"

[door]
allow = ["resident-*"]
TOML
fi
systemd-tmpfiles --create edge-node.conf

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  [ "$with_hub" = yes ] && systemctl enable --quiet edge-node-hub && systemctl restart edge-node-hub
  if "$PREFIX/venv/bin/edge-node" config check "$SETTINGS/edge-node.toml"; then
    systemctl enable --quiet edge-node
    systemctl restart edge-node
  else
    echo "install.sh: edit $SETTINGS/edge-node.toml, then: sudo systemctl enable --now edge-node"
  fi
fi
echo "install.sh: done. What it is doing: systemctl status edge-node; what it has: edge-node doctor"
if [ "$with_hub" = yes ]; then
  code=$(sed -n 's/^code = "\(.*\)"/\1/p' "$SETTINGS/hub.toml")
  address=$(hostname -I 2>/dev/null | cut -d' ' -f1)
  echo "install.sh: once on each phone or computer: open http://${address:-localhost}:9293/ca.crt, install it, trust it"
  echo "install.sh: then answer the door at https://${address:-localhost}:9292/#code=$code"
fi
