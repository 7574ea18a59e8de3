"""Image store: decoded images as one memory-mapped uint8 array, and the table of its rows.

Writing keeps only a few images in memory, whatever the size of the dataset; reading maps the file.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.core.errors import DataError, ImageError
from pneumonia.core.labels import CLASS_NAMES

IMAGES_FILE = "images.npy"
INDEX_FILE = "index.parquet"
DESCRIPTION_FILE = "store.json"

Decoder = Callable[[bytes, int], NDArray[np.uint8]]
"""Decodes the content of a file to (size, size) uint8, as `images.decode.decode` does."""


@dataclass(frozen=True)
class ImageStore:
    """Decoded images and their table.

    Attributes:
        images: (N, size, size) uint8, memory-mapped, read-only.
        index: N rows of splits.parquet (path, sha256, label, cause, patient, group, fold, subset).
        source: source of the images: kermany, phantom, folder or zip.
        release: release of the source; empty where it has none.
        data_hash: see `data_hash`.
    """

    images: NDArray[np.uint8]
    index: pd.DataFrame
    source: str
    release: str
    data_hash: str

    def rows(self, subset: str) -> NDArray[np.intp]:
        """Return the positions of the images of a subset (train, validation or test)."""
        return np.flatnonzero((self.index["subset"] == subset).to_numpy())

    def targets(self, subset: str) -> NDArray[np.intp]:
        """Return the class (0 NORMAL, 1 PNEUMONIA) of each image of a subset, shape (N,)."""
        return self.index["label"].iloc[self.rows(subset)].map(CLASS_NAMES.index).to_numpy(np.intp)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of images per subset and label."""
        counts = self.index.groupby(["subset", "label"]).size()
        return {
            str(subset): {str(k): int(v) for k, v in part.droplevel(0).items()}
            for subset, part in counts.groupby(level=0)
        }


def data_hash(splits: pd.DataFrame) -> str:
    """Return a hash of the training data: SHA-256 of the sorted (sha256, label, subset) of all images.

    Examples:
        >>> rows = pd.DataFrame({"sha256": ["0a", "1b"], "label": "NORMAL", "subset": "train", "path": ["a", "b"]})
        >>> data_hash(rows) == data_hash(rows[::-1].assign(path="other"))
        True
    """
    lines = sorted(" ".join(row) for row in splits[["sha256", "label", "subset"]].itertuples(index=False, name=None))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write(
    splits: pd.DataFrame,
    raw: Path,
    folder: Path,
    *,
    decode: Decoder,
    size: int,
    source: str,
    release: str,
    workers: int,
) -> None:
    """Decode the images of ``splits`` from ``raw`` into a new store in ``folder``.

    The description is written last and atomically, so that an interrupted write leaves no store that can be opened.

    Args:
        splits: one row per image, as `data.split.split` returns it.
        raw: dataset folder; ``path`` of ``splits`` is relative to it.
        folder: folder of the store; created where it is missing.
        decode: decoder of the images.
        size: side of the decoded images in pixels.
        source: stored as `ImageStore.source`.
        release: stored as `ImageStore.release`.
        workers: threads that decode.

    Raises:
        ImageError: an image cannot be decoded; the message names it.
        DataError: an image is missing; the message names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    description = folder / DESCRIPTION_FILE
    description.unlink(missing_ok=True)
    index = splits.sort_values("path").reset_index(drop=True)
    with (folder / IMAGES_FILE).open("wb") as file:  # not a memory map: with one, a full disk ends the process
        shape = (len(index), size, size)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for pixels in _decode_in_order(raw, list(index["path"]), lambda content: decode(content, size), workers):
            file.write(pixels.tobytes())
    index.to_parquet(folder / INDEX_FILE, index=False)
    content = {"source": source, "release": release, "size": size, "data_hash": data_hash(index)}
    partial = description.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(description)


def read(folder: Path) -> ImageStore:
    """Open a store.

    Raises:
        DataError: the folder holds no complete store.
    """
    try:
        description = json.loads((folder / DESCRIPTION_FILE).read_text())
        images = np.load(folder / IMAGES_FILE, mmap_mode="r")
        index = pd.read_parquet(folder / INDEX_FILE)
    except FileNotFoundError:
        raise DataError(f"{folder} holds no complete image store. Run `dvc repro prepare`.") from None
    return ImageStore(images, index, description["source"], description["release"], description["data_hash"])


def _decode_in_order(
    raw: Path, paths: list[str], decode: Callable[[bytes], NDArray[np.uint8]], workers: int
) -> Iterator[NDArray[np.uint8]]:
    """Decode with several threads, holding no more than a few images per thread."""
    pending: deque[tuple[str, Future[NDArray[np.uint8]]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for path in paths:
            pending.append((path, pool.submit(lambda file: decode(file.read_bytes()), raw / path)))
            if len(pending) > 4 * workers:
                yield _result(*pending.popleft())
        while pending:
            yield _result(*pending.popleft())


def _result(path: str, future: "Future[NDArray[np.uint8]]") -> NDArray[np.uint8]:
    try:
        return future.result()
    except FileNotFoundError:
        raise DataError(f"{path} is missing: it was removed after the split. Run `dvc repro prepare`.") from None
    except ImageError as error:
        raise ImageError(
            f"{path}: {error} Validation accepted this file, so run `dvc repro validate` again."
        ) from error
