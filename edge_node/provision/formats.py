"""A card as the files of Raspberry Pi OS's three ways of customisation, or of an image of our own."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from edge_node.provision import toml_text
from edge_node.provision.card import Card, User, Wifi

MARK = "Written by edge-node provision"
FOLDER = "edge-node"
SETTINGS, CLAIM, INSTALL = f"{FOLDER}/edge-node.toml", f"{FOLDER}/claim.toml", f"{FOLDER}/install.sh"
WIFI = f"{FOLDER}/wifi.nmconnection"
BOOT = "/boot/firmware"
GROUPS = "adm,audio,dialout,gpio,i2c,input,netdev,plugdev,render,spi,sudo,users,video"

_INSTALL = f"""#!/bin/sh
# {MARK}. Installs what lies beside it, then lets edge-node take over this card's settings. May run again.
set -u
cd "$(dirname "$0")" || exit 1
for package in ./edge-node_*_all.deb; do
  [ ! -e "$package" ] || DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$package"
done
systemctl start edge-node-firstboot.service
systemctl enable --now edge-node.service
"""


def instance_id(card: Card, generation: int) -> str:
    """cloud-init acts again when this changes, and only then."""
    return f"edge-node-{card.id}-{generation}"


def render(card: Card, generation: int) -> dict[str, bytes]:
    """The files by their path on the boot partition; the same card gives the same bytes."""
    by_format = {"cloud-init": _cloud_init, "rpi-preseed": _rpi_preseed, "firstrun": _firstrun, "edge-node": _own}
    files = by_format[card.format](card, instance_id(card, generation))
    files[SETTINGS] = f"# {MARK}: {instance_id(card, generation)}\n{toml_text.dumps(card.settings)}"
    if card.format != "edge-node":  # which has it installed
        files[INSTALL] = _INSTALL
    if card.claim is not None:
        files[CLAIM] = f"# {MARK}. A code that works once.\n{toml_text.dumps(card.claim.as_toml())}"
    return {name: text.encode() for name, text in sorted(files.items())}


def cmdline_tokens(card: Card, generation: int) -> list[str]:
    """What cmdline.txt has to say, each in place of what it said of the same."""
    # Raspberry Pi OS leaves the memory controller off, without which the unit's MemoryMax= is ignored.
    tokens = [] if card.format == "edge-node" else ["cgroup_enable=memory"]
    if card.country:
        tokens.append(f"cfg80211.ieee80211_regdom={card.country}")
    if card.format == "cloud-init":
        # Without it cloud-init looks for a new data source at every boot.
        tokens.append(f"ds=nocloud;i={instance_id(card, generation)}")
    if card.format == "edge-node":
        tokens.append(f"systemd.hostname={card.hostname}")
    if card.format == "firstrun":
        tokens += [
            f"systemd.run={BOOT}/firstrun.sh",
            "systemd.run_success_action=reboot",
            "systemd.unit=kernel-command-line.target",
        ]
    return tokens


# cloud-init (Raspberry Pi OS from late 2025 on)


def _cloud_init(card: Card, instance: str) -> dict[str, str]:
    user = card.user
    data: dict[str, Any] = {
        "hostname": card.hostname,
        "manage_etc_hosts": True,
        "timezone": card.timezone,
        "keyboard": {"model": "pc105", "layout": card.keymap},
        "ssh_pwauth": False,
        # Without users cloud-init makes the image's own, whom nothing lets in.
        **({"users": [_cloud_user(user)]} if user else {}),
        "runcmd": [
            *([["systemctl", "enable", "--now", "ssh"]] if user and user.ssh_keys else []),
            ["sh", f"{BOOT}/{INSTALL}"],
        ],
    }
    network: dict[str, Any] = {"version": 2, "ethernets": {"eth0": {"dhcp4": True, "optional": True}}}
    if card.wifi is not None:
        wlan: dict[str, Any] = {"dhcp4": True, "optional": True, "regulatory-domain": card.country}
        wlan["access-points"] = {card.wifi.ssid: _access_point(card.wifi)}
        network["wifis"] = {"wlan0": wlan}
    return {
        "user-data": f"#cloud-config\n# {MARK}: {instance}\n{_yaml(data)}",
        "network-config": f"# {MARK}: {instance}\n{_yaml({'network': network})}",
        "meta-data": f"# {MARK}\n{_yaml({'instance-id': instance, 'local-hostname': card.hostname})}",
    }


def _cloud_user(user: User) -> dict[str, Any]:
    found: dict[str, Any] = {"name": user.name, "groups": GROUPS, "shell": "/bin/bash"}
    found["lock_passwd"] = user.password_hash is None
    if user.password_hash is not None:
        found["passwd"] = user.password_hash.get_secret_value()
    else:
        found["sudo"] = "ALL=(ALL) NOPASSWD:ALL"  # whoever has no password cannot type one
    if user.ssh_keys:
        found["ssh_authorized_keys"] = list(user.ssh_keys)
    return found


def _access_point(wifi: Wifi) -> dict[str, Any]:
    point: dict[str, Any] = {"hidden": True} if wifi.hidden else {}
    if wifi.security == "wpa3":
        return point | {"auth": {"key-management": "sae", "password": wifi.key}}
    return point | ({"password": wifi.key} if wifi.security == "wpa2" else {})


def _yaml(values: Mapping[str, Any], indent: str = "") -> str:
    """Block mappings whose leaves are JSON, which YAML 1.2 contains."""
    lines = []
    for key, value in values.items():
        name = key if re.fullmatch(r"[a-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
        if isinstance(value, Mapping) and value:
            lines.append(f"{indent}{name}:\n{_yaml(value, indent + '  ')}")
        elif isinstance(value, list) and value:
            items = "".join(f"{indent}  - {json.dumps(item, ensure_ascii=False)}\n" for item in value)
            lines.append(f"{indent}{name}:\n{items}")
        else:
            lines.append(f"{indent}{name}: {json.dumps(value, ensure_ascii=False)}\n")
    return "".join(lines)


# rpi-preseed (raspberrypi/rpi-preseed, config_version 1.1)


def _rpi_preseed(card: Card, instance: str) -> dict[str, str]:
    values: dict[str, Any] = {"config_version": "1.1", "system": {"hostname": card.hostname}}
    if (user := card.user) is not None:
        values["user"] = {"name": user.name, "password_encrypted": True, "passwordless_sudo": not user.password_hash}
        # "*" is what no password hashes to.
        values["user"]["password"] = user.password_hash.get_secret_value() if user.password_hash else "*"
        values["ssh"] = {"enabled": bool(user.ssh_keys), "password_authentication": False}
        values["ssh"] |= {"authorized_keys": list(user.ssh_keys)} if user.ssh_keys else {}
    if (wifi := card.wifi) is not None:
        kind = {"wpa2": "wpa-psk", "wpa3": "sae", "open": "none"}[wifi.security]
        values["wlan"] = {"ssid": wifi.ssid, "hidden": wifi.hidden, "country": card.country, "key_mgmt": kind}
        if wifi.security != "open":
            values["wlan"] |= {"password": wifi.key, "password_encrypted": wifi.security == "wpa2"}
    values["locale"] = {"keymap": card.keymap, "timezone": card.timezone}
    # A clock that nobody sets must not keep the node from starting.
    values["runcmd"] = {"late": [f"sh {BOOT}/{INSTALL}"], "late_require_time_sync": False, "late_retries": 5}
    return {"rpi-preseed.toml": f"# {MARK}: {instance}\n{toml_text.dumps(values)}"}


# firstrun.sh (Bookworm)


def _firstrun(card: Card, instance: str) -> dict[str, str]:
    parts = [_system(card), *([_user(card.user)] if card.user else []), *([_wlan(card)] if card.wifi else [])]
    body = "\n".join(parts)
    script = f"""#!/bin/sh
