"""Checks of single settings, each of which returns the value or raises ValueError with a reason plus a suggestion."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from urllib.parse import SplitResult, urlsplit

from edge_node.call.policy import ACTIONS
from edge_node.errors import SettingsError
from edge_node.protocol.addresses import is_loopback, is_private
from edge_node.protocol.names import channel_problem, is_reserved
from edge_node.protocol.rtsp_address import parse_address

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PIN = re.compile(r"GPIO([0-9]{1,2})")
_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")
_MAX_GPIO = 53  # BCM2711 peripherals, section 5: GPIO0 to GPIO57; 0 to 27 reach a header, compute modules use up to 45
OPEN = "open:"
WIFI = "wifi"
BUTTON_ACTIONS = (*ACTIONS, WIFI)
"""Beside those of a call: wifi, which looks for a network's QR code."""
OVERLAY_FIELDS = ("name", "date", "time")
SOUNDS = ("chime", "ringback", "beeps")
MAX_SENTENCE = 300


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean "…"?)` for the closest known word, or nothing."""
    close = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f' (did you mean "{close[0]}"?)' if close else ""


def identifier(value: str) -> str:
    """A name of a node or of a part: it stands in topics, stream ids and commands."""
    if not _ID.fullmatch(value):
        suggestion = re.sub(r"[^a-z0-9._-]+", "-", value.lower()).strip("-._")[:64] or "front-door"
        raise ValueError(
            f'is "{value}" but has to be 1 to 64 letters, digits, dots, dashes or underscores: write "{suggestion}"'
        )
    return value


def public_key(value: str) -> str:
    """An Ed25519 key in hex."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError("is no key: copy the 64 digits that the console shows as this device's key")
    return value.lower()


def channel_name(value: str) -> str:
    """A channel that a node may join: no pattern, no reserved prefix."""
    if problem := channel_problem(value):
        raise ValueError(f'is no channel name, because {problem}: write something like "home/front-door"')
    if is_reserved(value):
        raise ValueError(f'is "{value}", which the service keeps for itself: choose another prefix')
    if "*" in value:
        raise ValueError(f'is "{value}", a pattern, but one channel is needed: write its name without *')
    return value


def pin(value: str) -> str:
    """`GPIOn` by the Broadcom number."""
    found = _PIN.fullmatch(value)
    if not found or int(found[1]) > _MAX_GPIO:
        digits = re.sub(r"\D", "", value)
        example = f"GPIO{int(digits)}" if digits and int(digits) <= _MAX_GPIO else "GPIO17"
        raise ValueError(f'is "{value}" but has to be a Broadcom pin, GPIO0 to GPIO{_MAX_GPIO}: write "{example}"')
    return f"GPIO{int(found[1])}"


def action(value: str) -> str:
    """What a button does: one of BUTTON_ACTIONS, or `open:DOOR`."""
    if value in BUTTON_ACTIONS or (value.startswith(OPEN) and len(value) > len(OPEN)):
        return value
    allowed = ", ".join(BUTTON_ACTIONS) + " or open:DOOR"
    raise ValueError(f'is "{value}" but has to be one of {allowed}{did_you_mean(value, BUTTON_ACTIONS)}')


def overlay(value: str) -> str:
    """Text for pictures; in braces `name`, `date` or `time`."""
    for field in re.findall(r"\{([^{}]*)\}", value):
        if field not in OVERLAY_FIELDS:
            allowed = ", ".join(f"{{{name}}}" for name in OVERLAY_FIELDS)
            raise ValueError(f'has "{{{field}}}" but knows only {allowed}{did_you_mean(field, OVERLAY_FIELDS)}')
    return value


def microphone(value: str) -> str:
    """A device name, or `none`, `test`, `file:PATH`, `rtsp`."""
    return _sound(value)


def speaker(value: str) -> str:
    """A device name, or `none`, `file:PATH`."""
    if value in ("test", "rtsp"):
        raise ValueError(f'is "{value}", which only a microphone can be: write "default", "none" or "file:PATH"')
    return _sound(value)


def prompt(value: str) -> str:
    """`none`, one of the built-in sounds, `file:PATH` or `say:SENTENCE`."""
    kind, _, what = value.partition(":")
    if value == "none" or value in SOUNDS or (kind in ("file", "say") and 0 < len(what.strip()) <= MAX_SENTENCE):
        return value
    names = ", ".join(f'"{name}"' for name in SOUNDS)
    raise ValueError(f'is "{value}": write "none", {names}, "file:PATH" or "say:SENTENCE"{did_you_mean(value, SOUNDS)}')


def _sound(value: str) -> str:
    if not value.strip() or value == "file:":
        raise ValueError('is empty: write "default", "none", a device name or "file:PATH"')
    return value


def argv(value: object) -> object:
    """A command as a list of words; a string is split as a shell would."""
    return shlex.split(value) if isinstance(value, str) else value


def scalar(value: object) -> object:
    """Something a field of a message can equal."""
    if not isinstance(value, str | int | float | bool):
        raise ValueError("is a list or a table but has to be text, a number, true or false: write one value")
    return value


def http_url(value: str) -> str:
    """An address tokens are fetched from: without a login, which Python's HTTP client does not send (and tells)."""
    parts = _split(value)
    if parts is None or parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError('is no web address: write "https://host/path", blanks in the path as %20')
    if "@" in parts.netloc or (parts.port is not None and _has_late_at(parts)):
        raise ValueError(
            "holds a user or a password, which is not sent: leave it out, or fetch the token with "
            "channel.token_command; an @ in the path is written %40"
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname) and not is_private(parts.hostname):
        raise ValueError("would send a credential in clear over the internet: write https:// instead of http://")
    return value


def agent_url(value: str) -> str:
    """The address of a speech service: wss://, or ws:// to this machine."""
    parts = _split(value)
    host = None if parts is None else parts.hostname
    if parts is None or host is None or not (parts.scheme == "wss" or (parts.scheme == "ws" and is_loopback(host))):
        raise ValueError('is no address of a speech service: write "wss://host/path", ws:// only to this machine')
    if "@" in parts.netloc:
        raise ValueError("holds a login: write the key as agent.api_key")
    return value


def rtsp_url(value: str) -> str:
    """An RTSP address (RFC 7826), as the camera's client takes it."""
    try:
        parse_address(value)
    except SettingsError as err:
        raise ValueError(str(err).removeprefix("video.url ")) from None
    return value


def origin(value: str) -> str:
    """The hub's origin, without a trailing slash: the client appends /v1 by itself."""
    parts = _split(value)
    if parts is None or (parts.port is not None and _has_late_at(parts)):
        raise ValueError('is no address: write an origin such as "wss://rms.metered.ca"')
    if parts.scheme not in ("wss", "ws") or not parts.hostname:
        guess = f"wss://{parts.hostname}" if parts.hostname else "wss://rms.metered.ca"
        raise ValueError(f'is no WebSocket origin: write "{guess}"')
    if parts.username is not None or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise ValueError(f'holds more than an origin: write only "{parts.scheme}://{_host_port(value)}"')
    return value.rstrip("/")


def insecure_origin_problem(url: str, allow_insecure_lan: bool) -> str | None:
    """Why this checked origin may not be used without TLS, or None."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "wss" or is_loopback(host):
        return None
    if not is_private(host):
        return f'would send everything in clear to {host}: write "wss://{_host_port(url)}"'
    if not allow_insecure_lan:
        return f'sends everything in clear to {host}: write "wss://…", or set channel.allow_insecure_lan = true'
    return None


def _split(url: str) -> SplitResult | None:
    """The parts of an address; None when it is none, or one with a blank, which urlsplit would leave out."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return None if _BLANK.search(url) else parts


def _has_late_at(parts: SplitResult) -> bool:
    """Behind a port it ends a password such as `12#34`: what stands before it is no host then, and not to be shown."""
    return "@" in f"{parts.path}{parts.query}{parts.fragment}"


def _host_port(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
