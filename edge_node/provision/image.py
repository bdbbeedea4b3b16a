"""Makes a card's image for Raspberry Pi boards from Debian's packages, our package, a bundle of wheels."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_node.errors import EdgeNodeError, UsageError
from edge_node.provision import image_disk
from edge_node.provision.image_disk import BOOT_LABEL, ROOT_LABEL, STATE_FOLDERS, STATE_LABEL, VOLATILE_JOURNAL, run

SUITE = "trixie"
PYTHON = "3.13"
CACHE = Path("/var/cache/edge-node-vm/arm64")
BASE_DEADLINE_S = 7200.0
"""Emulated: 15 minutes on two idle cores, 26 on busy ones."""
TOOLS = {**image_disk.TOOLS, "mmdebstrap": "mmdebstrap", "tar": "tar", "unshare": "util-linux"}
EMULATOR = {"qemu-aarch64-static": "qemu-user-static"}
SLIMMER = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
# Slow boards take their time to find their own card; without a boot partition the node starts all the same.
BOOT_OPTIONS = "defaults,flush,nofail,umask=0077,x-systemd.device-timeout=10min"
OVERLAY_WORD = "edge_node.overlay"
INSTALL = f"""
dpkg -i /tmp/release/edge-node_*_all.deb
python3 -m zipfile -e /tmp/release/lgpio-*.whl /usr/local/lib/python{PYTHON}/dist-packages
systemctl --quiet enable edge-node edge-node-settle edge-node-firstboot edge-node-grow edge-node-wifi
systemctl --quiet mask e2scrub_reap.service apt-daily.timer apt-daily-upgrade.timer
rm -rf /tmp/release /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*.log /var/log/apt
"""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the image is made from: folders of the checkout, the release, choices."""

    checkout: Path
    deb: Path
    bundle: Path
    size_mib: int
    read_only_root: bool
    cache: Path = CACHE
    mirror: str | None = None
    """Of Debian; None: this machine's."""

    @property
    def folder(self) -> Path:
        return self.checkout / "provisioning/image"

    def packages(self) -> list[str]:
        """Of Debian; what they require comes with them."""
        lines = (self.folder / "packages.txt").read_text().splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    def early(self) -> list[tuple[Path, str]]:
        """What Debian's initial file system is made with, and where below /etc/initramfs-tools it has to lie."""
        files = self.folder / "files"
        return [
            (files / "initramfs-overlay", "scripts/init-bottom/edge-node-overlay"),
            (files / "initramfs-modules", "hooks/edge-node-overlay"),
        ]


def build(out: Path, recipe: Recipe, tell: Tell) -> None:
    """Writes `out` and beside it `out`.packages, the versions it is made of. Raises EdgeNodeError or UsageError."""
    emulated = platform.machine() != "aarch64"
    image_disk.need({**TOOLS, **(EMULATOR if emulated else {})})
    if os.geteuid() != 0:
        raise UsageError("the files of an image belong to root: run it with sudo")
    if not out.resolve().parent.is_dir():
        raise UsageError(f"there is no folder {out.resolve().parent}: make it, or name another --out")
    for path in (recipe.deb, recipe.bundle):
        if not path.is_file():
            raise UsageError(f"there is no file {path}: make both with bash provisioning/package.sh --python {PYTHON}")
    recipe.cache.mkdir(parents=True, exist_ok=True)
    run(["bash", str(recipe.folder / "binfmt.sh")])
    base = _base(recipe, tell)
    wheels = recipe.cache.parent / "wheels"
    run(["bash", str(recipe.folder / "lgpio.sh"), "arm64", str(wheels)])
    with tempfile.TemporaryDirectory(prefix="image.", dir=recipe.cache) as work:
        root, boot = Path(work, "root"), Path(work, "boot")
        tell("unpacking the system")
        root.mkdir()
        run(["tar", "-xf", str(base), "-C", str(root), "--exclude=./dev/*"])
        tell("installing the release, without a network")
        _install(root, recipe, next(wheels.glob("lgpio-*_aarch64.whl")))
        _configure(root, recipe)
        _compare(root, out, recipe, tell)
        shutil.move(root / "boot/firmware", boot)
        (root / "boot/firmware").mkdir()
        state = _take_state(root, Path(work, "state")) if recipe.read_only_root else None
        tell("writing the image")
        image_disk.write(out, recipe.size_mib, boot, root, state)


def _base(recipe: Recipe, tell: Tell) -> Path:
    """Debian alone, kept: nothing in it is ours except the script that makes the root an overlay when told to."""
    words = [*recipe.packages(), *SLIMMER, SUITE, recipe.mirror or machine_mirror()]
    words += [path.read_text() for path, _ in recipe.early()]
    base = recipe.cache / f"base-{hashlib.sha256(chr(0).join(words).encode()).hexdigest()[:12]}.tar"
    if base.exists():
        return base
    tell("making Debian's part for arm64 (15 to 30 minutes where it is emulated; kept for the next time)")
    aside = recipe.cache / "part.tar"
    command = ["mmdebstrap", "--quiet", "--architectures=arm64", "--variant=minbase"]
    command += ["--components=main,non-free-firmware", f"--include={','.join(recipe.packages())}"]
    command += [f"--dpkgopt={option}" for option in SLIMMER]
    # Laid there before initramfs-tools, which then needs to run once only: emulated it takes minutes.
    for path, name in recipe.early():
        command.append(f'--essential-hook=install -D -m 0755 {path} "$1/etc/initramfs-tools/{name}"')
    command += [SUITE, str(aside), recipe.mirror or machine_mirror()]
    run(command, deadline_s=BASE_DEADLINE_S)
    aside.replace(base)
    return base


