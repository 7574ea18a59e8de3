"""Outputs of a whole run: reports that agree with each other, figures, bundles, MLflow runs and a challenger."""

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from pipeline import demo
from pneumonia.bundle import bundle as bundles
from pneumonia.bundle import golden
from pneumonia.inference import golden_answers
from pneumonia.registry import tracking
from tests.support import readme
from tests.support.project import MODELS, Project

pytestmark = pytest.mark.slow


def test_evaluation_report_metrics_and_predictions_agree(finished: Project) -> None:
    metrics = finished.json("reports/metrics/cnn.json")
    predictions = pd.read_csv(finished.folder / "reports/predictions/cnn.csv")
    splits = pd.read_parquet(finished.folder / "artifacts/splits.parquet")
    assert set(predictions["path"]) == set(splits[splits["subset"] != "train"]["path"])
    test = predictions[predictions["subset"] == "test"]
    accuracy = (test["label"] == test["predicted"]).mean()
    assert metrics["test"]["accuracy"] == pytest.approx(accuracy)
    report = finished.json("reports/evaluation/cnn.json")["subsets"]["test"]
    reported = report["figures"]["accuracy"]
    assert reported["value"] == pytest.approx(accuracy, abs=1e-6)
    assert reported["low"] <= reported["value"] <= reported["high"]
    assert report["band"]["coverage"]["value"] == pytest.approx(1 - test["indeterminate"].mean(), abs=1e-6)
    audit = finished.json("reports/audit/cnn.json")
    assert audit["auc"]["value"] == pytest.approx(metrics["test"]["roc_auc"], abs=1e-6)


def test_the_model_with_the_best_metric_is_compared_with_the_others_and_registered(finished: Project) -> None:
    metrics = {model: finished.json(f"reports/metrics/{model}.json") for model in MODELS}
    registered = finished.json("reports/registered.json")
    best = max(sorted(metrics), key=lambda model: metrics[model][registered["subset"]]["roc_auc"])
    assert (registered["model"], registered["alias"], registered["source"]) == (best, "challenger", "phantom")
    comparison = finished.json("reports/comparison.json")
    assert comparison["reference"] == best
    assert set(MODELS) == {best, *comparison["models"]}
    page = (finished.folder / "reports/model_card.md").read_text()
    assert page.startswith(f"# Model card: {best}\n")
    assert not finished.json("reports/audit_data.json")["alarm"]
    assert "no alarm" in (finished.folder / "reports/shortcuts.md").read_text()


