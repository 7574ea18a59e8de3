"""Healthy thorax of a phantom: the anatomy of a patient, and its projection on a film.

Body coordinates have the half width of the rib cage as their unit. ``x`` runs from the patient's right to the left (as
on a film), 0 at the spine; ``y`` runs downwards, 0 at the top of the lungs. Shadows are in units of display
brightness: 0 is bare film, about 1 the spine over the liver.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

Plane = npt.NDArray[np.floating]
"""One float32 per pixel, (height, width)."""

Points = npt.NDArray[np.float64]
"""A polyline, (points, 2) of x and y in body coordinates."""


@dataclass(frozen=True)
class Stroke:
    """A polyline with a width in body units, and its brightness between 0 and 1."""

    points: Points
    width: float
    brightness: float


@dataclass(frozen=True)
class Anatomy:
    """Anatomy of a patient, the same on every radiograph; lengths in body units."""

    lung_height: float
    body_width: float
    neck_width: float
    right_dome: float
    left_dome: float
    heart_reach: float
    heart_height: float
    mediastinum_width: float
    spine_width: float
    spine_bend: float
    rib_spacing: float
    rib_slope: float
    rib_width: float
    bone_density: float
    soft_density: float
    lung_density: float
    heart_density: float
    liver_density: float
    vessel_density: float
    clavicle_tilt: float
    has_gastric_bubble: bool
    vessels: tuple[Stroke, ...]
    lines: tuple[Stroke, ...]

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Return a random patient."""
        lung_height = rng.uniform(1.12, 1.36)
        return cls(
            lung_height=lung_height,
            body_width=rng.uniform(1.1, 1.28),
            neck_width=rng.uniform(0.36, 0.5),
            right_dome=rng.uniform(-0.05, 0.0),
            left_dome=rng.uniform(-0.02, 0.06),
            heart_reach=rng.uniform(0.5, 0.68),
            heart_height=rng.uniform(0.56, 0.68),
            mediastinum_width=rng.uniform(0.19, 0.3),
            spine_width=rng.uniform(0.13, 0.17),
            spine_bend=rng.normal(0, 0.02),
            rib_spacing=rng.uniform(0.165, 0.2),
            rib_slope=rng.uniform(0.8, 1.3),
            rib_width=rng.uniform(-0.05, 0.3),
            bone_density=rng.uniform(0.75, 1.2),
            soft_density=rng.uniform(0.85, 1.15),
            lung_density=rng.uniform(0.75, 1.2),
            heart_density=rng.uniform(0.02, 0.13),
            liver_density=rng.uniform(0.04, 0.24),
            vessel_density=rng.uniform(0.5, 1.4),
            clavicle_tilt=rng.uniform(-0.05, 0.3),
            has_gastric_bubble=bool(rng.random() < 0.5),
            vessels=tuple(_vessel_tree(rng, lung_height)),
            lines=tuple(_support_lines(rng, lung_height)) if rng.random() < 0.15 else (),
        )


