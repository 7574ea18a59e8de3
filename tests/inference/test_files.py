from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.inference import files
from pneumonia.inference.predictor import Answer


def picture(path: Path, grey: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (20, 16), grey).save(path)
    return path


class Brightness:
    """A predictor that answers how bright an image is, and remembers how many it was given at once."""

    bundle = SimpleNamespace(card=SimpleNamespace(image_size=8))

    def __init__(self) -> None:
        self.batches: list[int] = []

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        self.batches.append(len(pixels))
        return pixels.mean(axis=(1, 2)) / 255

    def answer(self, probability: float) -> Answer:
        return Answer(probability, "PNEUMONIA" if probability > 0.5 else "NORMAL", False)


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
    picture(tmp_path / "x.png", 1)
    named = tmp_path / "IM000001"
    named.touch()
    images, skipped = files.find([named, tmp_path / "x.png", tmp_path])
    assert images == [named, tmp_path / "x.png"]
    assert skipped == [named]  # in the folder, by its name alone


def test_answers_come_in_order_with_the_unreadable_between_them(tmp_path: Path) -> None:
    greys = [10, 200, 30, 250, 90, 140, 60]
    images = [picture(tmp_path / f"{i}.png", grey) for i, grey in enumerate(greys)]
    broken = tmp_path / "broken.png"
    broken.write_bytes(images[0].read_bytes()[:40])
    gone = tmp_path / "gone.png"
    asked = [*images[:2], broken, *images[2:5], gone, *images[5:]]
    predictor: Any = Brightness()

    said = list(files.answer(predictor, asked, batch_size=3))

    assert [one.file for one in said] == asked
    assert [round(255 * one.answer.probability) for one in said if one.answer] == greys
    assert [one.file for one in said if one.error] == [broken, gone]
    assert [one.file for one in said if one.answer is None] == [broken, gone]
    assert max(predictor.batches) <= 3


def test_a_large_folder_is_answered_as_it_is_read(tmp_path: Path) -> None:
    """After the first answer no more than one batch of files has been read."""
    first = [picture(tmp_path / f"{i}.png", 50) for i in range(3)]
    predictor: Any = Brightness()
    answers = files.answer(predictor, [*first, *[tmp_path / f"later{i}.png" for i in range(50)]], batch_size=3)
    assert next(answers).answer is not None
    picture(tmp_path / "later0.png", 255)
    later = list(answers)[2]
    assert later.answer == Answer(1.0, "PNEUMONIA", False)


def test_a_batch_without_any_readable_image_asks_nothing_of_the_model(tmp_path: Path) -> None:
    predictor: Any = Brightness()
    (said,) = files.answer(predictor, [tmp_path / "gone.png"])
    assert "gone.png" in said.error
    assert predictor.batches == []