def test_figures_are_png_files(finished: Project) -> None:
    names = ["class_distribution", "split_ratio"]
    names += [f"models/{name}" for name in ("roc", "pr", "confusion", "reliability")]
    for name in names:
        assert (finished.folder / f"reports/figures/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_every_model_has_a_reference_profile_of_the_validation_images(finished: Project) -> None:
    splits = pd.read_parquet(finished.folder / "artifacts/splits.parquet")
    validation = splits[splits["subset"] == "validation"].sort_values("path")
    for model in MODELS:
        summary = finished.json(f"reports/profiles/{model}.json")
        profile = pd.read_parquet(finished.folder / f"artifacts/profiles/{model}.parquet")
        card = bundles.read(finished.folder / "artifacts/models" / model).card
        assert profile["label"].tolist() == validation["label"].tolist()
        assert summary["images"] == len(validation)
        assert summary["patients"] == validation["group"].nunique()
        answered = profile[(profile["status"] == "answered") & (profile["decision"] != "INDETERMINATE")]
        assert ((answered["probability"] >= card.threshold) == (answered["decision"] == "PNEUMONIA")).all()


def test_every_model_is_explained_and_plays_the_pointing_game_on_phantoms(finished: Project) -> None:
    for model in MODELS:
        report = finished.json(f"reports/explanations/{model}.json")
        game = report["pointing_game"]
        assert game["hits"]["all"]["images"] == game["hits"]["bacteria"]["images"] + game["hits"]["virus"]["images"]
        assert 0 < game["chance"]["image"] < game["chance"]["lungs"] < game["chance"]["best_fixed_place"] <= 1
        pictures = [finished.folder / f"artifacts/explanations/{model}/{case['picture']}" for case in report["cases"]]
        assert {case["rule"] for case in report["cases"]} <= set(report["rules"])
        assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
        assert {*pictures} == {*(finished.folder / "artifacts/explanations" / model).iterdir()}


def test_mlflow_has_one_complete_run_per_model(finished: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = tracking.open_store(finished.folder)
    runs = {run.info.run_name: run for run in store.client.search_runs([store.experiment_id])}
    assert set(runs) == {f"{model} (phantom)" for model in MODELS}
    run = runs["cnn (phantom)"]
    assert run.info.status == "FINISHED"
    assert "restored" not in run.data.tags, "the run that followed the training was adopted"
    assert len(run.data.tags["git_commit"]) == 40
    assert len(store.client.get_metric_history(run.info.run_id, "val_loss")) == 4
    assert run.data.metrics["test/roc_auc"] == finished.json("reports/metrics/cnn.json")["test"]["roc_auc"]
    assert run.data.params["learning_rate"] == "0.002"
    assert "calibrate.operating_point.minimum_sensitivity" in run.data.params
    folders = {file.path for file in store.client.list_artifacts(run.info.run_id)}
    assert {"bundle", "train", "evaluation", "explanations", "profile"} <= folders


def test_bundles_hold_no_run_commit_or_date_and_answer_their_golden_images(finished: Project) -> None:
    for model in MODELS:
        bundle = bundles.read(finished.folder / "artifacts/models" / model)
        assert not {"mlflow_run_id", "git_commit", "created"} & set(
            json.loads((bundle.folder / "bundle.json").read_text())
        )
        assert golden.largest_difference(bundle.card.golden, golden_answers.answers(bundle.folder)) < 1e-4


def test_registered_model_and_command_answer_as_the_evaluation_did(
    copy: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = copy.json("reports/registered.json")
    predictions = pd.read_csv(copy.folder / f"reports/predictions/{registered['model']}.csv")
    row = predictions[predictions["subset"] == "test"].iloc[0]
    shutil.copyfile(copy.folder / "artifacts/raw" / row["path"], copy.folder / "IMAGE.jpeg")
    (block,) = readme.blocks("python")
    *lines, last = block.strip().splitlines()
    script = "\n".join([*lines, f'print("ANSWER", {last}.to_json(orient="records"))'])
    output = copy.run(sys.executable, "-c", script)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = tracking.open_store(copy.folder).client
    client.set_registered_model_alias(registered["name"], "champion", "1")
    (copy.folder / "FOLDER").mkdir()
    shutil.copy(copy.folder / "IMAGE.jpeg", copy.folder / "FOLDER")
    decision = "INDETERMINATE" if row["indeterminate"] else row["predicted"]
    for command in (line for line in readme.console_lines() if line.startswith("pneumonia predict ")):
        printed = copy.run(*shlex.split(command.replace("mobilenetv2", registered["model"])))
        if "--output" not in command:
            assert decision in printed
            assert f"{row['probability']:.4f}" in printed
        if "--bundle" not in command:
            assert "version 1 of pneumonia-classifier (champion)" in printed
    (written,) = pd.read_csv(copy.folder / "answers.csv").to_dict("records")
    assert (written["file"], written["decision"]) == ("FOLDER/IMAGE.jpeg", decision)
    assert written["probability"] == pytest.approx(row["probability"], abs=1e-5)
    (answer,) = json.loads(output.split("ANSWER")[1])
    assert answer["probability"] == pytest.approx(row["probability"], abs=1e-5)
    assert answer["label"] == row["predicted"]


def test_a_changed_parameter_becomes_champion_and_is_rolled_back_as_the_guide_says(
    copy: Project, tmp_path: Path
) -> None:
    for name, section, key, value in (
        ("params.yaml", "register", "name", "pneumonia-phantom"),
        ("operations.yaml", "promote", "mode", "warn"),  # so few phantoms prove nothing
    ):
        content = yaml.safe_load((copy.folder / name).read_text())
        content[section][key] = value
        (copy.folder / name).write_text(yaml.safe_dump(content, sort_keys=False))
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
    printed = {command: copy.run(*shlex.split(command)) for command in commands}

    report = (copy.folder / "pr_report/report.md").read_text()
    assert "train.models.cnn.learning_rate" in report
    assert "Gate: " in report
    versions = json.loads(copy.run("pneumonia", "versions", "--json"))
    assert [version["version"] for version in versions if "champion" in version["aliases"]] == [1]
    history = printed["pneumonia history"]
    for move in ("none", "promoted", "rolled back"):
        assert move in history
    assert "learning_rate" in copy.run("git", "log", "-p", "-1", "--", "params.yaml")
