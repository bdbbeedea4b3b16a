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
/usr/lib/userconf-pi/userconf keeper '$6$rounds=5000$saltsalt$0123456789abcdefghijklmnopqrstuv'
raspi-config nonint do_wifi_country DE
install -m 0600 /dev/null /etc/NetworkManager/system-connections/preconfigured.nmconnection
cat >/etc/NetworkManager/system-connections/preconfigured.nmconnection <<'WIFI'
[connection]
id=preconfigured
type=wifi

[wifi]
mode=infrastructure
ssid=84;195;188;114;101;110;59;32;53;32;71;72;122;
hidden=true

[wifi-security]
key-mgmt=sae
psk=it's \\ "secret"

[ipv4]
method=auto

[ipv6]
method=auto
WIFI
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
