import errno
import shutil
from pathlib import Path

import pytest

from pipeline import stage
from pneumonia.errors import SplitError

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(PARAMS, tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)


def raising(error: Exception) -> None:
    def main(params: object) -> None:
        raise error

    stage.run(main)


def test_a_stage_gets_the_params_of_the_current_folder() -> None:
    seen = []
    stage.run(seen.append)
    assert seen[0].data.source == "kermany"


def test_a_refusal_is_one_message_and_a_failure_status() -> None:
    with pytest.raises(SystemExit, match=r"^error: too few patients$") as exit:
        raising(SplitError("too few patients"))
    assert exit.value.code != 0


def test_a_full_disk_is_said_in_words() -> None:
    with pytest.raises(SystemExit, match=r"the disk is full .* earlier stages are kept"):
        raising(OSError(errno.ENOSPC, "No space left on device"))


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(FileNotFoundError):
        raising(FileNotFoundError(errno.ENOENT, "a file of ours"))


def test_a_fault_in_params_stops_before_the_stage(tmp_path: Path) -> None:
    text = PARAMS.read_text().replace("  folds: 6", "  folds: six")
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(SystemExit, match=r"split\.folds: Input should be a valid integer, but got 'six'"):
        stage.run(lambda params: pytest.fail("the stage has run"))
