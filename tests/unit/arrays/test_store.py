import hashlib
import io
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from pneumonia.arrays import store
from pneumonia.core.errors import DataError, ImageError
from pneumonia.images.decode import decode

OPTIONS: dict[str, Any] = {"decode": decode, "size": 32, "source": "phantom", "release": "7", "workers": 2}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Twelve pictures of noise."""
    folder = tmp_path / "raw"
    rng = np.random.default_rng(0)
    for number in range(12):
        path = folder / f"train/NORMAL/{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (40, 50), dtype=np.uint8)).save(file, format="PNG")
        path.write_bytes(file.getvalue())
    return folder


@pytest.fixture
def splits(raw: Path) -> pd.DataFrame:
    """The table of the pictures, in random order."""
    rows = [
        {
            "path": str(path.relative_to(raw)),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "label": ("NORMAL", "PNEUMONIA")[number % 2],
            "subset": ("train", "validation", "test")[number % 3],
        }
        for number, path in enumerate(sorted(raw.rglob("*.png")))
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_images_are_stored_in_the_order_of_their_paths(raw: Path, splits: pd.DataFrame, tmp_path: Path) -> None:
    store.write(splits, raw, tmp_path / "store", **OPTIONS)

    read = store.read(tmp_path / "store")

    assert list(read.index["path"]) == sorted(splits["path"])
    assert read.images.shape == (12, 32, 32)
    assert read.images.dtype == np.uint8
    for row, path in enumerate(read.index["path"]):
        np.testing.assert_array_equal(read.images[row], decode((raw / path).read_bytes(), 32))
    assert (read.source, read.release, read.data_hash) == ("phantom", "7", store.data_hash(splits))
    pd.testing.assert_frame_equal(
        read.index, splits.sort_values("path").reset_index(drop=True), check_dtype=False, check_column_type=False
    )


def test_subsets_and_counts(raw: Path, splits: pd.DataFrame, tmp_path: Path) -> None:
    store.write(splits, raw, tmp_path / "store", **OPTIONS)

    read = store.read(tmp_path / "store")

    assert list(read.rows("test")) == [2, 5, 8, 11]
    assert list(read.rows("nowhere")) == []
    half = {"NORMAL": 2, "PNEUMONIA": 2}
    assert read.counts() == {"train": half, "validation": half, "test": half}


def test_stored_images_are_read_only(raw: Path, splits: pd.DataFrame, tmp_path: Path) -> None:
    store.write(splits, raw, tmp_path / "store", **OPTIONS)

    with pytest.raises(ValueError, match="read-only"):
        store.read(tmp_path / "store").images[0] = 0


@pytest.mark.parametrize(("column", "value"), [("sha256", "0" * 64), ("label", "PNEUMONIA"), ("subset", "validation")])
def test_the_hash_changes_with_content_label_and_subset(splits: pd.DataFrame, column: str, value: str) -> None:
    changed = splits.sort_values("path").reset_index(drop=True)
    before = store.data_hash(changed)
    changed.loc[0, column] = value

    assert store.data_hash(changed) != before


def test_the_hash_changes_with_a_missing_image(splits: pd.DataFrame) -> None:
    assert store.data_hash(splits.iloc[1:]) != store.data_hash(splits)


def test_the_hash_does_not_depend_on_row_order_and_file_names(splits: pd.DataFrame) -> None:
    renamed = splits[::-1].assign(path=[f"{number}.png" for number in range(len(splits))])

    assert store.data_hash(renamed) == store.data_hash(splits)


@pytest.mark.parametrize("rewritten", [False, True], ids=["new store", "over a complete store"])
def test_a_corrupt_image_is_named_and_leaves_nothing_to_open(
    raw: Path, splits: pd.DataFrame, tmp_path: Path, rewritten: bool
) -> None:
    folder = tmp_path / "store"
    if rewritten:
        store.write(splits, raw, folder, **OPTIONS)
    corrupt = raw / "train/NORMAL/06.png"
    corrupt.write_bytes(corrupt.read_bytes()[:200])

    with pytest.raises(ImageError, match=r"train/NORMAL/06\.png: .*dvc repro validate"):
        store.write(splits, raw, folder, **OPTIONS)
    with pytest.raises(DataError, match="no complete image store"):
        store.read(folder)


def interrupted(content: bytes, size: int) -> NDArray[np.uint8]:
    raise KeyboardInterrupt


def test_an_interrupted_write_leaves_nothing_to_open_and_can_be_repeated(
    raw: Path, splits: pd.DataFrame, tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        store.write(splits, raw, folder, **OPTIONS | {"decode": interrupted})
    with pytest.raises(DataError):
        store.read(folder)

    store.write(splits, raw, folder, **OPTIONS)

    assert len(store.read(folder).images) == 12


def test_a_missing_image_is_named(raw: Path, splits: pd.DataFrame, tmp_path: Path) -> None:
    (raw / "train/NORMAL/03.png").unlink()

    with pytest.raises(DataError, match=r"train/NORMAL/03\.png"):
        store.write(splits, raw, tmp_path / "store", **OPTIONS)


def test_a_folder_that_does_not_exist_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere holds no complete image store"):
        store.read(tmp_path / "nowhere")


@pytest.mark.parametrize("missing", [store.IMAGES_FILE, store.INDEX_FILE])
def test_a_store_without_one_of_its_files_is_not_complete(
    raw: Path, splits: pd.DataFrame, tmp_path: Path, missing: str
) -> None:
    store.write(splits, raw, tmp_path / "store", **OPTIONS)
    (tmp_path / "store" / missing).unlink()

    with pytest.raises(DataError, match="no complete image store"):
        store.read(tmp_path / "store")


def test_no_more_than_a_few_images_are_in_memory(tmp_path: Path) -> None:
    count, workers = 400, 2
    (tmp_path / "raw").mkdir()
    for number in range(count):
        (tmp_path / f"raw/{number:03}").touch()
    lock, alive, most = threading.RLock(), 0, 0

    def born() -> None:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)

    def gone() -> None:
        nonlocal alive
        with lock:
            alive -= 1

    def counted(content: bytes, size: int) -> NDArray[np.uint8]:
        pixels = np.zeros((size, size), np.uint8)
        born()
        weakref.finalize(pixels, gone)
        return pixels

    table = pd.DataFrame({"path": sorted(path.name for path in (tmp_path / "raw").iterdir())})
    table = table.assign(sha256=table["path"], label="NORMAL", subset="train")

    store.write(
        table, tmp_path / "raw", tmp_path / "store", decode=counted, size=8, source="", release="", workers=workers
    )

    assert 0 < most <= 6 * workers
