"""Draw one phantom radiograph: anatomy, opacity, exposure and film, with the masks of lungs and lesion."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from pneumonia.data.phantom.anatomy import Anatomy, Plane, Thorax, View, render

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Phantom:
    """A drawn radiograph and its ground truth.

    Attributes:
        pixels: uint8 (height, width), 0 black to 255 white.
        lesion: mask of the opacity, (height, width); all False for ``normal``.
        lungs: mask of the visible lungs, (height, width); it contains the lesion.
    """

    pixels: npt.NDArray[np.uint8]
    lesion: Mask
    lungs: Mask


@dataclass(frozen=True)
class Film:
    """Acquisition settings of a film, independent of the patient.

    Attributes:
        scale: factor on its size in pixels.
        aspect: minimum and maximum width as a multiple of the height.
        collimated: whether it has black margins; None for a random choice, one half each.
        tagged: whether it shows a lead tag at the upper right edge.
    """

    scale: float = 1.0
    aspect: tuple[float, float] = (1.1, 1.6)
    collimated: bool | None = None
    tagged: bool = False


PLAIN = Film()


def draw(
    rng: np.random.Generator,
    cause: str,
    *,
    size: int,
    difficulty: float,
    drift: float = 0.0,
    anatomy: Anatomy | None = None,
    film: Film = PLAIN,
) -> Phantom:
    """Draw one radiograph.

    Args:
        rng: random generator for everything that differs between two radiographs of a patient.
        cause: ``normal``; ``bacteria``, a dense opacity in one lobe; ``virus``, fine opacities around both hila.
        size: mean height in pixels; the height is 0.8 to 1.2 of it (times ``film.scale``), the width 1.1 to 1.6 of
            the height.
        difficulty: 0 for plain opacities to 1 for barely visible ones.
        drift: 0 to 1, deviation of exposure and sharpness from the usual.
        anatomy: anatomy of the patient; a random one by default.
        film: acquisition settings.

    Examples:
        >>> phantom = draw(np.random.default_rng(0), "bacteria", size=64, difficulty=0.5)
        >>> phantom.pixels.dtype, phantom.pixels.shape == phantom.lesion.shape == phantom.lungs.shape
        (dtype('uint8'), True)
    """
    anatomy = anatomy or Anatomy.sample(rng)
    # No edge is sharper than two pixels, so everything is drawn at half the resolution of the film, for speed.
    detail = max(size // 2, 96)
    view = View.sample(rng, detail, anatomy.lung_height, film.aspect)
    enlarge = film.scale * size / detail

    thorax = render(anatomy, view)
    haze = rng.uniform(0, 0.35)
    vessels = 0.14 * anatomy.vessel_density * rng.uniform(0.7, 1.3) * thorax.vessels
    extent, filling = _OPACITIES[cause](rng, thorax, anatomy)
    filling *= (1.7 - 1.4 * difficulty) * rng.uniform(0.9, 1.1)
    shadow = thorax.shadow + (1 - np.minimum(filling, 1)) * (vessels - (1 - haze) * thorax.air)

    shadow = _resize(shadow, enlarge)
    beam = _beam(rng, shadow.shape, film.collimated)
    lungs = (_resize(thorax.open_lung, enlarge) > 0.5) & beam
    return Phantom(
        pixels=_expose(rng, shadow * beam, view.scale * enlarge, drift, film.tagged),
        lesion=(_resize(extent, enlarge) > 0.45) & lungs,
        lungs=lungs,
    )


def _resize(plane: Plane, factor: float) -> Plane:
    height, width = plane.shape
    size = (round(width * factor), round(height * factor))
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC))


def _no_opacity(rng: np.random.Generator, thorax: Thorax, anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Return extent (0 to 1) and filling (share of the air that is replaced, 0 to 1) of no opacity."""
    return np.zeros_like(thorax.air), np.zeros_like(thorax.air)


