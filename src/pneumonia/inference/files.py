"""Answers for many image files, a batch at a time, so that folders of any size fit into memory."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from pneumonia.data import manifest
from pneumonia.errors import ImageError
from pneumonia.inference import intake as intakes
from pneumonia.inference.intake import Intake, Limits, Refusal
from pneumonia.inference.runtime import AT_ONCE, Reading, Runtime

SUFFIXES = tuple(manifest.SUFFIXES)
"""Names of files in a folder that are taken for images, in any case of letters."""

LIMITS = Limits(bytes=256 * 2**20, pixels=100_000_000)
"""Of one's own files; wider than those of the service, which takes files from strangers."""

INDETERMINATE, REFUSED, UNREADABLE = "INDETERMINATE", "REFUSED", "UNREADABLE"


@dataclass(frozen=True, eq=False)
class Examined:
    """What came of one file.

    Attributes:
        name: of the file.
        intake: the decoded image; None where it is unreadable.
        reading: what the network said; None where it was not asked.
        refusal: why there is no answer, if there is none.
        seconds: from the bytes to the answer; its share of what the network took for a batch.
    """

    name: str
    intake: Intake | None
    reading: Reading | None
    refusal: Refusal | None
    seconds: float

    @property
    def answer(self) -> Reading | None:
        """What may be shown as an answer."""
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
    """Return the images of files and folders, each once and in order, and the files in folders that are skipped.

    A file that is named itself always counts as an image. Folders are searched to any depth, by `SUFFIXES`.
    """
    images: dict[Path, None] = {}
    skipped: list[Path] = []
    for path in paths:
        for file in _files(path) if path.is_dir() else [path]:
            if file == path or file.suffix.lower() in SUFFIXES:
                images[file] = None
            else:
                skipped.append(file)
    return list(images), skipped


def examine(runtime: Runtime, names: Iterable[str], read: Callable[[str], bytes]) -> Iterator[list[Examined]]:
    """Answer for files in order, a batch at a time.

    Args:
        runtime: answers.
        names: of the files.
        read: gives the bytes of a file by its name; an OSError counts against this file alone.
    """
    remaining = iter(names)
    while batch := list(islice(remaining, AT_ONCE)):
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
