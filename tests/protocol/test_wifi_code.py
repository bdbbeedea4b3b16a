"""Wi-Fi codes as phones make them, or not."""

from __future__ import annotations

import pytest

from edge_node.protocol.wifi_code import WifiNetwork, parse_wifi


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("WIFI:T:WPA;S:Doors;P:12345678;;", WifiNetwork("Doors", "wpa", "12345678")),
        ("WIFI:S:Doors;T:SAE;P:12345678;H:true;;", WifiNetwork("Doors", "sae", "12345678", True)),
        ("WIFI:S:Gäste;;", WifiNetwork("Gäste", "open")),
        ("WIFI:T:nopass;S:a;P:;H:false;;", WifiNetwork("a", "open")),
        (r"WIFI:T:WPA;S:a\;b\:c;P:1\\2345\,678;;", WifiNetwork("a;b:c", "wpa", "1\\2345,678")),
    ],
)
def test_networks(text: str, network: WifiNetwork) -> None:
    found = parse_wifi(text)
    assert found == network
    assert not network.password or network.password not in repr(found)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://example.com", "no Wi-Fi code"),
        ("WIFI:" + "x" * 300, "no Wi-Fi code"),
        ("WIFI:T:WPA;P:12345678;;", "no network name"),
        (f"WIFI:S:{'x' * 33};;", "no network name"),
        ("WIFI:S:a\nset x;;", "no network name"),
        ("WIFI:T:WEP;S:a;P:12345;;", "not supported"),
        ("WIFI:T:WPA2-EAP;S:a;P:12345678;;", "not supported"),
        ("WIFI:T:WPA;S:a;P:short;;", "8 to 63"),
        ("WIFI:T:WPA;S:a;;", "8 to 63"),
        ("WIFI:T:WPA;S:a;P:1234567\n8;;", "8 to 63"),
        ("WIFI:T:nopass;S:a;P:12345678;;", "8 to 63"),
    ],
)
def test_others(text: str, reason: str) -> None:
    found = parse_wifi(text)
    assert isinstance(found, str) and reason in found