# {MARK}: {instance}
set -u
# A function, so that the shell has read all of this file before it is overwritten.
main() {{
{body}
cat >/etc/systemd/system/edge-node-install.service <<'UNIT'
[Unit]
Description=edge-node from the boot partition
Wants=network-online.target
After=network-online.target
ConditionPathExists={BOOT}/{INSTALL}

[Service]
Type=oneshot
ExecStart=/bin/sh {BOOT}/{INSTALL}
ExecStartPost=/bin/systemctl disable edge-node-install.service

[Install]
WantedBy=multi-user.target
UNIT
systemctl enable edge-node-install.service
sed -i 's/ systemd\\.run[^ ]*//g; s/ systemd\\.unit=kernel-command-line\\.target//' {BOOT}/cmdline.txt
head -c "$(wc -c <{BOOT}/firstrun.sh)" /dev/zero >{BOOT}/firstrun.sh
sync
rm -f {BOOT}/firstrun.sh
exit 0
}}
main
"""
    return {"firstrun.sh": script}


def _system(card: Card) -> str:
    host, zone, keymap = (shlex.quote(text) for text in (card.hostname, card.timezone, card.keymap))
    return f"""old=$(cat /etc/hostname)
echo {host} >/etc/hostname
sed -i "s/127\\.0\\.1\\.1.*$old/127.0.1.1\\t"{host}/ /etc/hosts
ln -sf /usr/share/zoneinfo/{zone} /etc/localtime
echo {zone} >/etc/timezone
sed -i 's/^XKBLAYOUT=.*/XKBLAYOUT="'{keymap}'"/' /etc/default/keyboard"""


def _user(user: User) -> str:
    name = shlex.quote(user.name)
    password = shlex.quote(user.password_hash.get_secret_value() if user.password_hash else "*")
    lines = [f"/usr/lib/userconf-pi/userconf {name} {password}"]
    if user.password_hash is None:
        lines.append(f"echo {name}' ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/020_edge-node")
        lines.append("chmod 0440 /etc/sudoers.d/020_edge-node")
    if user.ssh_keys:
        keys = "\n".join(user.ssh_keys)
        lines += [
            f"install -d -m 0700 -o {name} -g {name} /home/{name}/.ssh",
            f"cat >/home/{name}/.ssh/authorized_keys <<'KEYS'\n{keys}\nKEYS",
            f"chown {name}:{name} /home/{name}/.ssh/authorized_keys",
            f"chmod 0600 /home/{name}/.ssh/authorized_keys",
            "echo 'PasswordAuthentication no' >/etc/ssh/sshd_config.d/10-edge-node.conf",
            "systemctl enable ssh",
        ]
    return "\n".join(lines)


def _wlan(card: Card) -> str:
    assert card.wifi is not None
    return f"""raspi-config nonint do_wifi_country {card.country}
