"""Sources of images: the published dataset, phantoms, or a folder or zip archive of your own.

Every source gives one folder ``{train,val,test}/{NORMAL,PNEUMONIA}/<file>``, complete or missing, and a record of its
origin. No source is ever replaced silently by another.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pneumonia.core.errors import DownloadError, SourceError
from pneumonia.data import archive, checksum, disk, layout
from pneumonia.data import definition as definitions
from pneumonia.data.dataset_reports import SourceRecord
from pneumonia.data.definition import Definition, Release
from pneumonia.data.download import download
from pneumonia.data.layout import Layout
from pneumonia.data.settings import DataParams, PhantomParams


def fetch(params: DataParams, definition: Path, raw: Path, downloads: Path, mirror: Path | None) -> SourceRecord:
    """Build the dataset folder ``raw`` from the source that ``params`` names.

    ``raw`` is replaced in one step at the end; after an error it is unchanged.

    Args:
        params: source and phantom settings; a path may be relative to the current folder.
        definition: the dataset definition, data/kermany.yaml; only read for ``kermany``.
        raw: folder to build.
        downloads: folder for downloaded archives, kept between runs.
        mirror: folder with an archive of the dataset; where it is given, nothing is downloaded.

    Raises:
        SourceError: the source is not available, or differs from its definition (DownloadError and ArchiveError are
            subclasses).
    """
    with _work_folder(raw) as work:
        if params.source == "kermany":
            record = _build_kermany(definitions.load(definition), work, downloads, mirror)
        elif params.source == "phantom":
            record = _build_phantom(params.phantom, work)
        else:
            record = _build_from_path(Path(params.source).expanduser(), work)
        _replace(work / "raw", raw)
    return record


@contextmanager
def _work_folder(raw: Path) -> Iterator[Path]:
    """Create an empty folder next to ``raw``, on the same disk; remains of an interrupted run are removed."""
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


def _build_kermany(dataset: Definition, work: Path, downloads: Path, mirror: Path | None) -> SourceRecord:
    if mirror is not None:
        release, path = _open_mirror(dataset, mirror)
    else:
        release, path = _download(dataset, downloads)
    archive.extract(path, work / "unpacked")
    content = layout.scan(work / "unpacked")
    missing = dataset.check(content.images, release)
    layout.place(content.images, work / "raw", Path.rename)
    return _record("kermany", release.name, release.sha256, content, full_size=release.full_size, missing=missing)


def _open_mirror(dataset: Definition, mirror: Path) -> tuple[Release, Path]:
    for release in dataset.releases:
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
        f"The mirror {mirror} has none of {_archives(dataset)}. Put one of them there, or unset PNEUMONIA_MIRROR to "
        "download the official archive."
    )


def _download(dataset: Definition, downloads: Path) -> tuple[Release, Path]:
    for release in dataset.releases:
        if release.url is None:
            continue
        path = downloads / release.archive
        try:
            download(release.url, path, size=release.bytes, sha256=release.sha256)
        except DownloadError as error:
            raise DownloadError(
                f"{error}\nCheck the network and run again; the download resumes. Without a network, set "
                f"PNEUMONIA_MIRROR to a folder with one of {_archives(dataset)}, or set data.source in "
                "params.yaml to phantom or to a folder of your own images."
            ) from error
        return release, path
    raise SourceError(f"No release has a URL. Set PNEUMONIA_MIRROR to a folder with one of {_archives(dataset)}.")


def _archives(dataset: Definition) -> str:
    return ", ".join(release.archive for release in dataset.releases)


def _build_phantom(params: PhantomParams, work: Path) -> SourceRecord:
    from pneumonia.data import phantom

    (work / "raw").mkdir()
    phantom.write(params, work / "raw")
    return _record("phantom", None, checksum.of_folder(work / "raw"), layout.scan(work / "raw"))


def _build_from_path(path: Path, work: Path) -> SourceRecord:
    if path.is_dir():
        content = layout.scan(path)
        _copy(content, work / "raw")
        return _record("folder", path.resolve().name, checksum.of_folder(work / "raw"), content)
    if path.is_file() and path.suffix.lower() == ".zip":
        archive.extract(path, work / "unpacked")
        content = layout.scan(work / "unpacked")
        layout.place(content.images, work / "raw", Path.rename)
        if content.patients:
            content.patients.rename(work / "raw" / layout.PATIENTS_FILE)
        return _record("zip", path.name, checksum.of_file(path), content)
    state = "is neither a folder nor a .zip" if path.exists() else "does not exist"
    raise SourceError(
        f"data.source in params.yaml is {str(path)!r}, which {state}. Expected kermany, phantom, or the path of a "
        "folder or .zip of images."
    )


def _copy(content: Layout, raw: Path) -> None:
    raw.mkdir()
    with disk.explain_full_disk(sum(image.path.stat().st_size for image in content.images), raw):
        layout.place(content.images, raw, shutil.copyfile)
        if content.patients:
            shutil.copyfile(content.patients, raw / layout.PATIENTS_FILE)


def _record(
    source: str,
    release: str | None,
    sha256: str,
    content: Layout,
    full_size: bool | None = None,
    missing: list[str] | None = None,
) -> SourceRecord:
    return SourceRecord(
        source=source,
        release=release,
        sha256=sha256,
        files=len(content.images),
        counts=layout.count(content.images),
        full_size=full_size,
        missing=tuple(missing or ()),
        ignored=len(content.ignored),
        patients_file=content.patients is not None,
    )
