"""Speaking tracks whose voice others hear, too: an avatar, a recorder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from edge_node.dsp.speech_queue import Chunk
from edge_node.media.voice.mixing import MixingCustomAudioStreamTrack
from edge_node.media.voice.sinks import SinkFeed
from edge_node.media.voice.track import MAX_BUFFERED_S, CustomAudioStreamTrack


class _Tee(CustomAudioStreamTrack):
    """Gives each chunk of speech to its sinks when it is played, and never waits for them.

    A sink is an object with an async handle_audio_input(bytes), or a callable taking bytes: an async one runs on the
    event loop, a plain one in a thread of its own.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        sinks: Iterable[Any] | None = None,
        pipeline: Any = None,
        *,
        max_buffered_s: float = MAX_BUFFERED_S,
    ) -> None:
        """`pipeline` is only kept: an agent's own voice never goes back to what it listens to."""
        super().__init__(loop, max_buffered_s=max_buffered_s)
        self.pipeline = pipeline
        self._feeds: list[tuple[Any, SinkFeed]] = []
        for sink in sinks or ():
            self.add_sink(sink)

    @property
    def sinks(self) -> list[Any]:
        """A copy of the list."""
        return [sink for sink, _ in self._feeds]

    @property
    def sink_drops(self) -> int:
        """Chunks that present sinks were too slow for."""
        return sum(feed.dropped for _, feed in self._feeds)

    @property
    def sink_errors(self) -> int:
        """Chunks on which present sinks failed."""
        return sum(feed.errors for _, feed in self._feeds)

    def add_sink(self, sink: Any) -> None:
        """One more listener; twice the same is one. Raises TypeError for something that cannot listen."""
        if sink not in self.sinks and self.readyState == "live":
            self._feeds.append((sink, SinkFeed(sink)))

    def remove_sink(self, sink: Any) -> None:
        """A listener less; an unknown one is none."""
        for known, feed in list(self._feeds):
            if known == sink:
                feed.close()
                self._feeds.remove((known, feed))

    def stop(self) -> None:
        """Ends the track and lets its sinks go."""
        super().stop()
        for sink in self.sinks:
            self.remove_sink(sink)

    def _speak(self) -> Chunk | None:
        chunk = super()._speak()
        if chunk is not None:
            for _, feed in self._feeds:
                feed.put(chunk.data)
        return chunk


class TeeCustomAudioStreamTrack(_Tee):
    """A CustomAudioStreamTrack with sinks."""


class TeeMixingCustomAudioStreamTrack(_Tee, MixingCustomAudioStreamTrack):
    """A MixingCustomAudioStreamTrack with sinks; they get the voice without its background."""
