import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest

from pneumonia.data import definition
from pneumonia.data.definition import Definition, FileFacts, Release
from pneumonia.data.layout import Image
from pneumonia.errors import SourceError

DATA = Path(__file__).parents[2] / "data"
HASH = "0" * 64
FULL = Release(name="full", archive="full.zip", bytes=1, sha256=HASH, full_size=True)
RESIZED = Release(name="resized", archive="r.zip", bytes=1, sha256=HASH, full_size=False, missing_splits=("val",))


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("L", (width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def known() -> Definition:
    size = len(jpeg(20, 10))
    files = {
        "a.jpeg": FileFacts("train", "NORMAL", 20, 10, size),
        "b.jpeg": FileFacts("val", "PNEUMONIA", 20, 10, size),
        "c.jpeg": FileFacts("test", "PNEUMONIA", 20, 10, size),
    }
    return Definition("title", "doi", "licence", "citation", {}, (FULL, RESIZED), files)


@pytest.fixture
def images(tmp_path: Path) -> Iterator[list[Image]]:
    places = [("train", "NORMAL", "a.jpeg"), ("val", "PNEUMONIA", "b.jpeg"), ("test", "PNEUMONIA", "c.jpeg")]
    for split, _, name in places:
        (tmp_path / split).mkdir()
        (tmp_path / split / name).write_bytes(jpeg(20, 10))
    return [Image(split, label, tmp_path / split / name) for split, label, name in places]


def test_shipped_definition_lists_the_official_files() -> None:
    known = definition.load(DATA / "kermany.yaml")
    assert len(known.files) == 5856
    assert sum(n for split in known.counts.values() for n in split.values()) == 5856
    assert [release.archive for release in known.releases] == ["ChestXRay2017.zip", "kermany-224.zip"]
    assert known.files["IM-0001-0001.jpeg"] == FileFacts("test", "NORMAL", 1857, 1317, 252680)


def test_official_files_pass(known: Definition, images: list[Image]) -> None:
    assert known.check(images, FULL) == []


def test_val_image_may_lie_in_train(known: Definition, images: list[Image]) -> None:
    moved = [Image("train" if image.split == "val" else image.split, image.label, image.path) for image in images]
    assert known.check(moved, FULL) == []


def test_files_that_a_release_is_known_to_lack_are_reported(known: Definition, images: list[Image]) -> None:
    assert known.check([image for image in images if image.split != "val"], RESIZED) == ["b.jpeg"]


def test_other_missing_file_is_named(known: Definition, images: list[Image]) -> None:
    with pytest.raises(SourceError, match=r"1 missing \(c\.jpeg\)"):
        known.check(images[:2], RESIZED)
    with pytest.raises(SourceError, match=r"1 missing \(b\.jpeg\)"):
        known.check([images[0], images[2]], FULL)


def test_unknown_files_are_counted_and_the_first_few_named(known: Definition, images: list[Image]) -> None:
    extra = [Image("train", "NORMAL", Path(f"x{n}.jpeg")) for n in range(9)]
    with pytest.raises(SourceError, match=r"9 unknown \(x0\.jpeg, .*x4\.jpeg, \.\.\.\)"):
        known.check([*images, *extra], FULL)


def test_file_in_the_wrong_class_or_split_is_named(known: Definition, images: list[Image]) -> None:
    normal_elsewhere = Image("train", "PNEUMONIA", images[0].path)
    test_in_train = Image("train", "PNEUMONIA", images[2].path)
    with pytest.raises(SourceError, match=r"2 misplaced \(train/PNEUMONIA/a\.jpeg, train/PNEUMONIA/c\.jpeg\)"):
        known.check([normal_elsewhere, images[1], test_in_train], FULL)


def test_val_image_in_both_train_and_val_is_named(known: Definition, images: list[Image]) -> None:
    with pytest.raises(SourceError, match=r"1 doubled \(b\.jpeg\)"):
        known.check([*images, Image("train", "PNEUMONIA", images[1].path)], FULL)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(jpeg(20, 10)[:-1], id="cut"),
        pytest.param(jpeg(10, 20).ljust(len(jpeg(20, 10)), b"\0"), id="same bytes, other dimensions"),
        pytest.param(b"x" * len(jpeg(20, 10)), id="same bytes, no image"),
    ],
)
def test_altered_file_is_named_in_a_full_size_release(known: Definition, images: list[Image], content: bytes) -> None:
    images[2].path.write_bytes(content)
    with pytest.raises(SourceError, match=r"1 altered \(c\.jpeg\)"):
        known.check(images, FULL)


def test_resized_release_may_have_other_bytes(known: Definition, images: list[Image]) -> None:
    images[2].path.write_bytes(jpeg(5, 5))
    assert known.check(images, RESIZED) == []


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
def test_malformed_definition_says_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    shutil.copy(DATA / "kermany-files.csv", tmp_path)
    text = (DATA / "kermany.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "kermany.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SourceError, match=message):
        definition.load(tmp_path / "kermany.yaml")
