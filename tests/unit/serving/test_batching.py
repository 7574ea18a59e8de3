"""Dynamic batching under load: batch sizes, order, the bounded queue, and cancelled images."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumonia.inference.intake import Limits
from pneumonia.registry.resolve import ResolvedBundle
from pneumonia.serving.active_model import ActiveModel
from pneumonia.serving.batching import ImageResult, InferenceBatcher, QueueFullError
from tests.unit.serving.conftest import draw, encode


class Gate:
    """Wraps `Runtime.run`: records batch sizes, and can block."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self.batches: list[int] = []
        self.opened = threading.Event()
        self.opened.set()
        self.entered = threading.Event()

    def __call__(self, squares: Any) -> Any:
        self.entered.set()
        self.opened.wait(60)
        self.batches.append(len(squares))
        return self.run(squares)


@pytest.fixture
def batcher(bundle: Path) -> Iterator[InferenceBatcher]:
    active = ActiveModel(lambda: ResolvedBundle(bundle, "bundle"), lambda _: None)
    opened = InferenceBatcher(active, Limits(2**22, 10**7), queue_size=10, batch_size=4, workers=1)
    yield opened
    opened.close()


@pytest.fixture
def gate(batcher: InferenceBatcher, monkeypatch: pytest.MonkeyPatch) -> Gate:
    runtime = batcher.active.model.runtime
    gate = Gate(runtime.run)
    monkeypatch.setattr(runtime, "run", gate)
    return gate


def submit(batcher: InferenceBatcher, seed: int = 1) -> "Future[ImageResult]":
    image = encode(draw(seed))
    return batcher.submit(lambda: image)


def probability(study: ImageResult) -> float:
    assert study.reading is not None
    return study.reading.probability


def test_results_do_not_depend_on_the_batch(batcher: InferenceBatcher, gate: Gate) -> None:
    alone = [probability(submit(batcher, seed).result()) for seed in range(8)]
    assert gate.batches == [1] * 8, "a single image is not delayed"
    gate.batches.clear()
    gate.entered.clear()
    gate.opened.clear()
    first = submit(batcher, 0)
    gate.entered.wait(60)
    others = [submit(batcher, seed) for seed in range(1, 8)]
    while batcher._decoded.qsize() < 7:
        pass
    gate.opened.set()
    assert [probability(study.result()) for study in (first, *others)] == pytest.approx(alone, abs=1e-6)
    assert gate.batches == [1, 4, 3]


def test_slots_are_released_after_results_and_cancellation(batcher: InferenceBatcher, gate: Gate) -> None:
    for _ in range(3):
        gate.opened.clear()
        submitted = [submit(batcher) for _ in range(10)]
        with pytest.raises(QueueFullError):
            submit(batcher)
        for cancelled in submitted[5:]:
            cancelled.cancel()
        gate.opened.set()
        for study in submitted[:5]:
            assert study.result(60).status == "answered"


def test_failed_inference_affects_its_batch_only(
    batcher: InferenceBatcher, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = gate.run

    def fail(_: Any) -> Any:
        raise ValueError("broken")

    gate.run = fail
    with pytest.raises(ValueError, match="broken"):
        submit(batcher).result(60)
    gate.run = run
    assert submit(batcher).result(60).status == "answered"


def test_unexpected_decoding_error_is_raised_in_the_caller(batcher: InferenceBatcher) -> None:
    def fail() -> bytes:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        batcher.submit(fail).result(60)
    assert submit(batcher).result(60).status == "answered"


def test_refused_images_skip_inference(batcher: InferenceBatcher, gate: Gate) -> None:
    blank = encode(np.full((200, 200), 7, np.uint8))
    assert batcher.submit(lambda: blank).result(60).status == "refused"
    assert batcher.submit(lambda: b"no image").result(60).status == "unreadable"
    assert gate.batches == []


def test_closing_finishes_queued_images(bundle: Path) -> None:
    active = ActiveModel(lambda: ResolvedBundle(bundle, "bundle"), lambda _: None)
    batcher = InferenceBatcher(active, Limits(2**22, 10**7), queue_size=10, batch_size=4, workers=3)
    submitted = [submit(batcher, seed) for seed in range(6)]
    batcher.close()
    assert {study.result(0).status for study in submitted} == {"answered"}
