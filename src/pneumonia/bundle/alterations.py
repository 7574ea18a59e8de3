"""Alter radiographs into images outside the intended use: rotated, inverted, shuffled, scrambled.

`bundle.familiarity` uses them as outliers, which stand for the many other images that users may upload. Each function
takes pixels (size, size) and a random generator, and returns pixels of the same shape.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
TILES = 4
CLOSE_UP = (0.15, 0.35)
"""Smallest and largest side of the window of a close-up, as shares of the image's side."""


def invert(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the negative image."""
    return np.uint8(255) - pixels


def shuffle(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the image with its 4 x 4 tiles in random order; a remainder at the edge is cropped before resizing."""
    side = len(pixels) // TILES
    whole = pixels[: side * TILES, : side * TILES].reshape(TILES, side, TILES, side)
    tiles = rng.permutation(whole.swapaxes(1, 2).reshape(-1, side, side))
    shuffled: Pixels = tiles.reshape(TILES, TILES, side, side).swapaxes(1, 2).reshape(side * TILES, side * TILES)
    return _resize(shuffled, len(pixels))


def close_up(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return a small window of the image, enlarged."""
    side = max(1, round(len(pixels) * rng.uniform(*CLOSE_UP)))
    top, left = rng.integers(0, len(pixels) - side, 2, endpoint=True)
    return _resize(pixels[top : top + side, left : left + side], len(pixels))


def scramble(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return noise with the amplitude spectrum of the image and random phases."""
    amplitude = np.abs(np.fft.rfft2(pixels.astype(float)))
    phase = np.angle(np.fft.rfft2(rng.normal(size=pixels.shape)))
    noise: NDArray[np.float64] = np.fft.irfft2(amplitude * np.exp(1j * phase), pixels.shape)
    noise = (noise - noise.mean()) / (noise.std() or 1.0) * pixels.std() + pixels.mean()
    return noise.clip(0, 255).astype(np.uint8)


def edges(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the gradient magnitude, scaled to the full range."""
    magnitude: NDArray[np.float64] = np.hypot(*np.gradient(pixels.astype(float)))
    return (magnitude / (np.quantile(magnitude, 0.99) or 1.0) * 255).clip(0, 255).astype(np.uint8)


def swap_halves(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the image with its lower half above the upper one."""
    return np.roll(pixels, len(pixels) // 2, axis=0)


def mosaic(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the image repeated 2 x 2."""
    return _resize(np.tile(pixels, (2, 2)), len(pixels))


def silhouette(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the image thresholded to black and white."""
    return np.where(pixels > np.quantile(pixels, rng.uniform(0.3, 0.7)), 255, 0).astype(np.uint8)


ALTERATIONS: Mapping[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "rotated_90": lambda pixels, rng: np.rot90(pixels, 1),
    "rotated_180": lambda pixels, rng: np.rot90(pixels, 2),
    "rotated_270": lambda pixels, rng: np.rot90(pixels, 3),
    "upside_down": lambda pixels, rng: np.flipud(pixels),
    "inverted": invert,
    "shuffled": shuffle,
    "close_up": close_up,
    "scrambled": scramble,
    "edges": edges,
    "halves_swapped": swap_halves,
    "mosaic": mosaic,
    "silhouette": silhouette,
}
"""Alterations by name."""


def alter(images: Pixels, rng: np.random.Generator) -> Pixels:
    """Return images (N, size, size), altered by each function of `ALTERATIONS` in turn."""
    functions = list(ALTERATIONS.values())
    return np.stack(
        [functions[number % len(functions)](np.asarray(pixels), rng) for number, pixels in enumerate(images)]
    )


def _resize(pixels: Pixels, size: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
