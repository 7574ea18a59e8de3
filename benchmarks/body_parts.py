"""Draw radiographs of other body parts: hand, knee, forearm, skull, pelvis and lateral spine.

Bones are bright strokes and discs on grey soft tissue with a dark background; shape, rotation, blur and noise are
random. The drawings test whether a model accepts them as a chest; they do not represent real radiographs.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

CANVAS = 256
"""Width and height of a drawing, pixels; positions and line widths are shares of it."""
TISSUE, BONE, AIR = 0.35, 0.45, -0.5
"""Brightness that a layer adds, on a scale of 0 to 1."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Stroke:
    """A line with round ends through points (x, y); a single point is a disc."""

    points: tuple[Point, ...]
    width: float
    level: float = BONE


def draw(part: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a drawing of a body part of `PARTS`, uint8, shape (256, 256)."""
    plane = np.zeros((CANVAS, CANVAS))
    for stroke in PARTS[part](rng):
        plane += stroke.level * rng.uniform(0.8, 1.2) * _mask(stroke, rng)
    plane = ndimage.rotate(plane, rng.uniform(-20, 20), reshape=False, order=1)
    plane = ndimage.zoom(plane, 1.3, order=1)
    top, left = rng.integers(0, len(plane) - CANVAS, 2)
    plane = ndimage.gaussian_filter(plane[top : top + CANVAS, left : left + CANVAS], rng.uniform(0.6, 2))
    plane = np.clip(0.03 + plane, 0, 1) ** rng.uniform(0.7, 1.4) + rng.normal(0, 0.02, plane.shape)
    return (plane.clip(0, 1) * 255).astype(np.uint8)


def _mask(stroke: Stroke, rng: np.random.Generator) -> NDArray[np.float64]:
    image = Image.new("L", (CANVAS, CANVAS))
    pen = ImageDraw.Draw(image)
    points = [tuple(CANVAS * (value + rng.normal(0, 0.006)) for value in point) for point in stroke.points]
    radius = CANVAS * stroke.width * rng.uniform(0.9, 1.1) / 2
    if len(points) > 1:
        pen.line(points, 255, width=round(2 * radius), joint="curve")
    for x, y in points:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
    return ndimage.gaussian_filter(np.asarray(image) / 255.0, 1.5)


def _hand(rng: np.random.Generator) -> Iterator[Stroke]:
    yield Stroke(((0.5, 0.62), (0.5, 0.95)), 0.36, TISSUE)
    yield Stroke(((0.45, 0.8), (0.46, 1.0)), 0.07)
    yield Stroke(((0.56, 0.8), (0.55, 1.0)), 0.05)
    for finger, angle in enumerate(np.radians([-52, -20, -4, 11, 27]) + rng.normal(0, 0.05)):
        length = (0.1, 0.15, 0.17, 0.15, 0.11)[finger]
        direction = np.array([np.sin(angle), -np.cos(angle)])
        joints = [np.array([0.5, 0.72]) + direction * length * step for step in (0.3, 1.5, 2.5, 3.2, 3.7)]
        yield Stroke((_point(joints[0]), _point(joints[-1])), 0.1, TISSUE)
        for near, far in itertools.pairwise(joints):
            yield Stroke((_point(near + 0.08 * (far - near)), _point(far - 0.12 * (far - near))), 0.035)


def _knee(rng: np.random.Generator) -> Iterator[Stroke]:
    gap = rng.uniform(0.02, 0.04)
    yield Stroke(((0.5, 0.0), (0.48, 0.5), (0.5, 1.0)), 0.5, TISSUE)
    yield Stroke(((0.5, 0.0), (0.5, 0.38)), 0.15)
    yield Stroke(((0.43, 0.42 - gap), (0.57, 0.42 - gap)), 0.15, 0.6 * BONE)
    yield Stroke(((0.42, 0.55 + gap), (0.58, 0.55 + gap)), 0.12, 0.6 * BONE)
    yield Stroke(((0.5, 0.57), (0.5, 1.0)), 0.14)
    yield Stroke(((0.66, 0.6), (0.65, 1.0)), 0.05)
    yield Stroke(((0.5, 0.36),), 0.13, 0.4 * BONE)


def _forearm(rng: np.random.Generator) -> Iterator[Stroke]:
    bend = rng.uniform(-0.06, 0.06)
    yield Stroke(((0.5, 0.0), (0.5, 1.0)), 0.34, TISSUE)
    yield Stroke(((0.5, 0.0), (0.5, 0.22)), 0.11)
    yield Stroke(((0.44, 0.3), (0.42 + bend, 0.65), (0.44, 1.0)), 0.06)
    yield Stroke(((0.56, 0.27), (0.57 + bend, 0.65), (0.55, 1.0)), 0.07)
    yield Stroke(((0.45, 0.25), (0.55, 0.25)), 0.08, 0.6 * BONE)


def _skull(rng: np.random.Generator) -> Iterator[Stroke]:
    wide = rng.uniform(0.56, 0.66)
    yield Stroke(((0.5, 0.36), (0.5, 0.46)), wide, BONE)
    yield Stroke(((0.5, 0.36), (0.5, 0.44)), wide - 0.08, -0.15)
    yield Stroke(((0.42, 0.72), (0.58, 0.72)), 0.24, 0.8 * BONE)
    for side in (-1, 1):
        yield Stroke(((0.5 + 0.13 * side, 0.52),), 0.15, 0.5 * AIR)
        yield Stroke(((0.5 + 0.2 * side, 0.66), (0.5 + 0.16 * side, 0.82), (0.5, 0.88)), 0.05)
    yield Stroke(((0.5, 0.58), (0.5, 0.66)), 0.07, 0.6 * AIR)
    yield Stroke(((0.41, 0.76), (0.59, 0.76)), 0.06)
    yield Stroke(((0.5, 0.85), (0.5, 1.0)), 0.3, TISSUE)


def _pelvis(rng: np.random.Generator) -> Iterator[Stroke]:
    spread = rng.uniform(0.2, 0.25)
    yield Stroke(((0.3, 0.5), (0.7, 0.5)), 0.75, TISSUE)
    yield Stroke(((0.5, 0.05), (0.5, 0.45)), 0.12)
    for side in (-1, 1):
        hip = 0.5 + spread * side
        yield Stroke(((0.5 + 0.06 * side, 0.4), (hip + 0.03 * side, 0.25), (hip, 0.55)), 0.12, 0.8 * BONE)
        yield Stroke(((hip + 0.02 * side, 0.62),), 0.13)
        yield Stroke(((hip + 0.03 * side, 0.64), (hip + 0.12 * side, 0.72), (hip + 0.11 * side, 1.0)), 0.09)
        yield Stroke(((hip, 0.62), (0.5 + 0.02 * side, 0.68), (0.5 + 0.1 * side, 0.82), (hip, 0.66)), 0.05)


def _spine(rng: np.random.Generator) -> Iterator[Stroke]:
    curve = rng.uniform(0.05, 0.12)
    yield Stroke(((0.5, 0.0), (0.5, 1.0)), 0.7, TISSUE)
    for number in range(7):
        y = 0.08 + 0.14 * number
        x = 0.45 + curve * np.sin(np.pi * y)
        yield Stroke(((x - 0.05, y), (x + 0.05, y)), 0.1)
        yield Stroke(((x + 0.15, y), (x + 0.27, y + 0.05)), 0.05, 0.6 * BONE)


def _point(place: NDArray[np.float64]) -> Point:
    return float(place[0]), float(place[1])


PARTS: Mapping[str, Callable[[np.random.Generator], Iterator[Stroke]]] = {
    "hand": _hand,
    "knee": _knee,
    "forearm": _forearm,
    "skull": _skull,
    "pelvis": _pelvis,
    "spine": _spine,
}
