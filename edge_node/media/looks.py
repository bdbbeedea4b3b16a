"""What looks at the source's pictures besides the viewers: snapshots, clips, the light."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_node.errors import UsageError
from edge_node.media.audio_publication import AudioPublication
from edge_node.media.clip_shelf import Clip, ClipShelf
from edge_node.media.clips import ClipRecorder
from edge_node.media.picture_tap import PictureTap
from edge_node.media.snapshot import Decorate, LatestPicture
from edge_node.media.video_publication import VideoPublication
from edge_node.ports import Clock, Demand
from edge_node.settings.schema import ClipSettings

CHANNEL_JPEG_BYTES, CHANNEL_JPEG_WIDTH_PX = 44_000, 640
"""In base64, with its JSON around it, below the 64 KiB that one frame of the channel may have."""


class Looks:
    """`sink` is where the source's pictures go: to `latest`, to `clips` if there are to be some, to the publication."""

    def __init__(
        self,
        video: VideoPublication,
        sound: AudioPublication | None,
        clock: Clock,
        clip: ClipSettings,
        state_dir: Path | None,
        *,
        overlay: Decorate | None = None,
        on_luma: Callable[[float], None] | None = None,
        on_saved: Callable[[Clip], None] = lambda clip: None,
    ) -> None:
        self._video = video
        self._clock = clock
        self.latest = LatestPicture(clock, self._demand, overlay)
        self.clips: ClipRecorder | None = None
        if clip.enabled:
            directory = clip.directory or (state_dir / "clips" if state_dir is not None else None)
            self.clips = ClipRecorder(
                ClipShelf(directory, clip.max_mb * 1_000_000) if directory is not None else None,
                video.track,
                sound.track if sound is not None else None,
                clock,
                pre_s=clip.pre_s,
                post_s=clip.post_s,
                demand=self._demand,
                on_saved=on_saved,
            )
        sinks = (self.latest, video) if self.clips is None else (self.latest, self.clips, video)
        self.sink = PictureTap(sinks, clock, on_luma)

    def shut(self, private: bool) -> None:
        """Privacy: nothing passes, nothing is remembered."""
        self.sink.shut(private)
        self.latest.clear()
        if self.clips is not None:
            self.clips.shut(private)

    def own_views(self) -> int:
        """Views of the picture that are no viewers."""
        return self.clips.own_views if self.clips is not None else 0

    async def for_channel(self) -> Mapping[str, Any]:
        """Fields of the message `snapshot`. Raises UsageError while the camera is not published, or RetryLater."""
        if self._video.track.paused:
            raise UsageError("the camera is not published now: ask again during a call")
        shot = await self.latest.take(CHANNEL_JPEG_BYTES, CHANNEL_JPEG_WIDTH_PX)
        return {
            "jpeg": base64.b64encode(shot.jpeg).decode(),
            "width_px": shot.width_px,
            "height_px": shot.height_px,
            "at": self._clock.wall() - shot.age_s,
        }

    def _demand(self) -> Demand | None:
        source = self._video.source
        return source.demand if source is not None else None
