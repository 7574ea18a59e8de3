from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumonia.bundle.bundle import DataLineage
from pneumonia.inference import image_files
from pneumonia.inference.network import BATCH_SIZE
from pneumonia.inference.runtime import Runtime
from tests.support import bright


def picture(path: Path, grey: int) -> Path:
    """Stripes whose mean is ``grey``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.tile(np.repeat(np.array([grey - 10, grey + 10], np.uint8), 64), (128, 1))
    Image.fromarray(stripes).save(path)
    return path


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A model whose probability rises with brightness; every image is familiar to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("models") / "bright"
        data = DataLineage("phantom", "drawn", "5e" * 32, {})
        yield Runtime.load(bright.write_bundle(folder, slope=0.02, data=data).folder, threads=1)


def test_folders_are_searched_to_any_depth_and_other_files_are_listed_as_skipped(tmp_path: Path) -> None:
    wanted = [tmp_path / name for name in ("a.JPG", "b.png", "deep/er/c.dcm", "deep/d.jpeg")]
    by_content = [tmp_path / name for name in ("IM000001", "deep/1.2.840.113619", "e.dicom")]
    others = [
        tmp_path / name for name in ("notes.txt", "deep/table.csv", "noname", "DICOMDIR", ".DS_Store", "._a.JPG")
    ]
    for file in wanted + by_content + others:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for file in [*by_content, tmp_path / "DICOMDIR"]:
        file.write_bytes(bytes(128) + b"DICM")
    wanted += by_content
    images, skipped = image_files.find([tmp_path])
    assert set(images) == set(wanted)
    assert set(skipped) == set(others)
    assert image_files.find([tmp_path]) == (images, skipped), "the order is always the same"


def test_named_file_counts_as_an_image_with_any_suffix_and_is_listed_once(tmp_path: Path) -> None:
    picture(tmp_path / "x.png", 90)
    named = tmp_path / "IM000001"
    named.touch()
    images, skipped = image_files.find([named, tmp_path / "x.png", tmp_path])
    assert images == [named, tmp_path / "x.png"]
    assert skipped == [named]  # found in the folder, its content is not DICOM


def test_results_are_in_order_with_unreadable_and_refused_files(runtime: Runtime, tmp_path: Path) -> None:
    greys = [10, 200, 30, 240, 90, 140, 60]
    images = [picture(tmp_path / f"{i}.png", grey) for i, grey in enumerate(greys)]
    broken, blank, gone = (tmp_path / f"{name}.png" for name in ("broken", "blank", "gone"))
    broken.write_bytes(images[0].read_bytes()[:40])
    Image.new("L", (128, 128), 7).save(blank)
    names = [str(file) for file in (*images[:2], broken, *images[2:5], gone, blank, *images[5:])]

    results = [each for batch in image_files.examine(runtime, names, read) for each in batch]

    assert [one.name for one in results] == names
    answered = [one.answer.probability for one in results if one.answer]
    assert np.argsort(answered).tolist() == np.argsort(greys).tolist()
    refused = {one.name: (one.decision, one.refusal.code) for one in results if one.refusal}
    assert refused == {
        str(broken): ("UNREADABLE", "unreadable"),
        str(gone): ("UNREADABLE", "unreadable"),
        str(blank): ("REFUSED", "blank"),
    }


def test_files_are_read_batch_by_batch(runtime: Runtime, tmp_path: Path) -> None:
    """When a batch is complete, no file of the next has been read."""
    names = [str(picture(tmp_path / f"{i}.png", 50 + i)) for i in range(BATCH_SIZE + 1)]
    opened: list[str] = []

    def read_and_record(name: str) -> bytes:
        opened.append(name)
        return read(name)

    batches = image_files.examine(runtime, names, read_and_record)
    assert len(next(batches)) == BATCH_SIZE
    assert opened == names[:BATCH_SIZE]
    assert [one.name for one in next(batches)] == names[BATCH_SIZE:]


def test_batch_without_a_readable_image_has_no_prediction(runtime: Runtime, tmp_path: Path) -> None:
    ((result,),) = image_files.examine(runtime, [str(tmp_path / "gone.png")], read)
    assert result.answer is None
    assert result.refusal is not None
    assert "gone.png" in result.refusal.reason


def read(name: str) -> bytes:
    return Path(name).read_bytes()
