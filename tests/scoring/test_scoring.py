"""Scoring of archives as their owners meet it: folders and buckets, kills, and what is left behind."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumonia.errors import ScoringError
from pneumonia.inference.runtime import Runtime
from pneumonia.models.bundle import DataLineage
from pneumonia.monitoring.log import Log, Window
from pneumonia.monitoring.record import Answering
from pneumonia.scoring import plan, shards
from pneumonia.scoring.place import Place
from tests import bright, bucket

IMAGES = 60
PHANTOMS = DataLineage("phantom", "drawn", "5e" * 32, {})


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bright.write_bundle(tmp_path_factory.mktemp("models") / "bright", slope=0.02, data=PHANTOMS).folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes of rising brightness in two folders, one file that is broken, one that is blank, and a letter."""
    folder = tmp_path_factory.mktemp("archive")
    for number in range(IMAGES - 2):
        stripes = np.tile(np.repeat(np.array([0, 60], np.uint8), 8), (128, 8)) + np.uint8(number)
        file = folder / f"year-{number % 2}" / f"{number:03d}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(stripes).save(file)
    (folder / "broken.png").write_text("Dear colleague")
    Image.new("L", (128, 128), 7).save(folder / "blank.png")
    (folder / "letter.txt").write_text("Dear colleague")
    return folder


def score(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pneumonia.cli", "score", *map(str, arguments)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = running.communicate(timeout=120)
    return running.returncode, out, err


def result(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "scores.parquet")


def read_log(url: str) -> pd.DataFrame:
    log = Log(url)
    found = log.window(Window())
    log.close()
    return found


def test_every_image_is_scored_once_and_what_has_no_answer_is_listed(
    bundle: Path, archive: Path, tmp_path: Path
) -> None:
    log = f"sqlite:///{tmp_path / 'log.db'}"
    code, told, err = finish(
        score(
            archive,
            "--out",
            tmp_path / "out",
            "--bundle",
            bundle,
            "--workers",
            "2",
            "--shard-size",
            "16",
            "--log",
            log,
        )
    )
    assert code == 0, err
    table = result(tmp_path / "out")
    names = sorted(str(file.relative_to(archive)) for file in archive.rglob("*.png"))
    assert list(table["file"]) == names
    assert table["id"].is_unique
    answered = table[table["probability"].notna()]
    assert list(answered.sort_values("probability")["file"].str[-7:-4].astype(int)) == list(range(IMAGES - 2))
    with (tmp_path / "out/failures.csv").open(encoding="utf-8") as listed:
        failures = {row["file"]: row for row in csv.DictReader(listed)}
    assert {file: row["refusal"] for file, row in failures.items()} == {
        "blank.png": "blank",
        "broken.png": "unreadable",
    }
    assert "expected a JPEG, PNG or DICOM image" in failures["broken.png"]["reason"]
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["images"], summary["skipped"], summary["shards"]) == (IMAGES, 1, 4)
    assert sum(summary["decisions"].values()) == IMAGES
    assert "UNREADABLE" in told
    logged = read_log(log)
    assert {str(number) for number in logged["id"]} == set(table["id"])
    assert set(logged["source"]) == {"batch"}


def test_a_run_that_was_killed_goes_on_without_loss_or_duplicates(bundle: Path, archive: Path, tmp_path: Path) -> None:
    """All of it, workers too, gets SIGKILL as soon as some shards are done."""
    log = f"sqlite:///{tmp_path / 'log.db'}"
    arguments = (
        archive,
        "--out",
        tmp_path / "out",
        "--bundle",
        bundle,
        "--workers",
        "1",
        "--shard-size",
        "2",
        "--log",
        log,
    )
    running = score(*arguments)
    while not list((tmp_path / "out").glob("shards/*.parquet")):
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "out/shards").glob("*.parquet")}
    assert 0 < len(kept) < IMAGES / 2
    assert not (tmp_path / "out/scores.parquet").exists()

    code, _, err = finish(score(*arguments))
    assert code == 0, err
    assert {file: file.stat().st_mtime_ns for file in kept} == kept, "what was done is not done again"
    table = result(tmp_path / "out")
    assert table["file"].is_unique
    assert len(table) == IMAGES
    logged = read_log(log)
    assert len(logged) == IMAGES
    assert {str(number) for number in logged["id"]} == set(table["id"])


