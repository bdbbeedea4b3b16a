"""What this machine has for a node, with what to do about the rest."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from edge_node.encode_plan.limits import HARDWARE_CARD
from edge_node.encode_plan.rules import receive_buffer_bytes, supply_advice
from edge_node.host.findings import Finding, Level
from edge_node.host.identity import read_machine
from edge_node.host.live_check import Live, check_hub, check_service
from edge_node.host.panel_check import Site, check_panel
from edge_node.host.probes import LinuxProbe

HOT_C = 80.0  # Raspberry Pi documentation: the firmware begins to throttle at 80 degrees
WEAK_RSSI_DBM = -75
FULL_PERCENT = 90.0
SERVICE_GROUPS = ("video", "audio", "render", "gpio")  # SupplementaryGroups= of systemd/edge-node.service
STATE = "var/lib/edge-node"
MODULES = (
    "usr/lib/python3/dist-packages",
    "usr/local/lib/python3*/dist-packages",
    "opt/edge-node/slots/*/venv/lib/python3*/site-packages",
)
"""Where another machine's Python has them."""
PICTURES_OF_ITS_OWN = ("rtsp", "file", "test", "none")  # video.source
FAST_CAMERA_KBPS = 8000  # what cameras of 4 megapixels are set to when they come


def needs_card(wanted: str) -> bool:
    """Whether this microphone or speaker of the settings is a device of this machine."""
    return wanted not in ("none", "test", "rtsp") and not wanted.startswith("file:")


