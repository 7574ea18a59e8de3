"""Predictions for many image files, a batch at a time, so that folders of any size fit into memory."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from pneumonia.core.errors import ImageError
from pneumonia.images.formats import is_image_file
from pneumonia.inference import intake as intakes
from pneumonia.inference.intake import Intake, Limits, Refusal
from pneumonia.inference.network import BATCH_SIZE
from pneumonia.inference.runtime import Reading, Runtime

LIMITS = Limits(bytes=256 * 2**20, pixels=100_000_000)
"""Limits for local files, wider than those for untrusted uploads."""

INDETERMINATE, REFUSED, UNREADABLE = "INDETERMINATE", "REFUSED", "UNREADABLE"


@dataclass(frozen=True, eq=False)
class Examined:
    """Result for one file.

    Attributes:
        name: file name.
        intake: the decoded image; None where it is unreadable.
        reading: output of the network; None where it was not run.
        refusal: why there is no prediction; None if there is one.
        seconds: processing time, with an equal share of the network's time for the batch.
    """

    name: str
    intake: Intake | None
    reading: Reading | None
    refusal: Refusal | None
    seconds: float

    @property
    def answer(self) -> Reading | None:
        """The prediction to show; None if the image was refused."""
        return None if self.refusal else self.reading

    @property
    def decision(self) -> str:
        """NORMAL, PNEUMONIA, `INDETERMINATE`, `REFUSED` or `UNREADABLE`."""
        if self.intake is None:
            return UNREADABLE
        if self.answer is None:
            return REFUSED
        return INDETERMINATE if self.answer.indeterminate else self.answer.label


def find(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return the images among files and folders, each once and in order, and the files in folders that are skipped.

    Args:
        paths: files, which always count as images, and folders, which are searched to any depth for the files that
            `images.formats.is_image` accepts.
    """
    images: dict[Path, None] = {}
    skipped: list[Path] = []
    for path in paths:
        for file in _files(path) if path.is_dir() else [path]:
            if file == path or is_image_file(file, path):
                images[file] = None
            else:
                skipped.append(file)
    return list(images), skipped


def examine(runtime: Runtime, names: Iterable[str], read: Callable[[str], bytes]) -> Iterator[list[Examined]]:
    """Predict for files in order, a batch at a time.

    Args:
        runtime: the bundle to predict with.
        names: file names.
        read: returns the bytes of a file by its name; an OSError makes only this file unreadable.
    """
    remaining = iter(names)
    while batch := list(islice(remaining, BATCH_SIZE)):
        yield _examine(runtime, [_take_in(runtime, name, read) for name in batch])


def _take_in(runtime: Runtime, name: str, read: Callable[[str], bytes]) -> Examined:
    started = time.perf_counter()
    intake = None
    try:
        intake = intakes.take_in(read(name), runtime.bundle.card.image_size, LIMITS)
        refusal = intakes.refuse(intake)
    except (ImageError, OSError) as error:
        refusal = Refusal(intakes.UNREADABLE, str(error))
    return Examined(name, intake, None, refusal, time.perf_counter() - started)


def _examine(runtime: Runtime, taken: Sequence[Examined]) -> list[Examined]:
    asked = [each.intake.square for each in taken if each.intake and not each.refusal]
    started = time.perf_counter()
    readings = iter(runtime.run(np.stack(asked)) if asked else [])
    share = (time.perf_counter() - started) / len(asked) if asked else 0.0
    return [each if each.refusal else _with(each, next(readings), share) for each in taken]


def _with(taken: Examined, reading: Reading, seconds: float) -> Examined:
    return Examined(taken.name, taken.intake, reading, reading.refusal, taken.seconds + seconds)


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names))
