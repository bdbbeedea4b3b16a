"""One viewer on a narrow path: thinned by itself, nobody else slows down."""

from __future__ import annotations

from itertools import pairwise

from edge_node.media.packet_queue import Coded
from edge_node.media.view import CATCH_UP_S, View
from edge_node.media.views import FanoutTrack

FPS, PICTURE_BYTES, KEYFRAME_BYTES = 30, 8_000, 30_000


class Encoder:
    """Demand of a track that steers its own clock: gives a keyframe with the next picture when asked."""

    def __init__(self) -> None:
        self.rates: list[int] = []
        self.asked = 0
        self._keyframe = True
        self._now = 0.0
        self._index = 0
        self.track = FanoutTrack("video", "video/H264", demand=self)
        self.track.now = lambda: self._now

    def request_keyframe(self) -> None:
        self.asked += 1
        self._keyframe = True

    def set_bitrate(self, kbps: int) -> None:
        self.rates.append(kbps)

    def film(self, seconds: float, views: list[View]) -> dict[View, list[Coded]]:
        """Encodes for so long; what each view got."""
        got: dict[View, list[Coded]] = {view: [] for view in views}
        for _ in range(round(seconds * FPS)):
            keyframe, self._keyframe = self._keyframe, False
            data = b"\0\0\0\1\x61" + bytes(KEYFRAME_BYTES if keyframe else PICTURE_BYTES)
            self.track.deliver(data, self._index * 3000, 1 / FPS, keyframe=keyframe)
            self._now += 1 / FPS
            self._index += 1
            for view in views:
                while view._queue:
                    got[view].append(view._queue.pop())
        return got


async def test_the_narrow_path_gets_less_and_the_others_all() -> None:
    encoder = Encoder()
    wide, also_wide, narrow = views = [encoder.track.subscribe() for _ in range(3)]
    for view, kbps in zip(views, (2000, 2100, 500), strict=True):
        view.set_bitrate(kbps)
    assert encoder.rates[-1] == 2000
    assert [view.behind for view in views] == [False, False, True]
    encoder.film(3.0, views)
    asked = encoder.asked
    got = encoder.film(12.0, views)
    assert len(got[wide]) == len(got[also_wide]) == 12 * FPS
    assert sum(len(item.unit.data) for item in got[narrow]) * 8 / 12 < 700_000
    assert len(got[narrow]) > 12
    assert encoder.asked - asked <= 12 / CATCH_UP_S + 1
    encoder.track.close()


async def test_it_goes_on_only_with_what_it_can_decode() -> None:
    encoder = Encoder()
    wide, narrow = views = [encoder.track.subscribe() for _ in range(2)]
    wide.set_bitrate(2000)
    narrow.set_bitrate(500)
    got = encoder.film(10.0, views)[narrow]
    gaps = [later for before, later in pairwise(got) if later.pts - before.pts > 3000]
    assert gaps
    assert all(item.keyframe for item in gaps)
    encoder.track.close()


async def test_when_its_path_is_wide_again_it_gets_all_again() -> None:
    encoder = Encoder()
    wide, narrow = views = [encoder.track.subscribe() for _ in range(2)]
    wide.set_bitrate(2000)
    narrow.set_bitrate(500)
    encoder.film(5.0, views)
    narrow.set_bitrate(3000)
    assert not narrow.behind
    encoder.film(CATCH_UP_S + 1, views)
    assert len(encoder.film(2.0, views)[narrow]) == 2 * FPS
    assert encoder.rates[-1] == 2000
    encoder.track.close()


async def test_alone_it_is_obeyed() -> None:
    encoder = Encoder()
    wide, narrow = views = [encoder.track.subscribe() for _ in range(2)]
    wide.set_bitrate(2000)
    narrow.set_bitrate(500)
    assert (encoder.rates[-1], narrow.behind) == (2000, True)
    wide.stop()
    assert (encoder.rates[-1], narrow.behind) == (500, False)
    assert views
    encoder.track.close()
