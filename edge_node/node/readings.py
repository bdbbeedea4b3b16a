"""What the media engine knows of itself, in the words of the telemetry sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from edge_node.telemetry.sample import Video

if TYPE_CHECKING:
    from edge_node.media.audio_publication import AudioPublication
    from edge_node.media.playback import Playback
    from edge_node.media.video_publication import VideoPublication
    from edge_node.ports import AudioSink, AudioSource

_VIDEO_FIELDS = tuple(field.name for field in fields(Video))
SILENT_DBFS = -120.0
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
        private: Callable[[], bool] = lambda: False,
    ) -> None:
        self._video = video
        self._audio = audio
        self._playback = playback
        self._microphone = microphone
        self._speaker = speaker
        self._private = private

    def video(self) -> Mapping[str, Any]:
        stats = self._video.stats()
        state = PRIVATE if self._private() else str(stats.state)
        return {name: getattr(stats, name) for name in _VIDEO_FIELDS} | {"state": state}

    def audio(self) -> Mapping[str, Any]:
        return {
            "state": self._audio_state(),
            "xruns": self._xruns(),
            "playout_ms": self._playback.playout_ms,
            "echo_return_loss_db": None,
            "mic_level_dbfs": self._audio.level_dbfs,
        }

    def _audio_state(self) -> str:
        if self._microphone is None and self._speaker is None:
            return "off"
        if self._audio.muted:
            return PRIVATE
        return "live" if self._microphone is None or self._audio.level_dbfs is not None else "stalled"

    def _xruns(self) -> int:
        return sum(int(getattr(device, "xruns", 0)) for device in (self._microphone, self._speaker))

    async def close(self) -> None:
        await self._playback.close()
        await self._video.close()
        self._audio.close()
