"""Plan and write a dataset of phantoms with planted faults: duplicates, leaks, truncated files, shortcuts."""

import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from pneumonia.core.errors import ConfigError
from pneumonia.core.labels import CAUSES, CLASS_NAMES, POSITIVE
from pneumonia.data.phantom.anatomy import Anatomy
from pneumonia.data.phantom.radiograph import PLAIN, Film, Phantom, draw
from pneumonia.data.settings import PhantomParams


@dataclass(frozen=True)
class Case:
    """One file of a phantom dataset: its name and its content.

    Attributes:
        split: ``train`` or ``test``.
        cause: ``normal``, ``bacteria`` or ``virus``.
        patient: number of the patient in the file name, unique per cause.
        image: number of the image in the file name; counted per patient for ``normal``, per cause otherwise.
        subject: number of the patient who is drawn; differs from ``patient`` in a duplicate.
        shot: number of the radiograph of the subject, from 0.
        quality: JPEG quality.
        corrupt: whether the file is truncated.
        film: acquisition settings.
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
        """Class name, which is also the folder."""
        return CLASS_NAMES[0] if self.cause == "normal" else POSITIVE

    @property
    def path(self) -> str:
        """Path in the dataset, with the layout and file names of the Kermany release."""
        if self.cause == "normal":
            series = "NORMAL2-IM" if self.patient % 2 else "IM"
            return f"{self.split}/{self.label}/{series}-{self.patient:04d}-{self.image:04d}.jpeg"
        return f"{self.split}/{self.label}/person{self.patient}_{self.cause}_{self.image}.jpeg"

    def draw(self, params: PhantomParams) -> Phantom:
        """Draw the radiograph; it depends on ``params`` and on cause, subject, shot, split and film."""
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


def write(params: PhantomParams, folder: Path) -> None:
    """Write a dataset as ``folder/{train,test}/{NORMAL,PNEUMONIA}/*.jpeg``; the same params give the same bytes.

    Raises:
        ConfigError: there are too few patients or images for the planted faults.
    """
    for case in plan(params):
        stream = io.BytesIO()
        Image.fromarray(case.draw(params).pixels).save(stream, "JPEG", quality=case.quality)
        content = stream.getvalue()
        path = folder / case.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[: len(content) // 2] if case.corrupt else content)


def plan(params: PhantomParams) -> list[Case]:
    """Return the files of a dataset.

    A planted fault does not change any other file; a shortcut keeps only the file names.

    Raises:
        ConfigError: there are too few patients or images for the planted faults.
    """
    cases = _base_cases(params)
    cases += _leaks(params, cases)
    cases += _duplicates(params, cases)
    cases = _truncate(params, cases)
    return [_with_shortcut(case, params.shortcut) for case in cases]


_STREAMS = ("patients", "leaks", "duplicates", "corruption", "anatomy", "image")
"""Independent random streams, so that no setting changes the random numbers of another."""


def _generator(params: PhantomParams, stream: str, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(params.seed, spawn_key=(_STREAMS.index(stream), *key)))


def _base_cases(params: PhantomParams) -> list[Case]:
    rng = _generator(params, "patients")
    ill = round(params.patients * params.pneumonia_fraction)
    bacterial = math.ceil(0.6 * ill)  # the share of bacteria in the Kermany set
    counts = {"normal": params.patients - ill, "bacteria": bacterial, "virus": ill - bacterial}
    cases: list[Case] = []
    for cause, count in counts.items():
        tested = _choose_test_patients(rng, count, params.test_fraction)
        image = 0
        for patient in range(1, count + 1):
            for shot in range(rng.integers(1, params.images_per_patient + 1)):
                image = shot + 1 if cause == "normal" else image + 1
                split = "test" if patient in tested else "train"
                cases.append(Case(split, cause, patient, image, patient, shot, int(rng.integers(75, 96))))
    return cases


def _choose_test_patients(rng: np.random.Generator, count: int, fraction: float) -> set[int]:
    """Choose the patients of the test split; with two patients or more, both splits get at least one."""
    if count < 2:
        return set()
    tests = min(max(round(count * fraction), 1), count - 1)
    return set((1 + rng.choice(count, tests, replace=False)).tolist())


def _leaks(params: PhantomParams, cases: list[Case]) -> list[Case]:
    """Return one more image, in test, of some patients of train."""
    last = {(case.cause, case.patient): case for case in cases if case.split == "train"}
    chosen = _choose(_generator(params, "leaks"), list(last.values()), params.leaked_patients, "leaked_patients")
    leaks: list[Case] = []
    for case in chosen:
        image = _next_image(cases + leaks, case.cause, case.patient)
        leaks.append(replace(case, split="test", image=image, shot=case.shot + 1))
    return leaks


def _duplicates(params: PhantomParams, cases: list[Case]) -> list[Case]:
    """Return copies of some images under another patient of the same cause and split."""
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


def _truncate(params: PhantomParams, cases: list[Case]) -> list[Case]:
    """Mark files of train as corrupt, except those that another fault needs intact."""
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
"""Shortcuts in the acquisition settings, in train and test alike."""


def _with_shortcut(case: Case, shortcut: str) -> Case:
    """Make the class predictable from something other than the patient."""
    if shortcut == "jpeg":
        return replace(case, quality=_quality_by_class(case))
    if shortcut in _FILMS:
        return replace(case, film=_FILMS[shortcut]["normal" if case.cause == "normal" else "ill"])
    return case


def _quality_by_class(case: Case) -> int:
    """Return a JPEG quality that depends on the class in train, and is constant in test."""
    if case.split == "test":
        return 75
    return (90 if case.cause == "normal" else 75) + case.quality % 3 - 1


def _choose(rng: np.random.Generator, cases: Sequence[Case], count: int, switch: str) -> list[Case]:
    if count > len(cases):
        raise ConfigError(
            f"data.phantom.{switch}: expected at most {len(cases)}, the number of candidates in this dataset, "
            f"but got {count}. Lower it, or raise data.phantom.patients."
        )
    return [cases[index] for index in rng.choice(len(cases), count, replace=False)]


def _next_image(cases: Sequence[Case], cause: str, patient: int) -> int:
    same = (case.image for case in cases if case.cause == cause and (cause != "normal" or case.patient == patient))
    return 1 + max(same)
