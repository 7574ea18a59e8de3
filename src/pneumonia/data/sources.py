"""Where the images come from: the published dataset, phantoms, or one's own folder or zip.

Whatever the source, the result is one folder ``{train,val,test}/{NORMAL,PNEUMONIA}/<file>`` that is complete or not
there at all, and a record of what it was made from. No source ever stands in for another.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pneumonia import config
from pneumonia.data import archive, checksum, disk, layout
from pneumonia.data import definition as definitions
from pneumonia.data.definition import Definition, Release
from pneumonia.data.download import download
from pneumonia.data.layout import Layout
from pneumonia.errors import DownloadError, SourceError


@dataclass(frozen=True)
class SourceRecord:
    """What a dataset was made from.

    Attributes:
        source: ``kermany``, ``phantom``, ``folder`` or ``zip``.
        release: name of the release, or of the folder or zip; None for phantoms.
        sha256: checksum of the archive; of folders and phantoms, of the list of their files (checksum.of_folder).
        files: number of images.
        counts: number of images as ``{split: {label: n}}``.
        full_size: whether the images have their original pixels; None where nobody can tell.
        missing: names that the definition has and the release lacks.
        ignored: number of files that were left out since they are no images in class folders.
        patients_file: whether a patients.csv came along.
    """

    source: str
    release: str | None
    sha256: str
    files: int
    counts: dict[str, dict[str, int]]
    full_size: bool | None
    missing: tuple[str, ...]
    ignored: int
    patients_file: bool

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON types."""
        return asdict(self) | {"missing": list(self.missing)}


def fetch(
    params: config.DataParams, definition: Path, raw: Path, downloads: Path, mirror: Path | None
) -> SourceRecord:
    """Build the dataset folder ``raw`` from the source that ``params`` names.

    ``raw`` is replaced in one step at the very end; when anything fails, it stays as it was.

    Args:
        params: source and phantom settings; a path may be relative to the current folder.
        definition: the dataset definition, data/kermany.yaml; read for ``kermany`` alone.
        raw: folder to build.
        downloads: folder for downloaded archives, kept between runs.
        mirror: folder that holds an archive of the dataset; when given, nothing is downloaded.

    Raises:
        SourceError: the source cannot be had, or is not what it should be; DownloadError and ArchiveError are kinds
            of it.
    """
    with _workshop(raw) as work:
        if params.source == "kermany":
            record = _build_kermany(definitions.load(definition), work, downloads, mirror)
        elif params.source == "phantom":
            record = _build_phantom(params.phantom, work)
        else:
            record = _build_own(Path(params.source).expanduser(), work)
        _replace(work / "raw", raw)
    return record


@contextmanager
def _workshop(raw: Path) -> Iterator[Path]:
    """Make an empty folder beside ``raw``, so on the same disk; what a killed run left there is removed."""
    work = raw.with_name(f".{raw.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _replace(built: Path, raw: Path) -> None:
    if raw.exists():
        raw.rename(built.with_name("old"))  # a folder cannot replace one that is not empty
    built.rename(raw)


def _build_kermany(known: Definition, work: Path, downloads: Path, mirror: Path | None) -> SourceRecord:
    if mirror is not None:
        release, path = _find_in_mirror(known, mirror)
    else:
        release, path = _download(known, downloads)
    archive.extract(path, work / "unpacked")
    found = layout.scan(work / "unpacked")
    missing = known.check(found.images, release)
    layout.place(found.images, work / "raw", Path.rename)
    return _record("kermany", release.name, release.sha256, found, full_size=release.full_size, missing=missing)


def _find_in_mirror(known: Definition, mirror: Path) -> tuple[Release, Path]:
    for release in known.releases:
        path = mirror / release.archive
        if not path.is_file():
            continue
        actual = checksum.of_file(path)
        if actual != release.sha256:
            raise SourceError(
                f"{path} ({path.stat().st_size:,} bytes, sha256 {actual}) is not the archive of {release.name} "
                f"({release.bytes:,} bytes, sha256 {release.sha256}). Copy it there again, or remove it."
            )
        return release, path
    raise SourceError(
        f"The mirror {mirror} holds none of {_archives(known)}. Put one of them there, or unset PNEUMONIA_MIRROR to "
        "download the official archive."
    )


def _download(known: Definition, downloads: Path) -> tuple[Release, Path]:
    for release in known.releases:
        if release.url is None:
            continue
        path = downloads / release.archive
        try:
            download(release.url, path, size=release.bytes, sha256=release.sha256)
        except DownloadError as error:
            raise DownloadError(
                f"{error}\nCheck the network and run again; what has arrived is kept. Without a network, set "
                f"PNEUMONIA_MIRROR to a folder that holds one of {_archives(known)}, or set data.source in "
                "params.yaml to phantom or to a folder of your own images."
            ) from error
        return release, path
    raise SourceError(f"No release has a URL. Set PNEUMONIA_MIRROR to a folder that holds one of {_archives(known)}.")


def _archives(known: Definition) -> str:
    return ", ".join(release.archive for release in known.releases)


def _build_phantom(params: config.PhantomParams, work: Path) -> SourceRecord:
    from pneumonia.data import phantom

    (work / "raw").mkdir()
    phantom.write(params, work / "raw")
    return _record("phantom", None, checksum.of_folder(work / "raw"), layout.scan(work / "raw"))


def _build_own(path: Path, work: Path) -> SourceRecord:
    if path.is_dir():
        found = layout.scan(path)
        _copy(found, work / "raw")
        return _record("folder", path.resolve().name, checksum.of_folder(work / "raw"), found)
    if path.is_file() and path.suffix.lower() == ".zip":
        archive.extract(path, work / "unpacked")
        found = layout.scan(work / "unpacked")
        layout.place(found.images, work / "raw", Path.rename)
        if found.patients:
            found.patients.rename(work / "raw" / layout.PATIENTS_FILE)
        return _record("zip", path.name, checksum.of_file(path), found)
    state = "is neither a folder nor a .zip" if path.exists() else "does not exist"
    raise SourceError(
        f"data.source in params.yaml is {str(path)!r}, which {state}. Expected kermany, phantom, or the path of a "
        "folder or .zip of images."
    )


def _copy(found: Layout, raw: Path) -> None:
    raw.mkdir()
    with disk.room_for(sum(image.path.stat().st_size for image in found.images), raw):
        layout.place(found.images, raw, shutil.copyfile)
        if found.patients:
            shutil.copyfile(found.patients, raw / layout.PATIENTS_FILE)


def _record(
    source: str,
    release: str | None,
    sha256: str,
    found: Layout,
    full_size: bool | None = None,
    missing: list[str] | None = None,
) -> SourceRecord:
    return SourceRecord(
        source=source,
        release=release,
        sha256=sha256,
        files=len(found.images),
        counts=layout.count(found.images),
        full_size=full_size,
        missing=tuple(missing or ()),
        ignored=len(found.ignored),
        patients_file=found.patients is not None,
    )
