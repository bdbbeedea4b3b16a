"""Fresh credentials for each connection, as the settings say where they come from."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from edge_node.errors import RetryLater, SettingsError
from edge_node.settings.schema import ChannelSettings

MAX_TOKEN_BYTES = 64 * 1024
TOKEN_DEADLINE_S = 8.0
"""Below the ten seconds that the signalling client gives a token provider."""

TokenProvider = Callable[[], Awaitable[str] | str]


def token_provider(channel: ChannelSettings) -> TokenProvider | None:
    """Gives a token per call, from whichever of token, token_file, token_url, token_command is set.

    None when the credential is an api_key. The provider raises RetryLater when no token can be had for now; it is a
    plain function where it may block: the client has threads for those, so that none of the loop's is lost to a file or
    an address that never answers. Raises SettingsError for channel.enrolled, which is the daemon's alone
    (enrolment.DeviceTokens).
    """
    if channel.enrolled:
        raise SettingsError("channel.enrolled is the daemon's own way in: name settings with an api_key or a token")
    if channel.api_key is not None:
        return None
    if channel.token is not None:
        return channel.token.get_secret_value
    if channel.token_file is not None:
        return partial(_from_file, channel.token_file)
    if channel.token_url is not None:
        return partial(_from_url, channel.token_url)
    assert channel.token_command is not None
    return partial(_from_command, channel.token_command)


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _checked(file.read(MAX_TOKEN_BYTES), str(path))
    except OSError as err:
        raise RetryLater(f"the token file {path} cannot be read ({err.strerror}): check channel.token_file") from None


def _from_url(url: str) -> str:
    request = urllib.request.Request(url, headers={"Accept": "application/json, application/jwt, text/plain"})
    context = ssl.create_default_context()  # without one, urllib keeps its own for good: 4 MB
    try:
        with urllib.request.urlopen(request, timeout=TOKEN_DEADLINE_S, context=context) as answer:
            return _checked(answer.read(MAX_TOKEN_BYTES), "channel.token_url")
    except urllib.error.HTTPError as err:
        err.close()
        raise RetryLater(f"channel.token_url answered with HTTP status {err.code}: check that service") from None
    except http.client.HTTPException as err:  # a redirection's InvalidURL would tell a password with its text
        name = type(err).__name__
        raise RetryLater(f"channel.token_url does not answer as a web server does ({name}): check it") from None
    except (OSError, ValueError) as err:
        raise RetryLater(f"channel.token_url cannot be reached ({err}): check the network") from None


async def _from_command(command: tuple[str, ...]) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, limit=MAX_TOKEN_BYTES
        )
    except OSError as err:
        raise RetryLater(f"{command[0]} cannot be run ({err.strerror}): check channel.token_command") from None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(TOKEN_DEADLINE_S):
            output = b""
            while len(output) < MAX_TOKEN_BYTES and (block := await process.stdout.read(MAX_TOKEN_BYTES)):
                output += block
            status = await process.wait()
    except TimeoutError:
        raise RetryLater(f"{command[0]} gave no token within {TOKEN_DEADLINE_S:g} s: check it") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status != 0:
        raise RetryLater(f"{command[0]} ended with status {status}: check channel.token_command")
    return _checked(output, command[0])


def _checked(raw: bytes, source: str) -> str:
    """The token in plain text, or in `{"token": …}`."""
    text = raw.decode("utf-8", "replace").strip()
    if text.startswith("{"):
        try:
            token = json.loads(text).get("token")
        except (ValueError, RecursionError):
            token = None
        text = token if isinstance(token, str) else ""
    if not text or any(character.isspace() for character in text):
        raise RetryLater(f'{source} gave no token: it has to print a JWT, or {{"token": "…"}}')
    return text
