import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest

from pneumonia.core.errors import SourceError
from pneumonia.data import definition
from pneumonia.data.definition import Definition, PublishedFile, Release
from pneumonia.data.layout import ImageFile

DATA = Path(__file__).parents[3] / "data"
HASH = "0" * 64
FULL = Release(name="full", archive="full.zip", bytes=1, sha256=HASH, full_size=True)
RESIZED = Release(name="resized", archive="r.zip", bytes=1, sha256=HASH, full_size=False, missing_splits=("val",))


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("L", (width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def dataset() -> Definition:
    size = len(jpeg(20, 10))
    files = {
        "a.jpeg": PublishedFile("train", "NORMAL", 20, 10, size),
        "b.jpeg": PublishedFile("val", "PNEUMONIA", 20, 10, size),
        "c.jpeg": PublishedFile("test", "PNEUMONIA", 20, 10, size),
    }
    return Definition("licence", "citation", {}, (FULL, RESIZED), files)


@pytest.fixture
def images(tmp_path: Path) -> Iterator[list[ImageFile]]:
    places = [("train", "NORMAL", "a.jpeg"), ("val", "PNEUMONIA", "b.jpeg"), ("test", "PNEUMONIA", "c.jpeg")]
    for split, _, name in places:
        (tmp_path / split).mkdir()
        (tmp_path / split / name).write_bytes(jpeg(20, 10))
    return [ImageFile(split, label, tmp_path / split / name) for split, label, name in places]


def test_shipped_definition_lists_the_official_files() -> None:
    dataset = definition.load(DATA / "kermany.yaml")
    assert len(dataset.files) == 5856
    assert sum(n for split in dataset.counts.values() for n in split.values()) == 5856
    assert [release.archive for release in dataset.releases] == ["ChestXRay2017.zip", "kermany-224.zip"]
    assert dataset.files["IM-0001-0001.jpeg"] == PublishedFile("test", "NORMAL", 1857, 1317, 252680)


def test_official_files_pass(dataset: Definition, images: list[ImageFile]) -> None:
    assert dataset.check(images, FULL) == []


def test_val_images_may_be_in_train(dataset: Definition, images: list[ImageFile]) -> None:
    moved = [ImageFile("train" if image.split == "val" else image.split, image.label, image.path) for image in images]
    assert dataset.check(moved, FULL) == []


def test_files_of_missing_splits_are_returned(dataset: Definition, images: list[ImageFile]) -> None:
    assert dataset.check([image for image in images if image.split != "val"], RESIZED) == ["b.jpeg"]


def test_other_missing_file_is_named(dataset: Definition, images: list[ImageFile]) -> None:
    with pytest.raises(SourceError, match=r"1 missing \(c\.jpeg\)"):
        dataset.check(images[:2], RESIZED)
    with pytest.raises(SourceError, match=r"1 missing \(b\.jpeg\)"):
        dataset.check([images[0], images[2]], FULL)


def test_unknown_files_are_counted_and_the_first_few_named(dataset: Definition, images: list[ImageFile]) -> None:
    extra = [ImageFile("train", "NORMAL", Path(f"x{n}.jpeg")) for n in range(9)]
    with pytest.raises(SourceError, match=r"9 unknown \(x0\.jpeg, .*x4\.jpeg, \.\.\.\)"):
        dataset.check([*images, *extra], FULL)


def test_file_in_the_wrong_class_or_split_is_named(dataset: Definition, images: list[ImageFile]) -> None:
    normal_elsewhere = ImageFile("train", "PNEUMONIA", images[0].path)
    test_in_train = ImageFile("train", "PNEUMONIA", images[2].path)
    with pytest.raises(SourceError, match=r"2 misplaced \(train/PNEUMONIA/a\.jpeg, train/PNEUMONIA/c\.jpeg\)"):
        dataset.check([normal_elsewhere, images[1], test_in_train], FULL)


def test_val_image_in_both_train_and_val_is_named(dataset: Definition, images: list[ImageFile]) -> None:
    with pytest.raises(SourceError, match=r"1 duplicated \(b\.jpeg\)"):
        dataset.check([*images, ImageFile("train", "PNEUMONIA", images[1].path)], FULL)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(jpeg(20, 10)[:-1], id="cut"),
        pytest.param(jpeg(10, 20).ljust(len(jpeg(20, 10)), b"\0"), id="same bytes, other dimensions"),
        pytest.param(b"x" * len(jpeg(20, 10)), id="same bytes, no image"),
    ],
)
def test_altered_file_is_named_in_a_full_size_release(
    dataset: Definition, images: list[ImageFile], content: bytes
) -> None:
    images[2].path.write_bytes(content)
    with pytest.raises(SourceError, match=r"1 altered \(c\.jpeg\)"):
        dataset.check(images, FULL)


def test_resized_release_may_have_other_bytes(dataset: Definition, images: list[ImageFile]) -> None:
    images[2].path.write_bytes(jpeg(5, 5))
    assert dataset.check(images, RESIZED) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("full_size: true", "full_size: perhaps", "full_size"),
        ("licence:", "license:", "license"),
        ("NORMAL: 1341", "NORMAL: 1340", "1340"),
        ("kermany-files.csv\n", "nowhere.csv\n", "nowhere.csv is missing"),
        ("doi: ", "doi: [", "not a valid"),
    ],
)
def test_a_malformed_definition_is_explained(tmp_path: Path, old: str, new: str, message: str) -> None:
    shutil.copy(DATA / "kermany-files.csv", tmp_path)
    text = (DATA / "kermany.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "kermany.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SourceError, match=message):
        definition.load(tmp_path / "kermany.yaml")
