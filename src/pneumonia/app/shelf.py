"""The images that the page shows: in memory, for a while, and only so many bytes of them."""

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

from pneumonia.app.swap import Model
from pneumonia.inference.explain import heat
from pneumonia.inference.intake import DISPLAY_SIDE, Intake

THUMBNAIL = 160
"""Longer side in pixels."""
FAST = 1
"""PNG compression: a page waits for these, and they are never stored."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Shelved:
    """An image that was taken in, with what is needed to show it.

    Attributes:
        name: of the file, as its sender calls it.
        model: the one that answered.
        square: what the network saw, (size, size).
        picture: the file, to be decoded when it is shown; of a large file the pixels (H, W), which are fewer.
    """

    name: str
    model: Model
    square: Pixels
    picture: Intake | Pixels

    @classmethod
    def of(cls, name: str, model: Model, intake: Intake) -> "Shelved":
        """Keep an image, and nothing that names a patient apart from the file itself."""
        picture = intake.pixels if len(intake.content) > DISPLAY_SIDE**2 else replace(intake, patient_identifier=None)
        return cls(name, model, intake.square, picture)

    @property
    def size(self) -> int:
        """Bytes that it occupies."""
        held = len(self.picture.content) if isinstance(self.picture, Intake) else self.picture.nbytes
        return self.square.nbytes + held

    @property
    def pixels(self) -> Pixels:
        """The decoded image (H, W); a copy decodes it, so that what is kept stays small."""
        return replace(self.picture).pixels if isinstance(self.picture, Intake) else self.picture


class Shelf:
    """Shelved images by the id of their prediction; the oldest go first."""

    def __init__(self, size: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Set the size in bytes and how long an image stays."""
        self._images: TTLCache[UUID, Shelved] = TTLCache(size, seconds, clock, getsizeof=lambda shelved: shelved.size)
        self._lock = threading.Lock()

    def put(self, key: UUID, shelved: Shelved) -> None:
        """Keep an image; one larger than the whole shelf is not kept."""
        with self._lock, contextlib.suppress(ValueError):
            self._images[key] = shelved

    def get(self, key: UUID) -> Shelved | None:
        """Return an image, None where it is gone."""
        with self._lock:
            return self._images.get(key)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode grey (H, W) or RGBA (H, W, 4) pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=FAST)
    return file.getvalue()


def thumbnail(pixels: Pixels) -> bytes:
    """Encode a small copy."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return png(np.asarray(image))


def overlay(shelved: Shelved) -> bytes:
    """Encode where the model sees pneumonia: yellow (weak) to red (strong), transparent where it sees none."""
    runtime = shelved.model.runtime
    strength = heat(runtime.evidence(shelved.square), runtime.evidence_scale)
    colours = np.stack([np.ones_like(strength), 1 - strength, np.zeros_like(strength), np.minimum(2 * strength, 1)])
    return png((np.moveaxis(colours, 0, -1) * 255).round().astype(np.uint8))
