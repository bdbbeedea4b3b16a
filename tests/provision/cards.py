"""Cards that the tests of this room share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_node.provision.card import Card
from edge_node.provision.disk import Disk
from edge_node.provision.folder import write_folder

CANARY = "canary-in-the-mine"
CODE = "claim-0123456789ab.canary-claim-AAAAAAAAAAAAAAAA"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGDkfUtDz54owkY7u3V4w2Kl85hMk4a7J9qdRh8FkySw keeper@desk"
HASH = "$6$rounds=5000$saltsalt$0123456789abcdefghijklmnopqrstuv"
CA = "-----BEGIN CERTIFICATE-----\nMIIBkTCB+wIJAKHBfpegVpnKMA0GCSqGSIb3\n-----END CERTIFICATE-----\n"
HUB = "wss://hub.example:9292"

FLEET = f"""
[card]
timezone = "Europe/Berlin"
keymap = "de"
country = "DE"

[user]
name = "keeper"
ssh_keys = ["{SSH_KEY}"]

[wifi.default]
ssid = "Doors"
password = "@env:WIFI"

[hub]
url = "{HUB}"

[[settings.gpio.button]]
name = "call"
pin = "GPIO17"
"""


def values(**more: Any) -> dict[str, Any]:
    """A card with everything; `more` on top."""
    return {
        "id": "gate-1",
        "hostname": "gate-1",
        "timezone": "Europe/Berlin",
        "keymap": "de",
        "country": "DE",
        "user": {"name": "keeper", "ssh_keys": [SSH_KEY]},
        "wifi": {"ssid": "Doors", "password": CANARY},
        "claim": {"hub": HUB, "node": "gate-1", "code": CODE, "ca": CA},
        "settings": {
            "node": {"id": "gate-1", "name": 'Gate "1"'},
            "channel": {"name": "home/gate-1", "url": HUB, "enrolled": True},
            "gpio": {"button": [{"name": "call", "pin": "GPIO17"}], "led": [{"name": "status", "pin": "GPIO27"}]},
            "rule": [{"on": "data", "match": {"type": "x", "on": True}, "do": "led:status=blink"}],
        },
    } | more


def card(**more: Any) -> Card:
    return Card.model_validate(values(**more))


def boot_partition(path: Path, *, cloud_init: bool = True) -> Path:
    """As a fresh image has it."""
    path.mkdir()
    (path / "cmdline.txt").write_text("console=tty1 root=PARTUUID=ab-02 rootwait ds=nocloud;i=rpi-imager-1 quiet\n")
    (path / "config.txt").write_text("[all]\n")
    if cloud_init:
        (path / "user-data").write_text("#cloud-config\n# hostname: mypi\n")
        (path / "meta-data").write_text("instance_id: rpios-image\n")
    return path


def folder(tmp_path: Path, **more: object) -> Path:
    """A card's folder, as `provision batch` writes it."""
    made = card(**more)
    write_folder(made, tmp_path / made.id, Disk())
    return tmp_path / made.id
