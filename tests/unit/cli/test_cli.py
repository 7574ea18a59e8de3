"""`pneumonia predict` in all output formats, and the start time of the command line."""

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

from pneumonia.bundle import bundle as bundles
from pneumonia.cli.feedback import feedback
from pneumonia.cli.main import main
from pneumonia.cli.terminal import print_table
from pneumonia.monitoring.log import Log, Window
from pneumonia.registry import resolve
from tests.support import bright

IDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(autouse=True)
def _own_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMONIA_LOG", f"sqlite:///{tmp_path / 'default-log/log.db'}")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that decides by brightness: the logit is a tenth of the mean grey level, minus 10."""
    folder = tmp_path_factory.mktemp("bundle") / "bright"
    bright.write_bundle(
        folder,
        slope=0.1,
        bias=-10.0,
        band=bundles.Band(0.4, 0.6),
        data=bundles.DataLineage("phantom", "", "0" * 64, {}),
    )
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that are NORMAL, PNEUMONIA and INDETERMINATE, a small one, a broken one in a subfolder, a text file."""
    folder = tmp_path_factory.mktemp("images")
    for name, grey in (("a-dark.png", 50), ("b-bright.png", 150), ("c-between.png", 101)):
        halves = np.repeat(np.array([[grey - 20, grey + 20]], np.uint8), 64, axis=1)
        Image.fromarray(np.repeat(halves, 128, axis=0)).save(folder / name)
    Image.new("L", (64, 48), 50).save(folder / "d-small.png")
    (folder / "deep").mkdir()
    (folder / "deep/broken.jpeg").write_text("not an image")
    (folder / "letter.txt").write_text("not an image")
    return folder


def predict(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


def test_table_has_a_row_for_each_image_of_a_folder(bundle: Path, folder: Path) -> None:
    result = predict("--bundle", bundle, folder)
    header, dark, bright, between, small, broken = result.stdout.splitlines()
    assert header.split() == ["DECISION", "PROBABILITY", "FILE"]
    assert dark.split() == ["NORMAL", "0.0067", f"{folder}/a-dark.png"]
    assert bright.split() == ["PNEUMONIA", "0.9933", f"{folder}/b-bright.png"]
    assert between.split() == ["INDETERMINATE", "0.5250", f"{folder}/c-between.png"]
    assert small.startswith("REFUSED")
    assert f"{folder}/d-small.png: The image has 64 x 48 pixels; at least 100 per side are needed" in small
    assert broken.startswith("UNREADABLE")
    assert f"{folder}/deep/broken.jpeg: expected a JPEG, PNG or DICOM image" in broken


def test_stderr_names_the_model_and_skipped_and_unreadable_files(bundle: Path, folder: Path) -> None:
    result = predict("--bundle", bundle, folder)
    skipped, model, failed = result.stderr.splitlines()
    assert skipped == f"skipped 1 file(s) that are not images: {folder}/letter.txt"
    sha256 = bundles.read(bundle).card.sha256[:12]
    assert model == f"model name bright, origin {bundle}, data phantom, threshold 0.5, bundle_sha256 {sha256}"
    assert "1 of 5 file(s) cannot be read" in failed
    assert result.exit_code == 1


def test_exit_status_is_0_if_all_files_can_be_read(bundle: Path, folder: Path) -> None:
    assert predict("--bundle", bundle, folder / "a-dark.png").exit_code == 0


def test_csv_has_one_row_per_image(bundle: Path, folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(predict("--bundle", bundle, "--format", "csv", folder).stdout)))
    assert [list(row) for row in rows] == [["id", "file", "decision", "probability", "indeterminate", "reason"]] * 5
    assert [row["decision"] for row in rows] == ["NORMAL", "PNEUMONIA", "INDETERMINATE", "REFUSED", "UNREADABLE"]
    assert [row["probability"] for row in rows] == ["0.006693", "0.993307", "0.524979", "", ""]
    assert [row["indeterminate"] for row in rows] == ["False", "False", "True", "", ""]
    assert [bool(row["reason"]) for row in rows] == [False, False, False, True, True]


def test_json_has_model_and_answers(bundle: Path, folder: Path) -> None:
    document: dict[str, Any] = json.loads(predict("--bundle", bundle, "--format", "json", folder).stdout)
    assert document["model"] == {
        "name": "bright",
        "origin": str(bundle),
        "data": "phantom",
        "threshold": 0.5,
        "bundle_sha256": bundles.read(bundle).card.sha256[:12],
    }
    answers = document["answers"]
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
def test_output_is_written_to_a_file(bundle: Path, folder: Path, tmp_path: Path, layout: str) -> None:
    arguments = ("--bundle", bundle, "--format", layout, folder)
    result = predict(*arguments, "--output", tmp_path / "answers")
    assert result.stdout == ""
    written, shown = (IDS.sub("ID", text) for text in ((tmp_path / "answers").read_text(), predict(*arguments).stdout))
    assert written == shown


def test_predictions_are_logged_under_their_identifiers(bundle: Path, folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    output = predict("--bundle", bundle, "--format", "csv", "--log", url, folder).stdout
    with Log(url) as log:
        logged = log.window(Window())
    rows = list(csv.DictReader(io.StringIO(output)))
    assert {str(number) for number in logged["id"]} == {row["id"] for row in rows}
    assert sorted(logged["status"]) == ["answered"] * 3 + ["refused", "unreadable"]
    assert set(logged["source"]) == {"cli"}
    assert not logged.astype(str).apply(lambda column: column.str.contains("a-dark")).to_numpy().any()


def test_log_that_cannot_be_written_stops_no_prediction(bundle: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "log.db").mkdir()
    result = predict("--bundle", bundle, "--log", f"sqlite:///{tmp_path / 'log.db'}", folder / "a-dark.png")
    assert result.exit_code == 0
    assert "missing from the log" in result.stderr
    assert "NORMAL" in result.stdout


def test_without_a_bundle_the_bundle_of_the_project_is_used(
    bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        resolve, "resolve_bundle", lambda project, _: resolve.ResolvedBundle(bundle, f"release of {project.resolve()}")
    )
    monkeypatch.chdir(folder)
    result = predict("a-dark.png")
    assert f"origin release of {folder}" in result.stderr
    assert result.stdout.splitlines()[1].split() == ["NORMAL", "0.0067", "a-dark.png"]


def test_error_without_any_model_names_a_bundle_option(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "CODE", tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    result = predict(folder)
    assert result.exit_code == 1
    assert "Error: there is no model to predict with" in result.stderr
    assert "--bundle artifacts/models/mobilenetv2" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_folder_without_images_is_refused(bundle: Path, tmp_path: Path) -> None:
    result = predict("--bundle", bundle, tmp_path)
    assert result.exit_code == 1
    assert "found no image (.jpg, .jpeg, .png, .dcm, .dicom, or DICOM files without a suffix) in" in result.stderr
    assert str(tmp_path) in result.stderr


def test_folder_that_is_not_a_bundle_is_refused_without_a_traceback(folder: Path, tmp_path: Path) -> None:
    result = predict("--bundle", tmp_path, folder)
    assert result.exit_code == 1
    assert "Error:" in result.output
    assert "is not a bundle" in result.output


HEAVY = {"tensorflow", "keras", "mlflow", "pandas", "numpy", "matplotlib", "pydantic", "rich", "sqlalchemy"}
COMMANDS = [[], *([name] for name in main.commands), *(["feedback", name] for name in feedback.commands)]


def test_help_of_every_command_imports_nothing_heavy() -> None:
    """One process for all commands: the imports of one are not hidden by another, since none may be heavy."""
    script = (
        "import sys; from pneumonia.cli.main import main\n"
        f"for arguments in {COMMANDS!r}:\n"
        "    try: main([*arguments, '--help'])\n"
        "    except SystemExit: pass\n"
        f"heavy = {HEAVY!r} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage:") == len(COMMANDS)


def test_table_on_a_terminal_folds_long_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    print_table(("NAME", "COUNT"), [("a" * 60, "7")], right=("COUNT",), file=stream)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert "".join(lines).count("a") == 60
