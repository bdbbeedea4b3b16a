"""What the media engine knows of itself, in the words of the telemetry sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from edge_node.telemetry.sample import Video

if TYPE_CHECKING:
    from edge_node.media.audio_publication import AudioPublication
    from edge_node.media.echo.control import EchoControl
    from edge_node.media.playback import Playback
    from edge_node.media.video_publication import VideoPublication
    from edge_node.ports import AudioSink, AudioSource

_VIDEO_FIELDS = tuple(field.name for field in fields(Video))
PRIVATE = "private"


class MediaReadings:
    """node.Readings over the publications and the playback."""

    def __init__(
        self,
        video: VideoPublication,
        audio: AudioPublication,
        playback: Playback,
        microphone: AudioSource | None,
        speaker: AudioSink | None,
        echo: EchoControl | None = None,
        private: Callable[[], bool] = lambda: False,
        own_views: Callable[[], int] = lambda: 0,
    ) -> None:
        """`own_views()`: views of the picture that are this node's own."""
        self._video = video
        self._audio = audio
        self._playback = playback
        self._microphone = microphone
        self._speaker = speaker
        self._echo = echo
        self._private = private
        self._own_views = own_views

    def video(self) -> Mapping[str, Any]:
        stats = self._video.stats()
        state = PRIVATE if self._private() else str(stats.state)
        found = {name: getattr(stats, name) for name in _VIDEO_FIELDS}
        return found | {"state": state, "viewers": stats.viewers - self._own_views()}

    def audio(self) -> Mapping[str, Any]:
        return {
            "state": self._audio_state(),
            "xruns": self._xruns(),
            "playout_ms": self._playback.playout_ms,
            "echo_cancel": None if self._echo is None else self._echo.label,
            "echo_return_loss_db": None if self._echo is None else self._echo.return_loss_db,
            "mic_level_dbfs": self._audio.level_dbfs,
            "speaker_level_dbfs": None if self._speaker is None else self._playback.level_dbfs,
            "device_ms": self._device_ms(),
        }

    def _audio_state(self) -> str:
        if self._microphone is None and self._speaker is None:
            return "off"
        if self._audio.muted:
            return PRIVATE
        return "live" if self._microphone is None or self._audio.heard else "stalled"

    def _xruns(self) -> int:
        return sum(int(getattr(device, "xruns", 0)) for device in (self._microphone, self._speaker))

    def _device_ms(self) -> float | None:
        """What the buffers of microphone and speaker add to the delay of a conversation; None while one is closed."""
        known = [getattr(device, "latency_ms", None) for device in (self._microphone, self._speaker)]
        return None if None in known else sum(ms for ms in known if ms is not None)

    async def close(self) -> None:
        await self._playback.close()
        await self._video.close()
        self._audio.close()