def _install(root: Path, recipe: Recipe, lgpio: Path) -> None:
    release, bundles = root / "tmp/release", root / "var/cache/edge-node"
    for folder in (release, bundles):
        folder.mkdir(parents=True, exist_ok=True)
    shutil.copy2(recipe.deb, release)
    shutil.copy2(lgpio, release)
    shutil.copy2(recipe.bundle, bundles)
    files = recipe.folder / "files"
    mount = "/state" if recipe.read_only_root else "/"
    units = root / "etc/systemd/system"
    grow = (files / "edge-node-grow.service").read_text().replace("@MOUNT@", mount)
    (units / "edge-node-grow.service").write_text(grow)
    shutil.copy(files / "edge-node-wifi.service", units)
    shutil.copy(files / "edge-node-grow", root / "usr/sbin/edge-node-grow")
    (root / "usr/sbin/edge-node-grow").chmod(0o755)
    (root / "var/lib/edge-node-image").mkdir()
    in_root(root, INSTALL)
    if not (root / "opt/edge-node/current").is_symlink():
        raise EdgeNodeError(f"no slot was filled from {recipe.bundle.name}: is it for aarch64 and Python {PYTHON}?")
    (bundles / recipe.bundle.name).unlink()


def machine_mirror() -> str:
    """Where this machine gets Debian's packages from. Raises EdgeNodeError."""
    listed = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]).split()
    found = next((uri for uri in listed if "security" not in uri), None)
    if found is None:
        raise EdgeNodeError("this machine names no Debian mirror: say --mirror URL")
    return found


def in_root(root: Path, script: str) -> str:
    """Runs a shell script in the system below `root`, without a network. Raises EdgeNodeError."""
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "chroot", str(root), "/usr/bin/env", "-i"]
    words += ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"]
    mounts = "mount -t proc proc /proc; mount -t devtmpfs none /dev\n"
    return run([*words, "sh", "-euc", mounts + script])


def _configure(root: Path, recipe: Recipe) -> None:
    fstab = [f"LABEL={BOOT_LABEL} /boot/firmware vfat {BOOT_OPTIONS} 0 2"]
    if recipe.read_only_root:
        fstab.append(f"LABEL={STATE_LABEL} /state ext4 defaults,noatime,commit=30 0 2")
        fstab += [f"/state/{name} /{name} none bind,x-systemd.requires-mounts-for=/state 0 0" for name in STATE_FOLDERS]
        (root / "state").mkdir()
        # On the overlay it would be in memory, too, up to the 50 MB that are meant for a card.
        journal = root / VOLATILE_JOURNAL.removeprefix("/")
        journal.parent.mkdir(parents=True, exist_ok=True)
        journal.write_text("[Journal]\nStorage=volatile\n")
    else:
        fstab.append(f"LABEL={ROOT_LABEL} / ext4 defaults,noatime,commit=30 0 1")
    (root / "etc/fstab").write_text("\n".join(fstab) + "\n")
    (root / "etc/hostname").write_text("edge-node\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 edge-node\n::1 localhost\n")
    # Drawn at the first start; with a root that is only read at every start, which loses nothing: the node's own id and
    # key are in its state.
    (root / "etc/machine-id").write_text("")
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    # Everything that systemd makes anew after a change of /usr was made: not minutes of ldconfig at the first start.
    for name in ("etc/.updated", "var/.updated"):
        (root / name).write_text("")
    overlay = f" {OVERLAY_WORD}" if recipe.read_only_root else ""
    words = f"console=ttyS1,115200 console=tty0 root=LABEL={ROOT_LABEL} {'ro' if recipe.read_only_root else 'rw'}"
    words += f" fsck.repair=yes net.ifnames=0 cma=64M rootwait panic=10{overlay}"
    (root / "boot/firmware/cmdline.txt").write_text(words + "\n")
    # The kernel's own hook writes cmdline.txt anew with each new kernel, from these two files.
    with (root / "etc/default/raspi-firmware").open("a") as file:
        file.write(f"\nROOTPART=LABEL={ROOT_LABEL}\n")
    if recipe.read_only_root:
        (root / "etc/default/raspi-extra-cmdline").write_text(OVERLAY_WORD + "\n")


def _compare(root: Path, out: Path, recipe: Recipe, tell: Tell) -> None:
    """Writes down every package's version; tells which are not those of packages.lock."""
    query = r"dpkg-query -W -f '${Package} ${Version}\n'"
    found = sorted(line for line in in_root(root, query).splitlines() if not line.startswith("edge-node "))
    out.with_name(out.name + ".packages").write_text("\n".join(found) + "\n")
    lock = recipe.folder / "packages.lock"
    pinned = set(lock.read_text().splitlines()) if lock.exists() else set()
    others = [line for line in found if line not in pinned]
    if others:
        tell(f"{len(others)} of {len(found)} packages are not the version of packages.lock: {', '.join(others[:5])} …")


def _take_state(root: Path, state: Path) -> Path:
    """Moves what must be remembered to the state partition's folder; empty folders stay to be mounted over."""
    for name in STATE_FOLDERS:
        source, target = root / name, state / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source.mkdir(parents=True, exist_ok=True)
        # cp keeps owners and modes, and the folder itself.
        run(["cp", "-a", str(source), str(target)])
        run(["find", str(source), "-mindepth", "1", "-delete"])
    return state
