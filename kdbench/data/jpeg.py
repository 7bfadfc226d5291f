"""A frame's planes <-> two JPEGs: a third of the room, for disks that the planes as they are would fill.

Each is a grey picture: the Y plane, and the U plane above the V plane. Nothing is converted between colour
spaces or scaled, and both are decoded straight into the caller's row. Grey pictures are quantised by the
standard table for brightness, which is kinder to U and V than a colour JPEG of the same quality. The decoder
(libjpeg-turbo, its accurate integer transform) gives the same pixels on every processor, and lets other
threads run meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdbench.errors import DataError

if TYPE_CHECKING:
    from kdbench.data.decode import Geometry

QUALITY = 95
PARTS = 2
"""JPEGs of one frame."""


def library() -> Any:
    """The JPEG library. Raises DataError, with the way to install it, where it is missing."""
    try:
        import simplejpeg
    except ImportError as error:
        raise DataError("frame codec 'jpeg95'", "needs simplejpeg; run `pip install 'kdbench[jpeg]'`") from error
    return simplejpeg


def encode(frame: NDArray[np.uint8], geometry: Geometry) -> tuple[bytes, ...]:
    """One frame, `geometry.frame_bytes` flat bytes -> its `PARTS` JPEGs."""
    encode_jpeg = library().encode_jpeg
    return tuple(encode_jpeg(picture, QUALITY, "GRAY", "Gray") for picture in _pictures(frame, geometry))


def decode(parts: tuple[Any, ...], geometry: Geometry, out: NDArray[np.uint8]) -> None:
    """The JPEGs of one frame, as bytes-like objects -> `out`, `geometry.frame_bytes` flat bytes.

    Raises ValueError for bytes that are no such JPEG.
    """
    decode_jpeg = library().decode_jpeg
    for part, picture in zip(parts, _pictures(out, geometry), strict=True):
        if decode_jpeg(part, "GRAY", buffer=picture).shape != picture.shape:
            raise ValueError("the picture has another size")


def _pictures(frame: NDArray[np.uint8], geometry: Geometry) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Views of a frame (rows, columns, 1): Y, and U above V."""
    luma = geometry.height * geometry.width
    chroma = (2 * geometry.chroma_height, geometry.chroma_width, 1)
    return frame[:luma].reshape(geometry.height, geometry.width, 1), frame[luma:].reshape(chroma)
