import io
import random
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from pneumonia.core.errors import ArchiveError, SourceError
from pneumonia.data import archive

NOISE = random.Random(0).randbytes(20_000)


def make(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as out:
        for name, content in members.items():
            out.writestr(zipfile.ZipInfo(name), content, compress_type=compression)
    return path


def files_under(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    return tmp_path / "a" / "inside"


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_unpacked_byte_for_byte(tmp_path: Path, inside: Path, compression: int) -> None:
    members = {"top/train/NORMAL/ä b.jpeg": NOISE, "top/empty.txt": b"", "top/x.png": bytes(1000)}
    archive.extract(make(tmp_path / "good.zip", members, compression), inside)
    assert files_under(inside) == members


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "top/../../evil",
        "/evil",
        "//server/evil",
        "C:/evil",
        "c:evil",
        "..\\evil",
        "top\\evil",
        "\\\\server\\evil",
        ".",
        "x" * 300,
    ],
)
def test_paths_outside_of_the_folder_are_rejected_before_anything_is_written(
    tmp_path: Path, inside: Path, name: str
) -> None:
    bad = make(tmp_path / "bad.zip", {"fine.jpeg": NOISE, name: b"evil"})
    with pytest.raises(ArchiveError, match=r"bad\.zip holds"):
        archive.extract(bad, inside)
    assert set(files_under(tmp_path)) == {"bad.zip"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_rejected(tmp_path: Path, inside: Path, kind: int) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as out:
        out.writestr(info, "/etc/passwd")
    with pytest.raises(ArchiveError, match="link or special file"):
        archive.extract(tmp_path / "bad.zip", inside)


def test_an_encrypted_member_is_rejected(tmp_path: Path, inside: Path) -> None:
    bad = make(tmp_path / "bad.zip", {"a.jpeg": NOISE})
    content = bytearray(bad.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    bad.write_bytes(content)
    with pytest.raises(ArchiveError, match="encrypted"):
        archive.extract(bad, inside)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a/b.jpeg", "a/b.jpeg"), ("a/b.jpeg", "a//./b.jpeg")])
def test_duplicate_names_are_rejected(tmp_path: Path, inside: Path, names: tuple[str, str]) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as out:
        for name in names:
            out.writestr(zipfile.ZipInfo(name), NOISE)
    with pytest.raises(ArchiveError, match="twice"):
        archive.extract(tmp_path / "bad.zip", inside)


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a")])
def test_a_file_and_a_folder_of_one_name_are_rejected(tmp_path: Path, inside: Path, names: tuple[str, str]) -> None:
    with pytest.raises(ArchiveError, match="another member of that name"):
        archive.extract(make(tmp_path / "bad.zip", dict.fromkeys(names, b"x")), inside)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_methods_without_streaming_are_rejected(tmp_path: Path, inside: Path, compression: int) -> None:
    with pytest.raises(ArchiveError, match="another method"):
        archive.extract(make(tmp_path / "bad.zip", {"a.jpeg": bytes(1 << 20)}, compression), inside)


def test_a_zip_bomb_is_stopped_early(tmp_path: Path, inside: Path) -> None:
    bomb = make(tmp_path / "bomb.zip", {"a.jpeg": NOISE, "zeros.jpeg": bytes(64 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ArchiveError, match=r"beyond the limits at 'zeros\.jpeg'"):
        archive.extract(bomb, inside)
    assert sum(len(content) for content in files_under(inside).values()) < 16 << 20


def test_bomb_of_many_small_members_is_stopped(tmp_path: Path, inside: Path) -> None:
    members = {f"{n}.jpeg": bytes(1 << 20) for n in range(64)}
    with pytest.raises(ArchiveError, match="expands beyond the limits"):
        archive.extract(
            make(tmp_path / "bomb.zip", members, zipfile.ZIP_DEFLATED), inside, archive.ExpansionLimits(ratio=20)
        )
    assert sum(len(content) for content in files_under(inside).values()) < 16 << 20


def test_a_bomb_with_false_packed_sizes_is_stopped(tmp_path: Path, inside: Path) -> None:
    bomb = make(tmp_path / "bomb.zip", {"zeros.jpeg": bytes(64 << 20)}, zipfile.ZIP_DEFLATED)
    content = bytearray(bomb.read_bytes())
    struct.pack_into("<I", content, content.rindex(b"PK\x01\x02") + 20, 1 << 30)
    bomb.write_bytes(content)
    with pytest.raises(ArchiveError):
        archive.extract(bomb, inside)
    assert sum(len(content) for content in files_under(inside).values()) < 16 << 20


def test_absolute_limits_apply_to_incompressible_members(tmp_path: Path, inside: Path) -> None:
    big = make(tmp_path / "big.zip", {"a.jpeg": NOISE, "b.jpeg": NOISE})
    with pytest.raises(ArchiveError, match="expands beyond the limits"):
        archive.extract(big, inside / "member", archive.ExpansionLimits(member=len(NOISE) - 1))
    with pytest.raises(ArchiveError, match="40,000 unpacked bytes"):
        archive.extract(big, inside / "total", archive.ExpansionLimits(total=len(NOISE)))


def test_a_blank_image_that_compresses_a_thousandfold_is_accepted(tmp_path: Path, inside: Path) -> None:
    archive.extract(make(tmp_path / "blank.zip", {"blank.dcm": bytes(500_000)}, zipfile.ZIP_DEFLATED), inside)
    assert (inside / "blank.dcm").stat().st_size == 500_000


@pytest.mark.parametrize("kept", [0, 100, 10_000, -1])
def test_a_truncated_archive_is_rejected(tmp_path: Path, inside: Path, kept: int) -> None:
    path = make(tmp_path / "cut.zip", {"a.jpeg": NOISE})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ArchiveError, match=r"cut\.zip cannot be unpacked"):
        archive.extract(path, inside)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_altered_member_is_named(tmp_path: Path, inside: Path, compression: int) -> None:
    path = make(tmp_path / "altered.zip", {"a.jpeg": NOISE}, compression)
    content = bytearray(path.read_bytes())
    content[5000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"cannot be unpacked \(a\.jpeg: "):
        archive.extract(path, inside)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_random_damage_always_raises_an_archive_error(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for number, compression in enumerate([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]):
            out.writestr(zipfile.ZipInfo(f"t/{number}.jpeg"), b"radiograph" * 20, compress_type=compression)
    dice = random.Random(1)
    refused = 0
    for trial in range(400):
        content = bytearray(buffer.getvalue())
        for _ in range(dice.randint(1, 4)):
            content[dice.randrange(len(content))] = dice.randrange(256)
        path = tmp_path / f"{trial}.zip"
        path.write_bytes(content)
        try:
            archive.extract(path, tmp_path / "out" / str(trial))
        except ArchiveError:
            refused += 1
    assert refused > 200


def test_a_full_disk_is_reported_with_needed_and_free_bytes(tmp_path: Path, small_disk: Path) -> None:
    members = {f"{n}.jpeg": NOISE * 10 for n in range(20)}
    with pytest.raises(SourceError, match=r"disk is full: 4\.0 MB have to be written .* 1\.0 MB were free"):
        archive.extract(make(tmp_path / "large.zip", members), small_disk / "inside")