class Doctor:
    """Looks at device nodes, /proc, /sys below root; opens no device, sends nothing."""

    def __init__(
        self,
        root: Path = Path("/"),
        has_module: Callable[[str], bool] | None = None,
        has_library: Callable[[str], bool] | None = None,
        ask_clock: Callable[[], int | None] | None = None,
        site: Site | None = None,
        live: Live | None = None,
    ) -> None:
        self._root = root
        self._site = site or Site()
        self._live = live or Live()
        self._has_module = has_module or self._module_is_there
        self._has_library = has_library or self._library_is_there
        state_dir = root / STATE
        self._probe = LinuxProbe(root, state_dir if state_dir.is_dir() else root, ask_clock=ask_clock)
        self._machine = read_machine(root)
        self._is_pi = "raspberry pi" in (self._machine.model or "").lower()

    def examine(self) -> list[Finding]:
        """All findings: board, camera, encoder, sound, pins, service, network, clock, power, storage."""
        areas = (self.board, self.camera, self.encoder, self.sound, self.pins, self.panel, self.service)
        more = (self.network, self.clock, self.power, self.storage)
        return [finding for area in (*areas, *more) for finding in area()]

    def board(self) -> Iterator[Finding]:
        machine = self._machine
        text = f"{machine.model or 'no board profile, a generic Linux machine'}, {machine.os}, {machine.arch}"
        yield Finding("board", Level.OK, f"{text}, Python {machine.python}")

    def camera(self) -> Iterator[Finding]:
        cameras = [
            (path, name) for path, name in self._video_nodes() if "bcm2835-" not in name and "pispbe" not in name
        ]
        for path, name in cameras:
            yield self._node_finding("camera", path, f"{name} at {path}", "video")
        if self._is_pi and not self._has_module("picamera2"):
            todo = "for the ribbon camera run: sudo apt install python3-picamera2"
            yield Finding("camera", Level.NOTE, "picamera2 is not installed", todo)
        if not cameras and self._site.source in PICTURES_OF_ITS_OWN:
            yield Finding("camera", Level.OK, f'none here, and video.source = "{self._site.source}" wants none')
        elif not cameras:
            todo = 'plug one in, or set video.source to "rtsp", "file" or "test"'
            yield Finding("camera", Level.PROBLEM, "no camera", todo)

    def encoder(self) -> Iterator[Finding]:
        for path, name in self._video_nodes():
            if HARDWARE_CARD in name:
                yield self._node_finding("encoder", path, f"H.264 in hardware at {path}", "video")
                return
        yield Finding("encoder", Level.OK, f"H.264 in software on {os.cpu_count()} cores")

    def sound(self) -> Iterator[Finding]:
        wanted = {"microphone": self._site.microphone, "speaker": self._site.speaker}
        if any(map(needs_card, wanted.values())) and not self._has_library("portaudio"):
            yield Finding("sound", Level.PROBLEM, "PortAudio is missing", "run: sudo apt install libportaudio2")
        pcms = self._text("proc/asound/pcm").splitlines()
        cards = [
            line.partition("]:")[2].strip() for line in self._text("proc/asound/cards").splitlines() if "]:" in line
        ]
        for direction, what in (("capture", "microphone"), ("playback", "speaker")):
            if any(direction in line for line in pcms):
                continue
            if not needs_card(wanted[what]):
                yield Finding(
                    "sound", Level.OK, f'no card with a {what}, and audio.{what} = "{wanted[what]}" wants none'
                )
            else:
                todo = f'connect one, or set audio.{what} = "none"'
                yield Finding("sound", Level.PROBLEM, f"no sound card with a {what}", todo)
        for card in cards:
            yield Finding("sound", Level.OK, card)

    def pins(self) -> Iterator[Finding]:
        chips = sorted((self._root / "dev").glob("gpiochip*"))
        if not chips:
            parts = ", ".join(map(str, self._site.claims))
            text = f"no GPIO chip, so nothing becomes of {parts}" if parts else "no GPIO chip"
            todo = 'set gpio.driver = "none" to run without a panel, "mock" to try one'
            yield Finding("pins", Level.PROBLEM if parts else Level.NOTE, text, todo)
            return
        yield self._node_finding("pins", self._shown(chips[0]), f"{len(chips)} GPIO chips", "gpio")
        if not self._has_module("lgpio"):
            todo = "run: sudo apt install python3-lgpio, or install edge-node[pi]"
            yield Finding("pins", Level.PROBLEM, "lgpio, which drives the pins, is not installed", todo)

    def panel(self) -> Iterator[Finding]:
        """What the settings ask of pins and sound card."""
        return check_panel(self._site, self._root)

    def service(self) -> Iterator[Finding]:
        """The account that the daemon runs as, how it runs; nothing on a machine where it is not installed."""
        yield from check_service(self._live)
        if not any(line.startswith("edge-node:") for line in self._text("etc/passwd").splitlines()):
            return
        groups = {line.partition(":")[0] for line in self._text("etc/group").splitlines()}
        missing = [group for group in SERVICE_GROUPS if group not in groups]
        if missing:
            todo = "run: sudo systemd-sysusers edge-node.conf && sudo systemctl restart edge-node"
            text = f"the service cannot start without the group{'s' * (len(missing) > 1)} {', '.join(missing)}"
            yield Finding("service", Level.PROBLEM, text, todo)
        else:
            yield Finding("service", Level.OK, "it has its account and its groups")

        controllers = self._text("sys/fs/cgroup/cgroup.controllers").split()
        if controllers and "memory" not in controllers:
            where = "to the one line of /boot/firmware/cmdline.txt" if self._is_pi else "to the kernel's command line"
            text = "nothing limits the service's memory: this kernel's memory controller is off"
            yield Finding("service", Level.NOTE, text, f"add cgroup_enable=memory {where}, then restart the machine")

    def network(self) -> Iterator[Finding]:
        routes = [line.split() for line in self._text("proc/net/route").splitlines()[1:]]
        default = next((words[0] for words in routes if len(words) > 1 and words[1] == "00000000"), None)
        if default is None:
            todo = "connect a cable or Wi-Fi; a hub on this machine works without"
            level = Level.NOTE if self._live.hub_answers else Level.PROBLEM
            yield Finding("network", level, "no way to the internet", todo)
        else:
            yield Finding("network", Level.OK, f"default route over {default}")
        yield from check_hub(self._live)
        buffer_bytes = self._text("proc/sys/net/core/rmem_max").strip()
        if buffer_bytes.isdigit() and int(buffer_bytes) < receive_buffer_bytes(FAST_CAMERA_KBPS):
            todo = (
                "for RTSP cameras over UDP run: echo net.core.rmem_max=1048576 | "
                "sudo tee /etc/sysctl.d/60-edge-node.conf && sudo sysctl --system"
            )
            yield Finding("network", Level.NOTE, f"sockets may hold {buffer_bytes} bytes only", todo)
        rssi = self._probe.wifi_rssi_dbm()
        if rssi is not None:
            weak = rssi < WEAK_RSSI_DBM
            todo = "bring the access point nearer, or use a cable" if weak else ""
            yield Finding("network", Level.NOTE if weak else Level.OK, f"Wi-Fi signal {rssi:g} dBm", todo)

    def clock(self) -> Iterator[Finding]:
        match self._probe.clock_synced():
            case True:
                yield Finding("clock", Level.OK, "synchronised")
            case False:
                todo = "run: sudo timedatectl set-ntp true; tokens and certificates go by the clock"
                yield Finding("clock", Level.PROBLEM, "not synchronised", todo)
            case _:
                yield Finding("clock", Level.NOTE, "whether it is synchronised cannot be told", "look at: timedatectl")

    def power(self) -> Iterator[Finding]:
        held_back = self._probe.throttled()
        if held_back is None:
            yield Finding("power", Level.OK, "this machine does not report its supply")
        elif held_back:
            todo = supply_advice(held_back) or "cool the board"
            yield Finding("power", Level.PROBLEM, f"the firmware reports {', '.join(held_back)}", todo)
        else:
            yield Finding("power", Level.OK, "never throttled since boot")
        temp_c = self._probe.soc_temp_c()
        if temp_c is not None:
            hot = temp_c >= HOT_C
            todo = "cool the board: it runs slower from here on" if hot else ""
            yield Finding("power", Level.PROBLEM if hot else Level.OK, f"processor at {temp_c:g} °C", todo)

    def storage(self) -> Iterator[Finding]:
        root, state = self._mount("/"), self._mount(f"/{STATE}")
        if state[1] != "/" and "ro" in state[3].split(","):
            todo = f"run: sudo mount -o remount,rw {state[1]} ; if it comes back, the card is worn out: replace it"
            yield Finding("storage", Level.PROBLEM, f"/{STATE} cannot be written (read-only file system)", todo)
        elif root[2] == "overlay" and state[1] != "/":
            yield Finding("storage", Level.OK, f"changes of the system are forgotten at a restart, /{STATE} is kept")
        elif root[2] == "overlay" and self._is_pi:
            todo = "sudo raspi-config, Performance, Overlay File System: switch it off before you change anything"
            yield Finding(
                "storage", Level.NOTE, "what is written is forgotten at a restart (overlay file system)", todo
            )
        elif "ro" in root[3].split(","):
            todo = "run: sudo mount -o remount,rw / ; if that fails or it comes back, the card is worn out: replace it"
            yield Finding("storage", Level.PROBLEM, "nothing can be written (read-only file system)", todo)
        used = self._probe.disk_used_percent()
        if used is not None:
            full = used >= FULL_PERCENT
            todo = "make room: sudo journalctl --vacuum-size=100M && sudo apt clean" if full else ""
            yield Finding("storage", Level.PROBLEM if full else Level.OK, f"{used:g} % used", todo)

    def _module_is_there(self, name: str) -> bool:
        if self._root == Path("/"):
            return importlib.util.find_spec(name) is not None
        return any(any(self._root.glob(f"{place}/{name}*")) for place in MODULES)

    def _library_is_there(self, name: str) -> bool:
        if self._root == Path("/"):
            return ctypes.util.find_library(name) is not None
        return any(self._root.glob(f"usr/lib/*/lib{name}.so*"))

    def _mount(self, path: str) -> list[str]:
        """Device, mount point, type, options of the file system that has it."""
        mounts = [line.split() for line in self._text("proc/mounts").splitlines()]
        fits = [it for it in mounts if len(it) > 3 and f"{path}/".startswith(f"{it[1].rstrip('/')}/")]
        return max(fits, key=lambda it: len(it[1]), default=["", "/", "", ""])

    def _video_nodes(self) -> list[tuple[str, str]]:
        """(device path, driver's name for it) of every V4L2 node that can be a camera or an encoder."""
        found = []
        for entry in sorted((self._root / "sys/class/video4linux").glob("video*")):
            name = self._text(f"sys/class/video4linux/{entry.name}/name").strip()
            index = self._text(f"sys/class/video4linux/{entry.name}/index").strip() or "0"
            if index == "0":  # a camera's further nodes carry metadata, no pictures
                found.append((f"/dev/{entry.name}", name))
        return found

    def _node_finding(self, area: str, path: str, text: str, group: str) -> Finding:
        if os.access(self._root / path.lstrip("/"), os.R_OK | os.W_OK):
            return Finding(area, Level.OK, text)
        todo = f"run: sudo usermod -aG {group} $USER, then log in again"
        return Finding(area, Level.PROBLEM, f"{text}, which this user may not open", todo)

    def _shown(self, path: Path) -> str:
        return f"/{path.relative_to(self._root)}"

    def _text(self, name: str) -> str:
        try:
            return (self._root / name).read_text(errors="replace")
        except OSError:
            return ""
