#!/bin/sh
# Written by edge-node provision. Installs what lies beside it, then lets edge-node take over this card's settings. May run again.
set -u
cd "$(dirname "$0")" || exit 1
for package in ./edge-node_*_all.deb; do
  [ ! -e "$package" ] || DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$package"
done
systemctl start edge-node-firstboot.service
systemctl enable --now edge-node.service
