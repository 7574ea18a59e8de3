"""Class folders of a dataset: list the images in them, and copy them into the project's own layout."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pneumonia.core import labels
from pneumonia.core.errors import SourceError
from pneumonia.images.formats import EXPECTED_FILES, is_image_file, is_system_file

PATIENTS_FILE = "patients.csv"
NAMES_SHOWN = 8

EXPECTED = (
    "Expected train/NORMAL, train/PNEUMONIA and, if there is a test set, test/NORMAL and test/PNEUMONIA "
    f"(val likewise), or just NORMAL and PNEUMONIA, each with images in it ({EXPECTED_FILES}), directly or in one top "
    "folder."
)


@dataclass(frozen=True)
class ImageFile:
    """One image file: its split and class by its folders, and its path."""

    split: str
    label: str
    path: Path


@dataclass(frozen=True)
class Layout:
    """Content of a dataset folder.

    Attributes:
        images: sorted by split, class and name.
        ignored: files that are neither images in a class folder nor system files such as .DS_Store.
        patients: the patients.csv in the top folder; None where there is none.
    """

    images: tuple[ImageFile, ...]
    ignored: tuple[Path, ...]
    patients: Path | None


def scan(root: Path) -> Layout:
    """List the images of ``[top/]{train,test,val}/{NORMAL,PNEUMONIA}`` or ``[top/]{NORMAL,PNEUMONIA}`` (all train).

    Folder names count in any case. Which files are images is decided by `images.formats.is_image`.

    Raises:
        SourceError: the folder has another layout, or a class folder is missing or without images.
    """
    top = _top_folder(root)
    splits = _folders_named(labels.RELEASE_SPLITS, top)
    if bool(splits) == bool(_folders_named(labels.CLASS_NAMES, top)):
        raise SourceError(f"{root} has another layout. {EXPECTED} Found: {_names(top)}.")
    if splits and "train" not in splits:
        raise SourceError(f"{root} has no train folder. {EXPECTED} Found: {_names(top)}.")

    images = tuple(image for split, folder in (splits or {"train": top}).items() for image in _images(split, folder))
    patients = next((folder / PATIENTS_FILE for folder in (top, root) if (folder / PATIENTS_FILE).is_file()), None)
    used = {image.path for image in images} | {patients}
    ignored = tuple(path for path in sorted(_files(root)) if path not in used)
    return Layout(images, ignored, patients)


def place(images: Iterable[ImageFile], folder: Path, put: Callable[[Path, Path], object]) -> None:
    """Build ``folder/<split>/<CLASS>/<file>`` with ``put(source, target)``, which copies or moves one file."""
    for image in images:
        target = folder / image.split / image.label / image.path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        put(image.path, target)


def count(images: Iterable[ImageFile]) -> dict[str, dict[str, int]]:
    """Count images as ``{split: {label: n}}``; splits without images are left out.

    Examples:
        >>> count([ImageFile("train", "NORMAL", Path("a.png")), ImageFile("train", "NORMAL", Path("b.png"))])
        {'train': {'NORMAL': 2, 'PNEUMONIA': 0}}
    """
    counts = Counter((image.split, image.label) for image in images)
    return {
        split: {label: counts[split, label] for label in labels.CLASS_NAMES}
        for split in labels.RELEASE_SPLITS
        if any(counts[split, label] for label in labels.CLASS_NAMES)
    }


def _top_folder(root: Path) -> Path:
    folders = [path for path in root.iterdir() if path.is_dir() and not is_system_file(path.name)]
    expected = {name.lower() for name in labels.RELEASE_SPLITS + labels.CLASS_NAMES}
    return folders[0] if len(folders) == 1 and folders[0].name.lower() not in expected else root


def _folders_named(names: Iterable[str], parent: Path) -> dict[str, Path]:
    by_name: dict[str, Path] = {}
    for name in names:
        folders = [path for path in parent.iterdir() if path.is_dir() and path.name.lower() == name.lower()]
        if len(folders) > 1:
            raise SourceError(f"{parent} has several folders for {name}: {_names(parent)}. Merge them into one.")
        if folders:
            by_name[name] = folders[0]
    return by_name


def _images(split: str, parent: Path) -> Iterator[ImageFile]:
    folders = _folders_named(labels.CLASS_NAMES, parent)
    for label in labels.CLASS_NAMES:
        if label not in folders:
            raise SourceError(f"{parent} has no {label} folder. {EXPECTED} Found: {_names(parent)}.")
        folder = folders[label]
        paths = [path for path in sorted(folder.iterdir()) if path.is_file() and is_image_file(path, folder)]
        if not paths:
            raise SourceError(f"{folder} holds no images. {EXPECTED}")
        yield from (ImageFile(split, label, path) for path in paths)


def _files(root: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not is_system_file(name)]
        yield from (Path(parent, name) for name in names if not is_system_file(name))


def _names(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if not is_system_file(path.name))
    return ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "") if names else "nothing"
