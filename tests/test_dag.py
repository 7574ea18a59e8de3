"""The DAG as DVC users meet it: a small project on phantoms, in git, run by real `dvc` commands."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grimp
import pandas as pd
import pytest
import yaml

from pipeline import demo
from pneumonia import tracking
from pneumonia.inference import golden
from pneumonia.models import bundle as bundles
from tests import readme

STAGES = ("download", "validate", "split", "prepare", "train", "evaluate", "monitor", "explain", "audit", "register")
STAGES += ("card",)
SMALL: dict[str, Any] = {
    "data": {"source": "phantom", "phantom": {"patients": 48, "size": 96, "difficulty": 0.0}},
    "validate": {"minimum_pixels": 50},
    "split": {"folds": 3},
    "prepare": {"size": 64},
    "train": {
        "models": {
            "probe": None,
            "cnn": {"filters": [8, 16], "epochs": 4},
            "mobilenetv2": None,  # its place is taken by TINY
        }
    },
}
TINY = {"kind": "cnn", "filters": [4], "epochs": 1, "batch_size": 32, "learning_rate": 0.01}
"""Under the name of the default model, so that the README's commands work on it in seconds."""


class Project:
    """A DVC project in a folder, and commands run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, check: bool = True, **environment: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=demo.environment(self.folder) | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def dvc(self, *arguments: str, **environment: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, **environment)

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def changed_stages(self) -> set[str]:
        status = json.loads(self.dvc("status", "--json"))
        return {stage for stage, changes in status.items() if any("changed deps" in change for change in changes)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in git whose whole pipeline has run, committed."""
    project = Project(tmp_path_factory.mktemp("finished"))
    demo.make_project(project.folder, SMALL)
    params = yaml.safe_load((project.folder / "params.yaml").read_text())
    params["train"]["models"]["mobilenetv2"] = TINY
    (project.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    project.dvc("config", "core.no_scm", "false")
    for name in (".gitignore", "mlruns/.gitignore"):
        (project.folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(demo.PROJECT / name, project.folder / name)
    project.run("git", "init", "-q", "-b", "main")
    project.run("git", "config", "user.name", "A Tester")
    project.run("git", "config", "user.email", "tester@example.org")
    project.run("git", "add", ".")
    project.run("git", "commit", "-q", "-m", "A project")
    project.dvc("repro")
    project.run("git", "add", ".")
    project.run("git", "commit", "-q", "-m", "Its first results")
    return project


@pytest.fixture
def copy(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project, to be spoilt."""
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    return Project(tmp_path / "copy")


def code_deps(stage: str) -> set[str]:
    definition = yaml.safe_load((demo.PROJECT / "dvc.yaml").read_text())["stages"][stage]
    return {dep for dep in definition["deps"] if dep.endswith(".py")}


def imported_files(stage: str) -> set[str]:
    """Files of this project that a stage imports, at any depth, inside functions too, with their packages."""
    graph = grimp.build_graph("pneumonia", "pipeline")
    module = f"pipeline.{stage}"
    modules = graph.find_upstream_modules(module) | {module}
    packages = {name.rsplit(".", depth)[0] for name in modules for depth in range(1, name.count(".") + 1)}
    files = {_file(name) for name in modules | packages}
    return {str(file.relative_to(demo.PROJECT)) for file in files if file.stat().st_size}


def _file(module: str) -> Path:
    parts = module.split(".")
    base = (demo.PROJECT if parts[0] == "pipeline" else demo.PROJECT / "src").joinpath(*parts)
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


@pytest.mark.parametrize("stage", STAGES)
def test_stage_depends_on_exactly_the_code_that_it_imports(stage: str) -> None:
    assert code_deps(stage) == imported_files(stage)


def test_every_model_has_a_reference_profile_of_the_validation_images(finished: Project) -> None:
    splits = pd.read_parquet(finished.folder / "artifacts/splits.parquet")
    validation = splits[splits["subset"] == "validation"].sort_values("path")
    for model, summary in finished.json("reports/monitor.json").items():
        profile = pd.read_parquet(finished.folder / f"artifacts/monitor/{model}.parquet")
        card = bundles.read(finished.folder / "artifacts/models" / model).card
        assert set(profile["bundle_sha256"]) == {card.model_sha256}
        assert profile["label"].tolist() == validation["label"].tolist()
        assert summary["images"] == len(validation)
        assert summary["patients"] == validation["group"].nunique()
        answered = profile[profile["status"] == "answered"]
        assert ((answered["probability"] >= card.threshold) == (answered["decision"] == "PNEUMONIA"))[
            answered["decision"] != "INDETERMINATE"
        ].all()


def test_whole_road_leaves_metrics_pictures_predictions_and_a_registered_challenger(finished: Project) -> None:
    metrics = finished.json("reports/metrics.json")
    assert set(metrics) == {"cnn", "mobilenetv2"}
    predictions = pd.read_csv(finished.folder / "reports/predictions/cnn.csv")
    splits = pd.read_parquet(finished.folder / "artifacts/splits.parquet")
    judged = splits[splits["subset"] != "train"]
    assert set(predictions["path"]) == set(judged["path"])
    test = predictions[predictions["subset"] == "test"]
    accuracy = (test["label"] == test["predicted"]).mean()
    assert metrics["cnn"]["test"]["accuracy"] == pytest.approx(accuracy)
    judged = finished.json("reports/judgement/cnn.json")["subsets"]["test"]
    accuracy = judged["figures"]["accuracy"]
    assert accuracy["value"] == pytest.approx(metrics["cnn"]["test"]["accuracy"], abs=1e-6)
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    answered = 1 - test["indeterminate"].mean()
    assert judged["band"]["coverage"]["value"] == pytest.approx(answered, abs=1e-6)
    comparison = finished.json("reports/comparison.json")
    assert set(metrics) == {comparison["reference"], *comparison["models"]}
    for picture in ("class_distribution", "split_ratio", "roc", "pr", "confusion", "reliability"):
        assert (finished.folder / f"reports/figures/{picture}.png").read_bytes().startswith(b"\x89PNG")
    audited = finished.json("reports/shortcuts.json")
    assert not audited["data"]["alarm"]
    assert set(audited["models"]) == set(metrics)
    auc = metrics["cnn"]["test"]["roc_auc"]
    assert audited["models"]["cnn"]["auc"]["value"] == pytest.approx(auc, abs=1e-6)
    assert "no alarm" in (finished.folder / "reports/shortcuts.md").read_text()
    registered = finished.json("reports/registered.json")
    page = (finished.folder / "reports/model_card.md").read_text()
    assert page.startswith(f"# Model card: {registered['model']}\n")
    best = max(sorted(metrics), key=lambda model: metrics[model]["swapped"]["roc_auc"])
    assert (registered["model"], registered["alias"]) == (best, "challenger")
    assert registered["source"] == "phantom"


def test_every_model_is_explained_and_plays_the_pointing_game_on_phantoms(finished: Project) -> None:
    explained = finished.json("reports/explanations.json")
    assert set(explained["models"]) == {"cnn", "mobilenetv2"}
    for model, told in explained["models"].items():
        game = told["pointing_game"]
        assert game["hits"]["all"]["images"] == game["hits"]["bacteria"]["images"] + game["hits"]["virus"]["images"]
        assert 0 < game["chance"]["image"] < game["chance"]["lungs"] < game["chance"]["best_fixed_place"] <= 1
        pictures = [finished.folder / f"artifacts/explanations/{model}/{case['picture']}" for case in told["cases"]]
        assert {case["rule"] for case in told["cases"]} <= set(explained["rules"])
        assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
        assert {*pictures} == {*(finished.folder / "artifacts/explanations" / model).iterdir()}
        logged = list((finished.folder / "mlruns/artifacts").glob(f"*/artifacts/explanations/{pictures[0].name}"))
        assert len(logged) == 2, "one in the run of each model"


def test_registered_model_and_command_answer_as_the_evaluation_did(
    finished: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = finished.json("reports/registered.json")
    predictions = pd.read_csv(finished.folder / f"reports/predictions/{registered['model']}.csv")
    row = predictions[predictions["subset"] == "test"].iloc[0]
    shutil.copyfile(finished.folder / "artifacts/raw" / row["path"], finished.folder / "IMAGE.jpeg")
    (block,) = readme.blocks("python")
    *lines, last = block.strip().splitlines()
    script = "\n".join([*lines, f'print("ANSWER", {last}.to_json(orient="records"))'])
    output = finished.run(sys.executable, "-c", script, TF_CPP_MIN_LOG_LEVEL="3")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = tracking.open_store(finished.folder).client
    client.set_registered_model_alias(registered["name"], "champion", "1")
    (finished.folder / "FOLDER").mkdir()
    shutil.copy(finished.folder / "IMAGE.jpeg", finished.folder / "FOLDER")
    decision = "INDETERMINATE" if row["indeterminate"] else row["predicted"]
    for command in (line for line in readme.console_lines() if line.startswith("pneumonia predict ")):
        told = finished.run(*shlex.split(command.replace("mobilenetv2", registered["model"])))
        if "--output" not in command:
            assert f"{decision:13}  {row['probability']:11.4f}" in told
        if "--bundle" not in command:
            assert "version 1 of pneumonia-classifier (champion)" in told
    (written,) = pd.read_csv(finished.folder / "answers.csv").to_dict("records")
    assert (written["file"], written["decision"]) == ("FOLDER/IMAGE.jpeg", decision)
    assert written["probability"] == pytest.approx(row["probability"], abs=1e-5)
    shutil.rmtree(finished.folder / "FOLDER")
    (finished.folder / "answers.csv").unlink()
    (finished.folder / "IMAGE.jpeg").unlink()
    (answer,) = json.loads(output.split("ANSWER")[1])
    assert answer["probability"] == pytest.approx(row["probability"], abs=1e-5)
    assert answer["label"] == row["predicted"]


def test_every_bundle_answers_the_golden_images_as_training_has_pinned(finished: Project) -> None:
    for name in ("cnn", "mobilenetv2"):
        bundle = bundles.read(finished.folder / "artifacts/models" / name)
        assert golden.largest_difference(bundle.card.golden, golden.answers(bundle.folder)) < 1e-4


def test_nothing_reruns_when_nothing_changed(finished: Project) -> None:
    assert "Data and pipelines are up to date" in finished.dvc("repro")


def test_root_of_the_dag_is_the_dataset_definition(finished: Project) -> None:
    edges = finished.dvc("dag", "--dot")
    assert '"data.dvc" -> "download"' in edges
    assert '-> "data.dvc"' not in edges


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("src/pneumonia/data/naming.py", {"validate", "monitor"}),
        ("src/pneumonia/data/split_figures.py", {"split"}),
        ("src/pneumonia/models/augment.py", {"train@cnn", "train@mobilenetv2"}),
        ("src/pneumonia/evaluation/figures.py", {"train@cnn", "train@mobilenetv2", "evaluate", "explain", "audit"}),
        ("src/pneumonia/inference/overlay.py", {"explain"}),
        ("src/pneumonia/evaluation/shortcuts_report.py", {"audit", "card"}),
        ("src/pneumonia/registry/registration.py", {"register"}),
        ("src/pneumonia/registry/promotion.py", set()),
        ("src/pneumonia/evaluation/model_card.py", {"card"}),
        ("src/pneumonia/cli.py", set()),
    ],
)
def test_editing_a_module_reruns_exactly_the_stages_that_it_feeds(
    finished: Project, module: str, stages: set[str]
) -> None:
    file = finished.folder / module
    before = file.read_bytes()
    file.write_bytes(before + b"\n# an edit\n")
    try:
        assert finished.changed_stages() == stages
    finally:
        file.write_bytes(before)


def test_changing_one_model_reruns_that_model_alone_of_the_matrix(finished: Project) -> None:
    params = finished.folder / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("learning_rate: 0.002", "learning_rate: 0.003"))
    try:
        changed = finished.changed_stages()
        difference = finished.dvc("params", "diff")
    finally:
        params.write_text(before)
    assert {stage for stage in changed if stage.startswith("train@")} == {"train@cnn"}
    assert "train.models.cnn.learning_rate" in difference
    assert "0.003" in difference


def test_metrics_show_and_plots_show_answer(finished: Project) -> None:
    shown = finished.dvc("metrics", "show", "--json")
    metrics = next(iter(json.loads(shown).values()))["data"]["reports/metrics.json"]["data"]
    assert metrics == finished.json("reports/metrics.json")
    plots = json.loads(finished.dvc("plots", "show", "--json"))
    text = json.dumps(plots)
    assert "errors" not in plots
    assert {"Loss while training", "Accuracy while training"} <= set(plots["data"])
    for file in ("roc/cnn.csv", "pr/cnn.csv", "confusion/cnn.csv", "train/cnn/history.csv"):
        assert file in text


def test_experiment_with_a_changed_param_keeps_the_workspace_clean(copy: Project) -> None:
    before = copy.json("reports/metrics.json")
    output = copy.dvc(
        "exp", "run", "--temp", "--name", "short", "-S", "train.models.cnn.learning_rate=0.02", "evaluate"
    )
    assert "Running stage 'train@cnn'" in output
    assert "Running stage 'train@mobilenetv2'" not in output
    assert copy.run("git", "status", "--porcelain") == ""
    assert copy.json("reports/metrics.json") == before
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


def test_same_seed_trains_to_the_same_predictions(copy: Project) -> None:
    predictions = copy.folder / "reports/predictions/cnn.csv"
    before = predictions.read_text()
    copy.dvc("repro", "--force", "--single-item", "train@cnn")
    copy.dvc("repro", "evaluate")
    assert predictions.read_text() == before


def test_fresh_clone_pulls_from_the_remote_and_only_registers_in_its_empty_store(
    copy: Project, tmp_path: Path
) -> None:
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


@pytest.mark.parametrize(
    ("stage", "is_under_way"),
    [
        ("prepare", lambda folder: (folder / "artifacts/images/images.npy").exists()),
        ("train@cnn", lambda folder: any(folder.glob("artifacts/checkpoints/cnn/state/epoch-*"))),
    ],
)
def test_killed_stage_finishes_with_the_same_result_on_the_next_run(
    copy: Project, stage: str, is_under_way: Callable[[Path], bool]
) -> None:
    before = {name: (copy.folder / name).read_text() for name in _results()}
    shutil.rmtree(copy.folder / "artifacts" / ("images" if stage == "prepare" else "models/cnn"))
    shutil.rmtree(copy.folder / ".dvc/cache")  # else DVC would fetch the result and run nothing
    running = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "evaluate"],
        cwd=copy.folder,
        env=demo.environment(copy.folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 240
    while not is_under_way(copy.folder):
        assert running.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    output = copy.dvc("repro", "evaluate")
    if stage == "train@cnn":
        assert "resuming after epoch" in output
        assert not (copy.folder / "artifacts/checkpoints/cnn").exists()
    assert {name: (copy.folder / name).read_text() for name in _results()} == before


def _results() -> tuple[str, ...]:
    return ("reports/metrics.json", "reports/predictions/cnn.csv", "reports/train/cnn/history.csv")


def test_unknown_params_key_stops_before_any_work(copy: Project) -> None:
    params = copy.folder / "params.yaml"
    params.write_text(params.read_text().replace("  seed: 1", "  sead: 1"))
    output = copy.run(sys.executable, "-m", "pipeline.train", "cnn", check=False)
    assert "train.sead: unknown key" in output
    assert "Traceback" not in output


def test_a_changed_parameter_becomes_champion_and_is_rolled_back_as_the_guide_says(
    copy: Project, tmp_path: Path
) -> None:
    params = yaml.safe_load((copy.folder / "params.yaml").read_text())
    params["register"]["name"] = "pneumonia-phantom"
    params["promote"]["mode"] = "warn"  # so few phantoms prove nothing
    (copy.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(demo.PROJECT / name, copy.folder / name)
        os.utime(copy.folder / name, (0, 0))  # older than the environment, so that make does not set it up again
    (copy.folder / ".venv").symlink_to(sys.prefix)
    (copy.folder / ".git/info/exclude").write_text(".venv\n")
    copy.dvc("repro")
    copy.run("git", "init", "-q", "--bare", str(tmp_path / "origin.git"))
    copy.run("git", "remote", "add", "origin", str(tmp_path / "origin.git"))
    copy.run("git", "add", ".")
    copy.run("git", "commit", "-qm", "A model for phantoms")
    copy.run("git", "push", "-qu", "origin", "main")

    commands = [line for block in readme.blocks("console", readme.GUIDE) for line in block.strip().splitlines()]
    said = {command: copy.run(*shlex.split(command)) for command in commands}

    report = (copy.folder / "pr_report/report.md").read_text()
    assert "train.models.cnn.learning_rate" in report
    assert "Gate: " in report
    versions = json.loads(copy.run("pneumonia", "versions", "--json"))
    assert [version["version"] for version in versions if "champion" in version["aliases"]] == [1]
    assert "none -> 1  promoted" in said["pneumonia history"]
    assert "1 -> 2  promoted" in said["pneumonia history"]
    assert "2 -> 1  rolled back" in said["pneumonia history"]
    assert "learning_rate" in copy.run("git", "log", "-p", "-1", "--", "params.yaml")
