import errno
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import stage
from pneumonia.core.errors import SplitError
from tests.support import readme

PARAMS = readme.ROOT / "params.yaml"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(PARAMS, tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)


def failing(error: Exception) -> Callable[[object], None]:
    def main(params: object) -> None:
        raise error

    return main


def test_a_stage_gets_the_params_of_the_current_folder() -> None:
    seen = []
    stage.run(seen.append)
    assert seen[0].data.source == "kermany"


def test_a_stage_per_model_gets_the_model_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", "cnn"])
    seen = []
    stage.run_for_model(lambda params, name: seen.append(name))
    assert seen == ["cnn"]


@pytest.mark.parametrize("arguments", [[], ["resnet"], ["cnn", "probe"]])
def test_a_model_that_params_do_not_have_is_refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", *arguments])
    with pytest.raises(SystemExit, match=r"expected one model of train\.models in params\.yaml \(probe, cnn"):
        stage.run_for_model(lambda params, name: pytest.fail("the stage has run"))


def test_an_expected_error_is_one_message_and_a_failure_status() -> None:
    with pytest.raises(SystemExit, match=r"^error: too few patients$") as exit:
        stage.run(failing(SplitError("too few patients")))
    assert exit.value.code != 0


def test_a_full_disk_is_reported_as_such() -> None:
    with pytest.raises(SystemExit, match=r"the disk is full .* finished stages are kept"):
        stage.run(failing(OSError(errno.ENOSPC, "No space left on device")))


def test_any_other_error_keeps_its_traceback() -> None:
    with pytest.raises(FileNotFoundError):
        stage.run(failing(FileNotFoundError(errno.ENOENT, "a file of the package")))


def test_a_fault_in_params_stops_before_the_stage(tmp_path: Path) -> None:
    text = PARAMS.read_text().replace("  folds: 6", "  folds: six")
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(SystemExit, match=r"split\.folds: Input should be a valid integer, but got 'six'"):
        stage.run(lambda params: pytest.fail("the stage has run"))