install -m 0600 /dev/null /etc/NetworkManager/system-connections/preconfigured.nmconnection
cat >/etc/NetworkManager/system-connections/preconfigured.nmconnection <<'WIFI'
{_key_file(card.wifi)}
WIFI"""


def _key_file(wifi: Wifi) -> str:
    """NetworkManager's, without a line end."""
    # A NetworkManager key file takes other names as a list of bytes.
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]*[A-Za-z0-9]", wifi.ssid)
    ssid = wifi.ssid if plain else "".join(f"{byte};" for byte in wifi.ssid.encode())
    kind = {"wpa2": "wpa-psk", "wpa3": "sae"}.get(wifi.security)
    secret = re.sub("^ ", r"\\s", wifi.key.replace("\\", "\\\\"))
    security = f"\n[wifi-security]\nkey-mgmt={kind}\npsk={secret}\n" if kind else ""
    return f"""[connection]
id=preconfigured
type=wifi

[wifi]
mode=infrastructure
ssid={ssid}
hidden={"true" if wifi.hidden else "false"}
{security}
[ipv4]
method=auto

[ipv6]
method=auto"""


# Of our own (provisioning/image): edge-node-wifi.service and edge-node-firstboot.service take it from the card


def _own(card: Card, instance: str) -> dict[str, str]:
    return {WIFI: f"# {MARK}: {instance}\n{_key_file(card.wifi)}\n"} if card.wifi else {}
