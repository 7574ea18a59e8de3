import hashlib
import io
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import PIL.Image
import pytest
import yaml

from pipeline.params import load
from pneumonia.core.errors import ArchiveError, DownloadError, SourceError
from pneumonia.data import download, sources
from pneumonia.data.dataset_reports import SourceRecord
from pneumonia.data.settings import DataParams

ROOT = Path(__file__).parents[3]
PHANTOM = load(ROOT / "params.yaml").data.phantom.model_copy(update={"patients": 12, "size": 64})
FILES = {
    "train/NORMAL/IM-0001-0001.jpeg": (20, 10),
    "train/PNEUMONIA/person1_bacteria_1.jpeg": (30, 10),
    "val/NORMAL/IM-0002-0001.jpeg": (20, 15),
    "val/PNEUMONIA/person2_virus_2.jpeg": (20, 16),
    "test/NORMAL/IM-0003-0001.jpeg": (20, 17),
    "test/PNEUMONIA/person3_virus_3.jpeg": (20, 18),
}


def jpeg(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("L", size).save(buffer, "JPEG")
    return buffer.getvalue()


CONTENT = {name: jpeg(size) for name, size in FILES.items()}
IN_TRAIN = {name.replace("val/", "train/"): content for name, content in CONTENT.items()}
SYSTEM_FILES = {"chest_xray/.DS_Store": b"x", "__MACOSX/chest_xray/train/NORMAL/._IM-0001-0001.jpeg": b"x"}


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name, content in members.items():
            out.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def official(files: dict[str, bytes] = IN_TRAIN) -> bytes:
    return zipped({f"chest_xray/{name}": content for name, content in files.items()} | SYSTEM_FILES)


def resized() -> bytes:
    names = [name for name in FILES if not name.startswith("val/")]
    return zipped({f"chest_xray/{name}": jpeg((8, 8)) for name in names})


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def files_under(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Project:
    """A folder with a definition of six images, and what a stage needs to fetch them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.raw = folder / "artifacts" / "raw"
        self.downloads = folder / "artifacts" / "downloads"
        self.mirror = folder / "mirror"
        self.mirror.mkdir()

    def define(self, official_archive: bytes, url: str | None = "http://127.0.0.1:9/nothing") -> None:
        releases = [
            {"name": "official", "archive": "Official.zip", "url": url, "full_size": True},
            {"name": "resized", "archive": "resized.zip", "full_size": False, "missing_splits": ["val"]},
        ]
        for release, content in zip(releases, (official_archive, resized()), strict=True):
            release |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        sheet = dict.fromkeys(("title", "authors", "doi", "licence", "citation", "paper", "patients"), "-")
        counts = {split: {"NORMAL": 1, "PNEUMONIA": 1} for split in ("train", "val", "test")}
        sheet |= {"files": "files.csv", "counts": counts, "releases": releases}
        (self.folder / "set.yaml").write_text(yaml.safe_dump(sheet), encoding="utf-8")
        lines = ["split,class,filename,width,height,bytes"]
        for name, (width, height) in FILES.items():
            lines.append(f"{name.replace('/', ',')},{width},{height},{len(CONTENT[name])}")
        (self.folder / "files.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def fetch(self, source: str = "kermany", *, mirror: bool = True) -> SourceRecord:
        params = DataParams(source=source, phantom=PHANTOM)
        return sources.fetch(
            params, self.folder / "set.yaml", self.raw, self.downloads, self.mirror if mirror else None
        )

    def left(self) -> list[str]:
        return sorted(path.name for path in self.raw.parent.iterdir())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.define(official())
    return project


# --- kermany, from a mirror


def test_mirror_with_the_official_archive(project: Project) -> None:
    written(project.mirror, {"Official.zip": official(), "resized.zip": resized()})
    record = project.fetch()
    assert files_under(project.raw) == IN_TRAIN
    assert project.left() == ["raw"]
    assert record == SourceRecord(
        source="kermany",
        release="official",
        sha256=hashlib.sha256(official()).hexdigest(),
        files=6,
        counts={"train": {"NORMAL": 2, "PNEUMONIA": 2}, "test": {"NORMAL": 1, "PNEUMONIA": 1}},
        full_size=True,
        missing=(),
        ignored=0,
        patients_file=False,
    )
    assert SourceRecord.model_validate_json(record.model_dump_json()) == record


def test_a_mirror_with_the_resized_copy_reports_the_missing_files(project: Project) -> None:
    written(project.mirror, {"resized.zip": resized()})
    record = project.fetch()
    assert (record.release, record.full_size, record.files) == ("resized", False, 4)
    assert record.missing == ("IM-0002-0001.jpeg", "person2_virus_2.jpeg")


def test_an_empty_mirror_is_an_error_and_nothing_is_downloaded(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "download", lambda *_, **__: pytest.fail("used the network"))
    with pytest.raises(SourceError, match=r"has none of Official\.zip, resized\.zip"):
        project.fetch()


def test_a_damaged_archive_in_the_mirror_is_rejected_although_another_release_is_there(project: Project) -> None:
    written(project.mirror, {"Official.zip": official()[:-1], "resized.zip": resized()})
    with pytest.raises(SourceError, match=r"Official\.zip .* is not the archive of official"):
        project.fetch()
    assert project.left() == []


def test_archive_whose_files_do_not_match_the_definition_leaves_no_dataset(project: Project) -> None:
    altered = official(IN_TRAIN | {"test/NORMAL/IM-0003-0001.jpeg": jpeg((21, 17))})
    project.define(altered)
    written(project.mirror, {"Official.zip": altered})
    with pytest.raises(SourceError, match=r"1 altered \(IM-0003-0001\.jpeg\)"):
        project.fetch()
    assert project.left() == []


def test_a_failure_keeps_the_previous_dataset(project: Project) -> None:
    written(project.mirror, {"resized.zip": resized()})
    project.fetch()
    before = files_under(project.raw)
    written(project.mirror, {"resized.zip": resized()[:-1]})
    with pytest.raises(SourceError):
        project.fetch()
    assert files_under(project.raw) == before
    assert project.left() == ["raw"]


def test_remains_of_an_interrupted_run_and_an_older_dataset_are_replaced(project: Project) -> None:
    written(project.mirror, {"Official.zip": official()})
    written(project.raw, {"train/NORMAL/stale.jpeg": b"x"})
    written(project.raw.parent / ".raw.partial", {"raw/train/NORMAL/half.jpeg": b"x"})
    project.fetch()
    assert files_under(project.raw) == IN_TRAIN
    assert project.left() == ["raw"]


@pytest.mark.real
def test_real_mirror_gives_the_resized_set(tmp_path: Path, mirror: Path) -> None:
    params = DataParams(source="kermany", phantom=PHANTOM)
    record = sources.fetch(params, ROOT / "data" / "kermany.yaml", tmp_path / "raw", tmp_path, mirror)
    assert record.files == len(files_under(tmp_path / "raw")) == 5840
    assert record.counts == {"train": {"NORMAL": 1341, "PNEUMONIA": 3875}, "test": {"NORMAL": 234, "PNEUMONIA": 390}}
    assert len(record.missing) == 16


# --- kermany, from the network


def test_archive_in_downloads_is_used_without_a_network(project: Project) -> None:
    written(project.downloads, {"Official.zip": official()})
    assert project.fetch(mirror=False).release == "official"
    assert files_under(project.raw) == IN_TRAIN


def test_no_network_names_the_mirror(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=lambda _: None, monotonic=time.monotonic))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DownloadError, match=r"(?s)127\.0\.0\.1.*PNEUMONIA_MIRROR.*Official\.zip, resized\.zip"):
        project.fetch(mirror=False)
    assert not project.raw.exists()


def test_dataset_without_a_url_names_the_mirror(project: Project) -> None:
    project.define(official(), url=None)
    with pytest.raises(SourceError, match="PNEUMONIA_MIRROR"):
        project.fetch(mirror=False)


# --- images of your own


@pytest.mark.parametrize("top", ["", "my set/"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_own_images_in_splits(project: Project, top: str, kind: str) -> None:
    files = {f"{top}{name}": content for name, content in CONTENT.items()}
    if kind == "zip":
        written(project.folder, {"own.zip": zipped(files)})
    else:
        written(project.folder / "own", files)
    record = project.fetch(str(project.folder / ("own.zip" if kind == "zip" else "own")))
    assert files_under(project.raw) == CONTENT
    assert (record.source, record.files, record.full_size, record.missing) == (kind, 6, None, ())
    assert record.counts == {split: {"NORMAL": 1, "PNEUMONIA": 1} for split in ("train", "val", "test")}


def test_own_images_without_splits_go_to_train(project: Project) -> None:
    names = ["normal/a.JPG", "normal/b.png", "Pneumonia/c.dcm", "Pneumonia/d.jpeg"]
    written(project.folder / "own", dict.fromkeys(names, b"pixels"))
    assert project.fetch(str(project.folder / "own")).counts == {"train": {"NORMAL": 2, "PNEUMONIA": 2}}
    assert sorted(files_under(project.raw)) == [
        "train/NORMAL/a.JPG",
        "train/NORMAL/b.png",
        "train/PNEUMONIA/c.dcm",
        "train/PNEUMONIA/d.jpeg",
    ]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_dicom_files_are_accepted_by_suffix_or_by_content(project: Project, kind: str) -> None:
    dicom = bytes(128) + b"DICM"
    images = {f"train/NORMAL/{name}": dicom for name in ("a.dcm", "b.DICOM", "IM000001", "1.2.840.113619.2.5")}
    others = {"DICOMDIR": dicom, "train/NORMAL/DICOMDIR": dicom, "train/NORMAL/README": b"text", "train/NORMAL/x": b""}
    system_files = {"train/NORMAL/._IM000001": dicom, "train/NORMAL/.DS_Store": dicom, "__MACOSX/IM1": dicom}
    files = CONTENT | images | others | system_files
    if kind == "zip":
        written(project.folder, {"own.zip": zipped(files)})
    else:
        written(project.folder / "own", files)
    record = project.fetch(str(project.folder / ("own.zip" if kind == "zip" else "own")))
    assert files_under(project.raw) == CONTENT | images
    assert record.ignored == len(others)


def test_own_images_are_copies(project: Project) -> None:
    own = written(project.folder / "own", CONTENT)
    project.fetch(str(own))
    for path in project.raw.rglob("*.jpeg"):
        path.write_bytes(b"")
    assert files_under(own) == CONTENT


def test_relative_path_counts_from_the_project(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    written(project.folder / "own", CONTENT)
    monkeypatch.chdir(project.folder)
    assert project.fetch("own").files == 6


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_the_patients_file_is_copied(project: Project, kind: str) -> None:
    files = CONTENT | {"patients.csv": b"file,patient\nIM-0001-0001.jpeg,7\n"}
    if kind == "zip":
        written(project.folder, {"own.zip": zipped({f"top/{name}": content for name, content in files.items()})})
    else:
        written(project.folder / "own", files)
    assert project.fetch(str(project.folder / ("own.zip" if kind == "zip" else "own"))).patients_file
    assert files_under(project.raw) == files


def test_other_files_are_counted_and_system_files_are_not(project: Project) -> None:
    other = dict.fromkeys(["README.txt", "train/NORMAL/notes.txt", "train/COVID/a.jpeg"], b"x")
    system_files = dict.fromkeys(["train/.DS_Store", "train/NORMAL/._a.jpeg", "train/NORMAL/Thumbs.db"], b"x")
    own = written(project.folder / "own", CONTENT | other | system_files)
    assert project.fetch(str(own)).ignored == 3
    assert files_under(project.raw) == CONTENT


@pytest.mark.parametrize("emptied", ["train/PNEUMONIA", "test/NORMAL"])
def test_empty_class_folder_is_named_with_the_layout_that_is_expected(project: Project, emptied: str) -> None:
    own = written(project.folder / "own", CONTENT)
    for path in (own / emptied).iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(SourceError, match=rf"{emptied} holds no images\. Expected train/NORMAL, train/PNEUMONIA"):
        project.fetch(str(own))
    assert project.left() == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.jpeg"], "another layout.*Found: a.jpeg"),
        ([".DS_Store"], "another layout.*Found: nothing"),
        (["train/NORMAL/a.jpeg"], "no PNEUMONIA folder.*Found: NORMAL"),
        (["test/NORMAL/a.jpeg", "test/PNEUMONIA/a.jpeg"], "no train folder"),
        (["train/NORMAL/a.jpeg", "NORMAL/a.jpeg"], "another layout"),
        (["NORMAL/a.jpeg", "Normal/b.jpeg", "PNEUMONIA/a.jpeg"], "several folders for NORMAL"),
    ],
)
def test_other_layouts_are_explained(project: Project, names: list[str], message: str) -> None:
    own = written(project.folder / "own", dict.fromkeys(names, b"x"))
    with pytest.raises(SourceError, match=message):
        project.fetch(str(own))


@pytest.mark.parametrize(
    ("source", "message"), [("nowhere", "does not exist"), ("own.tar", "is neither a folder nor a .zip")]
)
def test_a_path_that_is_not_a_dataset_is_explained(project: Project, source: str, message: str) -> None:
    written(project.folder, {"own.tar": b"x"})
    with pytest.raises(SourceError, match=f"{message}.*Expected kermany, phantom, or the path"):
        project.fetch(str(project.folder / source))


def test_unsafe_zip_leaves_nothing_behind(project: Project) -> None:
    written(project.folder, {"own.zip": zipped(CONTENT | {"../../evil": b"x"})})
    with pytest.raises(ArchiveError):
        project.fetch(str(project.folder / "own.zip"))
    assert project.left() == []


def test_checksum_of_a_folder_is_that_of_its_sha256sum_list(project: Project) -> None:
    record = project.fetch(str(written(project.folder / "own", CONTENT)))
    listing = "".join(f"{hashlib.sha256(CONTENT[name]).hexdigest()}  {name}\n" for name in sorted(CONTENT))
    assert record.sha256 == hashlib.sha256(listing.encode()).hexdigest()


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_full_disk_is_explained_and_freed_again(project: Project, small_disk: Path, kind: str) -> None:
    large = CONTENT | {f"train/NORMAL/{n}.jpeg": bytes(100_000) for n in range(20)}
    written(project.folder, {"own.zip": zipped(large)})
    written(project.folder / "own", large)
    project.raw = small_disk / "raw"
    with pytest.raises(SourceError, match=r"disk is full: 2\.0 MB have to be written .* 1\.0 MB were free"):
        project.fetch(str(project.folder / ("own.zip" if kind == "zip" else "own")))
    assert list(small_disk.iterdir()) == []


# --- phantoms


def test_phantoms_are_drawn_and_recorded(project: Project) -> None:
    record = project.fetch("phantom")
    drawn = files_under(project.raw)
    assert (record.source, record.release, record.full_size, record.files) == ("phantom", None, None, len(drawn))
    assert set(record.counts) == {"train", "test"}
    assert project.fetch("phantom") == record
