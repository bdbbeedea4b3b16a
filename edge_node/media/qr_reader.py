"""QR codes in pictures."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from edge_node.errors import DeviceMissing


def decode(luma: NDArray[np.uint8]) -> tuple[str, ...]:
    """The texts of all QR codes in a picture (height x width, brightness 0 to 255). Blocks for some milliseconds.

    Raises DeviceMissing without zxing-cpp.
    """
    return tuple(found.text for found in _library().read_barcodes(luma, formats=_library().BarcodeFormat.QRCode))


def decode_jpeg(jpeg: bytes) -> tuple[str, ...]:
    """The same for a JPEG."""
    with av.open(io.BytesIO(jpeg), "r", format="jpeg_pipe") as container:
        frame = next(container.decode(video=0))
    return decode(np.ascontiguousarray(frame.to_ndarray(format="gray")))


def _library() -> Any:
    try:
        import zxingcpp
    except ImportError:
        raise DeviceMissing("reading QR codes needs zxing-cpp: install edge-node[qr]") from None
    return zxingcpp
