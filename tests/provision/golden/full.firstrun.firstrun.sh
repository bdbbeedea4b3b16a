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
/usr/lib/userconf-pi/userconf keeper '*'
echo keeper' ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/020_edge-node
chmod 0440 /etc/sudoers.d/020_edge-node
install -d -m 0700 -o keeper -g keeper /home/keeper/.ssh
cat >/home/keeper/.ssh/authorized_keys <<'KEYS'
ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGDkfUtDz54owkY7u3V4w2Kl85hMk4a7J9qdRh8FkySw keeper@desk
KEYS
chown keeper:keeper /home/keeper/.ssh/authorized_keys
chmod 0600 /home/keeper/.ssh/authorized_keys
echo 'PasswordAuthentication no' >/etc/ssh/sshd_config.d/10-edge-node.conf
systemctl enable ssh
raspi-config nonint do_wifi_country DE
install -m 0600 /dev/null /etc/NetworkManager/system-connections/preconfigured.nmconnection
cat >/etc/NetworkManager/system-connections/preconfigured.nmconnection <<'WIFI'
[connection]
id=preconfigured
type=wifi

[wifi]
mode=infrastructure
ssid=Doors
hidden=false

[wifi-security]
key-mgmt=wpa-psk
psk=1601d517a7a56e846dcdd67fe23b1d7a69f2e570b17d2f573cccf90c0f813d23

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
