"""A named group of tracks."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

StreamMetadata = dict[str, Any]
"""What the sender says about a track, `role` and `label` by convention; from the other side it is not to be trusted."""


class MediaStream:
    """Tracks that belong together under one `id`, which is the same on both sides."""

    def __init__(self, tracks: Iterable[Any] = (), *, id: str | None = None) -> None:
        self.id = id if id is not None else uuid.uuid4().hex
        self._tracks: list[Any] = list(tracks)

    def get_tracks(self) -> list[Any]:
        return list(self._tracks)

    def get_audio_tracks(self) -> list[Any]:
        return [t for t in self._tracks if getattr(t, "kind", None) == "audio"]

    def get_video_tracks(self) -> list[Any]:
        return [t for t in self._tracks if getattr(t, "kind", None) == "video"]

    def add_track(self, track: Any) -> None:
        """Adds it to the group; a track that is in it already is not added again."""
        if track not in self._tracks:
            self._tracks.append(track)

    def remove_track(self, track: Any) -> None:
        if track in self._tracks:
            self._tracks.remove(track)

    def __repr__(self) -> str:
        kinds = ",".join(str(getattr(t, "kind", "?")) for t in self._tracks)
        return f"MediaStream(id={self.id!r}, tracks=[{kinds}])"
