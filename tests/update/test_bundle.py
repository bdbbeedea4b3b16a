"""Bundles as they come from a bad copy, a full stick, an enemy: refused in a sentence, and nothing grows."""

from __future__ import annotations

import io
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_node.update.bundle import Bundle, BundleRefused
from edge_node.update.members import Damaged, Members
from tests.support.update_lab import Publisher

Content = tuple[tarfile.TarInfo, bytes | None]


@pytest.fixture
def members(publisher: Publisher) -> list[Content]:
    with tarfile.open(publisher.bundle("1.1.0")) as tar:
        found: list[Content] = []
        for info in tar:
            stream = tar.extractfile(info)
            assert stream is not None
            found.append((info, stream.read()))
        return found


def _write(path: Path, members: list[Content]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, None if content is None else io.BytesIO(content))
    return path


def _take(path: Path, publisher: Publisher, out: Path) -> dict[str, bytes]:
    """What a bundle leaves in a folder. Raises what the bundle does."""
    with Bundle(path, publisher.keys) as bundle:
        bundle.unpack(out)
    return {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()}


def test_cut_off_anywhere(publisher: Publisher, tmp_path: Path) -> None:
    """At each hundredth, and at both sides of every block: refused, unless all that was signed is there."""
    whole = publisher.bundle("1.1.0").read_bytes()
    files = _take(publisher.bundle("1.1.0"), publisher, tmp_path / "whole")
    cuts = {len(whole) * share // 100 for share in range(100)}
    cuts |= {at + aside for at in range(0, len(whole), 512) for aside in (-1, 0, 1) if at + aside >= 0}
    path = tmp_path / "cut.tar"
    taken = 0
    for number, cut in enumerate(sorted(cuts)):
        path.write_bytes(whole[:cut])
        try:
            assert _take(path, publisher, tmp_path / str(number)) == files, f"cut at {cut}"
            taken += 1
        except BundleRefused as err:
            assert str(err).endswith(("again", "missing")), err
    assert taken < len(cuts) / 2 or len(whole) > 2 * sum(map(len, files.values())), "only zeros may be missing"


def test_altered_anywhere(publisher: Publisher, tmp_path: Path) -> None:
    """Any bytes, also in headers whose sums are right again: refused, or nothing that was signed has changed."""
    whole = publisher.bundle("1.1.0").read_bytes()
    files = _take(publisher.bundle("1.1.0"), publisher, tmp_path / "whole")
    lots = random.Random(7)
    path = tmp_path / "altered.tar"
    for number in range(300):
        data = bytearray(whole)
        at = 512 * lots.randrange(len(data) // 512)
        data[at + lots.randrange(512)] = lots.randrange(256)
        if number % 2:
            header = bytearray(data[at : at + 512])
            header[148:156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(header)
        path.write_bytes(data)
        try:
            assert _take(path, publisher, tmp_path / str(number)) == files
        except BundleRefused:
            continue


def _sparse(info: tarfile.TarInfo) -> Content:
    """A terabyte, in a block."""
    info.pax_headers = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0",
        "GNU.sparse.name": info.name, "GNU.sparse.realsize": str(1 << 40),
    }  # fmt: skip
    body = f"1\n{(1 << 40) - 1}\n1\n".encode().ljust(512, b"\0") + b"x"
    info.size = len(body)
    return info, body


def _typed(kind: bytes) -> Callable[[tarfile.TarInfo], Content]:
    def make(info: tarfile.TarInfo) -> Content:
        info.type, info.size, info.linkname = kind, 0, "/etc/passwd"
        return info, None

    return make


def _named(name: str) -> Callable[[tarfile.TarInfo], Content]:
    def make(info: tarfile.TarInfo) -> Content:
        info.name, info.size = name, 1
        return info, b"x"

    return make


FOREIGN: dict[str, Callable[[tarfile.TarInfo], Content]] = {
    "a sparse file": _sparse,
    "a symbolic link": _typed(tarfile.SYMTYPE),
    "a hard link": _typed(tarfile.LNKTYPE),
    "a character device": _typed(tarfile.CHRTYPE),
    "a block device": _typed(tarfile.BLKTYPE),
    "a FIFO": _typed(tarfile.FIFOTYPE),
    "a folder": _typed(tarfile.DIRTYPE),
    "an old sparse file": _typed(tarfile.GNUTYPE_SPARSE),
    "an absolute path": _named("/etc/cron.d/evil"),
    "a path upwards": _named("../../etc/cron.d/evil"),
    "a name beyond ASCII": _named("wheels/\u00e9.whl"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_only_plain_files_that_were_signed(
    members: list[Content], publisher: Publisher, tmp_path: Path, what: str
) -> None:
    """In place of a wheel, as well as after all that was signed; nothing of it is written."""
    for before in (members[:2], members):
        info = tarfile.TarInfo(members[2][0].name)
        path = _write(tmp_path / "foreign.tar", [*before, FOREIGN[what](info)])
        out = tmp_path / f"out-{len(before)}"
        out.mkdir()
        with pytest.raises(BundleRefused, match=r"is no plain file|does not name"):
            _take(path, publisher, out)
        assert sum(file.stat().st_size for file in out.rglob("*")) < 1 << 20


def test_nothing_before_the_manifest_and_nothing_twice(
    members: list[Content], publisher: Publisher, tmp_path: Path
) -> None:
    link = tarfile.TarInfo("manifest.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    for wrong in ([(link, None), *members[1:]], members[1:], [members[1], members[0], members[2]]):
        with pytest.raises(BundleRefused):
            _take(_write(tmp_path / "wrong.tar", wrong), publisher, tmp_path / "out")
    with pytest.raises(BundleRefused, match="does not name"):
        _take(_write(tmp_path / "twice.tar", [*members, members[2]]), publisher, tmp_path / "twice")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.REGTYPE])
@pytest.mark.parametrize("size", [-5, 0, 1000, 1 << 33, 1 << 62])
def test_what_a_header_says_of_its_size_is_not_believed(
    publisher: Publisher, tmp_path: Path, kind: bytes, size: int
) -> None:
    """Memory for a name of 4 EB was asked for, before any signature."""
    info = tarfile.TarInfo("manifest.json")
    info.type, info.size = kind, size
    path = tmp_path / "huge.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"a" * 1024)
    with pytest.raises(BundleRefused):
        Bundle(path, publisher.keys)


def test_a_long_name_without_its_file(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 4
    data = info.tobuf(tarfile.GNU_FORMAT) + b"name".ljust(512, b"\0")
    with pytest.raises(Damaged, match="cut off"):
        Members(io.BytesIO(data), len(data)).next()


def test_a_file_that_shrinks_meanwhile(members: list[Content], tmp_path: Path) -> None:
    data = _write(tmp_path / "whole.tar", members).read_bytes()
    found = Members(io.BytesIO(data[:600]), len(data))
    member = found.next()
    assert member is not None and member.name == "manifest.json"
    with pytest.raises(Damaged, match="cut off"):
        b"".join(found.blocks(member))


def test_what_is_no_file_is_not_opened(publisher: Publisher, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero")):
        with pytest.raises(BundleRefused, match="is no file"):
            Bundle(path, publisher.keys)


def test_names_with_spaces_are_names(publisher: Publisher, tmp_path: Path) -> None:
    path = tmp_path / "My Stick (1)" / "edge node 'new'.tar"
    path.parent.mkdir()
    path.write_bytes(publisher.bundle("1.1.0").read_bytes())
    keys = tmp_path / "my keys" / "the publisher's.pem"
    keys.parent.mkdir()
    keys.write_bytes(publisher.keys[0].read_bytes())
    with Bundle(path, [keys]) as bundle:
        assert bundle.manifest.version == "1.1.0"


def test_one_key_of_many_suffices_whatever_lies_beside_it(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("no key")
    (tmp_path / "b.pem").mkdir()
    others = [tmp_path / "a.pem", tmp_path / "b.pem", tmp_path / "absent.pem"]
    with Bundle(publisher.bundle("1.1.0"), [*others, *publisher.keys]) as bundle:
        assert bundle.manifest.version == "1.1.0"
    with pytest.raises(BundleRefused, match="nobody trusted"):
        Bundle(publisher.bundle("1.1.0"), others)
