"""Answers for many image files, a batch at a time, so that folders of any size fit into memory."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumonia.data import manifest
from pneumonia.errors import ImageError
from pneumonia.images.decode import decode
from pneumonia.inference.predictor import Answer, Predictor

SUFFIXES = tuple(manifest.SUFFIXES)
"""Names of files in a folder that are taken for images, in any case of letters."""

BATCH_SIZE = 32


@dataclass(frozen=True)
class FileAnswer:
    """What a model says of one file, or, where it cannot be read, ``answer`` None and the reason in ``error``."""

    file: Path
    answer: Answer | None
    error: str = ""


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


def answer(predictor: Predictor, files: Sequence[Path], batch_size: int = BATCH_SIZE) -> Iterator[FileAnswer]:
    """Answer for files in order; no more than ``batch_size`` decoded images are held at once."""
    for start in range(0, len(files), batch_size):
        yield from _answer_batch(predictor, files[start : start + batch_size])


def _answer_batch(predictor: Predictor, files: Sequence[Path]) -> list[FileAnswer]:
    pixels: dict[Path, NDArray[np.uint8]] = {}
    errors: dict[Path, str] = {}
    for file in files:
        try:
            pixels[file] = decode(file.read_bytes(), predictor.bundle.card.image_size)
        except (ImageError, OSError) as error:
            errors[file] = str(error)
    if pixels:
        probabilities = predictor.probabilities(np.stack(list(pixels.values())))
        answers = dict(zip(pixels, map(predictor.answer, probabilities), strict=True))
    else:
        answers = {}
    return [FileAnswer(file, answers.get(file), errors.get(file, "")) for file in files]


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names))
