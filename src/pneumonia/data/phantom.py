"""Phantoms: drawn radiographs of the chest with a known lesion, and whole sets of them with known faults.

They let the pipeline, its demo and its tests run anywhere, and they are ground truth for explanations, leakage checks,
the shortcut audit and drift. They are no radiographs: a model of phantoms says nothing about patients.
"""

import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from pneumonia import config
from pneumonia.data.phantom_anatomy import Anatomy, Plane, Thorax, View, cast
from pneumonia.errors import ConfigError
from pneumonia.labels import CAUSES, CLASS_NAMES, POSITIVE

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Phantom:
    """A drawn radiograph and what is true of it.

    Attributes:
        pixels: uint8 (height, width), 0 black to 255 white.
        lesion: where the opacity is, (height, width); all False for ``normal``.
        lungs: where the lungs are seen, (height, width); the lesion lies within.
    """

    pixels: npt.NDArray[np.uint8]
    lesion: Mask
    lungs: Mask


@dataclass(frozen=True)
class Film:
    """How a film is made, whoever is on it.

    Attributes:
        scale: factor on its size in pixels.
        aspect: least and greatest width as a multiple of the height.
        collimated: whether it has black margins; None leaves it to chance, one half each.
        tagged: whether a lead tag lies at its right edge, far up.
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
        rng: source of all that differs between two radiographs of a patient.
        cause: ``normal``; ``bacteria``, a dense opacity in one lobe; ``virus``, fine opacities around both hila.
        size: mean height in pixels; the height is 0.8 to 1.2 of it (times ``film.scale``), the width 1.1 to 1.6 of
            the height.
        difficulty: 0 for plain opacities to 1 for barely visible ones.
        drift: 0 to 1, how far exposure and sharpness are off.
        anatomy: the patient; a new one by default.
        film: how the film is made.
    """
    anatomy = anatomy or Anatomy.sample(rng)
    # No edge of a shadow is sharper than two pixels, so that it is cast at half the film's resolution, for speed.
    detail = max(size // 2, 96)
    view = View.sample(rng, detail, anatomy.lung_height, film.aspect)
    enlarge = film.scale * size / detail

    thorax = cast(anatomy, view)
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


def _clear(rng: np.random.Generator, thorax: Thorax, anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Return the extent (0 to 1) of no opacity at all, and the share of air that it fills (0 to 1)."""
    return np.zeros_like(thorax.air), np.zeros_like(thorax.air)


def _consolidation(rng: np.random.Generator, thorax: Thorax, anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Return extent and filling of a lobe full of fluid, with ragged edges."""
    across, down = _LOBES[rng.integers(len(_LOBES))]
    center_x, center_y = across + rng.normal(0, 0.05), (down + rng.normal(0, 0.04)) * anatomy.lung_height
    radius_x, radius_y = rng.uniform(0.28, 0.46), rng.uniform(0.24, 0.38)
    distance = ((thorax.x - center_x) / radius_x) ** 2 + ((thorax.y - center_y) / radius_y) ** 2
    ragged = distance + 0.35 * _clouds(rng, thorax, 0.2) + 0.2 * _clouds(rng, thorax, 0.07)
    extent = 1 / (1 + np.exp(np.clip(7 * (ragged - 1), -20, 20)))
    patches = np.clip(0.95 + 0.4 * _clouds(rng, thorax, 0.06), 0, 1.4)
    # The bronchi run along the vessels and may keep their air: the air bronchogram.
    bronchi = rng.uniform(0.2, 0.8) * thorax.vessels
    return extent, extent * patches * (1 - bronchi)


def _interstitial(rng: np.random.Generator, thorax: Thorax, anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Return extent and filling of a net of thickened walls that spreads from both hila."""
    reach_x, reach_y = rng.uniform(0.24, 0.36), rng.uniform(0.3, 0.5)
    sides = np.where(thorax.x < 0, rng.uniform(0.7, 1), rng.uniform(0.7, 1)).astype(np.float32)
    away = ((np.abs(thorax.x) - 0.38) / reach_x) ** 2 + ((thorax.y - 0.55 * anatomy.lung_height) / reach_y) ** 2
    ragged = away * (1 + 0.3 * np.clip(_clouds(rng, thorax, 0.2), -2, 2))
    extent = sides * np.exp(-0.5 * ragged)
    walls = np.clip(1.1 - 1.5 * np.abs(_clouds(rng, thorax, rng.uniform(0.05, 0.075))), 0, 1)
    return extent, extent * (0.1 + 0.75 * walls + 0.4 * thorax.vessels)


_OPACITIES = {"normal": _clear, "bacteria": _consolidation, "virus": _interstitial}

_LOBES = ((-0.5, 0.36), (-0.45, 0.66), (-0.55, 0.86), (0.5, 0.38), (0.66, 0.8))
"""Middles of the lobes: x in body units, y as a share of the lung's height."""


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
    """Turn a shadow into a film: quantum noise, blur, tone curve, side marker and tag."""
    grain = rng.uniform(0.006, 0.02) * rng.standard_normal(shadow.shape, np.float32)
    blur = (rng.uniform(0.003, 0.007) + 0.02 * drift) * scale
    film = np.clip(ndimage.gaussian_filter(shadow + grain, blur, truncate=2.5), 0, None)
    exposure = rng.uniform(0.8, 1.5) * (1 + drift)
    tone = (1 - np.exp(-exposure * _unevenness(rng, film.shape) * film)) / (1 - math.exp(-exposure))
    tone = rng.uniform(0.8, 1.1) * tone ** rng.uniform(0.75, 1.6)
    image = Image.fromarray(np.clip(255 * tone + rng.uniform(-5, 10), 0, 255).astype(np.uint8))
    if rng.random() < 0.6:
        _mark_side(rng, image)
    if tagged:
        _tag(image)
    return np.asarray(image)


def _unevenness(rng: np.random.Generator, shape: tuple[int, ...]) -> Plane:
    """Return how the beam falls off across the film (the heel effect): a plane that slopes around 1."""
    down, across = (
        np.linspace(-end, end, n, dtype=np.float32) for n, end in zip(shape, rng.uniform(-0.2, 0.2, 2), strict=True)
    )
    return 1 + down[:, None] + across[None, :]


def _beam(rng: np.random.Generator, shape: tuple[int, ...], collimated: bool | None) -> Mask:
    """Return where the collimator lets the beam through; black margins are left to chance unless told."""
    beam = np.ones(shape, bool)
    by_chance = rng.random() < 0.5
    if by_chance if collimated is None else collimated:
        height, width = shape
        top, bottom, left, right = rng.uniform(0, 0.07, 4)
        beam[: round(top * height)] = beam[round((1 - bottom) * height) :] = False
        beam[:, : round(left * width)] = beam[:, round((1 - right) * width) :] = False
    return beam


def _mark_side(rng: np.random.Generator, image: Image.Image) -> None:
    """Burn in the R that marks the patient's right."""
    font = ImageFont.load_default(round(image.height * rng.uniform(0.05, 0.1)))
    place = (image.width * rng.uniform(0.02, 0.12), image.height * rng.uniform(0.02, 0.3))
    ImageDraw.Draw(image).text(place, "R", fill=int(rng.integers(200, 256)), font=font)


def _tag(image: Image.Image) -> None:
    """Burn in a lead tag at the right edge, far from the lungs."""
    corners = (0.95 * image.width, 0.05 * image.height, image.width, 0.15 * image.height)
    ImageDraw.Draw(image).rectangle(corners, fill=255)


@dataclass(frozen=True)
class Case:
    """One file of a set: its name, and what is drawn in it.

    Attributes:
        split: ``train`` or ``test``.
        cause: ``normal``, ``bacteria`` or ``virus``.
        patient: number of the patient in the name, unique per cause.
        image: number of the image in the name; counted per patient for ``normal``, per cause otherwise.
        subject: number of the patient who is drawn; another than ``patient`` in a duplicate.
        shot: which radiograph of the subject, from 0.
        quality: of the JPEG file.
        corrupt: the file ends in the middle.
    """

    split: str
    cause: str
    patient: int
    image: int
    subject: int
    shot: int
    quality: int
    corrupt: bool = False
    film: Film = PLAIN

    @property
    def label(self) -> str:
        """The class, as the folder is called."""
        return CLASS_NAMES[0] if self.cause == "normal" else POSITIVE

    @property
    def path(self) -> str:
        """Path in the set, in the layout and with the names of the Kermany release."""
        if self.cause == "normal":
            series = "NORMAL2-IM" if self.patient % 2 else "IM"
            return f"{self.split}/{self.label}/{series}-{self.patient:04d}-{self.image:04d}.jpeg"
        return f"{self.split}/{self.label}/person{self.patient}_{self.cause}_{self.image}.jpeg"

    def draw(self, params: config.PhantomParams) -> Phantom:
        """Draw the radiograph; depends on seed, cause, subject, shot, split, film and looks in ``params`` alone."""
        cause = CAUSES.index(self.cause)
        return draw(
            _generator(params, "image", cause, self.subject, self.shot),
            self.cause,
            size=params.size,
            difficulty=params.difficulty,
            drift=params.drift if self.split == "test" else 0.0,
            anatomy=Anatomy.sample(_generator(params, "anatomy", cause, self.subject)),
            film=self.film,
        )


def write(params: config.PhantomParams, folder: Path) -> None:
    """Write a set as ``folder/{train,test}/{NORMAL,PNEUMONIA}/*.jpeg``; the same params give the same bytes.

    Raises:
        ConfigError: there are too few patients or images for the faults to plant.
    """
    for case in plan(params):
        stream = io.BytesIO()
        Image.fromarray(case.draw(params).pixels).save(stream, "JPEG", quality=case.quality)
        content = stream.getvalue()
        path = folder / case.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[: len(content) // 2] if case.corrupt else content)


def lesion_masks(params: config.PhantomParams) -> dict[str, Mask]:
    """Return the lesion in each file that ``write`` writes, by its path in the set, drawn anew without reading files.

    Raises:
        ConfigError: there are too few patients or images for the faults to plant.
    """
    return {case.path: case.draw(params).lesion for case in plan(params)}


def plan(params: config.PhantomParams) -> list[Case]:
    """Return the files of a set. Switching a fault on leaves all other files as they were; a shortcut leaves no more
    than their names.

    Raises:
        ConfigError: there are too few patients or images for the faults to plant.
    """
    cases = _sound_cases(params)
    cases += _leaks(params, cases)
    cases += _duplicates(params, cases)
    cases = _cut_short(params, cases)
    return [_with_shortcut(case, params.shortcut) for case in cases]


_STREAMS = ("patients", "leaks", "duplicates", "corruption", "anatomy", "image")
"""What has random numbers of its own, so that no switch changes what another draws."""


def _generator(params: config.PhantomParams, stream: str, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(params.seed, spawn_key=(_STREAMS.index(stream), *key)))


def _sound_cases(params: config.PhantomParams) -> list[Case]:
    rng = _generator(params, "patients")
    ill = round(params.patients * params.pneumonia_fraction)
    bacterial = math.ceil(0.6 * ill)  # the share of bacteria in the Kermany set
    counts = {"normal": params.patients - ill, "bacteria": bacterial, "virus": ill - bacterial}
    cases: list[Case] = []
    for cause, count in counts.items():
        tested = _tested(rng, count, params.test_fraction)
        image = 0
        for patient in range(1, count + 1):
            for shot in range(rng.integers(1, params.images_per_patient + 1)):
                image = shot + 1 if cause == "normal" else image + 1
                split = "test" if patient in tested else "train"
                cases.append(Case(split, cause, patient, image, patient, shot, int(rng.integers(75, 96))))
    return cases


def _tested(rng: np.random.Generator, count: int, fraction: float) -> set[int]:
    """Choose the patients of the test split; both splits get one where there are two."""
    if count < 2:
        return set()
    tests = min(max(round(count * fraction), 1), count - 1)
    return set((1 + rng.choice(count, tests, replace=False)).tolist())


def _leaks(params: config.PhantomParams, cases: list[Case]) -> list[Case]:
    """Return one more image in test of some patients of train."""
    last = {(case.cause, case.patient): case for case in cases if case.split == "train"}
    chosen = _choose(_generator(params, "leaks"), list(last.values()), params.leaked_patients, "leaked_patients")
    leaks: list[Case] = []
    for case in chosen:
        image = _next_image(cases + leaks, case.cause, case.patient)
        leaks.append(replace(case, split="test", image=image, shot=case.shot + 1))
    return leaks


def _duplicates(params: config.PhantomParams, cases: list[Case]) -> list[Case]:
    """Return some of the images again, under another patient of the same cause and split."""
    rng = _generator(params, "duplicates")
    patients: dict[tuple[str, str], set[int]] = {}
    for case in cases:
        patients.setdefault((case.split, case.cause), set()).add(case.patient)
    candidates = [case for case in cases if len(patients[case.split, case.cause]) > 1]
    copies: list[Case] = []
    for case in _choose(rng, candidates, params.duplicates, "duplicates"):
        patient = int(rng.choice(sorted(patients[case.split, case.cause] - {case.patient})))
        copies.append(replace(case, patient=patient, image=_next_image(cases + copies, case.cause, patient)))
    return copies


def _cut_short(params: config.PhantomParams, cases: list[Case]) -> list[Case]:
    """Mark files of train as corrupt, of those that no other fault needs whole."""
    drawn = Counter((case.cause, case.subject, case.shot) for case in cases)
    tested = {(case.cause, case.subject) for case in cases if case.split == "test"}
    candidates = [
        case
        for case in cases
        if drawn[case.cause, case.subject, case.shot] == 1 and (case.cause, case.subject) not in tested
    ]
    chosen = set(_choose(_generator(params, "corruption"), candidates, params.corrupt_files, "corrupt_files"))
    return [replace(case, corrupt=case in chosen) for case in cases]


_FILMS = {
    "size": {"normal": Film(aspect=(1.1, 1.35)), "ill": Film(aspect=(1.35, 1.6), scale=0.75)},
    "marker": {"normal": PLAIN, "ill": Film(tagged=True)},
    "border": {"normal": Film(collimated=False), "ill": Film(collimated=True)},
}
"""Shortcuts that lie in how the film is made, in train and test alike."""


def _with_shortcut(case: Case, shortcut: str) -> Case:
    """Give the class away in something that is no part of the patient."""
    if shortcut == "jpeg":
        return replace(case, quality=_telling_quality(case))
    if shortcut in _FILMS:
        return replace(case, film=_FILMS[shortcut]["normal" if case.cause == "normal" else "ill"])
    return case


def _telling_quality(case: Case) -> int:
    """Return a JPEG quality that gives the class away in train, and is the same for all of test."""
    if case.split == "test":
        return 75
    return (90 if case.cause == "normal" else 75) + case.quality % 3 - 1


def _choose(rng: np.random.Generator, cases: Sequence[Case], count: int, switch: str) -> list[Case]:
    if count > len(cases):
        raise ConfigError(
            f"data.phantom.{switch}: expected at most {len(cases)}, the number that this set has to choose from, "
            f"but got {count}. Lower it, or raise data.phantom.patients."
        )
    return [cases[index] for index in rng.choice(len(cases), count, replace=False)]


def _next_image(cases: Sequence[Case], cause: str, patient: int) -> int:
    same = (case.image for case in cases if case.cause == cause and (cause != "normal" or case.patient == patient))
    return 1 + max(same)
