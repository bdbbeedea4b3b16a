"""The virtual Pi from outside: its power, its network cable, a shell in it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("EDGE_NODE_VM_CACHE", "/var/cache/edge-node-vm")) / "pi"
HOST = "10.0.2.2"
"""How the guest sees this machine (QEMU's user networking)."""
BOOT_S = 300.0
SHELL_S = 60.0
POWER_OFF_S = 60.0
MEMORY_MB = 1024


def is_built(cache: Path = CACHE) -> bool:
    """Whether tests/vm/pi/build.sh made a guest here."""
    return all((cache / name).exists() for name in ("made-of", "vmlinuz", "initrd.gz", "disk.ext4"))


class Machine:
    """One virtual Pi with a card of its own: what the guest writes stays in `folder`, the cached disk is not touched.

    `card`: an image of the boot partition, seen as /dev/vdb.
    """

    def __init__(self, folder: Path, cache: Path = CACHE, card: Path | None = None) -> None:
        self.folder = folder
        self._cache = cache
        self._card = card
        self._process: asyncio.subprocess.Process | None = None
        self._agent: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._asking = asyncio.Lock()
        self._ids = itertools.count(1)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def power_on(self) -> None:
        """Starts it, waits until it answers."""
        disk = self.folder / "disk.qcow2"
        if not disk.exists():
            await _run(
                "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(self._cache / "disk.ext4"), str(disk)
            )
        for name in ("agent", "qmp"):
            (self.folder / name).unlink(missing_ok=True)
        with (self.folder / "console.txt").open("ab") as console:
            self._process = await asyncio.create_subprocess_exec(
                *self._command(disk), stdin=asyncio.subprocess.DEVNULL, stdout=console, stderr=console
            )
        try:
            async with asyncio.timeout(BOOT_S):
                self._agent = await self._connect("agent")
                await self.shell("true", timeout_s=BOOT_S)
        except TimeoutError:
            raise AssertionError(f"the guest did not answer within {BOOT_S:g} s:\n{self.console()}") from None

    def _command(self, disk: Path) -> list[str]:
        words = "qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -nographic -no-reboot -nodefaults"
        words += f" -m {MEMORY_MB} -serial stdio -device virtio-rng-pci -device i6300esb -action watchdog=reset"
        words += " -netdev user,id=n0 -device virtio-net-pci,netdev=n0,romfile=,id=nic -device virtio-serial-pci"
        command = words.split()
        command += ["-kernel", str(self._cache / "vmlinuz"), "-initrd", str(self._cache / "initrd.gz")]
        command += [
            "-append",
            "console=ttyS0 root=/dev/vda rw quiet panic=-1 mitigations=off net.ifnames=0 tsc=reliable",
        ]
        command += ["-drive", f"file={disk},if=virtio,format=qcow2"]
        if self._card is not None:
            command += ["-drive", f"file={self._card},if=virtio,format=raw"]
        command += ["-chardev", f"socket,path={self.folder / 'agent'},server=on,wait=off,id=agent"]
        command += ["-device", "virtserialport,chardev=agent,name=virtual.pi"]
        return [*command, "-qmp", f"unix:{self.folder / 'qmp'},server=on,wait=off"]

    async def _connect(self, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            assert self.running, f"the machine is off:\n{self.console()}"
            try:
                return await asyncio.open_unix_connection(str(self.folder / name), limit=1 << 26)
            except OSError:
                await asyncio.sleep(0.05)

    def console(self) -> str:
        """The end of what the guest wrote on its console."""
        return "\n".join((self.folder / "console.txt").read_text(errors="replace").splitlines()[-40:])

    async def shell(self, command: str, *, timeout_s: float = SHELL_S, check: bool = True) -> str:
        """What a root shell in the guest prints; fails when the command does, unless told not to check."""
        assert self._agent is not None, "the machine is off"
        reader, writer = self._agent
        async with self._asking, asyncio.timeout(timeout_s + 30):
            asked = next(self._ids)
            writer.write(json.dumps({"id": asked, "shell": command, "timeout_s": timeout_s}).encode() + b"\n")
            while True:
                answer = json.loads(await reader.readline() or b'{"id": null}')
                if answer["id"] is None:
                    raise AssertionError(f"the machine went off:\n{self.console()}")
                if answer["id"] == asked:
                    break
        assert not check or answer["status"] == 0, f"{command!r} gave {answer['status']}:\n{answer['out']}"
        return str(answer["out"])

    async def write(self, path: str, text: str, *, owner: str = "root:root", mode: str = "644") -> None:
        """A file in the guest."""
        quoted = shlex.quote(path)
        await self.shell(f"printf %s {shlex.quote(text)} >{quoted}; chown {owner} {quoted}; chmod {mode} {quoted}")

    async def eventually(self, command: str, wanted: Callable[[str], bool], timeout_s: float) -> str:
        """Asks the shell again and again until what it prints is wanted."""
        said = ""
        try:
            async with asyncio.timeout(timeout_s):
                while not wanted(said := (await self.shell(command, check=False)).strip()):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"{command!r} said nothing wanted within {timeout_s:g} s, but {said!r}") from None
        return said

    async def pin(self, line: int, timeout_s: float = 30.0, *, level: int) -> None:
        """Waits until the program drives a pin to this level."""
        await self.eventually(f"cat /run/pins/sim_gpio{line}/value", lambda said: said == str(level), timeout_s)

    async def press(self, line: int, seconds: float = 0.3) -> None:
        """Connects a pin with ground for a while."""
        pull = f"/run/pins/sim_gpio{line}/pull"
        await self.shell(f"echo pull-down >{pull}; sleep {seconds}; echo pull-up >{pull}")

    async def cable(self, *, plugged: bool) -> None:
        """The network cable."""
        await self._qmp("set_link", name="nic", up=plugged)

    async def _qmp(self, command: str, **arguments: Any) -> None:
        reader, writer = await self._connect("qmp")
        try:
            words: tuple[dict[str, Any], ...] = (
                {"execute": "qmp_capabilities", "id": 0},
                {"execute": command, "arguments": arguments, "id": 1},
            )
            for asked in words:
                writer.write(json.dumps(asked).encode() + b"\n")
                async with asyncio.timeout(SHELL_S):
                    while (answer := json.loads(await reader.readline())).get("id") != asked["id"]:
                        pass
                assert "return" in answer, answer
        finally:
            writer.close()

    async def cut_power(self) -> None:
        """From one instruction to the next."""
        if self.running:
            assert self._process is not None
            self._process.kill()
        await self._ended()

    async def power_off(self) -> None:
        """In order; by force when that takes too long."""
        if self.running and self._agent is not None:
            try:
                async with asyncio.timeout(POWER_OFF_S):
                    await self.shell("systemctl --no-block poweroff")
                    assert self._process is not None
                    await self._process.wait()
            except (TimeoutError, AssertionError):
                pass
        await self.cut_power()

    async def _ended(self) -> None:
        if self._process is not None:
            await self._process.wait()
        if self._agent is not None:
            self._agent[1].close()
        self._agent = None


async def boot_card(path: Path, files: Mapping[str, str | bytes]) -> Path:
    """An image of a boot partition with these files."""
    await _run("mkfs.vfat", "-C", "-n", "bootfs", str(path), "65536")
    for folder in sorted({name.rpartition("/")[0] for name in files} - {""}):
        await _run("mmd", "-i", str(path), f"::{folder}")
    for name, given in files.items():
        content = path.with_suffix(".content")
        content.write_bytes(given.encode() if isinstance(given, str) else given)
        await _run("mcopy", "-i", str(path), str(content), f"::{name}")
    return path


async def _run(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0, words
