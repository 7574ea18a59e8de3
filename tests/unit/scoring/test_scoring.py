"""Batch scoring of folders and buckets: results, killed processes, and damaged shards."""

import csv
import json
import os
import re
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
from click.testing import CliRunner, Result
from PIL import Image
from s3fs import S3FileSystem

from pneumonia.bundle.bundle import DataLineage
from pneumonia.cli.main import main
from pneumonia.core.errors import ScoringError
from pneumonia.inference.runtime import Runtime
from pneumonia.monitoring.log import Log, Window
from pneumonia.monitoring.record import ModelIdentity
from pneumonia.scoring import plan, shards
from pneumonia.scoring.place import Place
from tests.support import bright, bucket

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
    """Stripes of rising brightness in two folders, a broken file, a blank image, and a text file."""
    folder = tmp_path_factory.mktemp("archive")
    for number in range(IMAGES - 2):
        stripes = np.tile(np.repeat(np.array([0, 60], np.uint8), 8), (128, 8)) + np.uint8(number)
        file = folder / f"year-{number % 2}" / f"{number:03d}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(stripes).save(file)
    (folder / "broken.png").write_text("not an image")
    Image.new("L", (128, 128), 7).save(folder / "blank.png")
    (folder / "letter.txt").write_text("not an image")
    return folder


def score(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["score", *map(str, arguments)])