def _consolidation(rng: np.random.Generator, thorax: Thorax, anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Return extent and filling of a lobar consolidation with irregular edges."""
    across, down = _LOBES[rng.integers(len(_LOBES))]
    center_x, center_y = across + rng.normal(0, 0.05), (down + rng.normal(0, 0.04)) * anatomy.lung_height
    radius_x, radius_y = rng.uniform(0.28, 0.46), rng.uniform(0.24, 0.38)
    distance = ((thorax.x - center_x) / radius_x) ** 2 + ((thorax.y - center_y) / radius_y) ** 2
    irregular = distance + 0.35 * _clouds(rng, thorax, 0.2) + 0.2 * _clouds(rng, thorax, 0.07)
    extent = 1 / (1 + np.exp(np.clip(7 * (irregular - 1), -20, 20)))
    patches = np.clip(0.95 + 0.4 * _clouds(rng, thorax, 0.06), 0, 1.4)
    # The bronchi run along the vessels and may keep their air: the air bronchogram.
    bronchi = rng.uniform(0.2, 0.8) * thorax.vessels
    return extent, extent * patches * (1 - bronchi)


def _interstitial(rng: np.random.Generator, thorax: Thorax, anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Return extent and filling of an interstitial pattern that spreads from both hila."""
    reach_x, reach_y = rng.uniform(0.24, 0.36), rng.uniform(0.3, 0.5)
    sides = np.where(thorax.x < 0, rng.uniform(0.7, 1), rng.uniform(0.7, 1)).astype(np.float32)
    away = ((np.abs(thorax.x) - 0.38) / reach_x) ** 2 + ((thorax.y - 0.55 * anatomy.lung_height) / reach_y) ** 2
    irregular = away * (1 + 0.3 * np.clip(_clouds(rng, thorax, 0.2), -2, 2))
    extent = sides * np.exp(-0.5 * irregular)
    walls = np.clip(1.1 - 1.5 * np.abs(_clouds(rng, thorax, rng.uniform(0.05, 0.075))), 0, 1)
    return extent, extent * (0.1 + 0.75 * walls + 0.4 * thorax.vessels)


_OPACITIES = {"normal": _no_opacity, "bacteria": _consolidation, "virus": _interstitial}

_LOBES = ((-0.5, 0.36), (-0.45, 0.66), (-0.55, 0.86), (0.5, 0.38), (0.66, 0.8))
"""Centres of the lobes: x in body units, y as a share of the lung height."""


def _clouds(rng: np.random.Generator, thorax: Thorax, cell: float) -> Plane:
    """Return smooth noise of unit scale with features of ``cell`` body units."""
    height, width = thorax.x.shape
    pixels = (thorax.x[0, -1] - thorax.x[0, 0]) / width
    rows, columns = (max(2, round(float(n * pixels / cell))) for n in (height, width))
    coarse = Image.fromarray(rng.standard_normal((rows, columns), np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def _expose(
    rng: np.random.Generator, shadow: Plane, scale: float, drift: float, tagged: bool
) -> npt.NDArray[np.uint8]:
    """Expose a film: quantum noise, blur, tone curve, side marker and tag."""
    grain = rng.uniform(0.006, 0.02) * rng.standard_normal(shadow.shape, np.float32)
    blur = (rng.uniform(0.003, 0.007) + 0.02 * drift) * scale
    film = np.clip(ndimage.gaussian_filter(shadow + grain, blur, truncate=2.5), 0, None)
    exposure = rng.uniform(0.8, 1.5) * (1 + drift)
    tone = (1 - np.exp(-exposure * _unevenness(rng, film.shape) * film)) / (1 - math.exp(-exposure))
    tone = rng.uniform(0.8, 1.1) * tone ** rng.uniform(0.75, 1.6)
    image = Image.fromarray(np.clip(255 * tone + rng.uniform(-5, 10), 0, 255).astype(np.uint8))
    if rng.random() < 0.6:
        _draw_side_marker(rng, image)
    if tagged:
        _draw_tag(image)
    return np.asarray(image)


def _unevenness(rng: np.random.Generator, shape: tuple[int, ...]) -> Plane:
    """Return the intensity of the beam across the film (heel effect): a plane with a slope, around 1."""
    down, across = (
        np.linspace(-end, end, n, dtype=np.float32) for n, end in zip(shape, rng.uniform(-0.2, 0.2, 2), strict=True)
    )
    return 1 + down[:, None] + across[None, :]


def _beam(rng: np.random.Generator, shape: tuple[int, ...], collimated: bool | None) -> Mask:
    """Return the mask of the collimated beam; random black margins where ``collimated`` is None."""
    beam = np.ones(shape, bool)
    random_choice = rng.random() < 0.5
    if random_choice if collimated is None else collimated:
        height, width = shape
        top, bottom, left, right = rng.uniform(0, 0.07, 4)
        beam[: round(top * height)] = beam[round((1 - bottom) * height) :] = False
        beam[:, : round(left * width)] = beam[:, round((1 - right) * width) :] = False
    return beam


def _draw_side_marker(rng: np.random.Generator, image: Image.Image) -> None:
    """Draw the R that marks the patient's right."""
    font = ImageFont.load_default(round(image.height * rng.uniform(0.05, 0.1)))
    position = (image.width * rng.uniform(0.02, 0.12), image.height * rng.uniform(0.02, 0.3))
    ImageDraw.Draw(image).text(position, "R", fill=int(rng.integers(200, 256)), font=font)


def _draw_tag(image: Image.Image) -> None:
    """Draw a lead tag at the right edge, far from the lungs."""
    corners = (0.95 * image.width, 0.05 * image.height, image.width, 0.15 * image.height)
    ImageDraw.Draw(image).rectangle(corners, fill=255)
