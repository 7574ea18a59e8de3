"""Definition of the published dataset: data/kermany.yaml, and the table of its files next to it."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import PIL.Image
import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from pneumonia.core.errors import SourceError
from pneumonia.data.layout import ImageFile

_SHOWN = 5


class Release(BaseModel):
    """One archive of the dataset.

    Attributes:
        name: short name, for reports.
        archive: file name of the zip archive, also in a mirror.
        url: download URL; None for copies that cannot be downloaded.
        bytes: size of the archive.
        sha256: checksum of the archive.
        full_size: whether the images have their original bytes and pixels.
        missing_splits: splits that this release lacks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    archive: str
    url: str | None = None
    bytes: PositiveInt
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    full_size: bool
    missing_splits: tuple[str, ...] = ()


class _DefinitionFile(BaseModel):
    """Content of kermany.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    authors: str
    doi: str
    licence: str
    citation: str
    paper: str
    patients: str
    files: str
    counts: dict[str, dict[str, int]]
    releases: Annotated[tuple[Release, ...], Field(min_length=1)]


@dataclass(frozen=True)
class PublishedFile:
    """One file of the full-size release; width and height in pixels."""

    split: str
    label: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True)
class Definition:
    """The published dataset.

    Attributes:
        licence, citation: for model cards.
        counts: number of files as ``{split: {label: n}}``.
        releases: the archives, the preferred one first.
        files: published files by file name, which is unique in the whole dataset.
    """

    licence: str
    citation: str
    counts: Mapping[str, Mapping[str, int]]
    releases: tuple[Release, ...]
    files: Mapping[str, PublishedFile]

    def check(self, images: Iterable[ImageFile], release: Release) -> list[str]:
        """Compare every image of an unpacked release with the definition.

        Each must have a published name and be in its class and split; ``val`` images may be in ``train``, as in all
        releases but Kaggle's. Images of a full-size release must also have the published size in bytes and pixels.

        Returns:
            The sorted names that the release lacks, all of its ``missing_splits``.

        Raises:
            SourceError: files are unknown, misplaced, duplicated, altered or missing.
        """
        by_name: dict[str, ImageFile] = {}
        faults: dict[str, list[str]] = {"unknown": [], "misplaced": [], "duplicated": [], "altered": [], "missing": []}
        for image in images:
            name = image.path.name
            published = self.files.get(name)
            if published is None:
                faults["unknown"].append(name)
            elif name in by_name:
                faults["duplicated"].append(name)
            elif not _in_place(image, published):
                faults["misplaced"].append(f"{image.split}/{image.label}/{name}")
            elif release.full_size and not _is_original(image.path, published):
                faults["altered"].append(name)
            by_name[name] = image
        absent = sorted(set(self.files) - set(by_name))
        faults["missing"] = [name for name in absent if self.files[name].split not in release.missing_splits]
        if any(faults.values()):
            raise SourceError(
                f"The files of {release.name} do not match the definition of the dataset: {_describe(faults)}. "
                "Download the archive again, or set data.source to a folder of your own images."
            )
        return absent


def load(path: Path) -> Definition:
    """Read a definition (``data/kermany.yaml``) and the table of files that it names, in the same folder.

    Raises:
        SourceError: one of the files is missing or malformed, or the counts do not match the table.
    """
    try:
        sheet = _DefinitionFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        files = _read_files(path.parent / sheet.files)
    except FileNotFoundError as error:
        raise SourceError(f"{error.filename} is missing. Restore it with git.") from None
    except (yaml.YAMLError, pydantic.ValidationError, KeyError, ValueError) as error:
        raise SourceError(f"{path} is not a valid dataset definition: {error!s}. Restore it with git.") from error
    listed = Counter((file.split, file.label) for file in files.values())
    declared = {(split, label): n for split, labels in sheet.counts.items() for label, n in labels.items()}
    if listed != declared:
        raise SourceError(f"{path} counts {declared}, but {sheet.files} lists {dict(listed)}. Restore both with git.")
    return Definition(sheet.licence, sheet.citation, sheet.counts, sheet.releases, files)


def _read_files(path: Path) -> dict[str, PublishedFile]:
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["filename"]: PublishedFile(
                row["split"], row["class"], int(row["width"]), int(row["height"]), int(row["bytes"])
            )
            for row in csv.DictReader(file)
        }


def _in_place(image: ImageFile, published: PublishedFile) -> bool:
    return image.label == published.label and (
        image.split == published.split or (image.split, published.split) == ("train", "val")
    )


def _is_original(path: Path, published: PublishedFile) -> bool:
    if path.stat().st_size != published.bytes:
        return False
    try:
        with PIL.Image.open(path) as header:  # reads the header only
            return header.size == (published.width, published.height)
    except OSError:
        return False


def _describe(faults: Mapping[str, list[str]]) -> str:
    return "; ".join(
        f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for kind, names in faults.items()
        if names
    )
