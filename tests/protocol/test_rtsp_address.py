"""Stream addresses: taken apart, refused, masked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.errors import SettingsError
from edge_node.protocol.rtsp_address import Address, Credentials, parse_address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://camera/stream", Address("camera", 554, False, "rtsp://camera/stream", None)),
        ("RTSP://camera:8554/a?b=c", Address("camera", 8554, False, "rtsp://camera:8554/a?b=c", None)),
        ("rtsps://camera/s", Address("camera", 322, True, "rtsps://camera/s", None)),
        ("rtsp://u:p@camera/s", Address("camera", 554, False, "rtsp://camera/s", Credentials("u", "p"))),
        ("rtsp://u:p@ss%2Fw@camera", Address("camera", 554, False, "rtsp://camera", Credentials("u", "p@ss/w"))),
        ("rtsp://u@[fe80::1]:99/s", Address("fe80::1", 99, False, "rtsp://[fe80::1]:99/s", Credentials("u", ""))),
        ("rtsp://[fe80::1%25eth0]/s", Address("fe80::1%eth0", 554, False, "rtsp://[fe80::1]/s", None)),
        (
            "rtsp://u:p@[fe80::1%wlan0]:9/s",
            Address("fe80::1%wlan0", 9, False, "rtsp://[fe80::1]:9/s", Credentials("u", "p")),
        ),
        ("rtsp://camera/s@b", Address("camera", 554, False, "rtsp://camera/s@b", None)),
        ("rtsp://u:p%40%3A%2F%25@camera", Address("camera", 554, False, "rtsp://camera", Credentials("u", "p@:/%"))),
        ("rtsp://@camera/s#part", Address("camera", 554, False, "rtsp://camera/s", None)),
    ],
)
def test_takes_an_address_apart(url: str, expected: Address) -> None:
    assert parse_address(url) == expected


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("file:///etc/passwd", "file://: use rtsp:// or rtsps://"),
        ("http://camera/s", "use rtsp:// or rtsps://"),
        ("camera/stream", "nothing://"),
        ("rtsp:///stream", "has no host"),
        ("rtsp://camera:0/s", "port 0"),
        ("rtsp://camera:99999/s", "percent-encoded"),
        ("rtsp://u:p/w@camera/s", "percent-encoded"),
        ("rtsp://u:12/34@camera/s", "percent-encode"),
        ("rtsp://u:12?34@camera/s", "percent-encode"),
        ("rtsp://u:12#34@camera/s", "percent-encode"),
        ("rtsp://[camera/s", "percent-encoded"),
        (f"rtsp://{'a' * 64}.example/s", "percent-encoded"),
        ("rtsp://camera/a b", "without blanks"),
        ("rtsp://camera/a\r\nX: y", "without blanks"),
        ("", "nothing://"),
    ],
)
def test_refuses_with_a_sentence(url: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        parse_address(url)


def test_refuses_what_is_no_text() -> None:
    with pytest.raises(SettingsError):
        parse_address(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("rtsp://u:hunter2@camera/s", "rtsp://camera/s"),
        ("rtsp://camera/user=admin_password=hunter2_channel=1.sdp", "rtsp://camera/user=***"),
        ("rtsp://camera/s?channel=1&Password=hunter2&x=2", "rtsp://camera/s?channel=1&Password=***&x=2"),
    ],
)
def test_prints_no_secrets(url: str, printed: str) -> None:
    address = parse_address(url)
    assert str(address) == printed
    assert "hunter2" not in repr(address) + repr(address.credentials)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for url in (text, f"rtsp://{text}"):
        try:
            parse_address(url)
        except SettingsError as err:
            assert err.problems
