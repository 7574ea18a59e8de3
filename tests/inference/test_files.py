from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumonia.inference import files
from pneumonia.inference.runtime import AT_ONCE, Runtime
from pneumonia.models.bundle import DataLineage
from tests import bright


def picture(path: Path, grey: int) -> Path:
    """Stripes whose mean is ``grey``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.tile(np.repeat(np.array([grey - 10, grey + 10], np.uint8), 64), (128, 1))
    Image.fromarray(stripes).save(path)
    return path


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """Answers the brighter the image the higher, and knows every image."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("models") / "bright"
        data = DataLineage("phantom", "drawn", "5e" * 32, {})
        yield Runtime.load(bright.write_bundle(folder, slope=0.02, data=data).folder, threads=1)


def test_folders_are_searched_to_any_depth_and_what_is_no_image_by_name_is_told(tmp_path: Path) -> None:
    wanted = [tmp_path / name for name in ("a.JPG", "b.png", "deep/er/c.dcm", "deep/d.jpeg")]
    others = [tmp_path / name for name in ("notes.txt", "deep/table.csv", "noname")]
    for file in wanted + others:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    images, skipped = files.find([tmp_path])
    assert set(images) == set(wanted)
    assert set(skipped) == set(others)
    assert files.find([tmp_path]) == (images, skipped), "the order is always the same"


def test_a_file_that_is_named_is_an_image_whatever_its_name_and_comes_once(tmp_path: Path) -> None:
    picture(tmp_path / "x.png", 90)
    named = tmp_path / "IM000001"
    named.touch()
    images, skipped = files.find([named, tmp_path / "x.png", tmp_path])
    assert images == [named, tmp_path / "x.png"]
    assert skipped == [named]  # in the folder, by its name alone


def test_answers_come_in_order_with_the_unreadable_and_the_refused_between_them(
    runtime: Runtime, tmp_path: Path
) -> None:
    greys = [10, 200, 30, 240, 90, 140, 60]
    images = [picture(tmp_path / f"{i}.png", grey) for i, grey in enumerate(greys)]
    broken, blank, gone = (tmp_path / f"{name}.png" for name in ("broken", "blank", "gone"))
    broken.write_bytes(images[0].read_bytes()[:40])
    Image.new("L", (128, 128), 7).save(blank)
    asked = [str(file) for file in (*images[:2], broken, *images[2:5], gone, blank, *images[5:])]

    said = [each for batch in files.examine(runtime, asked, read) for each in batch]

    assert [one.name for one in said] == asked
    answered = [one.answer.probability for one in said if one.answer]
    assert np.argsort(answered).tolist() == np.argsort(greys).tolist()
    refused = {one.name: (one.decision, one.refusal.code) for one in said if one.refusal}
    assert refused == {
        str(broken): ("UNREADABLE", "unreadable"),
        str(gone): ("UNREADABLE", "unreadable"),
        str(blank): ("REFUSED", "blank"),
    }


def test_a_large_folder_is_answered_as_it_is_read(runtime: Runtime, tmp_path: Path) -> None:
    """When a batch is answered, no file of the next has been read."""
    names = [str(picture(tmp_path / f"{i}.png", 50 + i)) for i in range(AT_ONCE + 1)]
    asked: list[str] = []

    def noting(name: str) -> bytes:
        asked.append(name)
        return read(name)

    batches = files.examine(runtime, names, noting)
    assert len(next(batches)) == AT_ONCE
    assert asked == names[:AT_ONCE]
    assert [one.name for one in next(batches)] == names[AT_ONCE:]


def test_a_batch_without_any_readable_image_has_no_answer(runtime: Runtime, tmp_path: Path) -> None:
    ((said,),) = files.examine(runtime, [str(tmp_path / "gone.png")], read)
    assert said.answer is None
    assert said.refusal is not None
    assert "gone.png" in said.refusal.reason


def read(name: str) -> bytes:
    return Path(name).read_bytes()
