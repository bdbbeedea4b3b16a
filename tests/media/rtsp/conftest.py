"""A small clip, made once, for every RTSP test."""

from __future__ import annotations

import pytest

from tests.support.h264_clip import Clip, clip_of, make_clip


@pytest.fixture(scope="session")
def clip() -> Clip:
    """One second in two groups of pictures."""
    return clip_of(make_clip(192, 96, 30, seconds=1, gop_s=0.5, kbps=200), 30)
