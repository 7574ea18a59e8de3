"""Fuzzing: any bytes have a result or a refusal, and the next image is processed as usual."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pneumonia.bundle import golden
from pneumonia.serving.main import create_app
from pneumonia.serving.settings import AppSettings, RequestLimits
from tests.unit.serving.conftest import BASE_URL, draw, encode, send

# Pillow warns of broken metadata of readable images.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:PIL.TiffImagePlugin",
    "ignore::UserWarning:PIL.JpegImagePlugin",
    "ignore::UserWarning:PIL.PngImagePlugin",
)

PROFILE = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
ARBITRARY = st.binary(max_size=400)


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """Change, drop, repeat, insert or overwrite parts of a valid file, and truncate it."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, min(len(content) - 1, draw(st.sampled_from([64, 700, len(content)]))))))
        end = min(len(content), start + draw(st.integers(1, 64)))
        content[start:end] = {
            "change": lambda part: bytes(byte ^ draw(st.integers(1, 255)) for byte in part[:4]) + part[4:],
            "drop": lambda _: b"",
            "repeat": lambda part: part * 3,
            "insert": lambda part: draw(ARBITRARY) + part,
            "overwrite": lambda part: draw(st.sampled_from([b"\0", b"\xff"])) * len(part),
        }[draw(st.sampled_from(["change", "drop", "repeat", "insert", "overwrite"]))](bytes(content[start:end]))
    return bytes(content[: draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])


def phantoms() -> list[bytes]:
    pixels = draw(5)
    deep = (pixels.astype(np.uint16) << 8) + 7
    return [
        *golden.images().values(),
        encode(pixels, "JPEG", progressive=True),
        encode(deep),
        encode(np.stack([pixels] * 3, axis=-1), "JPEG"),
    ]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[TestClient]:
    app_settings = AppSettings(
        bundle=bundle,
        state=tmp_path_factory.mktemp("state"),
        limits=RequestLimits(pixels=10_000_000, requests_per_minute=10**9),
    )
    with TestClient(create_app(app_settings), base_url=BASE_URL) as client:
        yield client


def check(client: TestClient, content: bytes, good: bytes) -> None:
    """Upload bytes between two valid images, and request what the page would show."""
    before, prediction, after = send(client, ("1.png", good), ("x", content), ("2.png", good))
    assert before["probability"] == after["probability"]
    assert before["status"] == "answered"
    if prediction["status"] == "answered":
        assert 0 <= prediction["probability"] <= 1
    else:
        assert prediction["refusal"]["reason"]
    if prediction["image"]:
        for name in ("image", "thumbnail"):
            response = client.get(f"/api/v1/predictions/{prediction['id']}/{name}.png")
            assert response.status_code == 200
            assert response.content.startswith(b"\x89PNG")


@given(content=mutated(phantoms()))
@PROFILE
def test_mutated_phantoms(fuzzed: TestClient, radiograph: bytes, content: bytes) -> None:
    check(fuzzed, content, radiograph)


@given(
    content=st.one_of(
        ARBITRARY,
        ARBITRARY.map(lambda content: b"PK\x03\x04" + content),
        ARBITRARY.map(lambda content: bytes(128) + b"DICM" + content),
    )
)
@PROFILE
def test_arbitrary_bytes(fuzzed: TestClient, radiograph: bytes, content: bytes) -> None:
    if content.startswith(b"PK\x03\x04"):
        _, prediction, _ = send(fuzzed, ("1.png", radiograph), ("x.zip", content), ("2.png", radiograph))
        assert prediction["status"] == "unreadable"
    else:
        check(fuzzed, content, radiograph)


@pytest.mark.real
def test_mutated_radiographs(fuzzed: TestClient, radiograph: bytes, mirror: Path) -> None:
    """Mutated originals."""
    originals = sorted((mirror / "originals").rglob("*.jpeg"))[:6]
    if not originals:
        pytest.skip("the mirror has no originals")

    @given(content=mutated([file.read_bytes() for file in originals]))
    @settings(PROFILE, max_examples=60)
    def run(content: bytes) -> None:
        check(fuzzed, content, radiograph)

    run()
