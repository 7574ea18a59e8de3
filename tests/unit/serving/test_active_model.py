"""Replacement of the model in use, and bundles that fail to load."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from pneumonia.core.errors import BundleError, TrackingError
from pneumonia.inference.intake import Limits
from pneumonia.registry.resolve import ResolvedBundle
from pneumonia.serving import active_model
from pneumonia.serving.active_model import ActiveModel
from pneumonia.serving.batching import ImageResult, InferenceBatcher
from tests.unit.serving.conftest import draw, encode

LIMITS = Limits(2**20, 10**7)


class Registry:
    """Returns the bundle to serve, as `resolve.resolve_bundle` does."""

    def __init__(self, folder: Path) -> None:
        self.choice = ResolvedBundle(folder, "version 1", 1)
        self.error: Exception | None = None
        self.changes = 0

    def choose(self) -> ResolvedBundle:
        if self.error:
            raise self.error
        return self.choice

    def note(self, _: ActiveModel) -> None:
        self.changes += 1

    def promote(self, folder: Path) -> None:
        self.choice = ResolvedBundle(
            folder, f"version {(self.choice.version or 0) + 1}", (self.choice.version or 0) + 1
        )


@pytest.fixture
def registry(bundle: Path) -> Registry:
    return Registry(bundle)


@pytest.fixture
def active(registry: Registry) -> ActiveModel:
    return ActiveModel(registry.choose, registry.note)


def name(active: ActiveModel) -> str:
    return active.model.runtime.bundle.card.name


def damaged(folder: Path, other_bundle: Path) -> Path:
    shutil.copytree(other_bundle, folder)
    (folder / "model.keras").write_bytes(b"not a model")
    return folder


def test_new_champion_replaces_the_model(active: ActiveModel, registry: Registry, other_bundle: Path) -> None:
    registry.promote(other_bundle)
    active.refresh()
    assert (name(active), active.model.source.version, active.failure) == ("other", 2, None)
    active.refresh()
    assert registry.changes == 2, "called once after loading and once after the replacement"


def test_model_stays_in_use_when_the_new_one_is_damaged(
    active: ActiveModel, registry: Registry, other_bundle: Path, tmp_path: Path
) -> None:
    registry.promote(damaged(tmp_path / "damaged", other_bundle))
    active.refresh()
    assert (name(active), active.model.source.version) == ("bright", 1)
    assert "is not the file that bundle.json names" in (active.failure or "")
    shutil.copyfile(other_bundle / "model.keras", tmp_path / "damaged/model.keras")
    (tmp_path / "damaged/bundle.json").touch()
    active.refresh()
    assert (name(active), active.failure) == ("other", None), "repaired"


def test_model_with_other_golden_answers_is_not_loaded(
    active: ActiveModel, registry: Registry, other_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "other-answers"
    shutil.copytree(other_bundle, folder)
    card = json.loads((folder / "bundle.json").read_text())
    card["golden"] = dict.fromkeys(card["golden"], 0.99)
    (folder / "bundle.json").write_text(json.dumps(card))
    registry.promote(folder)
    active.refresh()
    assert name(active) == "bright"
    assert "golden images" in (active.failure or "")


def test_failed_bundle_is_retried_after_a_while_only(
    active: ActiveModel, registry: Registry, other_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote(damaged(tmp_path / "damaged", other_bundle))
    tried = []
    load = active_model._load
    monkeypatch.setattr(active_model, "_load", lambda choice: (tried.append(choice), load(choice))[1])
    for _ in range(3):
        active.refresh()
    assert len(tried) == 1
    monkeypatch.setattr(active_model, "RETRY_SECONDS", 0.0)
    active.refresh()
    assert len(tried) == 2


def test_unreachable_registry_changes_nothing(active: ActiveModel, registry: Registry, other_bundle: Path) -> None:
    registry.error = TrackingError("the store refused")
    active.refresh()
    assert (name(active), active.failure) == ("bright", "the store refused")
    registry.error = None
    active.refresh()
    assert active.failure is None


def test_rollback_restores_the_old_model(
    active: ActiveModel, registry: Registry, bundle: Path, other_bundle: Path
) -> None:
    registry.promote(other_bundle)
    active.refresh()
    registry.choice = ResolvedBundle(bundle, "version 1", 1)
    active.refresh()
    assert (name(active), active.model.source.version) == ("bright", 1)


def test_without_a_model_the_start_fails(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        ActiveModel(Registry(tmp_path).choose, lambda _: None)


def test_no_request_fails_or_mixes_models_during_replacements(
    active: ActiveModel, registry: Registry, bundle: Path, other_bundle: Path
) -> None:
    """Four clients send images without a pause while the champion changes ten times."""
    batcher = InferenceBatcher(active, LIMITS, queue_size=64, batch_size=8, workers=2)
    image = encode(draw(1))
    expected = {}
    for folder in (bundle, other_bundle):
        registry.promote(folder)
        active.refresh()
        reading = batcher.submit(lambda: image).result().reading
        assert reading is not None
        expected[name(active)] = round(reading.probability, 4)
    assert expected["bright"] != expected["other"]
    studies: list[ImageResult] = []
    failures: list[Exception] = []
    ended = threading.Event()

    def upload() -> None:
        while not ended.is_set():
            try:
                studies.append(batcher.submit(lambda: image).result(60))
            except Exception as error:
                failures.append(error)

    clients = [threading.Thread(target=upload) for _ in range(4)]
    for client in clients:
        client.start()
    for turn in range(10):
        seen = len(studies)
        registry.promote((bundle, other_bundle)[turn % 2])
        active.refresh()
        while len(studies) < seen + 8 and not failures:
            pass
    ended.set()
    for client in clients:
        client.join()
    batcher.close()
    assert failures == []
    answered = {
        (study.model.runtime.bundle.card.name, round(study.reading.probability, 4))
        for study in studies
        if study.reading is not None
    }
    assert answered == set(expected.items())


def test_polling_replaces_the_model(active: ActiveModel, registry: Registry, other_bundle: Path) -> None:
    changed = threading.Event()
    active._on_change = lambda _: changed.set()
    active.start_polling(0.01)
    registry.promote(other_bundle)
    assert changed.wait(60)
    active.stop_polling()
    assert name(active) == "other"
