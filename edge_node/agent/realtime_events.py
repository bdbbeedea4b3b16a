"""A speech service that speaks the JSON events of `session.update`, `input_audio_buffer.append`, `response.create`."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from edge_node.agent.transport import (
    AudioOutputDelta,
    Error,
    Session,
    SpeechStarted,
    ToolCall,
    TransportEvent,
    TurnComplete,
)
from edge_node.errors import RealtimeAgentError
from edge_node.protocol.addresses import is_loopback
from edge_node.protocol.secrets import scrub
from edge_node.realtime.credential import Credential, TokenProviderFn
from edge_node.realtime.logger import hide_secrets

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
MAX_FRAME_BYTES = 4 * 1024 * 1024
MAX_NAMES = 64
"""Functions whose call has been announced in the response of now."""
# A response ended by itself, or began by itself, while we asked for the same.
_HARMLESS = ("response_cancel_not_active", "conversation_already_has_active_response")
# At level DEBUG the library logs the request, whose header holds the key.
_library_log = hide_secrets(logging.getLogger(__name__))


class _Direct(websocket):
    """Follows no redirect, which would carry the key to another host."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


class RealtimeEventsTransport:
    """A RealtimeTransport over one WebSocket, for the services, in the cloud or at home, that share this vocabulary.

    The service detects turns. A model is named in the url's query, where the service wants that.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        token_provider: TokenProviderFn | None = None,
        *,
        rate: int = 24_000,
        flat: bool = False,
    ) -> None:
        """`wss://…`, or `ws://` to this machine; key or token go into the header Authorization, as Bearer.

        `rate` in Hz serves both ways; `flat` describes the session by the vocabulary's first version, whose sound is
        always 24 kHz. Raises ValueError.
        """
        scheme, host = urlsplit(url).scheme, urlsplit(url).hostname
        if not host or not (scheme == "wss" or (scheme == "ws" and is_loopback(host))):
            raise ValueError(f"the address must be wss://, or ws:// to this machine, not {scrub(url)}")
        self.input_rate = self.output_rate = rate
        self.malformed = 0
        """Frames that could not be read, and were left out."""
        self._url = url
        self._credential = Credential(api_key, token_provider) if api_key or token_provider else None
        self._flat = flat
        self._socket: ClientConnection | None = None
        self._closing = False
        self._active: str | None = None
        self._cancelled: str | None = None
        self._names: dict[str, str] = {}
        self._open: set[str] = set()
        """Calls that wait for their results."""
        self._asked = False
        """The response of now has called a tool, so the turn goes on after it."""
        self._owed = False
        """Results have been sent, which the model shall go on with."""

    def __repr__(self) -> str:
        return f"RealtimeEventsTransport({scrub(self._url)!r})"

    async def connect(self, session: Session) -> None:
        """Opens the socket, describes the session; a service that dislikes that gives an Error. Raises as said."""
        try:
            token = await self._credential.value() if self._credential else None
            self._socket = await _Direct(
                self._url,
                additional_headers={"Authorization": f"Bearer {token}"} if token else {},
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                max_size=MAX_FRAME_BYTES,
                logger=_library_log,
                proxy=None if self._url.startswith("ws://") else True,
            )
        except InvalidStatus as err:
            status = err.response.status_code
            raise RealtimeAgentError(f"the service refused ({status}): check address and key", str(status)) from None
        except (OSError, InvalidHandshake, TimeoutError, ValueError) as err:
            # The address may hold a key, and some of these texts hold the address: the type has to do.
            raise RealtimeAgentError(f"no connection ({type(err).__name__}): check address and network") from None
        describe = flat_session if self._flat else nested_session
        await self._send({"type": "session.update", "session": describe(session, self.input_rate)})

    async def send_audio(self, pcm: bytes) -> None:
        """One append."""
        await self._send({"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()})

    async def send_tool_result(self, call_id: str, text: str) -> None:
        """With the last result that the model waits for it is asked to go on."""
        if call_id in self._open:
            self._open.discard(call_id)
            self._owed = True
            await self._send_output(call_id, text)
            await self._go_on()

    async def cancel(self) -> None:
        """Calls under way are answered, too: the model knows later that they came to nothing."""
        calls, self._open = self._open, set()
        self._owed = False
        cancelled, self._cancelled = self._cancelled, self._active
        if self._active is not None and self._active != cancelled:
            await self._send({"type": "response.cancel"})
        for call_id in sorted(calls):
            await self._send_output(call_id, "error: interrupted by the person")

    async def receive(self) -> AsyncIterator[TransportEvent]:
        """Until close(); raises RealtimeAgentError when the service closes, or is gone."""
        while True:
            try:
                frame = await self._opened().recv()
            except ConnectionClosed as err:
                if self._closing:
                    return
                raise _closed(err) from None
            event = self._read(frame)
            if event is not None:
                yield event
            await self._go_on()

    async def close(self) -> None:
        """Closes the socket."""
        self._closing = True
        if self._socket is not None:
            await self._socket.close()

    def _opened(self) -> ClientConnection:
        if self._socket is None:
            raise RealtimeAgentError("connect() comes first", "invalid_state")
        return self._socket

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            await self._opened().send(json.dumps(message, ensure_ascii=False))
        except ConnectionClosed as err:
            raise _closed(err) from None

    async def _send_output(self, call_id: str, text: str) -> None:
        item = {"type": "function_call_output", "call_id": call_id, "output": text}
        await self._send({"type": "conversation.item.create", "item": item})

    async def _go_on(self) -> None:
        if self._owed and not self._open and self._active is None:
            self._owed = False
            await self._send({"type": "response.create"})

    def _read(self, frame: str | bytes) -> TransportEvent | None:
        try:
            message = json.loads(frame)
            if isinstance(message, dict) and (self._cancelled is None or message.get("response_id") != self._cancelled):
                return self._event(message)
        except ValueError:  # neither JSON nor base64
            self.malformed += 1
        return None

    def _event(self, message: dict[str, Any]) -> TransportEvent | None:
        match message:
            case {"type": "response.created", "response": {"id": str(response)}}:
                self._active, self._asked = response, False
                self._names.clear()
            case {"type": "response.output_audio.delta" | "response.audio.delta", "delta": str(delta)}:
                return AudioOutputDelta(base64.b64decode(delta, validate=True))
            case {"type": "input_audio_buffer.speech_started"}:
                return SpeechStarted()
            case {"type": "response.output_item.added", "item": {"call_id": str(call), "name": str(name)}} if (
                len(self._names) < MAX_NAMES
            ):
                self._names[call] = name
            case {"type": "response.function_call_arguments.done", "call_id": str(call), "arguments": str(arguments)}:
                self._open.add(call)
                self._asked = True
                return ToolCall(call, str(message.get("name") or self._names.get(call, "")), arguments)
            case {"type": "response.done", "response": dict(response)}:
                return self._done(response)
            case {"type": "error", "error": dict(error)}:
                return None if error.get("code") in _HARMLESS else _error(error)
        return None

    def _done(self, response: dict[str, Any]) -> TransportEvent | None:
        was_cancelled = response.get("id") is not None and response.get("id") == self._cancelled
        self._active = None
        if was_cancelled:
            return None
        if response.get("status") == "failed":
            details = response.get("status_details")
            error = details.get("error") if isinstance(details, dict) else None
            return _error(error if isinstance(error, dict) else {})
        return None if self._asked else TurnComplete()


def _error(error: dict[str, Any]) -> Error:
    code = error.get("code") or error.get("type")
    return Error(scrub(str(error.get("message") or "the service failed, and does not say why")), code and str(code))


def _closed(err: ConnectionClosed) -> RealtimeAgentError:
    if err.rcvd is None:
        return RealtimeAgentError("the connection to the service broke: begin another session", "1006")
    why = f"{err.rcvd.code} {scrub(err.rcvd.reason)}".rstrip()
    return RealtimeAgentError(f"the service closed the session ({why}): begin another", str(err.rcvd.code))


def _tools(session: Session) -> list[dict[str, Any]]:
    return [
        {"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.parameters}
        for tool in session.tools
    ]


def nested_session(session: Session, rate: int) -> dict[str, Any]:
    """The session as it is described today: sound below `audio`."""
    sound = {"format": {"type": "audio/pcm", "rate": rate}}
    return {
        "type": "realtime",
        "instructions": session.system,
        "output_modalities": ["audio"],
        "audio": {
            "input": sound | {"turn_detection": {"type": "server_vad"}},
            "output": sound | ({"voice": session.voice} if session.voice else {}),
        },
        "tools": _tools(session),
    }


def flat_session(session: Session, rate: int) -> dict[str, Any]:
    """The session as the vocabulary's first version describes it."""
    return {
        "instructions": session.system,
        "modalities": ["text", "audio"],
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "turn_detection": {"type": "server_vad"},
        "tools": _tools(session),
    } | ({"voice": session.voice} if session.voice else {})
