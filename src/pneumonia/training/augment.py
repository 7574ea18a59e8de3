"""Random augmentation of training images that preserves the diagnosis.

In the Kermany set the classes were acquired differently: images of PNEUMONIA are cropped tighter and are wider, so
that in a square the chest appears narrow and large. A network that can see this learns it. So each training image is a
window whose height and width are drawn independently; sharpness, gamma, contrast and brightness vary for the same
reason.

Pillow augments 8-bit images before the backend sees them: on two CPU cores the same operations in the backend took
longer than the training step of the network.
"""

import math
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from pneumonia.training.settings import AugmentParams
from pneumonia.training.workers import ALONE, Workers

BLUR = ImageFilter.GaussianBlur(1.0)
GREY_LEVELS = np.arange(256) / 255.0
EVERYTHING = slice(None)


@dataclass(frozen=True)
class _Change:
    """Augmentation of one image: an affine map and the strength of each change of its grey levels."""

    window: tuple[float, ...]
    sharpness: float
    equalized: float
    gamma: float
    contrast: float
    brightness: float


def augment(
    images: NDArray[np.uint8], params: AugmentParams, size: int, seed: int, share: slice = EVERYTHING
) -> NDArray[np.uint8]:
    """Augment square grey images.

    Args:
        images: shape (N, side, side), 0 black to 255 white.
        params: ranges of the changes.
        size: side of the augmented images.
        seed: the same seed gives the same changes.
        share: rows to augment and return; each changes as it does when all rows are augmented.

    Returns:
        Augmented images, shape (N or rows in ``share``, size, size); areas from outside the image are black.
    """
    rng = np.random.default_rng(seed)
    changes = [_draw(images.shape[1], size, params, rng) for _ in images]
    pairs = zip(images[share], changes[share], strict=True)
    return np.stack([_apply(change, Image.fromarray(pixels), size) for pixels, change in pairs])


def _draw(side: int, size: int, params: AugmentParams, rng: np.random.Generator) -> _Change:
    return _Change(
        window=_window(side, size, params, rng),
        sharpness=1.0 + rng.uniform(-params.sharpness, params.sharpness),
        equalized=rng.uniform() if rng.random() < params.equalize else 0.0,
        gamma=math.exp(rng.uniform(-1, 1) * math.log1p(params.gamma)),
        contrast=1.0 + rng.uniform(-params.contrast, params.contrast),
        brightness=rng.uniform(-params.brightness, params.brightness),
    )


def _apply(change: _Change, image: Image.Image, size: int) -> NDArray[np.uint8]:
    moved = image.transform((size, size), Image.Transform.AFFINE, change.window, Image.Resampling.BILINEAR)
    # Above 1 this extrapolates from the blurred image and sharpens; below 1 it interpolates and blurs.
    sharpened = Image.blend(moved.filter(BLUR), moved, change.sharpness)
    if change.equalized:
        sharpened = Image.blend(sharpened, ImageOps.equalize(sharpened), change.equalized)
    mean = np.asarray(sharpened).mean() / 255.0
    return np.asarray(sharpened.point(_grey_table(mean, change)))


def _grey_table(mean: float, change: _Change) -> list[int]:
    """Return the new value of each of the 256 grey levels; contrast changes about the image's ``mean`` (0 to 1)."""
    centre = mean**change.gamma
    levels = (GREY_LEVELS**change.gamma - centre) * change.contrast + centre + change.brightness
    return [int(level) for level in (levels.clip(0.0, 1.0) * 255.0).round()]


def _window(side: int, size: int, params: AugmentParams, rng: np.random.Generator) -> tuple[float, ...]:
    """Return an affine map (a ... f) of ``side`` to ``size`` pixels: output (x, y) shows (ax + by + c, dx + ey + f).

    It shows a window of 1 - crop to 1 of the width and, drawn independently, of the height; on a logarithmic scale, so
    that narrow and wide windows are equally likely. The window lies anywhere in the image, and is flipped and rotated.
    """
    width, height = (math.exp(rng.uniform(math.log1p(-params.crop), 0.0)) for _ in range(2))
    across, down = (0.5 + rng.uniform(-0.5, 0.5) * (1.0 - share) for share in (width, height))
    angle = math.radians(rng.uniform(-params.rotate_degrees, params.rotate_degrees))
    mirror = -1.0 if params.flip and rng.random() < 0.5 else 1.0
    a, b = mirror * width * math.cos(angle), -width * math.sin(angle)
    d, e = mirror * height * math.sin(angle), height * math.cos(angle)
    scale = side / size
    return a * scale, b * scale, (across - (a + b) / 2) * side, d * scale, e * scale, (down - (d + e) / 2) * side


class AugmentedBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Shuffled, augmented batches; order and changes depend on (seed, epoch, batch) alone.

    An epoch can therefore be repeated after a restart, whatever happened before it.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        targets: NDArray[np.float32],
        *,
        batch_size: int,
        size: int,
        params: AugmentParams,
        seed: int,
        first_epoch: int,
        workers: Workers = ALONE,
    ) -> None:
        """Prepare the first epoch.

        Args:
            images: shape (N, side, side).
            targets: 0 or 1, shape (N,).
            batch_size: images per batch of all workers together.
            size: side of the augmented images.
            params: ranges of the changes.
            seed: of order and changes.
            first_epoch: from 0; above 0 when training resumes.
            workers: each gets its share of every batch. The remainder of an epoch, up to ``workers.count - 1`` images
                that differ from epoch to epoch, is left out.
        """
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self._images = images
        self._targets = targets
        self._batch_size = batch_size
        self._size = size
        self._params = params
        self._seed = seed
        self._processes = workers
        self._start_epoch(first_epoch)

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return math.ceil(len(self._order) / self._batch_size)

    def __getitem__(self, batch: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the augmented images (n, size, size, 1) and targets (n, 1) of this worker's share of a batch."""
        rows = np.sort(self._order[batch * self._batch_size : (batch + 1) * self._batch_size])
        seed = hash_seed(self._seed, self._epoch, batch)
        share = self._processes.share(len(rows))
        changed = augment(self._images[rows], self._params, self._size, seed, share)
        return changed[..., None], self._targets[rows[share]][:, None]

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self._start_epoch(self._epoch + 1)

    def _start_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        order = np.random.default_rng(hash_seed(self._seed, epoch)).permutation(len(self._targets))
        self._order = order[: self._processes.divisible(len(order))]


def hash_seed(*parts: int) -> int:
    """Return one seed that depends on all of the given integers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
