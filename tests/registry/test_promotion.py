"""The champion: who becomes it, who does not, how one goes back, and what is left of it in MLflow."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pneumonia import config, tracking
from pneumonia.config import PromoteParams
from pneumonia.errors import EvidenceError, PromotionError, TrackingError
from pneumonia.evaluation import gate
from pneumonia.registry import promotion, versions
from pneumonia.registry.history import PROMOTED, History, Move
from tests.registry.conftest import DATA, NAME, Registry, read_json

POLICY = config.load(Path(__file__).parents[2] / "params.yaml").promote


def promote(
    registry: Registry,
    number: int | None = None,
    *,
    policy: PromoteParams = POLICY,
    why: str = "",
    dry_run: bool = False,
    name: str = NAME,
) -> promotion.Promotion:
    return promotion.promote(registry.store, name, policy, number=number, why=why, dry_run=dry_run)


def enthrone(registry: Registry, *numbers: int) -> None:
    """Make versions champion one after the other, without asking the gate, which takes seconds."""
    history = History.start(registry.store, NAME)
    for number in numbers:
        history.move(history.settle(), PROMOTED, registry.alias(), number, verdict=gate.PASSED, why="")


def moves(registry: Registry) -> list[Move]:
    history = History.find(registry.store, NAME)
    return history.moves() if history else []


def path_of(registry: Registry) -> list[tuple[str, int | None, int | None]]:
    return [(move.kind, move.before, move.after) for move in moves(registry)]


def test_the_challenger_becomes_champion_and_all_is_on_record(registry: Registry, tmp_path: Path) -> None:
    number = registry.register()
    done = promote(registry, why="the first one")
    assert done.verdict.outcome == gate.PASSED
    assert registry.alias() == number

    (move,) = moves(registry)
    assert (move.kind, move.before, move.after, move.verdict) == ("promoted", None, number, "passed")
    assert (move.why, move.done) == ("the first one", True)
    assert "@" in move.who
    assert move.when.endswith("+00:00")
    version = versions.get(registry.store, NAME, number)
    assert version.tags["gate"] == "passed"
    assert f"Version {number} promoted by {move.who}" in version.description
    assert "| sensitivity | " in version.description
    assert "operating point" in version.description, "what the model is stays"
    told = read_json(registry.store, version.run_id, f"gate/version_{number}.json", tmp_path / "told")
    assert told == done.verdict.to_json()
    assert {c["outcome"] for c in told["criteria"]} == {"pass", "not applicable"}
    assert versions.champion(registry.store, NAME) is not None


def test_a_refusal_says_which_criterion_failed_by_how_much_and_changes_nothing(registry: Registry) -> None:
    good = registry.register()
    enthrone(registry, good)
    registry.register(gain=0.3, audit="fail")
    done = promote(registry)

    assert done.verdict.outcome == gate.REFUSED
    assert done.move is None
    assert registry.alias() == good
    assert path_of(registry) == [("promoted", None, good)]
    failed = {criterion.name for criterion in done.verdict.failed}
    assert {"sensitivity", "ROC AUC less the champion's", "shortcut audit of the model"} <= failed
    (sensitivity,) = (criterion for criterion in done.verdict.failed if criterion.name == "sensitivity")
    assert sensitivity.shortfall is not None
    assert f"short by {sensitivity.shortfall:.3f}" in gate.markdown(done.verdict)
    assert versions.get(registry.store, NAME, good + 1).tags["gate"] == "refused"


def test_a_dry_run_changes_nothing(registry: Registry) -> None:
    number = registry.register()
    before = versions.get(registry.store, NAME, number)
    assert promote(registry, dry_run=True).verdict.outcome == gate.PASSED
    assert registry.alias() is None
    assert History.find(registry.store, NAME) is None
    assert versions.get(registry.store, NAME, number) == before


def test_warn_promotes_and_says_so_and_off_asks_for_integrity_alone(registry: Registry) -> None:
    weak = registry.register(gain=0.3)
    done = promote(registry, policy=POLICY.model_copy(update={"mode": "warn"}))
    assert done.verdict.outcome == gate.WARNED
    assert registry.alias() == weak
    assert moves(registry)[-1].verdict == gate.WARNED
    other = registry.register(gain=0.3)
    done = promote(registry, policy=POLICY.model_copy(update={"mode": "off"}))
    assert done.verdict.outcome == gate.PASSED
    assert registry.alias() == other
    assert {criterion.name for criterion in done.verdict.criteria} == {
        "trained on radiographs",
        "whole bundle",
        "golden images, answered by a fresh process",
    }


@pytest.mark.parametrize("mode", ["enforce", "warn", "off"])
def test_phantoms_never_lead_a_model_for_radiographs(registry: Registry, mode: str) -> None:
    phantoms = replace(DATA, source="phantom")
    registry.register(data=phantoms)
    policy = POLICY.model_copy(update={"mode": mode})
    assert promote(registry, policy=policy).verdict.outcome == gate.REFUSED
    assert registry.alias() is None
    registry.register(data=phantoms, name="pneumonia-phantom")
    assert promote(registry, policy=policy, name="pneumonia-phantom").move is not None


@pytest.mark.parametrize("mode", ["enforce", "off"])
def test_a_bundle_that_was_tampered_with_is_refused(registry: Registry, mode: str) -> None:
    number = registry.register()
    folder = versions.bundle(registry.store, versions.get(registry.store, NAME, number))
    card = json.loads((folder / "bundle.json").read_text())
    card["golden"] |= {"normal.jpeg": card["golden"]["normal.jpeg"] + 0.1}
    (folder / "bundle.json").write_text(json.dumps(card))
    done = promote(registry, policy=POLICY.model_copy(update={"mode": mode}))
    (failed,) = done.verdict.failed
    assert (failed.name, failed.found) == ("golden images, answered by a fresh process", "off by 0.1")

    with (folder / "model.keras").open("ab") as file:
        file.write(b"more")
    done = promote(registry, policy=POLICY.model_copy(update={"mode": mode}))
    assert [criterion.name for criterion in done.verdict.failed] == ["whole bundle"]
    assert registry.alias() is None


def test_a_version_of_other_data_is_not_compared(registry: Registry) -> None:
    enthrone(registry, registry.register())
    registry.register(data=replace(DATA, data_hash="0" * 64), images=380)
    failed = {criterion.name: criterion.found for criterion in promote(registry).verdict.failed}
    assert failed["same data definition as the champion"] == "hospital 000000000000"
    assert "other test images" in failed["specificity less the champion's"]


def test_rollback_goes_back_step_by_step_and_forward_again(registry: Registry) -> None:
    first, second, third = (registry.register() for _ in range(3))
    enthrone(registry, first, second, third)
    for expected in (second, first):
        assert promotion.rollback(registry.store, NAME, why="it erred").after == expected
        assert registry.alias() == expected
    with pytest.raises(PromotionError, match="no earlier champion"):
        promotion.rollback(registry.store, NAME, why="")
    enthrone(registry, third)
    assert promotion.rollback(registry.store, NAME, why="").after == first
    description = versions.get(registry.store, NAME, third).description
    assert f"Version {first} rolled back by" in description
    assert "operating point" in description, "what the model is stays"


def test_rollback_steps_over_deleted_versions_and_the_history_outlives_them(registry: Registry) -> None:
    first, second, third = (registry.register() for _ in range(3))
    enthrone(registry, first, second, third)
    registry.store.client.delete_model_version(NAME, str(second))
    assert promotion.rollback(registry.store, NAME, why="").after == first
    assert path_of(registry)[1] == ("promoted", first, second)


def test_an_alias_moved_in_the_mlflow_ui_is_found_and_can_be_rolled_back(registry: Registry) -> None:
    first, second = registry.register(), registry.register()
    enthrone(registry, first)
    registry.store.client.set_registered_model_alias(NAME, "champion", str(second))
    assert promotion.rollback(registry.store, NAME, why="").after == first
    assert path_of(registry) == [
        ("promoted", None, first),
        ("found", first, second),
        ("rolled back", second, first),
    ]


def test_a_promotion_that_was_cut_short_leaves_the_old_champion_and_is_finished_next(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (registry.register() for _ in range(3))
    enthrone(registry, first)
    with monkeypatch.context() as patch:
        patch.setattr(History, "_set_alias", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            promote(registry, second)
    assert registry.alias() == first
    assert not moves(registry)[-1].done

    enthrone(registry, third)
    assert path_of(registry) == [("promoted", None, first), ("promoted", first, second), ("promoted", second, third)]
    assert all(move.done for move in moves(registry))
    assert promotion.rollback(registry.store, NAME, why="").after == second


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_of_two_who_promote_at_once_one_wins_and_the_other_is_told(registry: Registry) -> None:
    first, second = registry.register(), registry.register()
    script = """
