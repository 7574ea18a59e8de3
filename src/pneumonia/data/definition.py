"""What the published dataset must contain: data/kermany.yaml and the file facts beside it."""

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

from pneumonia.data.layout import Image
from pneumonia.errors import SourceError

_SHOWN = 5


class Release(BaseModel):
    """One archive of the dataset.

    Attributes:
        name: short name, for records.
        archive: file name of the zip, under which a mirror holds it.
        url: where to download it; None for copies that are only passed on by hand.
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


class _Sheet(BaseModel):
    """kermany.yaml as it is written."""

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
class FileFacts:
    """Header facts of one official full-size file; width and height in pixels."""

    split: str
    label: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True)
class Definition:
    """The published dataset.

    Attributes:
        title, doi, licence, citation: for data cards and records.
        counts: number of files as ``{split: {label: n}}``.
        releases: the archives, the preferred one first.
        files: facts by file name; names are unique in the whole dataset.
    """

    title: str
    doi: str
    licence: str
    citation: str
    counts: Mapping[str, Mapping[str, int]]
    releases: tuple[Release, ...]
    files: Mapping[str, FileFacts]

    def check(self, images: Iterable[Image], release: Release) -> list[str]:
        """Compare every image of an unpacked release with the definition.

        Each must have a known name and lie in its class and split; ``val`` images may lie in ``train``, where all
        releases but Kaggle's have them. Images of a full-size release must also have the very size in bytes and
        pixels.

        Returns:
            The sorted names that the release is known to lack.

        Raises:
            SourceError: files are unknown, misplaced, doubled, altered or missing.
        """
        by_name: dict[str, Image] = {}
        faults: dict[str, list[str]] = {"unknown": [], "misplaced": [], "doubled": [], "altered": [], "missing": []}
        for image in images:
            name = image.path.name
            facts = self.files.get(name)
            if facts is None:
                faults["unknown"].append(name)
            elif name in by_name:
                faults["doubled"].append(name)
            elif not _in_place(image, facts):
                faults["misplaced"].append(f"{image.split}/{image.label}/{name}")
            elif release.full_size and not _is_original(image.path, facts):
                faults["altered"].append(name)
            by_name[name] = image
        absent = sorted(set(self.files) - set(by_name))
        faults["missing"] = [name for name in absent if self.files[name].split not in release.missing_splits]
        if any(faults.values()):
            raise SourceError(
                f"The files of {release.name} do not match the definition of the dataset: {_describe(faults)}. "
                "Get the archive again, or give your own images as a folder in data.source."
            )
        return absent


def load(path: Path) -> Definition:
    """Read a definition (``data/kermany.yaml``) and the table of files that it names, beside it.

    Raises:
        SourceError: one of the files is missing or malformed, or the counts do not match the table.
    """
    try:
        sheet = _Sheet.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        files = _read_files(path.parent / sheet.files)
    except FileNotFoundError as error:
        raise SourceError(f"{error.filename} is missing. Restore it with git.") from None
    except (yaml.YAMLError, pydantic.ValidationError, KeyError, ValueError) as error:
        raise SourceError(f"{path} is not a valid dataset definition: {error!s}. Restore it with git.") from error
    listed = Counter((facts.split, facts.label) for facts in files.values())
    stated = {(split, label): n for split, labels in sheet.counts.items() for label, n in labels.items()}
    if listed != stated:
        raise SourceError(f"{path} counts {stated}, but {sheet.files} lists {dict(listed)}. Restore both with git.")
    return Definition(sheet.title, sheet.doi, sheet.licence, sheet.citation, sheet.counts, sheet.releases, files)


def _read_files(path: Path) -> dict[str, FileFacts]:
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["filename"]: FileFacts(
                row["split"], row["class"], int(row["width"]), int(row["height"]), int(row["bytes"])
            )
            for row in csv.DictReader(file)
        }


def _in_place(image: Image, facts: FileFacts) -> bool:
    return image.label == facts.label and (
        image.split == facts.split or (image.split, facts.split) == ("train", "val")
    )


def _is_original(path: Path, facts: FileFacts) -> bool:
    if path.stat().st_size != facts.bytes:
        return False
    try:
        with PIL.Image.open(path) as header:  # reads the header only
            return header.size == (facts.width, facts.height)
    except OSError:
        return False


def _describe(faults: Mapping[str, list[str]]) -> str:
    return "; ".join(
        f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for kind, names in faults.items()
        if names
    )
