"""Class folders: find the images of a dataset in them, and put them into the project's own layout."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pneumonia import labels
from pneumonia.errors import SourceError

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".dcm")
PATIENTS_FILE = "patients.csv"

EXPECTED = (
    "Expected train/NORMAL, train/PNEUMONIA and, if there is a test set, test/NORMAL and test/PNEUMONIA "
    "(val likewise), or just NORMAL and PNEUMONIA, each with images in it "
    f"({', '.join(IMAGE_SUFFIXES)}), directly or in one top folder."
)


@dataclass(frozen=True)
class Image:
    """One image file: split and class by its folders, and where it lies."""

    split: str
    label: str
    path: Path


@dataclass(frozen=True)
class Layout:
    """What a dataset folder holds.

    Attributes:
        images: sorted by split, class and name.
        ignored: files that are neither images in a class folder nor litter such as .DS_Store.
        patients: the patients.csv at the top, if there is one.
    """

    images: tuple[Image, ...]
    ignored: tuple[Path, ...]
    patients: Path | None


def scan(root: Path) -> Layout:
    """Find the images of ``[top/]{train,test,val}/{NORMAL,PNEUMONIA}`` or ``[top/]{NORMAL,PNEUMONIA}`` (all train).

    Folder names count in any case.

    Raises:
        SourceError: another layout, or a class folder that is missing or without images.
    """
    top = _top_folder(root)
    splits = _folders_named(labels.RELEASE_SPLITS, top)
    if bool(splits) == bool(_folders_named(labels.CLASS_NAMES, top)):
        raise SourceError(f"{root} has another layout. {EXPECTED} Found: {_names(top)}.")
    if splits and "train" not in splits:
        raise SourceError(f"{root} has no train folder. {EXPECTED} Found: {_names(top)}.")

    images = tuple(image for split, folder in (splits or {"train": top}).items() for image in _images(split, folder))
    patients = next((place / PATIENTS_FILE for place in (top, root) if (place / PATIENTS_FILE).is_file()), None)
    used = {image.path for image in images} | {patients}
    ignored = tuple(path for path in sorted(_files(root)) if path not in used)
    return Layout(images, ignored, patients)


def place(images: Iterable[Image], folder: Path, put: Callable[[Path, Path], object]) -> None:
    """Build ``folder/<split>/<CLASS>/<file>`` with ``put(source, target)``, which copies or moves one file."""
    for image in images:
        target = folder / image.split / image.label / image.path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        put(image.path, target)


def count(images: Iterable[Image]) -> dict[str, dict[str, int]]:
    """Count images as ``{split: {label: n}}``."""
    counts = Counter((image.split, image.label) for image in images)
    return {
        split: {label: counts[split, label] for label in labels.CLASS_NAMES}
        for split in labels.RELEASE_SPLITS
        if any(counts[split, label] for label in labels.CLASS_NAMES)
    }


def _top_folder(root: Path) -> Path:
    folders = [path for path in root.iterdir() if path.is_dir() and not _is_litter(path.name)]
    known = {name.lower() for name in labels.RELEASE_SPLITS + labels.CLASS_NAMES}
    return folders[0] if len(folders) == 1 and folders[0].name.lower() not in known else root


def _folders_named(names: Iterable[str], parent: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name in names:
        folders = [path for path in parent.iterdir() if path.is_dir() and path.name.lower() == name.lower()]
        if len(folders) > 1:
            raise SourceError(f"{parent} has several folders for {name}: {_names(parent)}. Merge them into one.")
        if folders:
            found[name] = folders[0]
    return found


def _images(split: str, parent: Path) -> Iterator[Image]:
    folders = _folders_named(labels.CLASS_NAMES, parent)
    for label in labels.CLASS_NAMES:
        if label not in folders:
            raise SourceError(f"{parent} has no {label} folder. {EXPECTED} Found: {_names(parent)}.")
        paths = [path for path in sorted(folders[label].iterdir()) if _is_image(path)]
        if not paths:
            raise SourceError(f"{folders[label]} holds no images. {EXPECTED}")
        yield from (Image(split, label, path) for path in paths)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not _is_litter(path.name) and path.is_file()


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def _files(root: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not _is_litter(name)]
        yield from (Path(parent, name) for name in names if not _is_litter(name))


def _names(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if not _is_litter(path.name))
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"