def start_scoring(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start `pneumonia score` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pneumonia.cli", "score", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = running.communicate(timeout=120)
    return running.returncode, out, err


def use_endpoint(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and its children use the S3 server of a test."""
    S3FileSystem.clear_instance_cache()  # it keeps the servers of earlier tests
    for name, value in (bucket.CREDENTIALS | {"AWS_ENDPOINT_URL": endpoint}).items():
        monkeypatch.setenv(name, value)


def scores(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "scores.parquet")


def read_log(url: str) -> pd.DataFrame:
    with Log(url) as log:
        return log.window(Window())


def test_every_image_is_scored_once_and_failures_are_listed(bundle: Path, archive: Path, tmp_path: Path) -> None:
    log = f"sqlite:///{tmp_path / 'log.db'}"
    scored = score(
        *(archive, "--out", tmp_path / "out", "--bundle", bundle, "--workers", "2"),
        *("--shard-size", "16", "--log", log),
    )
    assert scored.exit_code == 0, scored.output
    table = scores(tmp_path / "out")
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
    assert re.search(r"UNREADABLE +1$", scored.stdout, re.MULTILINE)
    logged = read_log(log)
    assert {str(number) for number in logged["id"]} == set(table["id"])
    assert set(logged["source"]) == {"batch"}


def test_killed_run_resumes_without_loss_or_duplicates(bundle: Path, archive: Path, tmp_path: Path) -> None:
    """All processes get SIGKILL as soon as a shard is finished."""
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
    running = start_scoring(*arguments)
    while not list((tmp_path / "out").glob("shards/*.parquet")):
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "out/shards").glob("*.parquet")}
    assert 0 < len(kept) < IMAGES / 2
    assert not (tmp_path / "out/scores.parquet").exists()

    resumed = score(*arguments)
    assert resumed.exit_code == 0, resumed.output
    assert {file: file.stat().st_mtime_ns for file in kept} == kept, "finished shards are not scored again"
    table = scores(tmp_path / "out")
    assert table["file"].is_unique
    assert len(table) == IMAGES
    logged = read_log(log)
    assert len(logged) == IMAGES
    assert {str(number) for number in logged["id"]} == set(table["id"])


def test_killed_worker_is_reported_and_finished_shards_are_kept(bundle: Path, archive: Path, tmp_path: Path) -> None:
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
    running = start_scoring(*arguments)
    while not list((tmp_path / "out").glob("shards/*.parquet")):
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    (worker,) = workers_of(running.pid)
    os.kill(worker, signal.SIGKILL)
    code, _, err = finish(running)
    assert code == 1
    assert "a worker process died" in err
    assert "Traceback" not in err
    assert list((tmp_path / "out").glob("shards/*.parquet"))


def workers_of(parent: int) -> list[int]:
    """Return the worker processes of multiprocessing, without its resource tracker."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]


@pytest.fixture
def planned(bundle: Path, archive: Path, tmp_path: Path) -> tuple[plan.ScoringPlan, Place, Runtime]:
    shutil.copytree(archive, tmp_path / "archive")
    runtime = Runtime.load(bundle, threads=1)
    out = Place(str(tmp_path / "out"))
    made = plan.make(Place(str(tmp_path / "archive")), out, ModelIdentity.of(runtime.bundle.card, None), 16)
    return made, out, runtime


def test_plan_is_resumed_and_another_one_is_refused(
    planned: tuple[plan.ScoringPlan, Place, Runtime], tmp_path: Path
) -> None:
    made, out, runtime = planned
    source, model = Place(str(tmp_path / "archive")), ModelIdentity.of(runtime.bundle.card, None)
    assert plan.make(source, out, model, 16) == made
    with pytest.raises(ScoringError, match="with a different shard size"):
        plan.make(source, out, model, 8)
    other = ModelIdentity("other", 3, "0" * 64, 0.5)
    with pytest.raises(ScoringError, match="with a different model"):
        plan.make(source, out, other, 16)
    shutil.copy(tmp_path / "archive/blank.png", tmp_path / "archive/new.png")
    with pytest.raises(ScoringError, match="with a different images"):
        plan.make(source, out, model, 16)


def test_merge_reports_missing_and_damaged_shards(planned: tuple[plan.ScoringPlan, Place, Runtime]) -> None:
    made, out, runtime = planned
    with pytest.raises(ScoringError, match="4 of 4 shards are missing"):
        shards.merge(made, out)
    for shard in made.shard_numbers:
        shards.score(made, shard, out, runtime, lambda batch, ids: None)
    assert shards.merge(made, out).images == IMAGES
    out.write(shards.file_of(0), out.read(shards.file_of(3)))
    with pytest.raises(ScoringError, match="has 12 images, expected 16"):
        shards.merge(made, out)


def test_folder_without_images_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused = score(tmp_path / "empty", "--out", tmp_path / "out", "--bundle", bundle, "--no-log")
    assert (refused.exit_code, "has no image" in refused.output) == (1, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stored", ["folder", "bucket"])
def test_dicom_files_without_a_suffix_are_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str
) -> None:
    dicom = bytes(128) + b"DICM"
    files = {
        "ward/IM000001": dicom,
        "a.dicom": dicom,
        "DICOMDIR": dicom,
        "README": b"text",
        "empty": b"",
        "._a.png": b"x",
    }
    folder, model = tmp_path / "in", ModelIdentity("bright", None, "0" * 64, 0.5)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    out = Place(str(tmp_path / "out"))
    if stored == "folder":
        made = plan.make(Place(str(folder)), out, model, 16)
    else:
        with bucket.serve("films") as endpoint:
            use_endpoint(endpoint, monkeypatch)
            for name in files:
                bucket.client(endpoint).upload_file(str(folder / name), "films", f"in/{name}")
            made = plan.make(Place("s3://films/in"), out, model, 16)
    assert made.names(out, 0) == ["a.dicom", "ward/IM000001"]
    assert made.skipped == 4


@pytest.mark.slow
def test_bucket_is_scored_like_a_folder(
    bundle: Path, archive: Path, planned: tuple[plan.ScoringPlan, Place, Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, local, runtime = planned
    with bucket.serve("films") as endpoint:
        use_endpoint(endpoint, monkeypatch)
        client = bucket.client(endpoint)
        for file in archive.rglob("*.*"):
            client.upload_file(str(file), "films", f"in/{file.relative_to(archive)}")
        scored = score("s3://films/in", "--out", "s3://films/out", "--bundle", bundle, "--workers", "1", "--no-log")
        assert scored.exit_code == 0, scored.output
        client.download_file("films", "out/scores.parquet", str(archive.parent / "fetched.parquet"))
    for shard in made.shard_numbers:
        shards.score(made, shard, local, runtime, lambda batch, ids: None)
    shards.merge(made, local)
    from_bucket, from_folder = pd.read_parquet(archive.parent / "fetched.parquet"), scores(Path(local.url))
    pd.testing.assert_frame_equal(from_bucket.drop(columns="id"), from_folder.drop(columns="id"))
    assert set(from_bucket["id"]).isdisjoint(from_folder["id"]), "identifiers do not depend on names alone"
