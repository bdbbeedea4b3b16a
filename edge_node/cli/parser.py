"""The words of the command line."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from edge_node.version import __version__


class Parser(argparse.ArgumentParser):
    """Complains in one sentence."""

    def error(self, message: str) -> NoReturn:
        found = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if found:
            choices = [word.strip("' ") for word in found[2].split(",")]
            close = get_close_matches(found[1], choices, n=1)
            guess = f', did you mean "{close[0]}"?' if close else ""
            message = f'"{found[1]}" is not among {", ".join(choices)}{guess}'
        sys.stderr.write(f"{self.prog}: {message} (see {self.prog} --help)\n")
        raise SystemExit(2)


def number(least: float, most: float, kind: Callable[[str], Any] = float) -> Callable[[str], Any]:
    """An argparse type: a number in a range."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f'"{text}" is no number') from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least:g} and {most:g}")
        return value

    return parse


PORT = number(0, 65535, int)
SECONDS = number(0, 31_536_000)
COUNT = number(1, 1_000_000_000, int)


def build_parser() -> Parser:
    """All commands; each sets `module`, the module of edge_node.cli that has its main(args)."""
    parser = Parser(prog="edge-node", description="A dependable WebRTC intercom or camera node.")
    parser.add_argument("--version", action="version", version=f"edge-node {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, module: str, help: str, **defaults: Any) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands.add_parser(name, help=help, description=f"{help}.")
        command.set_defaults(module=module, **defaults)
        return command

    _programs(add)
    _daemon_commands(add)
    _looks(add)
    _upkeep(add)
    _provision(add)
    _image(add)
    return parser


Add = Callable[..., argparse.ArgumentParser]


def _programs(add: Add) -> None:
    simulate = add(
        "simulate", "simulate", "run the whole appliance here: a hub, a console, a node with simulated parts"
    )
    simulate.add_argument(
        "--port", type=PORT, help="of the hub with its console (default 9292 or, if taken, a free one)"
    )
    _config(simulate)
    simulate.add_argument("--duration", type=SECONDS, metavar="S", help="end after S seconds")
    simulate.add_argument("--json", action="store_true", help="one JSON event per line")
    simulate.add_argument("--press-after", type=SECONDS, metavar="S", help="press the button after S seconds")

    run = add("run", "run", "the daemon that systemd starts")
    _config(run)
    _socket(run)

    hub = add("hub", "hub", "the signalling server")
    _config(hub)
    hub.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    hub.add_argument("--port", type=PORT, help="port to listen on (default 9292; 0: a free one)")
    hub.add_argument("--dev-key", metavar="KEY", help="a publishable key with every permission, for development")
    hub.add_argument("--insecure-dev-key", action="store_true", help="allow --dev-key on an address others reach")
    hub.add_argument("--json", action="store_true", help="say where it listens as one line of JSON")
    files = hub.add_subparsers(metavar="key|claim|device")
    _hub_key(files.add_parser("key", help="make, list or revoke keys in the hub's key file"))
    _hub_enrol(
        files.add_parser("claim", help="make, list or revoke codes that let a node enrol once"),
        files.add_parser("device", help="list or revoke nodes that enrolled"),
    )


def _hub_key(key: argparse.ArgumentParser) -> None:
    kinds = key.add_subparsers(dest="what", metavar="new|list|revoke", required=True)
    new = kinds.add_parser("new", help="make a key, and show it this once")
    new.add_argument("--secret", action="store_true", help="a pair that signs tokens and opens the control plane")
    new.add_argument("--channels", nargs="+", default=(), metavar="PATTERN", help="what it opens (default: **)")
    new.add_argument("--permissions", nargs="+", default=(), metavar="PERMISSION", help="default: all four")
    new.add_argument("--name", default="", metavar="TEXT", help="to tell it from others")
    listing = kinds.add_parser("list", help="the keys, without what opens anything")
    revoke = kinds.add_parser("revoke", help="take a key away, which closes the connections it let in")
    revoke.add_argument("id", metavar="ID", help="its id, the start of it, or its name")
    for command in (new, listing, revoke):
        _hub_file(command, "hub_key")


def _hub_file(command: argparse.ArgumentParser, module: str) -> None:
    command.set_defaults(module=module)
    command.add_argument("--file", type=Path, metavar="FILE", help="default: as the hub's settings say")
    # Given before or after the word key: a default of its own would undo the former (bugs.python.org/issue9351).
    command.add_argument(
        "--config", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="the hub's settings in TOML"
    )
    command.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="as JSON")


