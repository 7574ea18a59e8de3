"""Images that were kept and reviewed, made into a dataset for the next training: the base, and more in train.

The official test set stays as it is, byte for byte: nothing is added to it, and nothing that lies in it comes into
train. Images are compared by their pixels, since the application keeps pixels and not files.
"""

import csv
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.progress import track

from pneumonia.data import checksum, disk, layout, naming
from pneumonia.data.layout import Image, Layout
from pneumonia.errors import ImageError, MonitoringError
from pneumonia.inference import intake
from pneumonia.labels import CLASS_NAMES
from pneumonia.monitoring.log import Log, Window

COLUMNS = ("file", "label")
CELLS = (*COLUMNS, "patient")
PROVENANCE = "reviews.json"
TRAIN, TEST = "train", "test"
MOST_FAULTS = 10


@dataclass(frozen=True)
class Review:
    """What somebody found on an image: its file, NORMAL or PNEUMONIA, its patient if known, and who says so."""

    file: Path
    label: str
    patient: str | None
    origin: str


@dataclass(frozen=True)
class Built:
    """What was made: images of the base by split and class, and how many reviewed ones were added by class."""

    base: dict[str, dict[str, int]]
    added: dict[str, int]


def from_csv(table: Path, images: Path) -> list[Review]:
    """Read reviews from a CSV: ``file`` (in ``images``), ``label`` and, where known, ``patient``.

    Raises:
        MonitoringError: the table cannot be read, has other columns, or a row names no image or no class.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                raise MonitoringError(
                    f"{table} needs a first line with the columns {' and '.join(COLUMNS)} and, where known, patient; "
                    f"found {', '.join(reader.fieldnames or ()) or 'nothing'}."
                )
            rows = [(reader.line_num, {name: (row.get(name) or "").strip() for name in CELLS}) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MonitoringError(f"{table} cannot be read ({error}). Name a CSV file in UTF-8.") from None
    _refuse(f"{table} has", _faulty_rows(rows, images))
    return [Review(images / row["file"], row["label"], row["patient"] or None, table.name) for _, row in rows]


def from_log(log: Log, images: Path) -> list[Review]:
    """Take the images that ``pneumonia serve --keep-images`` kept, with their latest labels of the log.

    Images without a label, or with one that is UNSURE, are left out.
    """
    files = {path.stem: path for path in sorted(images.glob("*.png")) if _is_id(path.stem)}
    labelled = log.labelled(Window(), ["id"])
    known = labelled[labelled["id"].isin(files) & labelled["label"].isin(CLASS_NAMES)]
    return [
        Review(files[row["id"]], row["label"], None, row["label_source"]) for row in known.to_dict(orient="records")
    ]


def build(base: Path, reviews: Sequence[Review], to: Path) -> Built:
    """Build the folder ``to`` of a base dataset and reviewed images; there is all of it in the end, or nothing.

    Each reviewed image comes into train as ``reviewed-<hash of its file>``. Where a patient is known for any image of
    either, a patients.csv names those of all; an image without one counts as a patient of its own. `PROVENANCE` says
    what was added, from where.

    Args:
        base: class folders, such as artifacts/raw; it is read alone.
        reviews: at least one.
        to: a folder that is not there yet.

    Raises:
        SourceError: the base has another layout, or the disk is full.
        MonitoringError: ``to`` is there; there is no review; an image is unreadable, lies in the base already, or
            comes twice; or its patient is in the test set.
    """
    if to.exists():
        raise MonitoringError(f"{to} is there already. Name a folder that is not, or remove it.")
    if not reviews:
        raise MonitoringError("there is no reviewed image to add: none has a label of NORMAL or PNEUMONIA.")
    found = layout.scan(base)
    patients = _patients(found)
    _refuse("Expected images that the base does not hold; there are", _known_images(found, reviews))
    _refuse("Expected patients who are not in the test set; there are", _test_patients(patients, reviews))
    targets = {review.file: _target(review) for review in reviews}
    added = {label: sum(review.label == label for review in reviews) for label in CLASS_NAMES}
    with _workshop(to) as work, disk.room_for(_bytes(found, reviews), work):
        layout.place(found.images, work, shutil.copyfile)
        for review in reviews:
            shutil.copyfile(review.file, work / targets[review.file])
        if found.patients or any(review.patient for review in reviews):
            _write_patients(work / layout.PATIENTS_FILE, patients, reviews, targets)
        provenance = {
            "base": {"folder": base.resolve().name, "sha256": checksum.of_folder(base), "images": len(found.images)},
            "added": [_provenance(review, targets[review.file]) for review in reviews],
        }
        (work / PROVENANCE).write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
        work.rename(to)
    return Built(layout.count(found.images), added)


def _faulty_rows(rows: Iterable[tuple[int, dict[str, str]]], images: Path) -> Iterator[str]:
    seen: dict[str, int] = {}
    for line, row in rows:
        if row["label"] not in CLASS_NAMES:
            yield f"line {line}: label {row['label']!r} is neither of {' and '.join(CLASS_NAMES)}"
        if not (images / row["file"]).is_file():
            yield f"line {line}: there is no file {images / row['file']}"
        if seen.setdefault(row["file"], line) != line:
            yield f"line {line}: names {row['file']} again, after line {seen[row['file']]}"


def _patients(found: Layout) -> dict[Image, str | None]:
    """Return the patient of each image of the base, as the validate stage will: by its table, else by its names."""
    if found.patients is None:
        return {image: naming.parse(image.path.name, image.label).patient for image in found.images}
    with found.patients.open(encoding="utf-8-sig", newline="") as lines:
        listed = {row["file"]: row["patient"] for row in csv.DictReader(lines)}
    return {image: next((listed[name] for name in _names(image) if name in listed), None) for image in found.images}


def _names(image: Image) -> tuple[str, str, str]:
    """Return how a table may name an image: with split and class, with the class alone, or bare."""
    name = image.path.name
    return f"{image.split}/{image.label}/{name}", f"{image.label}/{name}", name


def _known_images(found: Layout, reviews: Sequence[Review]) -> Iterator[str]:
    with ThreadPoolExecutor() as pool:
        prints = pool.map(lambda image: _fingerprint(image.path), found.images)
        watched = track(prints, "Comparing images", total=len(found.images))
        known = dict(zip(watched, (_names(image)[0] for image in found.images), strict=True))
    for review in reviews:
        try:
            seen = _pixels(review.file)
        except ImageError as error:
            yield f"{review.file}: {error}"
            continue
        if seen in known:
            yield f"{review.file} has the pixels of {known[seen]}"
        known[seen] = str(review.file)


def _fingerprint(file: Path) -> str:
    """Tell an image by its pixels; a file that cannot be read, which the validate stage puts aside, by its bytes."""
    try:
        return _pixels(file)
    except ImageError:
        return checksum.of_file(file)


def _pixels(file: Path) -> str:
    shown = intake.shown(file.read_bytes())
    return hashlib.sha256(repr(shown.shape).encode() + shown.tobytes()).hexdigest()


def _test_patients(patients: dict[Image, str | None], reviews: Sequence[Review]) -> Iterator[str]:
    tested = {patient for image, patient in patients.items() if image.split == TEST and patient}
    for review in reviews:
        if review.patient in tested:
            yield f"{review.file}: patient {review.patient}"


def _target(review: Review) -> Path:
    name = f"reviewed-{checksum.of_file(review.file)[:16]}{review.file.suffix.lower()}"
    return Path(TRAIN, review.label, name)


def _write_patients(
    table: Path, patients: dict[Image, str | None], reviews: Sequence[Review], targets: dict[Path, Path]
) -> None:
    """Name the patient of every image, as a table has to; where none is known, an image is one of its own."""
    known = {_names(image)[0]: patient for image, patient in patients.items()}
    known |= {targets[review.file].as_posix(): review.patient for review in reviews}
    with table.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(("file", "patient"))
        writer.writerows((name, patient or f"file-{name}") for name, patient in known.items())


def _provenance(review: Review, target: Path) -> dict[str, Any]:
    told = asdict(review) | {"file": review.file.name, "sha256": checksum.of_file(review.file)}
    return told | {"added_as": target.as_posix()}


def _bytes(found: Layout, reviews: Sequence[Review]) -> int:
    files = [image.path for image in found.images] + [review.file for review in reviews]
    return sum(file.stat().st_size for file in files)


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


@contextmanager
def _workshop(to: Path) -> Iterator[Path]:
    """Make an empty folder beside ``to``, so on the same disk; what a killed run left there is removed."""
    work = to.with_name(f".{to.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    for label in CLASS_NAMES:
        (work / TRAIN / label).mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _refuse(lead: str, faults: Iterable[str]) -> None:
    listed = list(faults)
    if listed:
        more = [f"and {len(listed) - MOST_FAULTS} more"] if len(listed) > MOST_FAULTS else []
        raise MonitoringError(
            f"{lead} {len(listed)} fault(s), and nothing was made:\n  " + "\n  ".join([*listed[:MOST_FAULTS], *more])
        )
