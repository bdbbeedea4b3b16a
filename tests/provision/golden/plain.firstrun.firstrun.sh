#!/bin/sh
# Written by edge-node provision: edge-node-gate-1-3
set -u
# A function, so that the shell has read all of this file before it is overwritten.
main() {
old=$(cat /etc/hostname)
echo gate-1 >/etc/hostname
sed -i "s/127\.0\.1\.1.*$old/127.0.1.1\t"gate-1/ /etc/hosts
ln -sf /usr/share/zoneinfo/Europe/Berlin /etc/localtime
echo Europe/Berlin >/etc/timezone
sed -i 's/^XKBLAYOUT=.*/XKBLAYOUT="'de'"/' /etc/default/keyboard
cat >/etc/systemd/system/edge-node-install.service <<'UNIT'
[Unit]
Description=edge-node from the boot partition
Wants=network-online.target
After=network-online.target
ConditionPathExists=/boot/firmware/edge-node/install.sh

[Service]
Type=oneshot
ExecStart=/bin/sh /boot/firmware/edge-node/install.sh
ExecStartPost=/bin/systemctl disable edge-node-install.service

[Install]
WantedBy=multi-user.target
UNIT
systemctl enable edge-node-install.service
sed -i 's/ systemd\.run[^ ]*//g; s/ systemd\.unit=kernel-command-line\.target//' /boot/firmware/cmdline.txt
head -c "$(wc -c </boot/firmware/firstrun.sh)" /dev/zero >/boot/firmware/firstrun.sh
sync
rm -f /boot/firmware/firstrun.sh
exit 0
}
main
