"""Build a training dataset from a base dataset and reviewed images, which are added to the training split.

The official test set is copied byte for byte: nothing is added to it, and none of its images may be added to the
training split. Images are compared by their pixels, because the web application keeps pixels and not files.
"""

import csv
import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from rich.progress import track

from pneumonia.core import files
from pneumonia.core.errors import ImageError, MonitoringError
from pneumonia.core.labels import CLASS_NAMES
from pneumonia.core.model import FrozenModel
from pneumonia.data import checksum, disk, layout, naming
from pneumonia.data.layout import ImageFile, Layout
from pneumonia.inference import intake
from pneumonia.monitoring.log import Log, Window

REQUIRED = ("file", "label")
COLUMNS = (*REQUIRED, "patient")
PROVENANCE = "reviews.json"
TRAIN, TEST = "train", "test"
LISTED_ERRORS = 10


@dataclass(frozen=True)
class Review:
    """A reviewed image.

    Attributes:
        file: image file.
        label: NORMAL or PNEUMONIA.
        patient: identifier of the patient; None if unknown.
        origin: origin of the label, such as the name of the table.
    """

    file: Path
    label: str
    patient: str | None
    origin: str


@dataclass(frozen=True)
class BuildResult:
    """Number of images in a dataset that was built.

    Attributes:
        base: images of the base dataset, by split and class.
        added: reviewed images, by class.
    """

    base: dict[str, dict[str, int]]
    added: dict[str, int]


class BaseDataset(FrozenModel):
    """The base dataset in `PROVENANCE`.

    Attributes:
        folder: name of its folder.
        sha256: hash over its files.
        images: number of images.
    """

    folder: str
    sha256: str
    images: int


class AddedImage(FrozenModel):
    """A reviewed image in `PROVENANCE`.

    Attributes:
        file: name of the reviewed file.
        label: NORMAL or PNEUMONIA.
        patient: identifier of the patient; None if unknown.
        origin: origin of the label.
        sha256: hash of the file.
        added_as: its path in the dataset.
    """

    file: str
    label: str
    patient: str | None
    origin: str
    sha256: str
    added_as: str


class ReviewProvenance(FrozenModel):
    """Content of `PROVENANCE`: what a dataset was built from."""

    base: BaseDataset
    added: tuple[AddedImage, ...]