def test_a_worker_that_dies_is_told_and_what_is_done_is_kept(bundle: Path, archive: Path, tmp_path: Path) -> None:
    arguments = (
        archive,
        "--out",
        tmp_path / "out",
        "--bundle",
        bundle,
        "--workers",
        "1",
        "--shard-size",
        "1",
        "--no-log",
    )
    running = score(*arguments)
    while not list((tmp_path / "out").glob("shards/*.parquet")):
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    (worker,) = workers_of(running.pid)
    os.kill(worker, signal.SIGKILL)
    code, _, err = finish(running)
    assert code == 1
    assert "a worker died" in err
    assert "Traceback" not in err
    assert list((tmp_path / "out").glob("shards/*.parquet"))


def workers_of(parent: int) -> list[int]:
    """Return the processes that multiprocessing has spawned, but not its resource tracker."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]


@pytest.fixture
def planned(bundle: Path, archive: Path, tmp_path: Path) -> tuple[plan.Plan, Place, Runtime]:
    shutil.copytree(archive, tmp_path / "archive")
    runtime = Runtime.load(bundle, threads=1)
    out = Place(str(tmp_path / "out"))
    made = plan.make(Place(str(tmp_path / "archive")), out, Answering.of(runtime.bundle.card, None), 16)
    return made, out, runtime


def test_a_plan_is_gone_on_with_and_others_are_refused(
    planned: tuple[plan.Plan, Place, Runtime], tmp_path: Path
) -> None:
    made, out, runtime = planned
    source, answering = Place(str(tmp_path / "archive")), Answering.of(runtime.bundle.card, None)
    assert plan.make(source, out, answering, 16) == made
    with pytest.raises(ScoringError, match="with other shard size"):
        plan.make(source, out, answering, 8)
    other = Answering("other", 3, "0" * 64, 0.5)
    with pytest.raises(ScoringError, match="with other model"):
        plan.make(source, out, other, 16)
    shutil.copy(tmp_path / "archive/blank.png", tmp_path / "archive/new.png")
    with pytest.raises(ScoringError, match="with other images"):
        plan.make(source, out, answering, 16)


def test_merging_names_what_is_missing_and_what_is_damaged(planned: tuple[plan.Plan, Place, Runtime]) -> None:
    made, out, runtime = planned
    with pytest.raises(ScoringError, match="4 of 4 shards are missing"):
        shards.merge(made, out)
    for shard in made.shards:
        shards.score(made, shard, out, runtime, lambda batch, ids: None)
    assert shards.merge(made, out)["images"] == IMAGES
    out.write(shards.file_of(0), out.read(shards.file_of(3)))
    with pytest.raises(ScoringError, match="has 12 images, expected 16"):
        shards.merge(made, out)


def test_a_folder_without_images_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = finish(score(tmp_path / "empty", "--out", tmp_path / "out", "--bundle", bundle, "--no-log"))
    assert (code, "has no image" in err) == (1, True)
    assert not (tmp_path / "out").exists()


def test_a_bucket_is_scored_as_a_folder(
    bundle: Path, archive: Path, planned: tuple[plan.Plan, Place, Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, local, runtime = planned
    with bucket.serve("films") as endpoint:
        for name, value in (bucket.CREDENTIALS | {"AWS_ENDPOINT_URL": endpoint}).items():
            monkeypatch.setenv(name, value)
        client = bucket.client(endpoint)
        for file in archive.rglob("*.*"):
            client.upload_file(str(file), "films", f"in/{file.relative_to(archive)}")
        code, _, err = finish(
            score("s3://films/in", "--out", "s3://films/out", "--bundle", bundle, "--workers", "1", "--no-log")
        )
        assert code == 0, err
        client.download_file("films", "out/scores.parquet", str(archive.parent / "fetched.parquet"))
    for shard in made.shards:
        shards.score(made, shard, local, runtime, lambda batch, ids: None)
    shards.merge(made, local)
    fetched, here = pd.read_parquet(archive.parent / "fetched.parquet"), result(Path(local.url))
    pd.testing.assert_frame_equal(fetched.drop(columns="id"), here.drop(columns="id"))
    assert set(fetched["id"]).isdisjoint(here["id"]), "ids tell nothing of names"
