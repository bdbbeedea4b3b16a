"""Makes a release's bundles: one file per machine type with every wheel, hashed and signed."""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edge_node.errors import EdgeNodeError, UsageError
from edge_node.update.bundle import Manifest, hashes, pack
from edge_node.version import __version__

ARCHES = ("aarch64", "x86_64")
PYTHONS = ("3.11", "3.13")
"""Of Debian 12 and 13, Raspberry Pi OS of the same age."""
# Debian 12 has glibc 2.36; pip wants every tag that is allowed spelt out.
GLIBC_MINORS = (5, 12, 17, 24, 26, 27, 28, 31, 34, 36)
DOWNLOAD_DEADLINE_S = 900.0
PREFLIGHT = (
    ("-c", "import edge_node.node.build, aiortc, av, numpy, sounddevice, gpiozero"),
    ("-m", "edge_node", "config", "check", "{settings}"),
)
"""What a new slot must be able to do before it is started."""
_ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==[^;\\]+(?:;(?P<marker>[^\\]+))?(?P<rest>\\.*|)$", re.DOTALL)


def narrow(requirements: str, python: str, arch: str) -> str:
    """The entries of a hashed requirement file that apply to one kind of machine, without their markers.

    pip evaluates markers for the Python it runs on, also when it downloads for another.
    """
    from packaging.markers import Marker

    machine = {
        "python_version": python, "python_full_version": f"{python}.0", "platform_machine": arch,
        "platform_system": "Linux", "sys_platform": "linux", "os_name": "posix", "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }  # fmt: skip
    kept = []
    for entry in re.split(r"\n(?=\S)", requirements.strip()):
        found = _ENTRY.match(entry)
        if found is None:
            continue  # a comment
        marker = found["marker"]
        if marker is None:
            kept.append(entry)
        elif Marker(marker.strip()).evaluate(dict(machine)):
            kept.append(entry.replace(f";{marker}", " ", 1))
    return "\n".join(kept) + "\n"


def download(requirements: Path, python: str, arch: str, folder: Path) -> None:
    """Fetches the wheels for one kind of machine. Raises EdgeNodeError."""
    tag = f"cp{python.replace('.', '')}"
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    words += ["--only-binary=:all:", "--require-hashes", "--requirement", str(requirements), "--dest", str(folder)]
    words += ["--implementation", "cp", "--python-version", python]
    for abi in (tag, "abi3", "none"):
        words += ["--abi", abi]
    for minor in GLIBC_MINORS:
        words += ["--platform", f"manylinux_2_{minor}_{arch}"]
    words += ["--platform", f"manylinux2014_{arch}", "--platform", f"linux_{arch}"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=DOWNLOAD_DEADLINE_S, check=False)
    except subprocess.TimeoutExpired:
        raise EdgeNodeError(f"the download for {arch} took more than {DOWNLOAD_DEADLINE_S:g} s: try again") from None
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        raise EdgeNodeError(f"no wheels for {arch}, Python {python}: {said or done.returncode}")


def fetch(requirements: Path, python: str, arch: str, folder: Path, kept: Path | None) -> None:
    """The same, by way of `kept`, where each set of wheels stays for the next time. Raises EdgeNodeError."""
    if kept is None:
        download(requirements, python, arch, folder)
        return
    whole = kept / hashlib.sha256(f"{arch} {python}\n{requirements.read_text()}".encode()).hexdigest()[:16]
    if not whole.is_dir():
        kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=kept) as part:
            wheels = Path(part) / "wheels"
            wheels.mkdir()
            download(requirements, python, arch, wheels)
            wheels.rename(whole)
    shutil.copytree(whole, folder, dirs_exist_ok=True)


def make(
    wheel: Path,
    requirements: Path,
    python: str,
    arch: str,
    key: Path,
    out: Path,
    floor: str,
    kept: Path | None = None,
) -> Path:
    """One bundle; returns its path."""
    with tempfile.TemporaryDirectory(prefix="edge-node-") as folder:
        release = Path(folder)
        (release / "wheels").mkdir()
        narrowed = release / "requirements.txt"
        narrowed.write_text(narrow(requirements.read_text(), python, arch))
        fetch(narrowed, python, arch, release / "wheels", kept)
        shutil.copy2(wheel, release / "wheels" / wheel.name)
        manifest = Manifest(__version__, arch, python, floor, hashes(release), PREFLIGHT)
        path = out / f"edge-node-{__version__}-{arch}-cp{python.replace('.', '')}.tar"
        pack(path, manifest, release, key)
        return path


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m edge_node.provision.release", description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True, metavar="FILE", help="edge-node's own wheel")
    parser.add_argument("--requirements", type=Path, required=True, metavar="FILE", help="with hashes")
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="the private key (PEM)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--arch", action="append", choices=ARCHES, help=f"default: {', '.join(ARCHES)}")
    parser.add_argument("--python", action="append", metavar="X.Y", help=f"default: {', '.join(PYTHONS)}")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="keep what was downloaded here")
    parser.add_argument("--floor", default="0", metavar="VERSION", help="nothing older is installed afterwards")
    args = parser.parse_args(argv)
    try:
        if not args.wheel.is_file():
            raise UsageError(f"there is no wheel at {args.wheel}: build it with pip wheel --no-deps .")
        args.out.mkdir(parents=True, exist_ok=True)
        for arch in args.arch or ARCHES:
            for python in args.python or PYTHONS:
                made = make(args.wheel, args.requirements, python, arch, args.key, args.out, args.floor, args.wheels)
                sys.stdout.write(f"{made} {made.stat().st_size >> 20} MiB\n")
    except EdgeNodeError as err:
        sys.stderr.write(f"edge-node: {err}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
