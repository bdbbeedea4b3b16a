"""What may be wired where."""

from __future__ import annotations

import pytest

from edge_node.devices.pins import ButtonSpec, InputSpec, LedSpec, RelaySpec, Wiring, is_pin
from edge_node.errors import SettingsError


@pytest.mark.parametrize("name", ["GPIO0", "GPIO17", "GPIO27"])
def test_pins(name: str) -> None:
    assert is_pin(name)


@pytest.mark.parametrize("name", ["", "17", "GPIO28", "GPIO017", "gpio17", "GPIO17 ", "BOARD11", "GPIO-1", "GPIO１"])
def test_no_pins(name: str) -> None:
    assert not is_pin(name)


def test_good_wiring() -> None:
    Wiring(
        [ButtonSpec("a", "GPIO2"), ButtonSpec("b", "GPIO4", "down")],
        [LedSpec("a", "GPIO3")],
        [RelaySpec("a", "GPIO5"), RelaySpec("low", "GPIO6", active_high=False)],
    )


def test_every_problem_is_told() -> None:
    with pytest.raises(SettingsError) as caught:
        Wiring(
            [ButtonSpec("call", "GPIO17"), ButtonSpec("call", "GPIO4"), ButtonSpec("down", "GPIO2", "down")],
            [LedSpec("status", "GPIO17"), LedSpec("odd", "P1")],
            [RelaySpec("door", "GPIO3")],
        )
    assert caught.value.problems == (
        "two parts are called button 'call': give each its own name",
        "button 'down': GPIO2 has a pull-up resistor on the board, so this button would never be seen: use another pin",
        "button 'call' and led 'status' both want GPIO17: give each its own pin",
        "led 'odd': 'P1' is no pin: use GPIO0 to GPIO27",
        "relay 'door': GPIO3 is high whenever the node does not run, which would energise this relay: use another pin",
    )


def test_every_pin_of_a_part_counts() -> None:
    with pytest.raises(SettingsError) as caught:
        Wiring(
            leds=[LedSpec("rgb", "GPIO5", more=("GPIO6", "GPIO13"))],
            inputs=[InputSpec("case", "GPIO13")],
            relays=[RelaySpec("door", "GPIO18")],
            taken={"GPIO18": "the WM8960 (I2S bit clock)"},
        )
    assert caught.value.problems == (
        "input 'case' and led 'rgb' both want GPIO13: give each its own pin",
        "the WM8960 (I2S bit clock) and relay 'door' both want GPIO18: move relay 'door' to another pin",
    )


def test_parts_whose_pins_a_card_has_are_left_out() -> None:
    wiring = Wiring(
        [ButtonSpec("call", "GPIO17")],
        [LedSpec("status", "GPIO27"), LedSpec("colours", "GPIO5", more=("GPIO6", "GPIO19"))],
        [RelaySpec("door", "GPIO18")],
        [InputSpec("case", "GPIO24")],
    )
    kept, why = wiring.apart_from({"GPIO18": "HAT (clock)", "GPIO19": "HAT (frame clock)"})
    assert kept == Wiring(
        [ButtonSpec("call", "GPIO17")], [LedSpec("status", "GPIO27")], [], [InputSpec("case", "GPIO24")]
    )
    assert why == {
        "led 'colours'": "HAT (frame clock) and led 'colours' both want GPIO19: move led 'colours' to another pin",
        "relay 'door'": "HAT (clock) and relay 'door' both want GPIO18: move relay 'door' to another pin",
    }
    assert wiring.apart_from({}) == (wiring, {})
