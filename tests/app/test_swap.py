"""Another model takes over while requests come in; one that does not load never does."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from pneumonia.app import swap
from pneumonia.app.engine import Engine, Study
from pneumonia.app.swap import CurrentModel
from pneumonia.errors import BundleError, TrackingError
from pneumonia.inference.intake import Limits
from pneumonia.serving import Choice
from tests.app.conftest import draw, encode

LIMITS = Limits(2**20, 10**7)


class Registry:
    """Says which bundle should answer, as `serving.choose` does."""

    def __init__(self, folder: Path) -> None:
        self.choice = Choice(folder, "version 1", 1)
        self.error: Exception | None = None
        self.changes = 0

    def choose(self) -> Choice:
        if self.error:
            raise self.error
        return self.choice

    def note(self, _: CurrentModel) -> None:
        self.changes += 1

    def promote(self, folder: Path) -> None:
        self.choice = Choice(folder, f"version {(self.choice.version or 0) + 1}", (self.choice.version or 0) + 1)


@pytest.fixture
def registry(bundle: Path) -> Registry:
    return Registry(bundle)


@pytest.fixture
def current(registry: Registry) -> CurrentModel:
    return CurrentModel(registry.choose, registry.note)


def name(current: CurrentModel) -> str:
    return current.model.runtime.bundle.card.name


def broken(folder: Path, other_bundle: Path) -> Path:
    shutil.copytree(other_bundle, folder)
    (folder / "model.keras").write_bytes(b"not a model")
    return folder


def test_a_new_champion_takes_over(current: CurrentModel, registry: Registry, other_bundle: Path) -> None:
    registry.promote(other_bundle)
    current.follow()
    assert (name(current), current.model.choice.version, current.failure) == ("other", 2, None)
    current.follow()
    assert registry.changes == 2, "told of once when loaded and once when swapped"


def test_the_last_good_model_stays_when_the_new_one_is_broken(
    current: CurrentModel, registry: Registry, other_bundle: Path, tmp_path: Path
) -> None:
    registry.promote(broken(tmp_path / "broken", other_bundle))
    current.follow()
    assert (name(current), current.model.choice.version) == ("bright", 1)
    assert "is not the file that bundle.json names" in (current.failure or "")
    shutil.copyfile(other_bundle / "model.keras", tmp_path / "broken/model.keras")
    (tmp_path / "broken/bundle.json").touch()
    current.follow()
    assert (name(current), current.failure) == ("other", None), "mended"


def test_a_model_that_answers_otherwise_than_its_card_says_stays_out(
    current: CurrentModel, registry: Registry, other_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "lies"
    shutil.copytree(other_bundle, folder)
    card = json.loads((folder / "bundle.json").read_text())
    card["golden"] = dict.fromkeys(card["golden"], 0.99)
    (folder / "bundle.json").write_text(json.dumps(card))
    registry.promote(folder)
    current.follow()
    assert name(current) == "bright"
    assert "golden images" in (current.failure or "")


def test_a_bundle_that_failed_is_not_tried_all_the_time(
    current: CurrentModel, registry: Registry, other_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote(broken(tmp_path / "broken", other_bundle))
    tried = []
    load = swap._load
    monkeypatch.setattr(swap, "_load", lambda choice: (tried.append(choice), load(choice))[1])
    for _ in range(3):
        current.follow()
    assert len(tried) == 1
    monkeypatch.setattr(swap, "RETRY_SECONDS", 0.0)
    current.follow()
    assert len(tried) == 2


def test_a_registry_that_does_not_answer_changes_nothing(
    current: CurrentModel, registry: Registry, other_bundle: Path
) -> None:
    registry.error = TrackingError("the store refused")
    current.follow()
    assert (name(current), current.failure) == ("bright", "the store refused")
    registry.error = None
    current.follow()
    assert current.failure is None


def test_rolling_back_brings_the_old_one_again(
    current: CurrentModel, registry: Registry, bundle: Path, other_bundle: Path
) -> None:
    registry.promote(other_bundle)
    current.follow()
    registry.choice = Choice(bundle, "version 1", 1)
    current.follow()
    assert (name(current), current.model.choice.version) == ("bright", 1)


def test_without_any_model_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        CurrentModel(Registry(tmp_path).choose, lambda _: None)


def test_no_request_fails_or_mixes_models_while_they_change(
    current: CurrentModel, registry: Registry, bundle: Path, other_bundle: Path
) -> None:
    """Four clients ask without a pause while the champion changes ten times."""
    engine = Engine(current, LIMITS, places=64, batch=8, workers=2)
    image = encode(draw(1))
    expected = {}
    for folder in (bundle, other_bundle):
        registry.promote(folder)
        current.follow()
        reading = engine.submit(lambda: image).result().reading
        assert reading is not None
        expected[name(current)] = round(reading.probability, 4)
    assert expected["bright"] != expected["other"]
    studies: list[Study] = []
    failures: list[Exception] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                studies.append(engine.submit(lambda: image).result(60))
            except Exception as error:
                failures.append(error)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for turn in range(10):
        seen = len(studies)
        registry.promote((bundle, other_bundle)[turn % 2])
        current.follow()
        while len(studies) < seen + 8 and not failures:
            pass
    ended.set()
    for client in clients:
        client.join()
    engine.close()
    assert failures == []
    answered = {
        (study.model.runtime.bundle.card.name, round(study.reading.probability, 4))
        for study in studies
        if study.reading is not None
    }
    assert answered == set(expected.items())


def test_the_watch_follows_by_itself(current: CurrentModel, registry: Registry, other_bundle: Path) -> None:
    changed = threading.Event()
    current._on_change = lambda _: changed.set()
    current.watch(0.01)
    registry.promote(other_bundle)
    assert changed.wait(60)
    current.stop()
    assert name(current) == "other"
