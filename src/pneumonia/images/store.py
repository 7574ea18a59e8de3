"""Decoded images on disk: one memory-mapped uint8 array and the table that says what its rows are.

Writing keeps only a few images in memory whatever the size of the set; reading maps the file.
"""

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.errors import DataError, ImageError
from pneumonia.images.decode import decode

IMAGES_FILE = "images.npy"
INDEX_FILE = "index.parquet"
ABOUT_FILE = "store.json"


@dataclass(frozen=True)
class ImageStore:
    """Decoded images with their index.

    Attributes:
        images: (N, size, size) uint8, memory-mapped, read-only.
        index: N rows of splits.parquet (path, sha256, label, cause, patient, group, fold, subset).
        source: where the images come from (kermany, phantom or a path).
        release: which release of it.
        data_hash: hash of the contents, labels and subsets of all images.
    """

    images: NDArray[np.uint8]
    index: pd.DataFrame
    source: str
    release: str
    data_hash: str

    def rows(self, subset: str) -> NDArray[np.intp]:
        """Positions of the images of a subset (train, validation or test)."""
        return np.flatnonzero((self.index["subset"] == subset).to_numpy())

    def counts(self) -> dict[str, dict[str, int]]:
        """Images per subset and label."""
        counts = self.index.groupby(["subset", "label"]).size()
        return {
            str(subset): {str(k): int(v) for k, v in part.droplevel(0).items()}
            for subset, part in counts.groupby(level=0)
        }


def data_hash(splits: pd.DataFrame) -> str:
    """Return a hash of what is learnt from: the sorted (sha256, label, subset) of all images."""
    lines = sorted(" ".join(row) for row in splits[["sha256", "label", "subset"]].itertuples(index=False, name=None))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write(
    splits: pd.DataFrame, raw: Path, folder: Path, *, size: int, source: str, release: str, workers: int
) -> None:
    """Decode the images of ``splits`` from ``raw`` into a new store in ``folder``.

    The description is written last and under its final name only when complete, so that a killed run leaves nothing
    that can be opened.

    Raises:
        ImageError: an image cannot be decoded, with its name.
        DataError: an image is missing, with its name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = folder / ABOUT_FILE
    about.unlink(missing_ok=True)
    index = splits.sort_values("path").reset_index(drop=True)
    with (folder / IMAGES_FILE).open("wb") as file:  # not through a memory map: there a full disk is a crash
        shape = (len(index), size, size)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for pixels in _decoded(raw, list(index["path"]), size, workers):
            file.write(pixels.tobytes())
    index.to_parquet(folder / INDEX_FILE, index=False)
    facts = {"source": source, "release": release, "size": size, "data_hash": data_hash(index)}
    partial = about.with_suffix(".partial")
    partial.write_text(json.dumps(facts, indent=2) + "\n")
    partial.replace(about)


def read(folder: Path) -> ImageStore:
    """Open a store.

    Raises:
        DataError: the folder holds no complete store.
    """
    try:
        facts = json.loads((folder / ABOUT_FILE).read_text())
        images = np.load(folder / IMAGES_FILE, mmap_mode="r")
        index = pd.read_parquet(folder / INDEX_FILE)
    except FileNotFoundError:
        raise DataError(f"{folder} holds no complete image store. Run `dvc repro prepare`.") from None
    return ImageStore(images, index, facts["source"], facts["release"], facts["data_hash"])


def _decoded(raw: Path, paths: list[str], size: int, workers: int) -> Iterator[NDArray[np.uint8]]:
    """Decode in order with some threads, holding no more than a few images per thread."""
    waiting: deque[tuple[str, Future[NDArray[np.uint8]]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for path in paths:
            waiting.append((path, pool.submit(_decode_file, raw / path, size)))
            if len(waiting) > 4 * workers:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())


def _decode_file(path: Path, size: int) -> NDArray[np.uint8]:
    return decode(path.read_bytes(), size)


def _result(path: str, future: "Future[NDArray[np.uint8]]") -> NDArray[np.uint8]:
    try:
        return future.result()
    except FileNotFoundError:
        raise DataError(f"{path} has gone since the split. Run `dvc repro prepare`.") from None
    except ImageError as error:
        raise ImageError(
            f"{path}: {error} Validation accepted this file, so run `dvc repro validate` again."
        ) from error
