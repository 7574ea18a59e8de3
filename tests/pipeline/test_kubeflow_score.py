"""Scoring in Kubeflow's local runner, compared with `pneumonia score` on the same folder."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from pipeline import project
from pipeline.kubeflow import score_package
from pneumonia.bundle.bundle import DataLineage
from tests.support import bright, bucket

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
STEPS = """
import sys
from pipeline.kubeflow import pod_score
source, out, bundle, shard_size, endpoint = sys.argv[1:]
for shard in pod_score.list_images(source, out, bundle, int(shard_size), endpoint):
    pod_score.score(out, bundle, shard, endpoint)
pod_score.merge(out, endpoint)
"""
"""What the tasks of the package run, one after the other."""
PHANTOMS = DataLineage("phantom", "drawn", "5e" * 32, {})


def python(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=project.ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def in_kubeflow(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return python("-m", "pipeline.kubeflow.score", "run", *arguments)


def written(out: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in (out / "shards").iterdir()}


def answers(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "scores.parquet").drop(columns="id")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Options of `pneumonia score`: an archive of five images, two of them refused, in two shards; and a model."""
    archive = tmp_path_factory.mktemp("archive")
    for number, grey in enumerate((0, 90, 160)):
        stripes = np.tile(np.repeat(np.array([0, 60], np.uint8), 8), (128, 8)) + np.uint8(grey)
        Image.fromarray(stripes).save(archive / f"{number}.png")
    (archive / "broken.png").write_text("Dear colleague")
    Image.new("L", (128, 128), 7).save(archive / "blank.png")
    bundle = bright.write_bundle(tmp_path_factory.mktemp("models") / "bright", slope=0.02, data=PHANTOMS).folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield [str(archive), "--bundle", str(bundle), "--shard-size", "3"]


@pytest.fixture(scope="module")
def expected(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The scores of `pneumonia score`."""
    out = tmp_path_factory.mktemp("local")
    done = python("-m", "pneumonia.cli", "score", *options, "--out", out, "--workers", "1", "--no-log")
    assert done.returncode == 0, done.stdout
    return answers(out)


@pytest.mark.slow
def test_scores_are_those_of_pneumonia_score_and_a_second_run_scores_only_missing_shards(
    options: list[str], expected: pd.DataFrame, tmp_path: Path
) -> None:
    out = tmp_path / "kubeflow"
    first = in_kubeflow(*options, "--out", out)
    assert first.returncode == 0, first.stdout[-4000:]
    pd.testing.assert_frame_equal(answers(out), expected)
    assert list(answers(out)["decision"]).count("PNEUMONIA") == 2
    before = written(out)
    assert len(before) == 2

    (out / "shards/000001.parquet").unlink()
    again = in_kubeflow(*options, "--out", out)
    assert again.returncode == 0, again.stdout[-4000:]
    assert {name for name, moment in written(out).items() if moment != before[name]} == {"000001.parquet"}
    pd.testing.assert_frame_equal(answers(out), expected)


def test_source_without_images_fails_the_run_with_its_message(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = in_kubeflow(tmp_path / "empty", *options[1:], "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "has no image" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("The message of the task is above")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_pods_score_a_bucket_at_the_given_endpoint(options: list[str], expected: pd.DataFrame, tmp_path: Path) -> None:
    archive, _, bundle, _, shard_size = options
    with bucket.serve("films") as endpoint:
        client = bucket.client(endpoint)
        for file in Path(archive).iterdir():
            client.upload_file(str(file), "films", f"in/{file.name}")
        places = ["s3://films/in", "s3://films/out", bundle, shard_size, endpoint]
        pods = python("-c", STEPS, *places, **bucket.CREDENTIALS)
        assert pods.returncode == 0, pods.stdout
        (tmp_path / "bucket").mkdir()
        client.download_file("films", "out/scores.parquet", str(tmp_path / "bucket/scores.parquet"))
    pd.testing.assert_frame_equal(answers(tmp_path / "bucket"), expected)


def test_committed_package_is_what_the_command_writes(tmp_path: Path) -> None:
    score_package.compile_package(tmp_path / "score.yaml")
    committed = score_package.PACKAGE.read_text()
    assert (tmp_path / "score.yaml").read_text() == committed, "run `python -m pipeline.kubeflow.score compile`"


def test_each_shard_is_a_task_with_retries_and_merge_waits_for_all() -> None:
    package, platform = yaml.safe_load_all(score_package.PACKAGE.read_text())
    tasks: dict[str, Any] = package["root"]["dag"]["tasks"]
    (loop,) = (name for name in tasks if name.startswith("for-loop"))
    assert tasks[loop]["parameterIterator"]["items"]["inputParameter"] in tasks[loop]["inputs"]["parameters"]
    assert tasks["merge"]["dependentTasks"] == [loop]
    inner = package["components"][tasks[loop]["componentRef"]["name"]]["dag"]["tasks"]
    assert inner["score"]["retryPolicy"]["maxRetryCount"] == score_package.RETRIES
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert all("secretAsEnv" in executor for executor in executors.values())
