import os
from pathlib import Path, PurePath

import pytest

from pneumonia.core.errors import ImageError
from pneumonia.images.formats import format_of, format_of_image, is_image, is_image_file

DICOM = bytes(128) + b"DICM"


@pytest.mark.parametrize(
    ("content", "image_format"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (DICOM, "DICOM"),
        (DICOM[:-1], ""),
        (b"GIF89a", ""),
        (b"", ""),
    ],
)
def test_the_format_is_recognised_by_the_first_bytes(content: bytes, image_format: str) -> None:
    assert format_of(content) == image_format


@pytest.mark.parametrize(("content", "message"), [(b"", "empty"), (b"text", "expected a JPEG, PNG or DICOM")])
def test_other_content_is_not_an_image(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        format_of_image(content)


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "deep/a.png", "a.dcm", "a.dicom", "a.DICOM"])
def test_a_known_suffix_is_enough_and_nothing_is_read(name: str) -> None:
    assert is_image(PurePath(name), lambda: pytest.fail("read"))


@pytest.mark.parametrize("name", ["IM000001", "1.2.840.113619.2.5", "deep/er/IM1", "export.bak"])
def test_other_names_are_images_where_the_content_is_dicom(name: str) -> None:
    assert is_image(PurePath(name), lambda: DICOM)
    assert not is_image(PurePath(name), lambda: b"\xff\xd8\xff\xe0")
    assert not is_image(PurePath(name), lambda: b"")


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "._a.jpg", ".hidden.png", ".cache/a.png", "__MACOSX/a.jpg", "Thumbs.db", "DICOMDIR", "dicomdir"],
)
def test_system_files_and_dicom_directories_are_no_images(name: str) -> None:
    assert not is_image(PurePath(name), lambda: DICOM)


def test_local_files_are_opened_only_where_they_are_regular_files(tmp_path: Path) -> None:
    (tmp_path / "IM1").write_bytes(DICOM + bytes(1000))
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")

    assert [is_image_file(tmp_path / name, tmp_path) for name in ("IM1", "folder", "dangling", "pipe")] == [
        True,
        False,
        False,
        False,
    ]