def _hub_enrol(claim: argparse.ArgumentParser, device: argparse.ArgumentParser) -> None:
    kinds = claim.add_subparsers(dest="what", metavar="new|list|revoke", required=True)
    new = kinds.add_parser("new", help="make one code per node, and show it this once")
    new.add_argument("nodes", nargs="*", metavar="NODE", help="the node's id")
    new.add_argument("--fleet", type=Path, metavar="CSV", help="the nodes in the column id of this file")
    new.add_argument("--hours", type=number(0.01, 8760), default=72, metavar="H", help="how long it waits (default 72)")
    new.add_argument("--channels", nargs="+", default=(), metavar="PATTERN", help="default: home/* telemetry/NODE")
    new.add_argument("--permissions", nargs="+", default=(), metavar="PERMISSION", help="default: all four")
    new.add_argument("--out", type=Path, metavar="CSV", help="add node,code,expires to this file (mode 0600)")
    revoke = kinds.add_parser("revoke", help="take away what nobody has used yet")
    revoke.add_argument("id", metavar="ID", help="the claim's id, or the node's")
    for command in (new, kinds.add_parser("list", help="the claims, without their codes"), revoke):
        _hub_file(command, "hub_claim")
    devices = device.add_subparsers(dest="what", metavar="list|revoke", required=True)
    gone = devices.add_parser("revoke", help="throw a node out, which closes its connections")
    gone.add_argument("id", metavar="NODE")
    for command in (devices.add_parser("list", help="the nodes that enrolled"), gone):
        _hub_file(command, "hub_device")


def _daemon_commands(add: Add) -> None:
    status = add("status", "control", "what the running daemon does")
    status.add_argument("--json", action="store_true", help="everything, as JSON")
    press = add("press", "control", "press a button of the running daemon")
    press.add_argument("button", nargs="?", metavar="BUTTON", help="its name (default: the first that calls)")
    door = add("open", "control", "open a door of the running daemon")
    door.add_argument("door", metavar="DOOR", help="the relay's name")
    privacy = add("privacy", "control", "shut the camera and the microphone of the running daemon, or open them")
    privacy.add_argument("state", nargs="?", choices=("on", "off"), help="default: tell which it is")
    _pictures(add)
    rest = [
        add("answer", "control", "answer the call of the running daemon"),
        add("hangup", "control", "end the call of the running daemon"),
        add("reload", "control", "let the running daemon read its settings again"),
    ]
    tamper = add("tamper", "control", "whether somebody opened the node's case, so that its doors stay shut")
    tamper.add_argument("state", nargs="?", choices=("clear",), help="doors may open again")
    for command in (status, press, door, privacy, tamper, *rest):
        _socket(command)


def _pictures(add: Add) -> None:
    snapshot = add("snapshot", "snapshot", "save the picture of this moment as a JPEG")
    snapshot.add_argument("--output", type=Path, metavar="FILE", help="default: a name with the time; - is stdout")
    _socket(snapshot)
    clip = add("clip", "clip", "clips of presses that the running daemon keeps")
    kinds = clip.add_subparsers(dest="what", metavar="list|now|delete", required=True)
    listing = kinds.add_parser("list", help="the oldest first")
    listing.add_argument("--json", action="store_true", help="as JSON")
    now = kinds.add_parser("now", help="record one as if somebody had pressed")
    delete = kinds.add_parser("delete", help="remove one")
    delete.add_argument("name", metavar="NAME")
    for command in (listing, now, delete):
        _socket(command)


