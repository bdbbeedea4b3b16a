"""A data channel with backpressure and typed events."""

from __future__ import annotations

import asyncio
from typing import Any

from edge_node.aio.emitter import Emitter
from edge_node.errors import DataChannelOverflowError, MeteredRealtimeError
from edge_node.realtime.events import DCClose, DCError, DCMessage, DCOpen
from edge_node.realtime.logger import Logger

DEFAULT_MAX_BUFFERED_BYTES = 1 << 20
DEFAULT_MAX_QUEUED_SENDS = 256
DEFAULT_POLL_S = 0.1


class DataChannel(Emitter):
    """Wraps a raw channel of RemotePeer.create_data_channel() or DataChannelOpened.

    Events: DCOpen, DCClose, DCError, DCMessage. `wait_open` makes send() wait for a channel that is still connecting
    instead of raising.
    """

    def __init__(
        self,
        channel: Any,
        *,
        max_buffered_amount: int = DEFAULT_MAX_BUFFERED_BYTES,
        buffered_amount_low_threshold: int | None = None,
        max_queued_sends: int = DEFAULT_MAX_QUEUED_SENDS,
        buffer_poll_interval: float = DEFAULT_POLL_S,
        wait_open: bool = False,
        logger: Logger | None = None,
    ) -> None:
        super().__init__(f"DataChannel {channel.label}")
        self.label: str = channel.label
        self._raw = channel
        self._cap = max_buffered_amount
        self._max_waiting = max_queued_sends
        self._poll_s = buffer_poll_interval
        self._wait_open = wait_open
        self._log = logger
        self._turn = asyncio.Lock()  # its waiters are served in order
        self._waiting = 0
        self._moved = asyncio.Event()
        self._closed = False
        low = max_buffered_amount // 2 if buffered_amount_low_threshold is None else buffered_amount_low_threshold
        channel.bufferedAmountLowThreshold = low
        self._listeners = {
            "open": self._on_open,
            "close": self._on_close,
            "error": self._on_error,
            "message": self._on_message,
            "bufferedamountlow": self._moved.set,
        }
        for name, handler in self._listeners.items():
            channel.on(name, handler)

    @property
    def ready_state(self) -> str:
        """connecting, open, closing or closed."""
        return "closed" if self._closed else str(self._raw.readyState)

    @property
    def buffered_amount(self) -> int:
        """Bytes handed over and not sent yet."""
        return int(self._raw.bufferedAmount)

    async def send(self, data: str | bytes) -> None:
        """Hands `data` over, in the order of the calls; waits while the buffer is full.

        Raises DataChannelOverflowError when too many sends wait, MeteredRealtimeError when the channel is not open or
        closes, and for data larger than the buffer.
        """
        size = len(data.encode()) if isinstance(data, str) else len(data)
        if size > self._cap:
            raise MeteredRealtimeError(f"{size} bytes never fit into a buffer of {self._cap}: send smaller pieces")
        self._require_usable()
        if self._waiting >= self._max_waiting:
            raise DataChannelOverflowError(self._waiting, self._max_waiting)
        self._waiting += 1
        try:
            async with self._turn:
                await self._wait_for_room(size)
                try:
                    self._raw.send(data)
                except Exception as err:
                    raise MeteredRealtimeError(f"the data channel took nothing: {type(err).__name__}") from err
        finally:
            self._waiting -= 1

    def _require_usable(self) -> None:
        state = self.ready_state
        if state != "open" and not (self._wait_open and state == "connecting"):
            raise MeteredRealtimeError(f"the data channel {self.label!r} is {state}: wait for DCOpen")

    async def _wait_for_room(self, size: int) -> None:
        while True:
            self._require_usable()
            if self.ready_state == "open" and self.buffered_amount + size <= self._cap:
                return
            self._moved.clear()
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._moved.wait()
            except TimeoutError:
                continue

    def close(self) -> None:
        """Closes it and frees who waits in send(). Idempotent."""
        if self._closed:
            return
        self._end()
        self._raw.close()

    def _end(self) -> None:
        self._closed = True
        self._moved.set()
        for name, handler in self._listeners.items():
            if handler in self._raw.listeners(name):
                self._raw.remove_listener(name, handler)
        self.emit(DCClose())
        self.release()

    def _on_open(self) -> None:
        self._moved.set()
        self.emit(DCOpen())

    def _on_close(self) -> None:
        if not self._closed:
            self._end()

    def _on_error(self, error: Any = None) -> None:
        err = error if isinstance(error, Exception) else MeteredRealtimeError(f"the data channel failed: {error}")
        self.emit(DCError(err))

    def _on_message(self, data: str | bytes) -> None:
        self.emit(DCMessage(data))