@dataclass(frozen=True)
class View:
    """Projection of the patient on one film: size in pixels, position, breath and arms."""

    height: int
    width: int
    scale: float
    """Pixels per body unit."""
    tilt: float
    """Rotation in the plane of the film, radians."""
    center: tuple[float, float]
    """The point in body coordinates at the middle of the film."""
    turn: float
    """Shift of the heart against the ribs as the patient turns, body units."""
    breath: float
    """Descent of the diaphragm, body units."""
    arms: tuple[float, float]
    """Angle of the right and left upper arm against the horizontal, radians; positive hangs down."""

    @classmethod
    def sample(cls, rng: np.random.Generator, size: int, lung_height: float, aspect: tuple[float, float]) -> Self:
        """Return a random view: mean height ``size`` pixels, width ``aspect`` (minimum, maximum) times the height."""
        height = round(size * rng.uniform(0.8, 1.2))
        width = round(height * rng.uniform(*aspect))
        return cls(
            height=height,
            width=width,
            scale=width / rng.uniform(2.25, 3.0),
            tilt=rng.normal(0, 0.035),
            center=(rng.normal(0, 0.05), lung_height / 2 + rng.normal(0.04, 0.06)),
            turn=rng.normal(0, 0.04),
            breath=rng.normal(0, 0.05),
            arms=(rng.uniform(-0.9, 1.3), rng.uniform(-0.9, 1.3)),
        )

    def grid(self) -> tuple[Plane, Plane]:
        """Return ``x`` and ``y`` in body coordinates at each pixel."""
        right = ((np.arange(self.width, dtype=np.float32) - self.width / 2) / self.scale)[None, :]
        down = ((np.arange(self.height, dtype=np.float32) - self.height / 2) / self.scale)[:, None]
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        return self.center[0] + cos * right + sin * down, self.center[1] - sin * right + cos * down

    def project(self, points: Points) -> list[float]:
        """Return the pixel positions (column, row, column, ...) of body points; the inverse of ``grid``."""
        cos, sin = math.cos(self.tilt) * self.scale, math.sin(self.tilt) * self.scale
        pixels = (points - self.center) @ np.array([[cos, sin], [-sin, cos]]) + (self.width / 2, self.height / 2)
        return pixels.ravel().tolist()  # type: ignore[no-any-return]

    def stroke(self, strokes: Sequence[Stroke], blur: float) -> Plane:
        """Draw polylines, blurred by ``blur`` body units."""
        canvas = Image.new("F", (self.width, self.height))
        draw = ImageDraw.Draw(canvas)
        for stroke in strokes:
            width = max(1, round(stroke.width * self.scale))
            draw.line(self.project(stroke.points), fill=stroke.brightness, width=width, joint="curve")
        return ndimage.gaussian_filter(np.asarray(canvas), blur * self.scale, truncate=2.5)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Thorax:
    """Projection of a healthy chest on one film."""

    shadow: Plane
    """Brightness of everything but the lungs."""
    air: Plane
    """Brightness that the air in the lungs removes."""
    vessels: Plane
    """Blood vessels of the lungs, 0 to 1."""
    open_lung: Plane
    """1 where the lungs are visible, beside the heart and above the diaphragm, 0 elsewhere."""
    x: Plane
    y: Plane


def render(anatomy: Anatomy, view: View) -> Thorax:
    """Project a healthy chest on a film."""
    x, y = view.grid()
    x = x - anatomy.spine_bend * np.sin(2 * y)
    side = np.abs(x)
    cage = _cage_width(y, anatomy.lung_height)
    diaphragm = _diaphragm(anatomy, view, x, side)

    heart = _heart(anatomy, view, x, y)
    below = _step(y - diaphragm, 0.03)
    inside = _step(0.97 * cage - side, 0.02)
    open_lung = inside * (1 - heart) * (1 - below)
    depth = _chord(1 - np.clip((0.97 * cage - side) / 0.42, 0, 1))
    air = anatomy.lung_density * 0.4 * (0.35 + 0.65 * depth) * open_lung

    shadow = anatomy.soft_density * _soft_tissue(anatomy, view, x, y)
    shadow += anatomy.heart_density * heart * (1 - below)
    shadow += anatomy.liver_density * below * _step(1.05 - side, 0.15)
    shadow -= 0.07 * _step(0.055 - np.abs(x - view.turn), 0.05) * _step(0.3 - y, 0.2)  # trachea
    if anatomy.has_gastric_bubble:
        bubble = ((x - 0.55) / 0.3) ** 2 + ((y - diaphragm - 0.16) / 0.11) ** 2
        shadow -= 0.22 * _step(1 - bubble, 0.5) * below
    shadow += anatomy.bone_density * _bones(anatomy, view, x, y, cage)
    if anatomy.lines:
        shadow += view.stroke(anatomy.lines, 0.006)

    vessels = view.stroke(anatomy.vessels, 0.009) * open_lung
    return Thorax(shadow=shadow, air=air, vessels=vessels, open_lung=open_lung, x=x, y=y)


