"""Reviewed images become a dataset; the official test set stays as it is, and nothing of it comes into train."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from fastapi.testclient import TestClient
from PIL import Image

from pneumonia import config
from pneumonia.app.main import create_app
from pneumonia.app.settings import Settings
from pneumonia.cli import main
from pneumonia.data import checksum, naming, phantom
from pneumonia.models import bundle as bundles
from pneumonia.monitoring.log import default_url
from tests import bright
from tests.app import live
from tests.readme import ROOT

STAGES = """
from pipeline import download, split, stage, validate
for each in download, validate, split:
    stage.run(each.main)
"""
PHANTOMS = bundles.DataLineage("phantom", "drawn", "5e" * 32, {})


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset with an official test set."""
    raw = tmp_path_factory.mktemp("base") / "raw"
    params = config.load(ROOT / "params.yaml").data.phantom
    phantom.write(params.model_copy(update={"patients": 60, "images_per_patient": 1, "size": 128}), raw)
    return raw


@pytest.fixture
def base(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "base"))


@pytest.fixture
def reviewed(tmp_path: Path) -> Path:
    """Images that were kept."""
    folder = tmp_path / "kept"
    live.write(folder, {f"case-{seed}.png": live.radiograph(1000 + seed, size=150) for seed in range(4)})
    return folder


def table(folder: Path, *rows: str) -> Path:
    file = folder / "reviews.csv"
    file.write_text("\n".join(["file,label,patient", *rows]) + "\n", encoding="utf-8")
    return file


def add(images: Path, base: Path, to: Path, *options: object) -> Result:
    told = ["dataset", "add-reviewed", images, "--base", base, "--to", to, *options]
    return CliRunner().invoke(main, [str(option) for option in told])


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): checksum.of_file(path) for path in folder.rglob("*") if path.is_file()
    }


def test_the_next_run_trains_with_them_and_is_judged_on_the_same_test_set(
    base: Path, reviewed: Path, tmp_path: Path
) -> None:
    before = hashes(base)
    reviews = table(tmp_path, "case-0.png,PNEUMONIA,P1", "case-1.png,NORMAL,P2", "case-2.png,PNEUMONIA,")
    done = add(reviewed, base, tmp_path / "grown", "--reviews", reviews)
    assert done.exit_code == 0, done.output
    assert "in train 1 NORMAL, 2 PNEUMONIA that were reviewed" in done.output
    assert hashes(base) == before

    project = tmp_path / "project"
    shutil.copytree(ROOT / "data", project / "data")
    params = (ROOT / "params.yaml").read_text().replace("source: kermany", f"source: {tmp_path / 'grown'}", 1)
    (project / "params.yaml").write_text(params)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    ran = subprocess.run(
        [sys.executable, "-c", STAGES], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr

    raw = hashes(project / "artifacts" / "raw")
    tests = {name: digest for name, digest in before.items() if name.startswith("test/")}
    assert tests
    assert {name: digest for name, digest in raw.items() if name.startswith("test/")} == tests
    splits = pd.read_parquet(project / "artifacts" / "splits.parquet").set_index("path")
    assert set(splits.index[splits["subset"] == "test"]) == set(tests)
    added = splits[splits.index.str.contains("reviewed-")]
    assert sorted(added["label"]) == ["NORMAL", "PNEUMONIA", "PNEUMONIA"]
    assert {"P1", "P2"} < set(added["patient"])
    # The patients and causes that the names of the base tell are still known.
    assert splits.loc[list(tests), "patient"].str.match(r"(bacteria|virus|normal)").all()
    assert {"bacteria", "virus", "normal"} <= set(splits["cause"])


def test_it_is_written_down_what_came_from_where(base: Path, reviewed: Path, tmp_path: Path) -> None:
    add(reviewed, base, tmp_path / "grown", "--reviews", table(tmp_path, "case-0.png,PNEUMONIA,"))
    told = json.loads((tmp_path / "grown" / "reviews.json").read_text())
    (said,) = told["added"]
    content = (reviewed / "case-0.png").read_bytes()
    assert (said["file"], said["label"], said["origin"]) == ("case-0.png", "PNEUMONIA", "reviews.csv")
    assert said["sha256"] == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "grown" / said["added_as"]).read_bytes() == content
    assert told["base"]["sha256"] == checksum.of_folder(base)