def _looks(add: Add) -> None:
    monitor = add("monitor", "monitor", "follow the telemetry of nodes")
    _config(monitor)
    monitor.add_argument("--channel", metavar="PATTERN", help="channel, or pattern with * (default: from the settings)")
    monitor.add_argument("--json", action="store_true", help="one sample per line as JSON")
    monitor.add_argument("--once", action="store_true", help="end after the first sample")
    monitor.add_argument("--count", type=COUNT, metavar="N", help="end after N samples")
    monitor.add_argument("--wait", type=SECONDS, metavar="S", help="give up after S seconds without a sample")

    doctor = add("doctor", "doctor", "what this machine has for a node, with what to do about the rest")
    doctor.add_argument("--json", action="store_true", help="the findings as JSON")
    doctor.add_argument("--check", action="store_true", help="exit status 1 when there is a problem")
    doctor.add_argument(
        "--root", type=Path, metavar="DIR", default=Path("/"), help="another machine's files, such as a mounted card"
    )
    doctor.add_argument("--audio", action="store_true", help="play a sound, record it, say what to change")
    doctor.add_argument("--microphone", metavar="NAME", help="with --audio (default: from the settings)")
    doctor.add_argument("--speaker", metavar="NAME", help="with --audio (default: from the settings)")
    _config(doctor)

    bench = add("bench", "bench", "measure this machine, with the benches of a checkout")
    bench.add_argument("name", nargs="?", metavar="NAME", help="which one (default: all)")
    bench.add_argument("words", nargs=argparse.REMAINDER, metavar="...", help="its options: `bench NAME --help`")
    bench.add_argument("--json", action="store_true", help="one JSON document per bench instead of tables")
    bench.add_argument("--quick", action="store_true", help="small versions that only show that they work")

    config = add("config", "config", "check, show or describe the settings")
    kinds = config.add_subparsers(dest="what", metavar="check|show|schema", required=True)
    check = kinds.add_parser("check", help="validate a file, name every problem")
    check.add_argument("config", type=Path, metavar="FILE")
    show = kinds.add_parser("show", help="the effective settings with their origin, secrets masked")
    _config(show)
    show.add_argument("--json", action="store_true", help="as JSON")
    kinds.add_parser("schema", help="the JSON schema of the file")


def _upkeep(add: Add) -> None:
    update = add("update", "update", "install a release, see what became of the last ones, return to the one before")
    kinds = update.add_subparsers(dest="what", metavar="apply|status|rollback", required=True)
    apply = kinds.add_parser("apply", help="install a bundle; it is kept when it proves itself within two minutes")
    apply.add_argument("bundle", type=Path, metavar="BUNDLE", help="edge-node-VERSION-ARCH-cpXY.tar")
    apply.add_argument("--allow-downgrade", action="store_true", help="also an older version, down to the floor")
    status = kinds.add_parser("status", help="what is in the two slots, what became of the last updates")
    status.add_argument("--json", action="store_true", help="as JSON")
    for command in (apply, status, kinds.add_parser("rollback", help="return to the other slot, with the same trial")):
        command.add_argument("--root", type=Path, default=Path("/opt/edge-node"), help=argparse.SUPPRESS)
        _socket(command)

    reset = add("factory-reset", "factory_reset", "delete keys, settings, recordings, logs, Wi-Fi of this device")
    reset.add_argument("--yes", action="store_true", help="do not ask")
    reset.add_argument("--keep-wifi", action="store_true", help="stay on the network")
    reset.add_argument("--root", type=Path, default=Path("/"), help=argparse.SUPPRESS)