def _step(distance: Plane, softness: float) -> Plane:
    """Return a smooth step from 0 to 1 as the distance passes 0, of width ``softness``."""
    ramp: Plane = np.clip(distance / softness + 0.5, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _chord(radius: Plane) -> Plane:
    """Return the chord length of a unit disc at a distance from its centre, 0 to 1."""
    return np.sqrt(np.clip(1 - radius * radius, 0, 1))


def _cage_width(y: Plane, lung_height: float) -> Plane:
    """Return the half width of the rib cage: a dome that opens to 1."""
    below_top = np.clip(y / (0.92 * lung_height), 0, 1)
    dome: Plane = np.sqrt(1 - (1 - below_top) ** 2) ** 1.12
    return dome


def _diaphragm(anatomy: Anatomy, view: View, x: Plane, side: Plane) -> Plane:
    """Return the height of the diaphragm at each pixel: two domes that fall to the ribs."""
    left = _step(x, 0.3)
    dome = anatomy.right_dome * (1 - left) + anatomy.left_dome * left
    return anatomy.lung_height + view.breath + dome + 0.65 * (side - 0.42) ** 2


def _heart(anatomy: Anatomy, view: View, x: Plane, y: Plane) -> Plane:
    """Return heart and mediastinum: widening downwards, more to the left than to the right."""
    depth = (y - 0.5 * view.breath) / anatomy.lung_height
    stalk = anatomy.mediastinum_width - 0.1 * _step(-0.02 - depth, 0.3)
    left = stalk + (anatomy.heart_reach - stalk) * _step(depth - anatomy.heart_height, 0.62)
    right = stalk + 0.12 * anatomy.heart_reach * _step(depth - 0.6, 0.4)
    turned = x - view.turn * (0.5 + depth)
    return _step(np.where(turned > 0, left - turned, right + turned), 0.07)


def _soft_tissue(anatomy: Anatomy, view: View, x: Plane, y: Plane) -> Plane:
    """Return skin, muscle and fat of trunk, neck and arms."""
    shoulders = _step(y + 0.22, 0.5)
    width = anatomy.neck_width + (anatomy.body_width - anatomy.neck_width) * shoulders
    trunk: Plane = (0.5 + 0.14 * shoulders) * _chord(x / width) ** 0.8
    head = 0.35 * _step(1 - (x / 0.62) ** 2 - ((y + 1.02) / 0.58) ** 2, 0.25)
    right_angle, left_angle = view.arms
    return trunk + head + _arm(x, y, -1, right_angle) + _arm(x, y, 1, left_angle)


def _arm(x: Plane, y: Plane, sign: int, angle: float) -> Plane:
    """Return an upper arm and its bone, from the shoulder outwards."""
    cos, sin = math.cos(angle), math.sin(angle)
    right, down = sign * x - 0.97, y - 0.02
    along = np.clip(right * cos + down * sin, 0, 1)
    distance = np.sqrt((right - along * cos) ** 2 + (down - along * sin) ** 2)
    bone = _chord(distance / (0.085 - 0.04 * _step(along - 0.15, 0.3)))
    return 0.16 * _chord(distance / 0.27) ** 2 + 0.12 * bone


def _bones(anatomy: Anatomy, view: View, x: Plane, y: Plane, cage: Plane) -> Plane:
    drawn = view.stroke([*_clavicles(anatomy, view), *_scapulae(anatomy)], 0.011)
    return _ribs(anatomy, x, y, cage) + _spine(anatomy, x, y) + drawn


def _ribs(anatomy: Anatomy, x: Plane, y: Plane, cage: Plane) -> Plane:
    """Return anterior and posterior ribs, each as one family of parallel curves."""
    side = np.abs(x)
    edge_on = ((np.clip(side / np.maximum(cage, 0.05), 0, 1) ** 2) ** 2) ** 2
    within = _step(1.01 * cage - side, 0.04) * _step(anatomy.lung_height + 0.5 - y, 0.6)
    sag = anatomy.rib_slope * (0.2 + 0.12 * y)
    behind = _rib_profile((y + 0.22 * side - (sag + 0.22) * side**2) / anatomy.rib_spacing, anatomy.rib_width)
    ahead = _rib_profile((y - 0.62 * anatomy.rib_slope * (1 - side)) / anatomy.rib_spacing, anatomy.rib_width)
    ahead *= _step(side - 0.5, 0.25)
    return within * ((0.075 + 0.1 * edge_on) * behind + (0.03 + 0.1 * edge_on) * ahead + 0.05 * edge_on)


def _rib_profile(phase: Plane, width: float) -> Plane:
    """Return 0 between ribs and 1 on them, with denser edges; the distance of ribs is one unit of phase."""
    wave = np.cos(2 * math.pi * phase) + width
    return _step(wave - 0.1, 0.6) * (1 - 0.35 * _step(wave - 0.8, 0.7))


def _spine(anatomy: Anatomy, x: Plane, y: Plane) -> Plane:
    """Return the vertebral bodies, their discs and pedicles."""
    disc: Plane = np.cos(2 * math.pi * (y / anatomy.rib_spacing + 0.5))
    body = _step(anatomy.spine_width * (1 - 0.08 * disc) - np.abs(x), 0.04)
    pedicle: Plane = np.exp(-(((np.abs(x) - 0.6 * anatomy.spine_width) / 0.03) ** 2))
    pedicle = pedicle * _step(0.2 - disc, 0.8)
    return body * (0.11 - 0.05 * _step(disc - 0.75, 0.4)) + 0.05 * pedicle


def _clavicles(anatomy: Anatomy, view: View) -> Iterator[Stroke]:
    along = np.linspace(0, 1, 9)
    for sign in (-1, 1):
        x = sign * (0.13 + 0.72 * along) + view.turn
        y = 0.16 - anatomy.clavicle_tilt * along - 0.05 * np.sin(2 * np.pi * along) + sign * view.turn
        yield Stroke(np.stack([x, y], axis=1), 0.07, 0.13)


def _scapulae(anatomy: Anatomy) -> Iterator[Stroke]:
    along = np.linspace(0, 1, 7)
    for sign in (-1, 1):
        x = sign * (0.98 + 0.06 * np.sin(np.pi * along) - 0.06 * along)
        yield Stroke(np.stack([x, 0.1 + 0.5 * along], axis=1), 0.035, 0.07)
        yield Stroke(np.stack([sign * (0.75 + 0.25 * along), 0.12 - 0.1 * along], axis=1), 0.05, 0.07)


def _vessel_tree(rng: np.random.Generator, lung_height: float) -> Iterator[Stroke]:
    """Grow the blood vessels of both lungs from the hila outwards, widest first."""
    sign = np.repeat([-1.0, 1.0], 9)
    start = np.stack([0.2 * sign, np.full(18, 0.5 * lung_height)], axis=1) + rng.normal(0, 0.05, (18, 2))
    direction = np.tile(np.linspace(-1.25, 1.35, 9), 2) + rng.normal(0, 0.15, 18)
    length, width = rng.uniform(0.25, 0.42, 18), 0.042
    for _ in range(3):
        heading = direction[:, None] + np.cumsum(rng.normal(0, 0.15, (len(sign), 4)), axis=1)
        step = np.stack([sign[:, None] * np.cos(heading), np.sin(heading)], axis=2) * (length / 4)[:, None, None]
        paths = np.concatenate([start[:, None], start[:, None] + np.cumsum(step, axis=1)], axis=1)
        for points in paths:
            yield Stroke(points, width, 0.25 + 16 * width)
        parent = np.repeat(np.arange(len(sign)), 2)
        start = paths[parent, rng.integers(1, 5, len(parent))]
        direction = heading[parent, -1] + np.tile([-1, 1], len(sign)) * rng.uniform(0.2, 0.6, len(parent))
        sign, length, width = sign[parent], 0.75 * length[parent], 0.62 * width


def _support_lines(rng: np.random.Generator, lung_height: float) -> Iterator[Stroke]:
    """Draw a lead or tube across the chest, with the electrode it ends in."""
    along = np.linspace(0, 1, 12)
    start, end = rng.uniform((-1.1, -0.3), (1.1, 0.1)), rng.uniform((-0.8, 0.3), (0.8, lung_height))
    bend = rng.normal(0, 0.15, 2)
    points = start + (end - start) * along[:, None] + bend * np.sin(np.pi * along)[:, None]
    yield Stroke(points, 0.015, 0.3)
    if rng.random() < 0.5:
        yield Stroke(end + np.array([(-0.03, 0), (0.03, 0)]), 0.06, 0.45)
