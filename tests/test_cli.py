import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from pneumonia import cli, serving
from pneumonia.models import bundle as bundles
from pneumonia.monitoring.log import Log, Window
from tests import bright

IDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(autouse=True)
def _log_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMONIA_LOG", f"sqlite:///{tmp_path / 'usual-log/log.db'}")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that calls bright images PNEUMONIA: the logit is the mean grey level over 10, less 10."""
    folder = tmp_path_factory.mktemp("bundle") / "bright"
    bright.write_bundle(
        folder,
        slope=0.1,
        bias=-10.0,
        band=bundles.Band(0.4, 0.6),
        data=bundles.DataLineage("phantom", "", "0" * 64, {}),
        git_commit="c0ffee" + 34 * "0",
    )
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that are NORMAL, PNEUMONIA and between, one too small, a broken one deeper down, and a letter."""
    folder = tmp_path_factory.mktemp("images")
    for name, grey in (("a-dark.png", 50), ("b-bright.png", 150), ("c-between.png", 101)):
        halves = np.repeat(np.array([[grey - 20, grey + 20]], np.uint8), 64, axis=1)
        Image.fromarray(np.repeat(halves, 128, axis=0)).save(folder / name)
    Image.new("L", (64, 48), 50).save(folder / "d-small.png")
    (folder / "deep").mkdir()
    (folder / "deep/broken.jpeg").write_text("Dear colleague")
    (folder / "letter.txt").write_text("Dear colleague")
    return folder


def predict(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, ["predict", *map(str, arguments)])


def test_table_answers_for_each_image_of_a_folder(bundle: Path, folder: Path) -> None:
    result = predict("--bundle", bundle, folder)
    header, dark, bright, between, small, broken = result.stdout.splitlines()
    assert header.split() == ["DECISION", "PROBABILITY", "FILE"]
    assert dark.split() == ["NORMAL", "0.0067", f"{folder}/a-dark.png"]
    assert bright.split() == ["PNEUMONIA", "0.9933", f"{folder}/b-bright.png"]
    assert between.split() == ["INDETERMINATE", "0.5250", f"{folder}/c-between.png"]
    assert small.startswith("REFUSED")
    assert f"{folder}/d-small.png: The image has 64 x 48 pixels; at least 100 a side are needed" in small
    assert broken.startswith("UNREADABLE")
    assert f"{folder}/deep/broken.jpeg: expected a JPEG, PNG or DICOM image" in broken


def test_says_which_model_answers_and_what_was_skipped_or_unreadable(bundle: Path, folder: Path) -> None:
    result = predict("--bundle", bundle, folder)
    skipped, model, failed = result.stderr.splitlines()
    assert skipped == f"skipped 1 file(s) without the name of an image: {folder}/letter.txt"
    assert model == f"model name bright, origin {bundle}, data phantom, threshold 0.5, commit c0ffee0000"
    assert "1 of 5 image(s) cannot be read" in failed
    assert result.exit_code == 1


def test_status_is_0_when_all_can_be_read(bundle: Path, folder: Path) -> None:
    assert predict("--bundle", bundle, folder / "a-dark.png").exit_code == 0


def test_csv_has_a_row_per_image_and_nothing_else(bundle: Path, folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(predict("--bundle", bundle, "--format", "csv", folder).stdout)))
    assert [list(row) for row in rows] == [["id", "file", "decision", "probability", "indeterminate", "reason"]] * 5
    assert [row["decision"] for row in rows] == ["NORMAL", "PNEUMONIA", "INDETERMINATE", "REFUSED", "UNREADABLE"]
    assert [row["probability"] for row in rows] == ["0.006693", "0.993307", "0.524979", "", ""]
    assert [row["indeterminate"] for row in rows] == ["False", "False", "True", "", ""]
    assert [bool(row["reason"]) for row in rows] == [False, False, False, True, True]


def test_json_is_one_document_with_model_and_answers(bundle: Path, folder: Path) -> None:
    said: dict[str, Any] = json.loads(predict("--bundle", bundle, "--format", "json", folder).stdout)
    assert said["model"] == {
        "name": "bright",
        "origin": str(bundle),
        "data": "phantom",
        "threshold": 0.5,
        "commit": "c0ffee0000",
    }
    answers = said["answers"]
    assert UUID(answers[2].pop("id")) != UUID(answers[1]["id"])
    assert answers[2] == {
        "file": f"{folder}/c-between.png",
        "decision": "INDETERMINATE",
        "probability": 0.524979,
        "indeterminate": True,
        "reason": "",
    }
    unreadable = answers[4]
    assert (unreadable["decision"], unreadable["probability"]) == ("UNREADABLE", None)


@pytest.mark.parametrize("layout", ["table", "json", "csv"])
def test_output_goes_into_a_file(bundle: Path, folder: Path, tmp_path: Path, layout: str) -> None:
    arguments = ("--bundle", bundle, "--format", layout, folder)
    result = predict(*arguments, "--output", tmp_path / "answers")
    assert result.stdout == ""
    written, shown = (IDS.sub("ID", text) for text in ((tmp_path / "answers").read_text(), predict(*arguments).stdout))
    assert written == shown


def test_predictions_are_logged_under_the_ids_that_are_told(bundle: Path, folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    told = predict("--bundle", bundle, "--format", "csv", "--log", url, folder).stdout
    log = Log(url)
    logged = log.window(Window())
    log.close()
    rows = list(csv.DictReader(io.StringIO(told)))
    assert {str(number) for number in logged["id"]} == {row["id"] for row in rows}
    assert sorted(logged["status"]) == ["answered"] * 3 + ["refused", "unreadable"]
    assert set(logged["source"]) == {"cli"}
    assert not logged.astype(str).apply(lambda column: column.str.contains("a-dark")).to_numpy().any()


def test_a_log_that_cannot_be_written_spoils_no_answer(bundle: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "log.db").mkdir()
    result = predict("--bundle", bundle, "--log", f"sqlite:///{tmp_path / 'log.db'}", folder / "a-dark.png")
    assert result.exit_code == 0
    assert "missing from the log" in result.stderr
    assert "NORMAL" in result.stdout


def test_without_a_bundle_the_project_chooses_and_says_it(
    bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        serving, "choose", lambda project, _: serving.Choice(bundle, f"release of {project.resolve()}")
    )
    monkeypatch.chdir(folder)
    result = predict("a-dark.png")
    assert f"origin release of {folder}" in result.stderr
    assert result.stdout.splitlines()[1].split() == ["NORMAL", "0.0067", "a-dark.png"]


def test_without_any_model_says_how_to_get_one(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "CODE", tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    result = predict(folder)
    assert result.exit_code == 1
    assert "Error: there is no model to answer with" in result.stderr
    assert "--bundle artifacts/models/mobilenetv2" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_images_is_refused(bundle: Path, tmp_path: Path) -> None:
    result = predict("--bundle", bundle, tmp_path)
    assert result.exit_code == 1
    assert f"found no image (.jpg, .jpeg, .png, .dcm, .dicom) in {tmp_path}" in result.stderr


def test_a_folder_that_is_no_bundle_is_refused_without_a_traceback(folder: Path, tmp_path: Path) -> None:
    result = predict("--bundle", tmp_path, folder)
    assert result.exit_code == 1
    assert "Error:" in result.output
    assert "is not a bundle" in result.output


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from pneumonia import cli\n"
        "try: cli.main(['predict', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'pandas', 'numpy', 'matplotlib', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--bundle" in done.stdout