def from_csv(table: Path, images: Path) -> list[Review]:
    """Read reviews from a CSV file with the columns ``file``, ``label`` and optionally ``patient``.

    Args:
        table: CSV file in UTF-8.
        images: folder that ``file`` is relative to.

    Raises:
        MonitoringError: the table cannot be read or lacks a column, or a row has no image or no class.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            if not set(REQUIRED) <= set(reader.fieldnames or ()):
                raise MonitoringError(
                    f"{table}: expected a header with the columns {' and '.join(REQUIRED)} and optionally patient, "
                    f"found {', '.join(reader.fieldnames or ()) or 'an empty file'}."
                )
            rows = [(reader.line_num, {name: (row.get(name) or "").strip() for name in COLUMNS}) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MonitoringError(f"{table} cannot be read ({error}). Name a CSV file in UTF-8.") from None
    _raise_if_any(f"{table} has", _invalid_rows(rows, images))
    return [Review(images / row["file"], row["label"], row["patient"] or None, table.name) for _, row in rows]


def from_log(log: Log, images: Path) -> list[Review]:
    """Return reviews of the images that ``pneumonia serve --keep-images`` kept, by their latest labels in the log.

    Images without a label, or with the label UNSURE, are left out.

    Args:
        log: the prediction log.
        images: folder with one file ``<prediction id>.png`` per image.
    """
    kept = {path.stem: path for path in sorted(images.glob("*.png")) if _is_id(path.stem)}
    labelled = log.labelled(Window(), ["id"])
    usable = labelled[labelled["id"].isin(kept) & labelled["label"].isin(CLASS_NAMES)]
    return [
        Review(kept[row["id"]], row["label"], None, row["label_source"]) for row in usable.to_dict(orient="records")
    ]


def build(base: Path, reviews: Sequence[Review], to: Path) -> BuildResult:
    """Build a dataset from a base dataset and reviewed images: the whole folder, or nothing.

    Reviewed images are added to the training split as ``reviewed-<hash of the file>``. If the patient of any image is
    known, a patients.csv lists the patients of all images; an image without one is a patient of its own. `PROVENANCE`
    lists what was added, and its origin.

    Args:
        base: dataset in class folders, such as artifacts/raw; it is not changed.
        reviews: reviewed images, at least one.
        to: folder to create; it must not exist.

    Raises:
        SourceError: the base has another layout, or the disk is full.
        MonitoringError: ``to`` exists; there is no review; an image is unreadable, a duplicate or in the base already;
            or its patient is in the test set.
    """
    if to.exists():
        raise MonitoringError(f"{to} exists already. Name a folder that does not exist, or remove it.")
    if not reviews:
        raise MonitoringError("expected at least one reviewed image with the label NORMAL or PNEUMONIA, found none.")
    dataset = layout.scan(base)
    patients = _patients(dataset)
    _raise_if_any("expected readable images that are not in the base dataset; found", _duplicates(dataset, reviews))
    _raise_if_any("expected patients who are not in the test set; found", _test_patients(patients, reviews))
    targets = {review.file: _target(review) for review in reviews}
    added = {label: sum(review.label == label for review in reviews) for label in CLASS_NAMES}
    with _partial_folder(to) as work, disk.explain_full_disk(_bytes(dataset, reviews), work):
        layout.place(dataset.images, work, shutil.copyfile)
        for review in reviews:
            shutil.copyfile(review.file, work / targets[review.file])
        if dataset.patients or any(review.patient for review in reviews):
            _write_patients(work / layout.PATIENTS_FILE, patients, reviews, targets)
        provenance = ReviewProvenance(
            base=BaseDataset(folder=base.resolve().name, sha256=checksum.of_folder(base), images=len(dataset.images)),
            added=tuple(_added_image(review, targets[review.file]) for review in reviews),
        )
        files.write_json(work / PROVENANCE, provenance)
        work.rename(to)
    return BuildResult(layout.count(dataset.images), added)


def _invalid_rows(rows: Iterable[tuple[int, dict[str, str]]], images: Path) -> Iterator[str]:
    first_line: dict[str, int] = {}
    for line, row in rows:
        if row["label"] not in CLASS_NAMES:
            yield f"line {line}: label {row['label']!r} is not {' or '.join(CLASS_NAMES)}"
        if not (images / row["file"]).is_file():
            yield f"line {line}: file {images / row['file']} does not exist"
        if first_line.setdefault(row["file"], line) != line:
            yield f"line {line}: repeats {row['file']} of line {first_line[row['file']]}"


def _patients(dataset: Layout) -> dict[ImageFile, str | None]:
    """Return the patient of each image of the base, from its table or its file names, as the validate stage does."""
    if dataset.patients is None:
        return {image: naming.parse(image.path.name, image.label).patient for image in dataset.images}
    with dataset.patients.open(encoding="utf-8-sig", newline="") as lines:
        listed = {row["file"]: row["patient"] for row in csv.DictReader(lines)}
    return {image: next((listed[name] for name in _names(image) if name in listed), None) for image in dataset.images}


def _names(image: ImageFile) -> tuple[str, str, str]:
    """Return the names that a table may have for an image: with split and class, with class, or the file name."""
    name = image.path.name
    return f"{image.split}/{image.label}/{name}", f"{image.label}/{name}", name


def _duplicates(dataset: Layout, reviews: Sequence[Review]) -> Iterator[str]:
    """Yield reviewed images that are unreadable, or whose pixels are in the base or in another reviewed image."""
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(lambda image: _pixel_or_file_hash(image.path), dataset.images)
        progress = track(hashes, "Comparing images", total=len(dataset.images))
        by_hash = dict(zip(progress, (_names(image)[0] for image in dataset.images), strict=True))
    for review in reviews:
        try:
            digest = _pixel_hash(review.file)
        except ImageError as error:
            yield f"{review.file}: {error}"
            continue
        if digest in by_hash:
            yield f"{review.file} has the pixels of {by_hash[digest]}"
        by_hash[digest] = str(review.file)


def _pixel_or_file_hash(file: Path) -> str:
    """Return the hash of an image's pixels, or of its file if the image cannot be decoded."""
    try:
        return _pixel_hash(file)
    except ImageError:
        return checksum.of_file(file)


def _pixel_hash(file: Path) -> str:
    pixels = intake.shown(file.read_bytes())
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def _test_patients(patients: dict[ImageFile, str | None], reviews: Sequence[Review]) -> Iterator[str]:
    test_patients = {patient for image, patient in patients.items() if image.split == TEST and patient}
    for review in reviews:
        if review.patient in test_patients:
            yield f"{review.file}: patient {review.patient}"


def _target(review: Review) -> Path:
    name = f"reviewed-{checksum.of_file(review.file)[:16]}{review.file.suffix.lower()}"
    return Path(TRAIN, review.label, name)


def _write_patients(
    table: Path, patients: dict[ImageFile, str | None], reviews: Sequence[Review], targets: dict[Path, Path]
) -> None:
    """Write the patients of all images; an image without a known patient is a patient of its own."""
    by_file = {_names(image)[0]: patient for image, patient in patients.items()}
    by_file |= {targets[review.file].as_posix(): review.patient for review in reviews}
    with table.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(("file", "patient"))
        writer.writerows((name, patient or f"file-{name}") for name, patient in by_file.items())


def _added_image(review: Review, target: Path) -> AddedImage:
    return AddedImage(
        file=review.file.name,
        label=review.label,
        patient=review.patient,
        origin=review.origin,
        sha256=checksum.of_file(review.file),
        added_as=target.as_posix(),
    )


def _bytes(dataset: Layout, reviews: Sequence[Review]) -> int:
    paths = [image.path for image in dataset.images] + [review.file for review in reviews]
    return sum(path.stat().st_size for path in paths)


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


@contextmanager
def _partial_folder(to: Path) -> Iterator[Path]:
    """Create an empty folder beside ``to``, on the same file system; remove what a killed run left."""
    work = to.with_name(f".{to.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    for label in CLASS_NAMES:
        (work / TRAIN / label).mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _raise_if_any(prefix: str, errors: Iterable[str]) -> None:
    listed = list(errors)
    if listed:
        more = [f"and {len(listed) - LISTED_ERRORS} more"] if len(listed) > LISTED_ERRORS else []
        lines = "\n  ".join([*listed[:LISTED_ERRORS], *more])
        raise MonitoringError(f"{prefix} {len(listed)} error(s); nothing was created:\n  {lines}")
