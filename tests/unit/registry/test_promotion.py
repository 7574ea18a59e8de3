"""Promotion, rollback, and what they leave in MLflow."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pneumonia.core import settings
from pneumonia.core.errors import EvidenceError, PromotionError, TrackingError
from pneumonia.registry import gate, history, integrity, promotion, versions
from pneumonia.registry.history import PROMOTED, AliasChange, History
from pneumonia.registry.settings import PromoteParams
from tests.support import mlflow_store
from tests.unit.registry.conftest import DATA, NAME, ROOT, Registry, read_json

POLICY = settings.read_section(ROOT / "operations.yaml", "promote", PromoteParams)


def promote(
    registry: Registry,
    number: int | None = None,
    *,
    policy: PromoteParams = POLICY,
    reason: str = "",
    dry_run: bool = False,
    name: str = NAME,
) -> promotion.Promotion:
    return promotion.promote(registry.store, name, policy, number=number, reason=reason, dry_run=dry_run)


def set_champions(registry: Registry, *numbers: int) -> None:
    """Make versions champion one after the other, without the gate."""
    log = History.start(registry.store, NAME)
    for number in numbers:
        log.change(log.settle(), PROMOTED, registry.alias(), number, verdict=gate.PASSED, reason="")


def changes(registry: Registry) -> list[AliasChange]:
    log = History.find(registry.store, NAME)
    return log.changes() if log else []


def steps(registry: Registry) -> list[tuple[str, int | None, int | None]]:
    return [(change.kind, change.previous, change.current) for change in changes(registry)]


def test_challenger_becomes_champion_and_everything_is_recorded(registered: Registry, tmp_path: Path) -> None:
    registry, number = registered, 3
    done = promote(registry, reason="the first one")
    assert done.verdict.outcome == gate.PASSED
    assert registry.alias() == number

    (change,) = changes(registry)
    assert (change.kind, change.previous, change.current, change.verdict) == ("promoted", None, number, "passed")
    assert (change.reason, change.applied) == ("the first one", True)
    assert "@" in change.actor
    assert change.time.endswith("+00:00")
    version = versions.get(registry.store, NAME, number)
    assert version.tags["gate"] == "passed"
    assert f"Version {number} promoted by {change.actor}" in version.description
    assert "| sensitivity | " in version.description
    assert "operating point" in version.description, "the description of the model is kept"
    recorded = read_json(registry.store, version.run_id, f"gate/version_{number}.json", tmp_path / "recorded")
    assert recorded == done.verdict.to_json()
    assert {c["outcome"] for c in recorded["criteria"]} == {"pass", "not applicable"}
    assert versions.champion(registry.store, NAME) is not None


@pytest.mark.usefixtures("integrity_assumed")
def test_refusal_names_failed_criteria_with_their_shortfall_and_keeps_the_champion(registered: Registry) -> None:
    registry, good = registered, 3
    set_champions(registry, good)
    registry.register(gain=0.3, audit="fail")
    done = promote(registry)

    assert done.verdict.outcome == gate.REFUSED
    assert done.change is None
    assert registry.alias() == good
    assert steps(registry) == [("promoted", None, good)]
    failed = {criterion.name for criterion in done.verdict.failed}
    assert {"sensitivity", "ROC AUC less the champion's", "shortcut audit of the model"} <= failed
    (sensitivity,) = (criterion for criterion in done.verdict.failed if criterion.name == "sensitivity")
    assert sensitivity.shortfall is not None
    assert f"short by {sensitivity.shortfall:.3f}" in gate.markdown(done.verdict)
    assert versions.get(registry.store, NAME, good + 1).tags["gate"] == "refused"


@pytest.mark.usefixtures("integrity_assumed")
def test_dry_run_changes_nothing(registered: Registry) -> None:
    registry, number = registered, 3
    before = versions.get(registry.store, NAME, number)
    assert promote(registry, dry_run=True).verdict.outcome == gate.PASSED
    assert registry.alias() is None
    assert History.find(registry.store, NAME) is None
    assert versions.get(registry.store, NAME, number) == before


@pytest.mark.usefixtures("integrity_assumed")
def test_mode_warn_promotes_with_warnings_and_mode_off_checks_source_and_integrity_alone(registry: Registry) -> None:
    weak = registry.register(gain=0.3)
    done = promote(registry, policy=POLICY.model_copy(update={"mode": "warn"}))
    assert done.verdict.outcome == gate.WARNED
    assert registry.alias() == weak
    assert changes(registry)[-1].verdict == gate.WARNED
    other = registry.register(gain=0.3)
    done = promote(registry, policy=POLICY.model_copy(update={"mode": "off"}))
    assert done.verdict.outcome == gate.PASSED
    assert registry.alias() == other
    assert {criterion.name for criterion in done.verdict.criteria} == {
        "trained on radiographs",
        integrity.HASH,
        integrity.GOLDEN_IMAGES,
    }


@pytest.fixture(scope="module")
def phantom_versions(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a phantom version of the model for radiographs, and one of a model for phantoms."""
    folder = tmp_path_factory.mktemp("phantom-versions")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(sys, "path", list(sys.path))
        registry = Registry(mlflow_store.copy(migrated_store, folder / "project"), folder)
        for name in (NAME, "pneumonia-phantom"):
            registry.register(data=replace(DATA, source="phantom"), name=name)
    return registry.project