def test_an_image_of_the_test_set_is_refused_even_as_other_bytes(base: Path, reviewed: Path, tmp_path: Path) -> None:
    official = next((base / "test" / "NORMAL").iterdir())
    Image.open(official).save(reviewed / "again.png")
    done = add(reviewed, base, tmp_path / "grown", "--reviews", table(tmp_path, "again.png,NORMAL,"))
    assert done.exit_code == 1
    assert f"has the pixels of test/NORMAL/{official.name}" in done.output
    assert not (tmp_path / "grown").exists()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["case-0.png,PNEUMONIA,", "case-1.png,SICK,"], "line 3: label 'SICK' is neither"),
        (["case-9.png,PNEUMONIA,"], "line 2: there is no file"),
        (["case-0.png,PNEUMONIA,", "case-0.png,NORMAL,"], "line 3: names case-0.png again, after line 2"),
        (["broken.png,NORMAL,"], "broken.png: expected a JPEG, PNG or DICOM image"),
        (["case-0.png,NORMAL,", "copy.png,NORMAL,"], "copy.png has the pixels of"),
        (["case-0.png,NORMAL,{patient}"], "case-0.png: patient {patient}"),
        ([], "there is no reviewed image to add"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_made(
    base: Path, reviewed: Path, tmp_path: Path, rows: list[str], said: str
) -> None:
    (reviewed / "broken.png").write_bytes(b"no image")
    shutil.copyfile(reviewed / "case-0.png", reviewed / "copy.png")
    tested = phantom_patient(next((base / "test" / "PNEUMONIA").iterdir()).name)
    filled = [row.format(patient=tested) for row in rows]
    done = add(reviewed, base, tmp_path / "grown", "--reviews", table(tmp_path, *filled))
    assert done.exit_code == 1
    assert said.format(patient=tested) in done.output
    assert [path.name for path in tmp_path.iterdir() if "grown" in path.name] == []


def phantom_patient(name: str) -> str:
    patient = naming.parse(name, "PNEUMONIA").patient
    assert patient
    return patient


def test_a_table_of_patients_in_the_base_is_carried_on(base: Path, reviewed: Path, tmp_path: Path) -> None:
    names = sorted(path.relative_to(base).as_posix() for path in base.glob("*/*/*"))
    (base / "patients.csv").write_text(
        "file,patient\n" + "".join(f"{name},{number}\n" for number, name in enumerate(names))
    )
    add(reviewed, base, tmp_path / "grown", "--reviews", table(tmp_path, "case-0.png,PNEUMONIA,"))
    with (tmp_path / "grown" / "patients.csv").open() as lines:
        listed = {row["file"]: row["patient"] for row in csv.DictReader(lines)}
    assert {name: listed[name] for name in names} == {name: str(number) for number, name in enumerate(names)}
    assert len(listed) == len(names) + 1


def test_a_folder_that_is_there_is_left_alone(base: Path, reviewed: Path, tmp_path: Path) -> None:
    before = hashes(base)
    done = add(reviewed, base, base, "--reviews", table(tmp_path, "case-0.png,PNEUMONIA,"))
    assert (done.exit_code, "is there already" in done.output) == (1, True)
    assert hashes(base) == before


def test_a_killed_command_leaves_no_dataset_and_the_next_one_clears_up(
    base: Path, reviewed: Path, tmp_path: Path
) -> None:
    slow = (
        "import shutil, time; from pathlib import Path; from pneumonia.monitoring import reviewed as r; import sys\n"
        "copy = shutil.copyfile\n"
        "def slowly(a, b): copy(a, b); time.sleep(0.2)\n"
        "r.shutil.copyfile = slowly\n"
        "base, images, to = map(Path, sys.argv[1:])\n"
        "r.build(base, [r.Review(images / 'case-0.png', 'NORMAL', None, 'test')], to)\n"
    )
    grown = tmp_path / "grown"
    process = subprocess.Popen([sys.executable, "-c", slow, str(base), str(reviewed), str(grown)])
    partial = tmp_path / ".grown.partial"
    while process.poll() is None and not list(partial.glob("*/*/*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (partial.exists(), grown.exists()) == (True, False)
    assert add(reviewed, base, grown, "--reviews", table(tmp_path, "case-0.png,NORMAL,")).exit_code == 0
    assert not partial.exists()
    assert len(list(grown.glob("*/*/*"))) == len(list(base.glob("*/*/*"))) + 1


def test_images_that_the_service_kept_become_reviews_by_its_log(base: Path, tmp_path: Path) -> None:
    """From the upload over the verdict to the dataset, without any table."""
    model = bright.write_bundle(tmp_path / "models" / "bright", slope=0.02, data=PHANTOMS).folder
    settings = Settings(bundle=model, state=tmp_path / "state", keep_images=tmp_path / "kept-by-service")
    official = next((base / "test" / "NORMAL").iterdir()).read_bytes()
    sent = {"one.png": live.radiograph(77, size=150), "two.png": live.radiograph(78, size=150), "leak.jpeg": official}
    with TestClient(create_app(settings), base_url="http://127.0.0.1:8000") as client:
        answers = client.post("/api/v1/predictions", files=[("files", file) for file in sent.items()]).json()
        first, second, leak = (said["id"] for said in answers["predictions"])
        client.post(f"/api/v1/predictions/{first}/feedback", json={"verdict": "PNEUMONIA"})
        client.post(f"/api/v1/predictions/{second}/feedback", json={"verdict": "UNSURE"})
    url = default_url(tmp_path / "state")
    done = add(tmp_path / "kept-by-service", base, tmp_path / "grown", "--log", url)
    assert done.exit_code == 0, done.output
    (told,) = json.loads((tmp_path / "grown" / "reviews.json").read_text())["added"]
    assert (told["file"], told["label"]) == (f"{first}.png", "PNEUMONIA")

    (tmp_path / "labels.csv").write_text(f"id,label\n{leak},NORMAL\n")
    CliRunner().invoke(main, ["feedback", "import", str(tmp_path / "labels.csv"), "--log", url])
    refused = add(tmp_path / "kept-by-service", base, tmp_path / "leaky", "--log", url)
    assert (refused.exit_code, "has the pixels of test/NORMAL" in refused.output) == (1, True)
