"""The tracks a peer connection receives, as its descriptions name them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from edge_node.protocol import sdp
from edge_node.realtime.aiortc_adapter import PeerLink
from edge_node.realtime.received import ReceivedTrack


class TrackListener(Protocol):
    """Who hears of tracks that come and go."""

    def on_track(self, track: ReceivedTrack, section: sdp.Section, sections: Sequence[sdp.Section]) -> None: ...
    def on_track_gone(self, track: ReceivedTrack) -> None: ...


class Receiving:
    """One ReceivedTrack for each section that sends; another name in the same section is another track.

    `kinds()` gives the kinds of media that are taken.
    """

    def __init__(self, kinds: Callable[[], frozenset[str]], listener: TrackListener) -> None:
        self._kinds = kinds
        self._listener = listener
        self._tracks: dict[str, tuple[sdp.Section, ReceivedTrack]] = {}

    def described(self, link: PeerLink, sections: Sequence[sdp.Section]) -> None:
        """The other side's newest description was applied."""
        kinds = self._kinds()
        for section in sections:
            router = link.router(section.mid) if section.kind in kinds else None
            known = self._tracks.get(section.mid)
            same = known is not None and _names(known[0]) == _names(section)
            if section.sends and router is not None and not same:
                self._retire(section.mid)
                track = ReceivedTrack(section.kind, section.track_id)
                router.track = track
                self._tracks[section.mid] = (section, track)
                self._listener.on_track(track, section, sections)
            elif not section.sends:
                self._retire(section.mid)

    def _retire(self, mid: str) -> None:
        known = self._tracks.pop(mid, None)
        if known is not None:
            known[1].stop()
            self._listener.on_track_gone(known[1])

    def end(self) -> None:
        """The connection is over; its tracks end without a word, as another connection may bring them back."""
        tracks, self._tracks = self._tracks, {}
        for _, track in tracks.values():
            track.stop()


def _names(section: sdp.Section) -> tuple[str | None, str | None]:
    return section.stream_id, section.track_id
