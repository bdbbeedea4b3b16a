"""The right profile for the board at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_node.devices.profiles import load_profile
from edge_node.encode_plan.limits import board_limits
from edge_node.errors import SettingsError


def test_boards_are_known_by_the_beginning_of_their_model() -> None:
    assert load_profile("auto", "Raspberry Pi 4 Model B Rev 1.5")["board"]["id"] == "pi-4"
    assert load_profile("auto", "Raspberry Pi Zero 2 W Rev 1.0")["board"]["id"] == "pi-zero-2-w"
    assert load_profile("auto", "Some other board")["board"]["id"] == "generic"
    assert load_profile("auto", None)["board"]["id"] == "generic"


def test_a_board_may_be_named_and_a_wrong_name_is_told() -> None:
    assert load_profile("pi-5", None)["board"]["id"] == "pi-5"
    with pytest.raises(SettingsError, match="pi-zero-2-w"):
        load_profile("pi-6", None)


def test_a_pi_5_has_no_hardware_encoder_and_a_pi_4_has_one() -> None:
    assert board_limits(load_profile("pi-5", None)).hardware is None
    assert board_limits(load_profile("pi-4", None)).hardware is not None


def test_earlier_folders_win_and_broken_profiles_are_named(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder, name in ((first, "mine"), (second, "theirs")):
        folder.mkdir()
        (folder / "x.toml").write_text(f'[board]\nid = "x"\nname = "{name}"\n')
    assert load_profile("x", None, (first, second))["board"]["name"] == "mine"
    assert load_profile("auto", None, (tmp_path / "none",))["board"]["id"] == "generic"
    (second / "y.toml").write_text("[board")
    with pytest.raises(SettingsError, match=r"y\.toml"):
        load_profile("x", None, (first, second))
