"""Mutated files: whatever the bytes, there is an answer or a refusal, and the next image is answered as ever."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pneumonia.app.main import create_app
from pneumonia.app.settings import Limits, Settings
from pneumonia.inference import golden
from tests.app.conftest import BASE_URL, draw, encode, send

# Pillow warns of broken metadata beside a picture that stands.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:PIL.TiffImagePlugin",
    "ignore::UserWarning:PIL.JpegImagePlugin",
    "ignore::UserWarning:PIL.PngImagePlugin",
)

QUIETLY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
WILD = st.binary(max_size=400)


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """Take a real file and change bytes, cut it, repeat or drop a part, or put something in."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, min(len(content) - 1, draw(st.sampled_from([64, 700, len(content)]))))))
        end = min(len(content), start + draw(st.integers(1, 64)))
        content[start:end] = {
            "change": lambda part: bytes(byte ^ draw(st.integers(1, 255)) for byte in part[:4]) + part[4:],
            "drop": lambda _: b"",
            "repeat": lambda part: part * 3,
            "insert": lambda part: draw(WILD) + part,
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
    told = Settings(
        bundle=bundle,
        state=tmp_path_factory.mktemp("state"),
        limits=Limits(pixels=10_000_000, requests_per_minute=10**9),
    )
    with TestClient(create_app(told), base_url=BASE_URL) as client:
        yield client


def check(client: TestClient, content: bytes, good: bytes) -> None:
    """Send bytes between two good images, and ask for what the page would show of them."""
    before, said, after = send(client, ("1.png", good), ("x", content), ("2.png", good))
    assert before["probability"] == after["probability"]
    assert before["status"] == "answered"
    if said["status"] == "answered":
        assert 0 <= said["probability"] <= 1
    else:
        assert said["refusal"]["reason"]
    if said["image"]:
        for name in ("image", "thumbnail"):
            response = client.get(f"/api/v1/predictions/{said['id']}/{name}.png")
            assert response.status_code == 200
            assert response.content.startswith(b"\x89PNG")


@given(content=mutated(phantoms()))
@QUIETLY
def test_mutated_phantoms(fuzzed: TestClient, radiograph: bytes, content: bytes) -> None:
    check(fuzzed, content, radiograph)


@given(
    content=st.one_of(
        WILD, WILD.map(lambda wild: b"PK\x03\x04" + wild), WILD.map(lambda wild: bytes(128) + b"DICM" + wild)
    )
)
@QUIETLY
def test_wild_bytes(fuzzed: TestClient, radiograph: bytes, content: bytes) -> None:
    if content.startswith(b"PK\x03\x04"):
        _, said, _ = send(fuzzed, ("1.png", radiograph), ("x.zip", content), ("2.png", radiograph))
        assert said["status"] == "unreadable"
    else:
        check(fuzzed, content, radiograph)


@pytest.mark.real
def test_mutated_radiographs(fuzzed: TestClient, radiograph: bytes, mirror: Path) -> None:
    """Cut, changed and overgrown originals."""
    originals = sorted((mirror / "originals").rglob("*.jpeg"))[:6]
    if not originals:
        pytest.skip("the mirror has no originals")

    @given(content=mutated([file.read_bytes() for file in originals]))
    @settings(QUIETLY, max_examples=60)
    def run(content: bytes) -> None:
        check(fuzzed, content, radiograph)

    run()
