#!/usr/bin/env bash
# Installs edge-node as a service on Raspberry Pi OS or Debian 12/13, from this checkout, with internet.
#
#   sudo bash provisioning/install.sh            the node
#   sudo bash provisioning/install.sh --hub      the node and a hub on this machine, joined with fresh keys
#
# It makes the Debian package with a bundle for this machine, then installs both: apt remove and apt purge work.
# Run it again to upgrade: settings and keys stay as they are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

SETTINGS=/etc/edge-node
with_hub=no
case "${1:-}" in
  "") ;;
  --hub) with_hub=yes ;;
  *) echo "install.sh: unknown word $1 (use --hub or nothing)" >&2; exit 2 ;;
esac
[ "$(id -u)" -eq 0 ] || { echo "install.sh: needs root: sudo bash provisioning/install.sh" >&2; exit 1; }

echo "install.sh: Debian packages"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
wanted=(dpkg-dev openssl python3 python3-venv systemd)
# Only Raspberry Pi's archive has picamera2; lgpio is in Debian's too. Neither is needed on a plain machine.
for package in libasound2-plugins libspeexdsp1 python3-picamera2 python3-lgpio; do
  [ -n "$(apt-cache policy "$package" 2>/dev/null | sed -n 's/^ *Candidate: *\([^(]\)/\1/p')" ] && wanted+=("$package")
done
apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null

echo "install.sh: package and wheels"
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
chmod 755 "$made"   # apt reads packages as a user of its own
# The key signs this machine's own bundles only, and stays here, so that a later run's are taken, too.
install -d -m 0700 /var/lib/edge-node-build
[ -e /var/lib/edge-node-build/key.pem ] ||
  (umask 077 && openssl genpkey -algorithm ed25519 -out /var/lib/edge-node-build/key.pem)
bash provisioning/package.sh --out "$made" --key /var/lib/edge-node-build/key.pem --arch "$(uname -m)" \
  --python "$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"

echo "install.sh: settings"
random() { openssl rand -base64 18 | tr '+/' '-_'; }
install -d -m 0750 "$SETTINGS"   # the package gives it its owner
umask 077
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
umask 022

echo "install.sh: installing"
apt-get install -y -qq --reinstall --allow-downgrades --no-install-recommends "$made"/edge-node_*_all.deb
# Not an update with its trial: the version of a checkout is often the one that runs.
edge-node-slots install --allow-downgrade "$made"/edge-node-*.tar

if [ -d /run/systemd/system ]; then
  if [ "$with_hub" = yes ]; then systemctl enable --quiet edge-node-hub && systemctl restart edge-node-hub; fi
  if edge-node config check "$SETTINGS/edge-node.toml"; then
    systemctl restart edge-node
  else
    echo "install.sh: edit $SETTINGS/edge-node.toml, then: sudo systemctl restart edge-node"
  fi
fi
echo "install.sh: done. What it is doing: systemctl status edge-node; what it has: edge-node doctor"
if [ "$with_hub" = yes ]; then
  code=$(sed -n 's/^code = "\(.*\)"/\1/p' "$SETTINGS/hub.toml")
  address=$(hostname -I 2>/dev/null | cut -d' ' -f1)
  echo "install.sh: once on each phone or computer: open http://${address:-localhost}:9293/ca.crt, install it, trust it"
  echo "install.sh: then answer the door at https://${address:-localhost}:9292/#code=$code"
fi
