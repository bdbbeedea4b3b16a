"""A fleet from the command line: a hundred cards, twice, without a secret where none belongs."""

from __future__ import annotations

import hashlib
import json
import lzma
import shutil
from pathlib import Path

import pytest

from edge_node.cli.main import main
from tests.provision.cards import CANARY, FLEET, boot_partition
from tests.provision.test_image_card import make as make_image


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return made(tmp_path, 9, monkeypatch)


def made(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WIFI", CANARY)
    (tmp_path / "fleet.toml").write_text(FLEET)
    (tmp_path / "fleet.csv").write_text("id,name\n" + "".join(f"gate-{n},Gate {n}\n" for n in range(1, count + 1)))
    words = ["hub", "claim", "new", "--file", str(tmp_path / "register.json"), "--out", str(tmp_path / "claims.csv")]
    assert main([*words, "--fleet", str(tmp_path / "fleet.csv")]) == 0
    return tmp_path


def words(fleet: Path, *more: str) -> list[str]:
    return [
        "--fleet",
        str(fleet / "fleet.toml"),
        "--claims",
        str(fleet / "claims.csv"),
        "--out",
        str(fleet / "out"),
        *more,
    ]


def batch(fleet: Path, *more: str) -> int:
    return main(["provision", "batch", str(fleet / "fleet.csv"), *words(fleet, *more)])


def hashes(folder: Path) -> dict[str, tuple[str, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in files}


def test_a_hundred_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = made(tmp_path, 100, monkeypatch)
    assert batch(fleet, "--dry-run") == 0 and not (fleet / "out").exists()
    assert batch(fleet) == 0
    before = hashes(fleet / "out")
    assert len(before) == 700
    assert batch(fleet) == 0 and hashes(fleet / "out") == before, "running it again changes no byte"
    assert main(["provision", "verify", str(fleet / "out")]) == 0
    said = capsys.readouterr()
    assert said.out.count("all as written") == 100 and CANARY not in said.out + said.err
    codes = [line.split(",")[1] for line in (fleet / "claims.csv").read_text().splitlines()[1:]]
    assert not [code for code in codes if code in said.out + said.err]
    found = [path for path in (fleet / "out").rglob("*") if path.is_file() and CANARY in path.read_text()]
    assert not found, "the passphrase is on no card"


def test_a_wrong_row_stops_everything(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (fleet / "fleet.csv").open("a") as file:
        file.write("gate-5,again\n")
    assert batch(fleet) == 78 and not (fleet / "out").exists()
    assert 'row 11: id "gate-5" is taken by row 6 already' in capsys.readouterr().err


def test_one_device_onto_a_card(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boot = boot_partition(fleet / "boot")
    new = ["provision", "new", "gate-7", *words(fleet, "--name", "Seven", "--boot", str(boot))]
    assert main([*new, "--dry-run"]) == 0 and not (boot / "edge-node").exists()
    assert main(new) == 0
    assert 'name = "Seven"' in (boot / "edge-node/edge-node.toml").read_text()
    assert main(["provision", "verify", str(boot)]) == 0
    write = ["provision", "write", str(fleet / "out/gate-7"), "--boot", str(boot)]
    capsys.readouterr()
    assert main([*write, "--dry-run"]) == 0 and "cmdline.txt" in capsys.readouterr().out.split()
    (boot / "user-data").write_text("hostname: theirs\n")
    assert main(write) == 1 and "--force" in capsys.readouterr().err
    assert main([*write, "--force"]) == 0 and "user-data.before-edge-node" in capsys.readouterr().out
    assert main(["provision", "verify", str(fleet)]) == 1 and main(["provision", "verify", str(fleet / "none")]) == 1


@pytest.mark.skipif(shutil.which("mformat") is None, reason="needs apt-get install mtools")
def test_one_device_into_an_image(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, out = make_image(fleet), fleet / "gate-7.img"
    before = image.read_bytes()
    new = ["provision", "new", "gate-7", *words(fleet, "--image", str(image), "--image-out", str(out))]
    assert main([*new, "--dry-run"]) == 0 and not out.exists()
    assert main(new) == 0 and f"{out} is the image of gate-7, generation 1: flash it" in capsys.readouterr().out
    assert image.read_bytes() == before and main(["provision", "verify", "--image", str(out)]) == 0
    assert main(["provision", "verify", "--image", str(image)]) == 1
    write = ["provision", "write", str(fleet / "out/gate-7"), "--image", str(image)]
    assert main([*write, "--dry-run"]) == 0 and image.read_bytes() == before
    assert main(write) == 0 and main(["provision", "verify", "--image", str(image)]) == 0
    capsys.readouterr()
    packed = fleet / "os.img.xz"
    packed.write_bytes(lzma.compress(before))
    assert main(["provision", "write", str(fleet / "out/gate-7"), "--image", str(packed)]) == 2
    assert "xz --decompress --keep os.img.xz" in capsys.readouterr().err
    boot = ["--boot", str(fleet), "--image-out", str(out)]
    assert main(["provision", "write", str(fleet / "out/gate-7"), *boot]) == 2
    with pytest.raises(SystemExit):
        main([*write, "--boot", str(fleet)])


def test_a_folder_that_cannot_be_written_is_a_failure(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (fleet / "out").mkdir()
    (fleet / "out/gate-3").write_text("in the way")
    (fleet / "out/gate-999").mkdir()
    assert batch(fleet, "--json") == 1
    said = capsys.readouterr()
    assert "gate-3" in said.err and "gate-999 is not in the table" in said.err
    assert len([json.loads(line) for line in said.out.splitlines() if line.startswith("{")]) == 8


def test_templates_and_an_entry_for_imager(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["provision", "template"]) == 0 and "[wifi.default]" in capsys.readouterr().out
    assert main(["provision", "template", "--csv"]) == 0 and capsys.readouterr().out.startswith("id,name,")
    image = tmp_path / "os.img.xz"
    image.write_bytes(lzma.compress(b"image" * 1000))
    assert main(["provision", "manifest", str(image), "--url", "https://x/os.img.xz", "--format", "firstrun"]) == 0
    entry = json.loads(capsys.readouterr().out)["os_list"][0]
    assert entry["extract_size"] == 5000 and entry["init_format"] == "systemd"
    assert entry["extract_sha256"] == hashlib.sha256(b"image" * 1000).hexdigest()
    image.write_bytes(b"no archive")
    assert main(["provision", "manifest", str(image)]) == 2
