"""A stage that is killed leaves nothing half done, and finishes with the same result on the next run."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import demo
from tests.support.project import Project

pytestmark = pytest.mark.slow


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("stage", "results", "under_way"),
    [
        (("prepare",), ("artifacts/images", "artifacts/header_metadata.parquet"), "artifacts/images/images.npy"),
        (("train", "cnn"), ("artifacts/networks/cnn", "reports/train/cnn"), "artifacts/checkpoints/cnn/state/epoch-*"),
    ],
)
def test_a_killed_stage_finishes_with_the_same_bytes(
    copy: Project, stage: tuple[str, ...], results: tuple[str, ...], under_way: str
) -> None:
    before = {name: content(copy.folder / name) for name in results}
    for name in results:
        remove(copy.folder / name)
    command = (sys.executable, "-m", f"pipeline.stages.{stage[0]}", *stage[1:])
    running = subprocess.Popen(
        command,
        cwd=copy.folder,
        env=demo.environment(copy.folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 240
    while not any(copy.folder.glob(under_way)):
        assert running.poll() is None, "the stage ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    output = copy.run(*command)
    if stage[0] == "train":
        assert "resuming after epoch" in output
        assert not (copy.folder / "artifacts/checkpoints/cnn").exists()
    assert {name: content(copy.folder / name) for name in results} == before


def content(path: Path) -> object:
    return files_of(path) if path.is_dir() else path.read_bytes()


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def test_unknown_params_key_stops_before_any_work(copy: Project) -> None:
    params = copy.folder / "params.yaml"
    params.write_text(params.read_text().replace("  seed: 1\n  models", "  sead: 1\n  models"))
    output = copy.run(sys.executable, "-m", "pipeline.stages.train", "cnn", check=False)
    assert "train.sead: unknown key" in output
    assert "Traceback" not in output
