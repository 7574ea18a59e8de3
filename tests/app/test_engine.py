"""The engine under load: batches, order, places, and images that are given up."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumonia.app.engine import Busy, Engine, Study
from pneumonia.app.swap import CurrentModel
from pneumonia.inference.intake import Limits
from pneumonia.serving import Choice
from tests.app.conftest import draw, encode


class Gate:
    """Stands before the network's ``run``: notes the sizes of batches, and can hold them up."""

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
def engine(bundle: Path) -> Iterator[Engine]:
    current = CurrentModel(lambda: Choice(bundle, "bundle"), lambda _: None)
    opened = Engine(current, Limits(2**22, 10**7), places=10, batch=4, workers=1)
    yield opened
    opened.close()


@pytest.fixture
def gate(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Gate:
    runtime = engine.current.model.runtime
    gate = Gate(runtime.run)
    monkeypatch.setattr(runtime, "run", gate)
    return gate


def ask(engine: Engine, seed: int = 1) -> "Future[Study]":
    image = encode(draw(seed))
    return engine.submit(lambda: image)


def probability(study: Study) -> float:
    assert study.reading is not None
    return study.reading.probability


def test_each_image_gets_its_own_answer_whatever_the_batch(engine: Engine, gate: Gate) -> None:
    alone = [probability(ask(engine, seed).result()) for seed in range(8)]
    assert gate.batches == [1] * 8, "a lone image does not wait for company"
    gate.batches.clear()
    gate.entered.clear()
    gate.opened.clear()
    first = ask(engine, 0)
    gate.entered.wait(60)
    others = [ask(engine, seed) for seed in range(1, 8)]
    while engine._decoded.qsize() < 7:
        pass
    gate.opened.set()
    assert [probability(study.result()) for study in (first, *others)] == pytest.approx(alone, abs=1e-6)
    assert gate.batches == [1, 4, 3]


def test_places_come_back_when_images_are_answered_given_up_or_fail(engine: Engine, gate: Gate) -> None:
    for _ in range(3):
        gate.opened.clear()
        asked = [ask(engine) for _ in range(10)]
        with pytest.raises(Busy):
            ask(engine)
        for given_up in asked[5:]:
            given_up.cancel()
        gate.opened.set()
        for study in asked[:5]:
            assert study.result(60).status == "answered"


def test_a_network_that_fails_fails_those_who_asked_and_nobody_else(
    engine: Engine, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = gate.run

    def fail(_: Any) -> Any:
        raise ValueError("broken")

    gate.run = fail
    with pytest.raises(ValueError, match="broken"):
        ask(engine).result(60)
    gate.run = run
    assert ask(engine).result(60).status == "answered"


def test_a_bug_while_an_image_is_taken_in_is_told_to_its_sender(engine: Engine) -> None:
    def fail() -> bytes:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        engine.submit(fail).result(60)
    assert ask(engine).result(60).status == "answered"


def test_what_needs_no_network_does_not_ask_it(engine: Engine, gate: Gate) -> None:
    blank = encode(np.full((200, 200), 7, np.uint8))
    assert engine.submit(lambda: blank).result(60).status == "refused"
    assert engine.submit(lambda: b"no image").result(60).status == "unreadable"
    assert gate.batches == []


def test_closing_answers_what_is_queued(bundle: Path) -> None:
    current = CurrentModel(lambda: Choice(bundle, "bundle"), lambda _: None)
    engine = Engine(current, Limits(2**22, 10**7), places=10, batch=4, workers=3)
    asked = [ask(engine, seed) for seed in range(6)]
    engine.close()
    assert {study.result(0).status for study in asked} == {"answered"}
