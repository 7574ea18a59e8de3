"""Malicious uploads to the complete application."""

import io
import json
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from pneumonia.bundle import golden
from pneumonia.serving.main import create_app
from pneumonia.serving.settings import AppSettings, RequestLimits
from tests.unit.serving.conftest import BASE_URL, draw, encode, send

MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}


def pack(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for entry in entries:
            archive.writestr(*entry)
    return file.getvalue()


def refusals(predictions: list[dict[str, Any]]) -> list[str]:
    """Return why files are unreadable; an empty text for readable files."""
    return [
        prediction["refusal"]["reason"] if prediction["status"] == "unreadable" else "" for prediction in predictions
    ]


class TestZips:
    def test_are_unpacked_in_order_between_other_files(self, client: TestClient, radiograph: bytes) -> None:
        archive = pack(("b/2.png", radiograph), ("a/1.png", radiograph), ("__MACOSX/._1.png", b"x"), ("b/", b""))
        predictions = send(client, ("0.png", radiograph), ("all.zip", archive), ("3.png", radiograph))
        assert [entry["file"] for entry in predictions] == ["0.png", "all.zip/b/2.png", "all.zip/a/1.png", "3.png"]
        assert {entry["status"] for entry in predictions} == {"answered"}

    def test_damaged_entry_does_not_affect_others(self, client: TestClient, radiograph: bytes) -> None:
        archive = bytearray(pack(("good.png", radiograph), ("bad.png", radiograph[::-1]), method=zipfile.ZIP_STORED))
        place = archive.index(radiograph[::-1])
        archive[place] ^= 0xFF  # invalidates its checksum
        good, bad = send(client, ("all.zip", bytes(archive)))
        assert (good["status"], bad["status"]) == ("answered", "unreadable")

    @pytest.mark.parametrize(
        "path",
        ["../../etc/cron.d/x.png", "/etc/x.png", "..\\..\\x.png", "C:\\x.png", "a/../../x.png", "\\\\host\\x.png"],
    )
    def test_paths_outside_the_archive_are_refused(self, client: TestClient, radiograph: bytes, path: str) -> None:
        bad, good = send(client, ("all.zip", pack((path, radiograph), ("good.png", radiograph))))
        assert (bad["status"], good["status"]) == ("unreadable", "answered")
        assert "outside the ZIP archive" in bad["refusal"]["reason"]

    def test_links_are_refused(self, client: TestClient) -> None:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        (reason,) = refusals(send(client, ("all.zip", pack((link, b"/etc/passwd")))))
        assert "link" in reason

    def test_nested_archives_are_refused(self, client: TestClient, radiograph: bytes) -> None:
        (reason,) = refusals(send(client, ("all.zip", pack(("inner.zip", pack(("1.png", radiograph)))))))
        assert "ZIP archive in a ZIP archive" in reason

    def test_encrypted_entries_are_refused(self, client: TestClient, radiograph: bytes) -> None:
        archive = bytearray(pack(("1.png", radiograph)))
        for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            archive[archive.index(start) + flags] |= 1
        (reason,) = refusals(send(client, ("all.zip", bytes(archive))))
        assert "encrypted" in reason

    def test_bombs_are_not_unpacked(self, open_app: Callable[..., TestClient], radiograph: bytes) -> None:
        client = open_app(limits=RequestLimits(file_bytes=2**20, unpacked_bytes=2**22))
        one_large = pack(("large.png", bytes(2**21)), ("good.png", radiograph))
        many = pack(*((f"{number}.png", bytes(2**19)) for number in range(9)))
        assert len(one_large) + len(many) < 2**20
        large, good, whole = send(client, ("one.zip", one_large), ("many.zip", many))
        assert "expected at most 1 MB" in large["refusal"]["reason"]
        assert good["status"] == "answered"
        assert "unpacked, expected at most 4 MB" in whole["refusal"]["reason"]

    def test_bombs_with_a_false_size_are_not_unpacked(
        self, open_app: Callable[..., TestClient], radiograph: bytes
    ) -> None:
        """Unpacking is limited by the size in the directory of the archive."""
        archive = bytearray(pack(("large.png", bytes(2**24))))
        for start, size in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            place = archive.index(start) + size
            archive[place : place + 4] = (1000).to_bytes(4, "little")
        client = open_app(limits=RequestLimits(file_bytes=2**20))
        (reason,) = refusals(send(client, ("false-size.zip", bytes(archive))))
        assert "cannot be unpacked" in reason

    def test_overlapping_entries_are_counted_individually(self, open_app: Callable[..., TestClient]) -> None:
        """Many entries refer to the same bytes (Fifield, A better zip bomb, 2019)."""
        archive = pack(("a.png", bytes(2**20)))
        start = archive.index(b"PK\x01\x02")
        end = archive.index(b"PK\x05\x06")
        entry, tail = archive[start:end], bytearray(archive[end:])
        count = 50
        tail[8:10] = tail[10:12] = count.to_bytes(2, "little")
        tail[12:16] = (count * len(entry)).to_bytes(4, "little")
        client = open_app(limits=RequestLimits(unpacked_bytes=2**23))
        (reason,) = refusals(send(client, ("quilt.zip", archive[:start] + entry * count + bytes(tail))))
        assert "50 MB unpacked" in reason

    @pytest.mark.parametrize("content", [b"PK\x03\x04 and no more", pack(), pack(("only/", b""))])
    def test_damaged_and_empty_archives_are_refused(self, client: TestClient, content: bytes) -> None:
        (reason,) = refusals(send(client, ("all.zip", content)))
        assert "ZIP archive" in reason

    def test_their_images_count_as_files(self, open_app: Callable[..., TestClient], radiograph: bytes) -> None:
        client = open_app(limits=RequestLimits(files=3))
        archive = pack(*((f"{number}.png", radiograph) for number in range(3)))
        send(client, ("all.zip", archive))
        files = [("files", ("all.zip", archive)), ("files", ("4.png", radiograph))]
        response = client.post("/api/v1/predictions", files=files)
        assert (response.status_code, response.json()["code"]) == (413, "too_many_files")


def jpeg() -> bytes:
    return encode(draw(2), "JPEG")


def dicom() -> bytes:
    return golden.images()["bacteria.dcm"]


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header has a size without pixels."""
    content = bytearray(encode(np.zeros((8, 8), np.uint8)))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def gif() -> bytes:
    file = io.BytesIO()
    Image.fromarray(draw(3)).save(file, "GIF")
    return file.getvalue()


MALICIOUS: dict[str, Callable[[], bytes]] = {
    "empty.png": lambda: b"",
    "page.html": lambda: b"<!doctype html><script>alert(1)</script>",
    "drawing.svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"></svg>',
    "entity.svg": lambda: b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
    "paper.pdf": lambda: b"%PDF-1.7\n%%EOF",
    "moving.gif": gif,
    "bomb.png": lambda: png_of(50_000, 50_000),
    "flat-bomb.png": lambda: encode(np.zeros((8000, 8000), np.uint8)),
    "gifar.jpeg": lambda: jpeg() + pack(("Evil.class", b"\xca\xfe\xba\xbe")),
    "gifar.png": lambda: encode(draw(2)) + pack(("Evil.class", b"\xca\xfe\xba\xbe")),
    "trailer.jpeg": lambda: jpeg() + b"<script>alert(1)</script>",
    "program.dcm": lambda: b"MZ" + bytes(126) + dicom()[128:],
    "script.dcm": lambda: b"#!/bin/sh\n".ljust(128, b"\n") + dicom()[128:],
    "cut.dcm": lambda: dicom()[:2000],
    "cut.jpeg": lambda: jpeg()[:2000],
    "head-only.dcm": lambda: bytes(128) + b"DICM",
    "noise.dcm": lambda: bytes(128) + b"DICM" + np.random.default_rng(1).bytes(5000),
}


@pytest.fixture(scope="module")
def few_pixels(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """An application that accepts images of up to 10 million pixels."""
    settings = AppSettings(
        bundle=bundle, state=tmp_path_factory.mktemp("state"), limits=RequestLimits(pixels=10_000_000)
    )
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        yield client


@pytest.mark.parametrize("name", MALICIOUS)
def test_malicious_file_is_unreadable_with_a_reason(few_pixels: TestClient, radiograph: bytes, name: str) -> None:
    client = few_pixels
    before, bad, after = send(client, ("1.png", radiograph), (name, MALICIOUS[name]()), ("2.png", radiograph))
    assert (before["status"], after["status"]) == ("answered", "answered")
    assert (bad["status"], bad["refusal"]["code"], bad["image"]) == ("unreadable", "unreadable", None)
    assert len(bad["refusal"]["reason"]) > 20
    assert "Traceback" not in json.dumps(bad)
    assert client.get(f"/api/v1/predictions/{bad['id']}/image.png").status_code == 410


def test_images_are_encoded_again_without_metadata(client: TestClient) -> None:
    """Markup in a comment of the file is not sent back."""
    content = encode(draw(2), "JPEG", comment=b"<script>alert(1)</script>")
    assert b"<script>" in content
    (prediction,) = send(client, ("comment.jpeg", content))
    assert prediction["status"] == "answered"
    for name in ("image", "thumbnail", "evidence"):
        response = client.get(f"/api/v1/predictions/{prediction['id']}/{name}.png")
        assert response.headers["content-type"] == "image/png"
        assert response.content.startswith(b"\x89PNG")
        assert b"<script>" not in response.content


def test_uploads_are_not_written_to_disk_by_default(
    open_app: Callable[..., TestClient], radiograph: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))  # creating a temporary file fails
    large = encode(np.random.default_rng(1).integers(0, 256, (1500, 1500), np.uint8))
    assert len(large) > 2**21
    send(open_app(), ("large.png", large))
    (prediction,) = send(open_app(keep_images=tmp_path / "kept"), ("DOE_JANE.png", radiograph))
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.name == f"{prediction['id']}.png"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    np.testing.assert_array_equal(np.asarray(Image.open(kept)), np.asarray(Image.open(io.BytesIO(radiograph))))


class TestRequests:
    @pytest.mark.parametrize(
        ("headers", "content", "status", "code"),
        [
            ({"Content-Type": "application/json"}, b"{}", 415, "not_multipart"),
            ({"Content-Type": "multipart/form-data"}, b"", 400, "bad_multipart"),
            (MULTIPART, b"nonsense", 400, "bad_multipart"),
            (MULTIPART, b"--x--\r\n", 422, "no_files"),
            (
                MULTIPART,
                b"--x\r\nContent-Disposition: form-data; filename=a\r\n\r\nz\r\n--x--\r\n",
                400,
                "bad_multipart",
            ),
            (
                MULTIPART,
                b"--x\r\nContent-Disposition: form-data; name=other; filename=a\r\n\r\nz\r\n--x--\r\n",
                422,
                "unknown_field",
            ),
            (
                MULTIPART,
                b"--x\r\nContent-Disposition: form-data; name=files\r\n\r\ntext\r\n--x--\r\n",
                400,
                "bad_multipart",
            ),
        ],
    )
    def test_with_another_format_are_problems(
        self, client: TestClient, headers: dict[str, str], content: bytes, status: int, code: str
    ) -> None:
        response = client.post("/api/v1/predictions", headers=headers, content=content)
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert response.headers["content-type"] == "application/problem+json"

    def test_with_too_many_bytes_or_files_are_problems(
        self, open_app: Callable[..., TestClient], radiograph: bytes
    ) -> None:
        client = open_app(limits=RequestLimits(request_bytes=100_000, files=2))
        response = client.post("/api/v1/predictions", files={"files": ("large.png", bytes(200_000))})
        assert (response.status_code, response.json()["code"]) == (413, "too_large")
        response = client.post("/api/v1/predictions", files=[("files", ("1.png", b"1"))] * 3)
        assert response.status_code == 400
        assert "Maximum number of files is 2" in response.json()["detail"]

    def test_over_the_memory_budget_can_be_retried(
        self, open_app: Callable[..., TestClient], radiograph: bytes
    ) -> None:
        client = open_app(limits=RequestLimits(pending_bytes=100_000))
        for _ in range(3):  # a rejected request releases its memory
            response = client.post("/api/v1/predictions", files={"files": ("large.png", bytes(200_000))})
            assert (response.status_code, response.json()["code"]) == (503, "busy")
            assert int(response.headers["retry-after"]) > 0
            send(client, ("1.png", radiograph))

    def test_file_names_are_sanitized(self, client: TestClient, radiograph: bytes) -> None:
        (prediction,) = send(client, ("a\u202e\x07<b>" + "x" * 1000 + ".png", radiograph))
        assert len(prediction["file"]) <= 255
        assert prediction["file"].isprintable()
