"""The DAG as DVC users see it: a finished phantom project, and real `dvc` commands in it."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.support import readme
from tests.support.project import MODELS, Project

pytestmark = pytest.mark.slow
ALWAYS = {"register"}
"""Runs at each `dvc repro`, because DVC cannot see what the MLflow store holds."""


def matrix(*stages: str) -> set[str]:
    return {f"{stage}@{model}" for stage in stages for model in MODELS}


@contextmanager
def edited(project: Project, name: str, old: str, new: str) -> Iterator[None]:
    file = project.folder / name
    before = file.read_text()
    assert old in before
    file.write_text(before.replace(old, new, 1))
    try:
        yield
    finally:
        file.write_text(before)


def changed_stages(project: Project) -> dict[str, list[str]]:
    """Return the stages whose own code or parameters changed, by DVC, with the files and parameters."""
    status = json.loads(project.dvc("status", "--json"))
    changes: dict[str, list[str]] = {}
    for stage, reasons in status.items():
        for reason in reasons:
            if isinstance(reason, dict) and "changed deps" in reason:
                changes[stage] = [
                    name
                    for file, what in reason["changed deps"].items()
                    for name in ([file] if isinstance(what, str) else what)
                ]
    return changes


EDITS = {
    "src/pneumonia/core/errors.py": set(),
    "src/pneumonia/cli/main.py": set(),
    "src/pneumonia/serving/main.py": set(),
    "src/pneumonia/registry/promotion.py": {"card"},
    "src/pneumonia/reports/model_card.py": {"card"},
    "src/pneumonia/monitoring/profile.py": matrix("profile"),
    "src/pneumonia/audit/settings.py": matrix("audit") | {"audit_data", "card", "compare"},
    "src/pneumonia/evaluation/metrics.py": matrix("calibrate", "evaluate", "audit", "explain")
    | {"audit_data", "card", "compare"},
    "src/pneumonia/images/decode.py": matrix("calibrate", "evaluate", "audit", "explain", "profile")
    | {"download", "validate", "prepare", "card"},
    "src/pneumonia/training/augment.py": matrix("train", "calibrate"),
}
"""An edit of a docstring in each of these files, and the stages that it reruns."""


def test_an_edit_reruns_the_stages_of_its_package_and_training_only_for_training_code(copy: Project) -> None:
    """Ten edits in one `dvc status`: each stage lists the packages that changed."""
    for name in EDITS:
        file = copy.folder / name
        file.write_text(f"{file.read_text()}\n# an edit\n")
    seen = changed_stages(copy)
    for name, stages in EDITS.items():
        package = str(Path(name).parent)
        assert {stage for stage, deps in seen.items() if package in deps} - ALWAYS == stages - ALWAYS, name


def test_settings_rerun_the_stages_that_read_them(copy: Project) -> None:
    params = copy.folder / "params.yaml"
    changes = yaml.safe_load(params.read_text())
    changes["evaluate"]["bootstrap"]["resamples"] += 1
    changes["audit"]["border"] = 0.04
    changes["train"]["models"]["cnn"]["learning_rate"] = 0.003
    changes["train"]["models"]["another"] = changes["train"]["models"]["mobilenetv2"]
    params.write_text(yaml.safe_dump(changes, sort_keys=False))
    operations = copy.folder / "operations.yaml"
    operations.write_text(operations.read_text().replace("minimum_sensitivity: 0.90", "minimum_sensitivity: 0.91"))

    seen = changed_stages(copy)

    resampling = {stage for stage, deps in seen.items() if any(dep.startswith("evaluate") for dep in deps)}
    assert resampling == matrix("calibrate", "evaluate", "audit", "explain") | {"audit_data", "compare"}
    assert {stage for stage, deps in seen.items() if "audit" in deps} == matrix("audit") | {"audit_data", "compare"}
    trained = {stage for stage, deps in seen.items() if any(dep.startswith("train.models.cnn") for dep in deps)}
    assert trained == {"train@cnn", "calibrate@cnn"}
    new = {stage for stage in json.loads(copy.dvc("status", "--json")) if stage.endswith("@another")}
    assert new == {f"{stage}@another" for stage in ("train", "calibrate", "evaluate", "audit", "explain", "profile")}
    assert not any(stage.endswith("@mobilenetv2") and stage.startswith("train") for stage in seen)
    assert "0.003" in copy.dvc("params", "diff")


def test_only_register_runs_when_nothing_changed(finished: Project) -> None:
    output = finished.dvc("repro")
    assert [line for line in output.splitlines() if line.startswith("Running stage")] == ["Running stage 'register':"]
    assert finished.run("git", "status", "--porcelain") == ""


def test_the_dag_starts_at_the_dataset_definition(finished: Project) -> None:
    edges = finished.dvc("dag", "--dot")
    assert '"data.dvc" -> "download"' in edges
    assert '-> "data.dvc"' not in edges


def test_metrics_show_and_plots_show_answer(finished: Project) -> None:
    answer = json.loads(finished.dvc("metrics", "show", "--json"))
    metrics = next(iter(answer.values()))["data"]
    for model in MODELS:
        shown = metrics[f"reports/summary/{model}/test.json"]["data"]
        assert shown == finished.json(f"reports/summary/{model}/test.json")
        assert shown["roc_auc"] == round(finished.json(f"reports/metrics/{model}.json")["test"]["roc_auc"], 4)
    plots = json.loads(finished.dvc("plots", "show", "--json"))
    text = json.dumps(plots)
    assert "errors" not in plots
    for file in ("roc/cnn.csv", "pr/cnn.csv", "confusion/cnn.csv", "train/cnn/history.csv"):
        assert file in text


def test_experiment_with_a_changed_param_keeps_the_workspace_clean(copy: Project) -> None:
    before = copy.json("reports/metrics/cnn.json")
    output = copy.dvc(
        "exp", "run", "--temp", "--name", "short", "-S", "train.models.cnn.learning_rate=0.02", "evaluate@cnn"
    )
    assert "Running stage 'train@cnn'" in output
    assert "Running stage 'train@mobilenetv2'" not in output
    assert copy.run("git", "status", "--porcelain") == ""
    assert copy.json("reports/metrics/cnn.json") == before
    assert "short" in copy.dvc("exp", "show", "--csv")
    assert "cnn" in copy.dvc("metrics", "diff", "HEAD", "short", "--md")


def test_dvc_commands_of_the_readme_work(copy: Project) -> None:
    commands = [line for line in readme.console_lines() if line.startswith("dvc ")]
    assert len(commands) > 5
    for command in commands:
        if command not in readme.NEEDS_ANOTHER_MACHINE:
            copy.dvc(*shlex.split(command)[1:])
    epochs = yaml.safe_load((copy.folder / "params.yaml").read_text())["train"]["models"]["mobilenetv2"]["epochs"]
    assert epochs == 2, "dvc exp run leaves the experiment in the working tree"


def test_fresh_clone_pulls_from_the_remote_and_fills_its_empty_store(copy: Project, tmp_path: Path) -> None:
    copy.dvc("remote", "add", "--default", "storage", str(tmp_path / "remote"))
    copy.run("git", "commit", "-qam", "A remote")
    copy.dvc("push")
    copy.run("git", "clone", "-q", str(copy.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.dvc("pull")
    output = clone.dvc("repro")
    assert [line for line in output.splitlines() if line.startswith("Running stage")] == ["Running stage 'register':"]
    assert "It is version 1 of pneumonia-classifier" in output
    assert clone.run("git", "status", "--porcelain") == ""
