"""The seconds before a press: from a keyframe on, bounded."""

from __future__ import annotations

from edge_node.media.clip_ring import GAP_S, ClipRing, MediaTime, Piece


def film(ring: ClipRing, seconds: float, gop_s: float = 2.0, size: int = 100) -> None:
    """Ten pictures and ten packets of sound a second."""
    for index in range(int(seconds * 10)):
        at_s = index / 10
        ring.put(Piece(bytes(size), at_s, index % int(gop_s * 10) == 0))
        ring.put(Piece(bytes(10), at_s + 0.05, True, sound=True))


def test_it_keeps_whole_groups_that_cover_what_was_asked() -> None:
    ring = ClipRing(5.0, 1_000_000)
    film(ring, 30.0)
    pieces = ring.pieces(30.0)
    assert pieces[0].keyframe and not pieces[0].sound
    covered_s = 29.9 - pieces[0].at_s
    assert 5.0 <= covered_s <= 9.0
    assert [piece.at_s for piece in pieces] == sorted(piece.at_s for piece in pieces)
    assert ring.newest_keyframe_s == 28.0 and ring.overflows == 0
    assert ring.bytes == sum(len(piece.data) for piece in pieces)


def test_bytes_bound_it_group_by_group() -> None:
    ring = ClipRing(60.0, 5000)
    film(ring, 30.0)
    assert ring.bytes <= 5000 and ring.overflows and ring.pieces(30.0)[0].keyframe
    ring.clear()
    assert ring.pieces(30.0) == [] and ring.bytes == 0 and ring.newest_keyframe_s is None


def test_a_group_too_large_alone_goes_and_the_next_keyframe_begins_anew() -> None:
    ring = ClipRing(5.0, 1000)
    ring.put(Piece(bytes(10), 0.0, True, sound=True))
    ring.put(Piece(bytes(10), 0.0, False))
    assert ring.pieces(0.0) == [], "nothing can begin like this"
    for index in range(20):
        ring.put(Piece(bytes(100), index / 10, index == 0))
    assert ring.pieces(2.0) == [] and ring.overflows == 1
    ring.put(Piece(bytes(100), 3.0, True))
    assert len(ring.pieces(3.0)) == 1


def test_what_was_before_the_camera_was_away_is_another_story() -> None:
    ring = ClipRing(3.0, 1_000_000)
    film(ring, 4.0)
    assert ring.pieces(3.9 + GAP_S) and ring.pieces(4.0 + GAP_S) == []
    ring.put(Piece(bytes(10), 3600.0, True, sound=True))
    ring.put(Piece(b"refers to what is gone", 3600.0, False))
    assert ring.pieces(3600.0) == [] and ring.bytes == 0
    ring.put(Piece(b"new", 3600.1, True))
    assert [piece.data for piece in ring.pieces(3600.2)] == [b"new"]


def test_timestamps_land_on_the_clock() -> None:
    time = MediaTime()
    assert time.place(10.0, 1000.2) == 1000.2
    assert time.place(10.1, 1000.25) == 1000.25, "less delay than ever"
    assert round(time.place(10.2, 1000.8), 6) == 1000.35, "jitter is no time"
    assert time.place(0.0, 1001.0) == 1001.0, "the stream began anew"
