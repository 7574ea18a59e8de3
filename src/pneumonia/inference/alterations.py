"""Radiographs made into what must not be answered for: turned, inverted, cut up, drowned.

They teach `inference.familiarity` what a radiograph of the chest is not, and stand for the many other things that
people may send. Each takes pixels (size, size) uint8 and a generator, and returns pixels of the same shape.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
TILES = 4
CLOSE_UP = (0.15, 0.35)
"""Least and greatest side of the window of a close-up, as shares of the image's side."""


def invert(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Show black as white."""
    return np.uint8(255) - pixels


def shuffle(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Cut into 4 x 4 tiles and lay them anew; what does not fill a tile is lost, and the rest made larger."""
    side = len(pixels) // TILES
    whole = pixels[: side * TILES, : side * TILES].reshape(TILES, side, TILES, side)
    tiles = rng.permutation(whole.swapaxes(1, 2).reshape(-1, side, side))
    laid: Pixels = tiles.reshape(TILES, TILES, side, side).swapaxes(1, 2).reshape(side * TILES, side * TILES)
    return _resize(laid, len(pixels))


def close_up(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Show a small window large."""
    side = max(1, round(len(pixels) * rng.uniform(*CLOSE_UP)))
    top, left = rng.integers(0, len(pixels) - side, 2, endpoint=True)
    return _resize(pixels[top : top + side, left : left + side], len(pixels))


def scramble(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Keep how strong each spatial frequency is, and draw its phase: clouds with the grain of a radiograph."""
    strength = np.abs(np.fft.rfft2(pixels.astype(float)))
    phase = np.angle(np.fft.rfft2(rng.normal(size=pixels.shape)))
    clouds: NDArray[np.float64] = np.fft.irfft2(strength * np.exp(1j * phase), pixels.shape)
    clouds = (clouds - clouds.mean()) / (clouds.std() or 1.0) * pixels.std() + pixels.mean()
    return clouds.clip(0, 255).astype(np.uint8)


def edges(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Show where the grey levels change, as in a drawing."""
    steepness: NDArray[np.float64] = np.hypot(*np.gradient(pixels.astype(float)))
    return (steepness / (np.quantile(steepness, 0.99) or 1.0) * 255).clip(0, 255).astype(np.uint8)


def swap_halves(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Lay the lower half above the upper one."""
    return np.roll(pixels, len(pixels) // 2, axis=0)


def mosaic(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Show the image four times."""
    return _resize(np.tile(pixels, (2, 2)), len(pixels))


def silhouette(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Keep black and white alone."""
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
"""By name."""


def alter(images: Pixels, rng: np.random.Generator) -> Pixels:
    """Alter images (N, size, size), each in the way whose turn it is."""
    ways = list(ALTERATIONS.values())
    return np.stack([ways[number % len(ways)](np.asarray(pixels), rng) for number, pixels in enumerate(images)])


def _resize(pixels: Pixels, size: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