@pytest.mark.usefixtures("integrity_assumed")
@pytest.mark.parametrize("mode", ["enforce", "warn", "off"])
def test_phantom_version_never_becomes_champion_of_a_model_for_radiographs(
    phantom_versions: Path, tmp_path: Path, mode: str
) -> None:
    registry = Registry(mlflow_store.copy(phantom_versions, tmp_path / "project"), tmp_path)
    policy = POLICY.model_copy(update={"mode": mode})
    assert promote(registry, policy=policy).verdict.outcome == gate.REFUSED
    assert registry.alias() is None
    assert promote(registry, policy=policy, name="pneumonia-phantom").change is not None


@pytest.mark.parametrize("mode", ["enforce", "off"])
def test_modified_bundle_is_refused(registered: Registry, mode: str) -> None:
    registry, number = registered, 3
    folder = versions.bundle(registry.store, versions.get(registry.store, NAME, number))
    card = json.loads((folder / "bundle.json").read_text())
    card["golden"] |= {"normal.jpeg": card["golden"]["normal.jpeg"] + 0.1}
    (folder / "bundle.json").write_text(json.dumps(card))
    done = promote(registry, policy=POLICY.model_copy(update={"mode": mode}))
    failed = {criterion.name: criterion.found for criterion in done.verdict.failed}
    assert failed.keys() == {integrity.HASH, integrity.GOLDEN_IMAGES}
    assert failed[integrity.GOLDEN_IMAGES] == "off by 0.1"

    with (folder / "model.keras").open("ab") as file:
        file.write(b"more")
    done = promote(registry, policy=POLICY.model_copy(update={"mode": mode}))
    assert [criterion.name for criterion in done.verdict.failed] == [integrity.HASH]
    assert registry.alias() is None


@pytest.mark.usefixtures("integrity_assumed")
def test_version_of_other_data_is_not_compared(registered: Registry) -> None:
    registry = registered
    set_champions(registry, 3)
    registry.register(data=replace(DATA, data_hash="0" * 64), images=380)
    failed = {criterion.name: criterion.found for criterion in promote(registry).verdict.failed}
    assert failed["same data definition as the champion"] == "hospital 000000000000"
    assert "other test images" in failed["specificity less the champion's"]


def test_rollback_returns_step_by_step_and_promotion_continues_from_there(registered: Registry) -> None:
    registry, first, second, third = registered, 1, 2, 3
    set_champions(registry, first, second, third)
    for expected in (second, first):
        assert promotion.rollback(registry.store, NAME, reason="it erred").current == expected
        assert registry.alias() == expected
    with pytest.raises(PromotionError, match="no earlier champion"):
        promotion.rollback(registry.store, NAME, reason="")
    set_champions(registry, third)
    assert promotion.rollback(registry.store, NAME, reason="").current == first
    description = versions.get(registry.store, NAME, third).description
    assert f"Version {first} rolled back by" in description
    assert "operating point" in description, "the description of the model is kept"


def test_rollback_skips_deleted_versions_and_the_history_keeps_them(registered: Registry) -> None:
    registry, first, second, third = registered, 1, 2, 3
    set_champions(registry, first, second, third)
    registry.store.client.delete_model_version(NAME, str(second))
    assert promotion.rollback(registry.store, NAME, reason="").current == first
    assert steps(registry)[1] == ("promoted", first, second)


def test_alias_set_in_the_mlflow_ui_is_logged_and_can_be_rolled_back(registered: Registry) -> None:
    registry, first, second = registered, 1, 2
    set_champions(registry, first)
    registry.store.client.set_registered_model_alias(NAME, "champion", str(second))
    assert promotion.rollback(registry.store, NAME, reason="").current == first
    assert steps(registry) == [
        ("promoted", None, first),
        (history.EXTERNAL, first, second),
        ("rolled back", second, first),
    ]


