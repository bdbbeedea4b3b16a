"""The bytes of pictures as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.video.plane import VideoPlane

    Plane = npt.NDArray[np.uint8]


def lines(plane: VideoPlane) -> Plane:
    """Shape (height, line_size); what is written there is written into the picture."""
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
