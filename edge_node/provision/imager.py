"""An image as an entry that Raspberry Pi Imager 2 can customise."""

from __future__ import annotations

import hashlib
import lzma
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_node.errors import UsageError
from edge_node.provision.card import Format

INIT_FORMATS: dict[Format, str] = {
    "cloud-init": "cloudinit-rpi",
    "rpi-preseed": "rpi-preseed",
    "firstrun": "systemd",
    "edge-node": "none",
}
DEVICES = ("pi5-64bit", "pi4-64bit", "pi3-64bit")
BLOCK_BYTES = 1 << 20


def manifest(image: Path, url: str, name: str, form: Format) -> dict[str, Any]:
    """The JSON that Imager reads with --repo, or as a file .rpi-imager-manifest. Raises UsageError."""
    try:
        stat = image.stat()
        size, digest = _unpacked(image)
        downloaded = hashlib.sha256()
        with image.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                downloaded.update(block)
    except (OSError, lzma.LZMAError, EOFError) as err:
        raise UsageError(f"{image} cannot be read ({err}): name an .img or .img.xz file") from None
    entry = {
        "name": name,
        "description": "Raspberry Pi OS with edge-node",
        "icon": "",
        "url": url,
        "extract_size": size,
        "extract_sha256": digest,
        "image_download_size": stat.st_size,
        "image_download_sha256": downloaded.hexdigest(),
        "release_date": datetime.fromtimestamp(stat.st_mtime, UTC).strftime("%Y-%m-%d"),
        "devices": list(DEVICES),
        "init_format": INIT_FORMATS[form],
    }
    return {"os_list": [entry]}


def _unpacked(image: Path) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    with lzma.open(image) if image.suffix == ".xz" else image.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            size += len(block)
            digest.update(block)
    return size, digest.hexdigest()
