"""In-memory cache of uploaded images for the page, limited in size and time, and their PNG encodings."""

import contextlib
import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
from cachetools import TTLCache
from numpy.typing import NDArray
from PIL import Image

from pneumonia.inference.evidence import heat
from pneumonia.inference.intake import DISPLAY_SIDE, Intake
from pneumonia.serving.active_model import LoadedModel

THUMBNAIL_SIZE = 160
"""Longer side of a thumbnail in pixels."""
PNG_COMPRESSION = 1
"""Fast: a page waits for these images, and they are never stored."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class CachedImage:
    """An uploaded image with what is needed to display it.

    Attributes:
        name: file name given by the client.
        model: model that processed the image.
        square: input of the network, shape (size, size).
        picture: encoded file, decoded on display; for a large file its decoded pixels, shape (H, W), which use less
            memory.
    """

    name: str
    model: LoadedModel
    square: Pixels
    picture: Intake | Pixels

    @classmethod
    def from_intake(cls, name: str, model: LoadedModel, intake: Intake) -> "CachedImage":
        """Return a cached image without the patient identifier."""
        picture = intake.pixels if len(intake.content) > DISPLAY_SIDE**2 else replace(intake, patient_identifier=None)
        return cls(name, model, intake.square, picture)

    @property
    def nbytes(self) -> int:
        """Memory used, in bytes."""
        encoded = len(self.picture.content) if isinstance(self.picture, Intake) else self.picture.nbytes
        return self.square.nbytes + encoded

    @property
    def pixels(self) -> Pixels:
        """Decoded image, shape (H, W); it is not kept, so that the memory used stays small."""
        return replace(self.picture).pixels if isinstance(self.picture, Intake) else self.picture


class ImageCache:
    """Cached images by prediction id; the oldest are removed first."""

    def __init__(self, max_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Set the limits.

        Args:
            max_bytes: maximum total size of the images.
            seconds: how long an image is kept.
            clock: monotonic time in seconds.
        """
        self._images: TTLCache[UUID, CachedImage] = TTLCache(
            max_bytes, seconds, clock, getsizeof=lambda image: image.nbytes
        )
        self._lock = threading.Lock()

    def put(self, key: UUID, image: CachedImage) -> None:
        """Add an image; one larger than the whole cache is not kept."""
        with self._lock, contextlib.suppress(ValueError):
            self._images[key] = image

    def get(self, key: UUID) -> CachedImage | None:
        """Return an image, None if it is not cached any more."""
        with self._lock:
            return self._images.get(key)

    def file_name(self, key: UUID) -> str | None:
        """Return the file name of an image, None if it is not cached any more."""
        image = self.get(key)
        return image.name if image else None


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode grey (H, W) or RGBA (H, W, 4) pixels as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=PNG_COMPRESSION)
    return file.getvalue()


def encode_thumbnail(pixels: Pixels) -> bytes:
    """Encode a reduced copy of an image (H, W) as PNG; its longer side is `THUMBNAIL_SIZE`."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return encode_png(np.asarray(image))


def encode_heat_map(image: CachedImage) -> bytes:
    """Encode the evidence for pneumonia as RGBA PNG: yellow is weak, red is strong, none is transparent."""
    runtime = image.model.runtime
    strength = heat(runtime.evidence(image.square), runtime.evidence_scale)
    colours = np.stack([np.ones_like(strength), 1 - strength, np.zeros_like(strength), np.minimum(2 * strength, 1)])
    return encode_png((np.moveaxis(colours, 0, -1) * 255).round().astype(np.uint8))