def _provision(add: Add) -> None:
    first = add("firstboot", "firstboot", "take over what the boot partition says (systemd does, at the first start)")
    first.add_argument("--root", type=Path, default=Path("/"), help=argparse.SUPPRESS)
    words = "template|new|batch|write|verify|labels|manifest"
    kinds = add("provision", "provision", "write the cards of devices").add_subparsers(
        dest="what", metavar=words, required=True
    )
    template = kinds.add_parser("template", help="a file for a fleet, to be filled in")
    template.add_argument("--csv", action="store_true", help="the table of its devices instead")
    new = kinds.add_parser("new", help="one device")
    new.add_argument("id", metavar="ID")
    for column, what in (("name", "for people"), ("hostname", ""), ("channel", ""), ("role", ""), ("wifi", "")):
        new.add_argument(f"--{column}", help=what or "as in the table's column")
    batch = kinds.add_parser("batch", help="all devices of a table")
    batch.add_argument("table", type=Path, metavar="CSV")
    for command in (new, batch):
        command.add_argument("--fleet", type=Path, required=True, metavar="TOML", help="what all devices share")
        command.add_argument("--claims", type=Path, metavar="CSV", help="made by edge-node hub claim new --out")
        command.add_argument("--out", type=Path, required=True, metavar="DIR", help="one folder per device")
        command.add_argument("--json", action="store_true", help="one line of JSON per device")
    write = kinds.add_parser("write", help="a device's folder onto its card")
    write.add_argument("folder", type=Path, metavar="DIR")
    for command in (new, write):
        where = command.add_mutually_exclusive_group(required=command is write)
        where.add_argument("--boot", type=Path, metavar="PATH", help="a card's mounted boot partition")
        where.add_argument("--image", type=Path, metavar="FILE", help="an image to be flashed (needs mtools, no root)")
        command.add_argument("--image-out", type=Path, metavar="FILE", help="leave that image, make this one from it")
        command.add_argument("--add", type=Path, nargs="+", default=(), metavar="FILE", help="the package, bundles")
        command.add_argument("--force", action="store_true", help="in place of what others wrote, which is kept beside")
    for command in (new, batch, write):
        command.add_argument("--dry-run", action="store_true", help="check everything, write nothing")
    verify = kinds.add_parser("verify", help="read back a folder, a folder of folders, or a card")
    place = verify.add_mutually_exclusive_group(required=True)
    place.add_argument("path", type=Path, nargs="?", metavar="PATH")
    place.add_argument("--image", type=Path, metavar="FILE", help="an image's boot partition")
    labels = kinds.add_parser("labels", help="a page to print, a table and an SVG with QR code per device")
    labels.add_argument("folder", type=Path, metavar="DIR")
    manifest = kinds.add_parser("manifest", help="an entry for Raspberry Pi Imager 2, so that it customises an image")
    manifest.add_argument("image", type=Path, metavar="IMAGE", help=".img or .img.xz")
    manifest.add_argument("--url", help="where Imager downloads it (default: this file)")
    manifest.add_argument("--name", default="Raspberry Pi OS with edge-node")
    manifest.add_argument("--format", choices=("cloud-init", "rpi-preseed", "firstrun"), default="cloud-init")


def _image(add: Add) -> None:
    image = add("image", "image", "make a card's image for Raspberry Pi boards, or look into one")
    kinds = image.add_subparsers(dest="what", metavar="build|verify", required=True)
    build = kinds.add_parser("build", help="from Debian's packages and a release; as root, in a checkout")
    build.add_argument("--out", type=Path, required=True, metavar="FILE")
    build.add_argument("--size", type=_size_mib, default=4096, metavar="SIZE", help="such as 4G or 3000M (default: 4G)")
    build.add_argument("--read-only-root", action="store_true", help="changes go to memory, state to its own partition")
    build.add_argument("--deb", type=Path, metavar="FILE", help="default: the newest in dist/")
    build.add_argument("--bundle", type=Path, metavar="FILE", help="for aarch64; default: the newest in dist/")
    build.add_argument("--cache", type=Path, metavar="DIR", help="where Debian's part is kept")
    build.add_argument("--mirror", metavar="URL", help="of Debian (default: this machine's)")
    verify = kinds.add_parser("verify", help="partitions, file systems, contents")
    verify.add_argument("file", type=Path, metavar="FILE")
    verify.add_argument("--json", action="store_true", help="as JSON")


def _size_mib(text: str) -> int:
    found = re.fullmatch(r"(\d{1,6})([GM])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f'"{text}" is no size such as 4G or 3000M')
    return int(found[1]) * (1024 if found[2] == "G" else 1)


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML")


def _socket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", type=Path, metavar="PATH", help="the daemon's control socket")