@pytest.mark.usefixtures("integrity_assumed")
def test_interrupted_promotion_keeps_the_champion_and_is_completed_by_the_next_command(
    registered: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, first, second, third = registered, 1, 2, 3
    set_champions(registry, first)
    with monkeypatch.context() as patch:
        patch.setattr(History, "_set_alias", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            promote(registry, second)
    assert registry.alias() == first
    assert not changes(registry)[-1].applied

    set_champions(registry, third)
    assert steps(registry) == [("promoted", None, first), ("promoted", first, second), ("promoted", second, third)]
    assert all(change.applied for change in changes(registry))
    assert promotion.rollback(registry.store, NAME, reason="").current == second


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_of_two_concurrent_promotions_one_succeeds_and_the_other_is_refused(registered: Registry) -> None:
    first, second = 1, 2
    script = """
import sys
from pathlib import Path
from pneumonia.core import settings
from pneumonia.core.errors import PromotionError
from pneumonia.registry import integrity, promotion, tracking
from pneumonia.registry.history import History
from pneumonia.registry.settings import PromoteParams

name, params, number = sys.argv[1:]
store = tracking.open_store(Path())
change = History.change
def change_when_both_are_ready(*arguments, **options):
    print("ready", flush=True)
    sys.stdin.readline()
    return change(*arguments, **options)
History.change = change_when_both_are_ready
integrity.check = lambda *_: []
try:
    policy = settings.read_section(Path(params), "promote", PromoteParams)
    promotion.promote(store, name, policy, number=int(number), reason="", dry_run=False)
    print("promoted")
except PromotionError as error:
    print("refused:", error)
"""
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script, NAME, str(ROOT / "operations.yaml"), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"MLFLOW_TRACKING_URI": registered.store.uri},
        )
        for number in (first, second)
    ]
    for process in both:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate()[0].strip() for process in both]
    winner = outputs.index("promoted")
    assert outputs[1 - winner].startswith("refused: ")
    assert "in the meantime" in outputs[1 - winner]
    assert registered.alias() == (first, second)[winner]
    assert len(changes(registered)) == 1


def test_entry_of_version_0_1_0_is_read(registered: Registry) -> None:
    set_champions(registered, 1)
    (run,) = runs_of_history(registered)
    entry = {"kind": "promoted", "who": "a@b", "when": "2026-01-01T00:00:00+00:00", "before": 1, "after": 2}
    entry |= {"verdict": "passed", "why": "better", "token": "0"}
    registered.store.client.log_param(run.info.run_id, "000002", json.dumps(entry))
    assert changes(registered)[1] == AliasChange(
        2, "promoted", "a@b", "2026-01-01T00:00:00+00:00", 1, 2, "passed", "better", applied=False
    )


def runs_of_history(registry: Registry) -> Any:
    experiment = registry.store.client.get_experiment_by_name(f"{NAME} champions")
    assert experiment
    return registry.store.client.search_runs([experiment.experiment_id])


def test_history_cannot_be_rewritten(registered: Registry) -> None:
    from mlflow import MlflowException

    registry = registered
    set_champions(registry, 1)
    (run,) = runs_of_history(registry)
    with pytest.raises(MlflowException, match="not allowed"):
        registry.store.client.log_param(run.info.run_id, "000001", "{}")
    registry.store.client.delete_run(run.info.run_id)
    with pytest.raises(PromotionError, match=r"deleted.*mlflow runs restore"):
        promotion.rollback(registry.store, NAME, reason="")


def test_promotion_without_challenger_is_refused(registry: Registry) -> None:
    with pytest.raises(PromotionError, match="no challenger"):
        promote(registry)


@pytest.mark.usefixtures("integrity_assumed")
def test_unknown_version_present_champion_and_long_reason_are_refused(registered: Registry) -> None:
    with pytest.raises(TrackingError, match="no version 9; its versions are: 1, 2, 3"):
        promote(registered, 9)
    set_champions(registered, 3)
    with pytest.raises(PromotionError, match="champion already"):
        promote(registered)
    with pytest.raises(PromotionError, match="2001 characters"):
        promote(registered, 2, reason="x" * 2001)


def test_version_without_evidence_cannot_be_evaluated(registered: Registry, tmp_path: Path) -> None:
    run_id = versions.get(registered.store, NAME, 3).run_id
    artifacts = registered.store.client.get_run(run_id).info.artifact_uri
    Path(artifacts.removeprefix("file://"), "evidence").rename(tmp_path / "elsewhere")
    with pytest.raises(EvidenceError, match="has no evidence"):
        promote(registered)


@pytest.mark.slow
def test_promotion_and_rollback_on_a_server(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    registry = Registry(tmp_path / "project", tmp_path)
    first, second = registry.register(), registry.register()
    set_champions(registry, first)
    promote(registry, second)
    champion = versions.champion(registry.store, NAME)
    assert champion
    assert champion.version == second
    assert tmp_path / "cache" in champion.bundle.parents
    assert promotion.rollback(registry.store, NAME, reason="").current == first
    assert steps(registry) == [
        ("promoted", None, first),
        ("promoted", first, second),
        ("rolled back", second, first),
    ]
    text = versions.get(registry.store, NAME, second).description
    assert "rolled back" in text
