"""One RTSP session from the first word to TEARDOWN, every wait with a deadline (RFC 2326)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import ssl
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Literal

from edge_node.errors import LoginRefused, SettingsError, SourceLost
from edge_node.media.rtsp.auth import Authenticator
from edge_node.media.rtsp.connection import Connection, ConnectionGone
from edge_node.media.rtsp.messages import (
    DEFAULT_SESSION_TIMEOUT_S,
    BadMessage,
    Headers,
    Response,
    allowed_methods,
    parse_range,
    parse_session,
    parse_transport,
    plain,
)
from edge_node.media.rtsp.sdp import (
    AudioTrack,
    NoVideo,
    VideoTrack,
    choose_audio,
    choose_video,
    parse_sdp,
    resolve_control,
)
from edge_node.media.rtsp.udp import Ordered, UdpPair, open_udp_pair
from edge_node.protocol.rtsp_address import Address, parse_address

log = logging.getLogger(__name__)

RtspTransport = Literal["auto", "tcp", "udp"]
"""auto: tcp, or udp where the camera refuses that."""
OnPacket = Callable[[memoryview, float], None]
"""`on_packet(rtp_packet, now)`; the packet lives until the call returns."""
TEARDOWN_S = 1.0
MAX_REDIRECTS = 3
PATIENCE = 3
"""Times the usual time-out for DESCRIBE: servers that pass other cameras on start those first (go2rtc, MediaMTX)."""
_MAX_KEEPALIVE_S = 30.0
_MOVED = "it points to another address: put that one in video.url"
_REDIRECTS = (301, 302, 303, 307, 308)
_UNSUPPORTED_TRANSPORT = 461
_HINTS = {
    301: _MOVED,
    302: _MOVED,
    401: "check the user name and the password in video.url",
    403: "this user may not watch it: check the user's rights in the camera",
    404: "check the path in video.url",
    453: "the camera has too many viewers: close some, or raise its limit",
    454: "the camera forgot the session",
    461: 'the camera does not offer this transport: write rtsp_transport = "auto" under [video]',
    503: "the camera is busy: it may have too many viewers",
}


@dataclass(frozen=True, slots=True)
class Tracks:
    """What a camera offers of what we can use."""

    video: VideoTrack
    audio: AudioTrack | None


class RtspClient:
    """One session with one server; used once: `describe`, `set_up`, `play`, `wait` again and again, then `close`."""

    def __init__(
        self,
        address: Address,
        *,
        transport: RtspTransport = "auto",
        timeout_s: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._wants = transport
        self.transport = "udp" if transport == "udp" else "tcp"
        """That of the packets, once set_up() was done."""
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._url = self._base = address.url
        self._auth = Authenticator(address.credentials, lambda: secrets.token_hex(8)) if address.credentials else None
        self._connection: Connection | None = None
        self._udp: dict[str, UdpPair] = {}
        self._methods: frozenset[str] = frozenset()
        self._session: Headers = ()
        self._sinks: dict[int, OnPacket] = {}
        """By the channel of RTP packets."""
        self._alive_every_s = DEFAULT_SESSION_TIMEOUT_S / 2
        self._alive_at = 0.0

    def lost(self, why: str) -> SourceLost:
        """The error for this address: `why` continues the sentence."""
        return SourceLost(f"{self._address} {why}")

    async def describe(self) -> Tracks:
        """Connects and asks what there is. Raises SourceLost, also when there is no picture that can be shown."""
        answer = await self._described()
        description = parse_sdp(answer.body.decode("utf-8", "replace"))
        video = choose_video(description)
        if isinstance(video, NoVideo):
            raise self.lost(f"cannot be shown: {video.reason}")
        self._base = answer.header("Content-Base") or answer.header("Content-Location") or self._url
        self._url = resolve_control(self._base, description.control)
        return Tracks(video, choose_audio(description))

    async def set_up(self, track: VideoTrack | AudioTrack, on_packet: OnPacket) -> None:
        """Makes a track ready; its packets go to `on_packet` once play() was called. Raises SourceLost."""
        url, channel = resolve_control(self._base, track.control), 2 * len(self._sinks)
        answer = await self._set_up(url, channel, others=() if self._wants != "auto" else (_UNSUPPORTED_TRANSPORT,))
        if answer.status == _UNSUPPORTED_TRANSPORT:
            self.transport = "udp"
            answer = await self._set_up(url, channel)
        name, timeout_s = parse_session(answer.header("Session") or "")
        if name:  # some name the session in the first answer only
            self._session = (("Session", name),)
        self._alive_every_s = min(max(timeout_s / 2, 0.5), _MAX_KEEPALIVE_S)
        given = parse_transport(answer.header("Transport") or "")
        if url not in self._udp:
            channel = (parse_range(given.get("interleaved")) or (channel, 0))[0]
        elif ports := parse_range(given.get("server_port")):
            self._udp[url].knock(*ports)
        self._sinks[channel] = Ordered(on_packet) if url in self._udp else on_packet

    async def play(self) -> None:
        """Starts what was set up; packets come from now on. Raises SourceLost."""
        await self._ask("PLAY", self._url, (*self._session, ("Range", "npt=0.000-")))
        self._alive_at = self._monotonic() + self._alive_every_s

    async def wait(self, timeout_s: float) -> None:
        """Lets up to timeout_s pass, keeping the session alive. Raises SourceLost when the connection is over."""
        now = self._monotonic()
        try:
            if now >= self._alive_at:
                self._keep_alive(again=True)
                self._alive_at = now + self._alive_every_s
            await self._open().wait_closed(min(timeout_s, self._alive_at - now))
        except ConnectionGone as err:
            raise self.lost(f"{err}: it comes back by itself when the camera does") from None

    async def close(self) -> None:
        """Ends the session (TEARDOWN, at most TEARDOWN_S) and lets go of everything; safe at any time."""
        connection, self._connection = self._connection, None
        try:
            if connection is not None and self._session:
                headers = self._session + self._authorization("TEARDOWN", self._url)
                await connection.request("TEARDOWN", self._url, headers, TEARDOWN_S)
        except (ConnectionGone, TimeoutError, BadMessage) as err:
            log.debug("%s: no orderly end: %s", self._address, err)
        finally:
            for pair in self._udp.values():
                await pair.close()
            if connection is not None:
                await connection.close()

    # steps

    async def _set_up(self, url: str, channel: int, others: Collection[int] = ()) -> Response:
        offer = await self._offer(url, channel)
        return await self._ask("SETUP", url, (*self._session, ("Transport", offer)), others=others)

    async def _described(self) -> Response:
        """The answer to DESCRIBE, wherever that leads."""
        for _ in range(MAX_REDIRECTS + 1):
            self._connection = await self._connect()
            options = await self._ask("OPTIONS", self._url, required=False)
            self._methods = allowed_methods(options.all("Public"))
            accept = (("Accept", "application/sdp"),)
            answer = await self._ask("DESCRIBE", self._url, accept, others=_REDIRECTS, waits=PATIENCE)
            if answer.status == 200:
                return answer
            await self._move(answer.header("Location") or "")
        raise self.lost(f"redirects more than {MAX_REDIRECTS} times: put the camera's own address in video.url")

    async def _move(self, location: str) -> None:
        """Goes on at another address; our credentials are for the first host only."""
        try:
            place = parse_address(location)
        except SettingsError:
            raise self.lost("redirects to something that is no rtsp:// address: restart the camera") from None
        log.info("%s redirects to %s", self._address, place)
        known = self._address.credentials if place.host == self._address.host else None
        if known is None:
            self._auth = None
        self._address = replace(place, credentials=known)
        self._url = self._base = place.url
        if self._connection is not None:
            await self._connection.close()

    async def _connect(self) -> Connection:
        place, loop = self._address, asyncio.get_running_loop()
        secure = ssl.create_default_context() if place.tls else None
        connection = Connection(self._packet, self._monotonic)
        try:
            async with asyncio.timeout(self._timeout_s):
                await loop.create_connection(lambda: connection, place.host, place.port, ssl=secure)
        except TimeoutError:
            raise self.lost(
                f"did not answer within {self._timeout_s:g} s: is the camera on, is its address right?"
            ) from None
        except ssl.SSLCertVerificationError as err:
            raise self.lost(
                f"has a certificate this machine does not trust ({err.verify_message}): install its CA"
            ) from None
        except OSError as err:
            raise self.lost(f"cannot be reached ({_why(err)}): check the camera, its address and port") from None
        return connection

    def _open(self) -> Connection:
        if self._connection is None:
            raise self.lost("is not connected")
        return self._connection

    async def _offer(self, url: str, channel: int) -> str:
        if self.transport == "tcp":
            return f"RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1}"
        connection = self._open()

        def datagram(which: int, packet: memoryview, now: float) -> None:
            self._datagram(channel + which, packet, now)

        try:
            pair = await open_udp_pair(connection.own_host, connection.peer_host, datagram, self._monotonic)
        except OSError as err:
            raise self.lost(f"needs two UDP ports and got none ({_why(err)}): try the transport tcp") from None
        self._udp[url] = pair
        return f"RTP/AVP;unicast;client_port={pair.port}-{pair.port + 1}"

    async def _ask(
        self,
        method: str,
        url: str,
        headers: Headers = (),
        *,
        required: bool = True,
        others: Collection[int] = (),
        waits: int = 1,
    ) -> Response:
        """One request, asked again when the server wants us to authenticate.

        Raises SourceLost unless it says 200, or one of `others`; a redirection has to say where to. `waits`: so many
        times as long as usual.
        """
        answer = await self._once(method, url, headers, waits)
        if answer.status == 401:
            if self._auth is None:
                why = "wants a user name and a password: write rtsp://user:password@… in video.url"
                raise LoginRefused(f"{self._address} {why}")
            if not self._auth.accept(answer.all("WWW-Authenticate")):
                raise self.lost("wants an authentication that is neither Basic nor Digest: change it in the camera")
            answer = await self._once(method, url, headers, waits)
        if answer.status in others and (answer.status not in _REDIRECTS or answer.header("Location")):
            return answer
        if answer.status != 200 and (required or answer.status == 401):
            said = plain(f"{answer.status} {answer.reason}".strip())
            hint = _HINTS.get(answer.status, "see the camera's own log")
            lost = self.lost(f"answered {said} to {method}: {hint}")
            raise LoginRefused(str(lost)) if answer.status == 401 else lost
        return answer

    async def _once(self, method: str, url: str, headers: Headers, waits: int) -> Response:
        timeout_s = waits * self._timeout_s
        try:
            return await self._open().request(method, url, headers + self._authorization(method, url), timeout_s)
        except TimeoutError:
            raise self.lost(
                f"did not answer {method} within {timeout_s:g} s: restart the camera if this stays"
            ) from None
        except ConnectionGone as err:
            raise self.lost(f"{err} at {method}: check that the port in video.url is the RTSP port") from None
        except BadMessage:
            raise self.lost("put a line break where none may be: update the camera's firmware") from None

    def _authorization(self, method: str, url: str) -> Headers:
        value = self._auth.authorization(method, url) if self._auth else None
        return (("Authorization", value),) if value else ()

    def _keep_alive(self, *, again: bool) -> None:
        """A harmless request (RFC 2326 section A.2); nobody waits for its answer: lost pictures tell enough."""
        method = "GET_PARAMETER" if "GET_PARAMETER" in self._methods else "OPTIONS"
        waiter = self._open().send(method, self._url, self._session + self._authorization(method, self._url))
        waiter.add_done_callback(lambda done: self._kept_alive(done, again))

    def _kept_alive(self, waiter: asyncio.Future[Response], again: bool) -> None:
        connection = self._connection
        if waiter.cancelled() or connection is None:
            return
        answer = waiter.result()
        if answer.status == 401 and again and self._auth and self._auth.accept(answer.all("WWW-Authenticate")):
            with contextlib.suppress(ConnectionGone):  # the nonce had grown old
                self._keep_alive(again=False)
        elif answer.status == 454:
            connection.fail(ConnectionGone("forgot the session"))
        elif answer.status in (405, 501, 551):
            self._methods -= {"GET_PARAMETER"}

    def _packet(self, channel: int, packet: memoryview, now: float) -> None:
        sink = self._sinks.get(channel)
        if sink is not None:
            sink(packet, now)

    def _datagram(self, channel: int, packet: memoryview, now: float) -> None:
        try:
            self._packet(channel, packet, now)
        except Exception as err:  # as for the interleaved packets: the owner's own mistake must reach the owner
            if self._connection is not None:
                self._connection.fail(err)


def _why(err: OSError) -> str:
    """In the system's words; asyncio's own repeat the address."""
    return os.strerror(err.errno) if err.errno and err.errno > 0 else err.strerror or str(err)