import sys
from pathlib import Path
from pneumonia import config, tracking
from pneumonia.errors import PromotionError
from pneumonia.registry import promotion
from pneumonia.registry.history import History

uri, params, number = sys.argv[1:]
store = tracking.open_store(Path())
move = History.move
def when_both_are_ready(*arguments, **more):
    print("ready", flush=True)
    sys.stdin.readline()
    return move(*arguments, **more)
History.move = when_both_are_ready
try:
    promotion.promote(store, uri, config.load(Path(params)).promote, number=int(number), why="", dry_run=False)
    print("won")
except PromotionError as error:
    print("lost:", error)
"""
    params = Path(__file__).parents[2] / "params.yaml"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script, NAME, str(params), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"MLFLOW_TRACKING_URI": registry.store.uri},
        )
        for number in (first, second)
    ]
    for one in both:
        assert one.stdout
        assert one.stdout.readline() == "ready\n"
    told = []
    for one in both:
        assert one.stdin
        one.stdin.write("\n")
        one.stdin.flush()
    for one in both:
        told.append(one.communicate()[0].strip())
    winner = [text == "won" for text in told].index(True)
    assert told[1 - winner].startswith("lost: ")
    assert "in the meantime" in told[1 - winner]
    assert registry.alias() == (first, second)[winner]
    assert len(moves(registry)) == 1


def test_the_history_cannot_be_rewritten(registry: Registry) -> None:
    from mlflow import MlflowException

    enthrone(registry, registry.register())
    experiment = registry.store.client.get_experiment_by_name(f"{NAME} champions")
    assert experiment
    (run,) = registry.store.client.search_runs([experiment.experiment_id])
    with pytest.raises(MlflowException, match="not allowed"):
        registry.store.client.log_param(run.info.run_id, "000001", "{}")
    registry.store.client.delete_run(run.info.run_id)
    with pytest.raises(PromotionError, match=r"deleted.*mlflow runs restore"):
        promotion.rollback(registry.store, NAME, why="")


def test_what_cannot_be_promoted_is_refused_in_words(registry: Registry) -> None:
    with pytest.raises(PromotionError, match="no challenger"):
        promote(registry)
    number = registry.register()
    with pytest.raises(TrackingError, match=f"no version 9; it has {number}"):
        promote(registry, 9)
    enthrone(registry, number)
    with pytest.raises(PromotionError, match="champion already"):
        promote(registry)
    other = registry.register()
    with pytest.raises(PromotionError, match="2001 characters"):
        promote(registry, other, why="x" * 2001)


def test_a_version_without_evidence_cannot_be_judged(registry: Registry) -> None:
    number = registry.register()
    run_id = versions.get(registry.store, NAME, number).run_id
    artifacts = registry.store.client.get_run(run_id).info.artifact_uri
    Path(artifacts.removeprefix("file://"), "evidence").rename(registry.folder / "elsewhere")
    with pytest.raises(EvidenceError, match="has no evidence"):
        promote(registry)


def test_all_of_it_works_on_a_server(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    (tmp_path / "versions").mkdir()
    registry = Registry(tracking.open_store(tmp_path / "project"), tmp_path / "versions")
    first, second = registry.register(), registry.register()
    enthrone(registry, first)
    promote(registry, second)
    champion = versions.champion(registry.store, NAME)
    assert champion
    assert champion.version == second
    assert tmp_path / "cache" in champion.bundle.parents
    assert promotion.rollback(registry.store, NAME, why="").after == first
    assert path_of(registry) == [
        ("promoted", None, first),
        ("promoted", first, second),
        ("rolled back", second, first),
    ]
    text = versions.get(registry.store, NAME, second).description
    assert "rolled back" in text
