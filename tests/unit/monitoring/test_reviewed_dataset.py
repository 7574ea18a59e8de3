"""Datasets from reviewed images: the official test set does not change, and none of it is added to train."""

import csv
import hashlib
import json
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

from pipeline.params import load
from pipeline.stages import download, split, validate
from pneumonia.bundle import bundle as bundles
from pneumonia.cli.main import main
from pneumonia.data import checksum, naming, phantom
from pneumonia.monitoring.log import default_url
from pneumonia.serving.main import create_app
from pneumonia.serving.settings import AppSettings
from tests.support import bright, live
from tests.support.readme import ROOT

PHANTOMS = bundles.DataLineage("phantom", "drawn", "5e" * 32, {})


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset with an official test set."""
    raw = tmp_path_factory.mktemp("base") / "raw"
    params = load(ROOT / "params.yaml").data.phantom
    phantom.write(params.model_copy(update={"patients": 60, "images_per_patient": 1, "size": 128}), raw)
    return raw


@pytest.fixture
def base(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "base"))


@pytest.fixture
def reviewed(tmp_path: Path) -> Path:
    """A folder with images that readers have reviewed."""
    folder = tmp_path / "kept"
    live.write(folder, {f"case-{seed}.png": live.radiograph(1000 + seed, size=150) for seed in range(4)})
    return folder


def table(folder: Path, *rows: str) -> Path:
    file = folder / "reviews.csv"
    file.write_text("\n".join(["file,label,patient", *rows]) + "\n", encoding="utf-8")
    return file


def add(images: Path, base: Path, to: Path, *options: object) -> Result:
    arguments = ["dataset", "add-reviewed", images, "--base", base, "--to", to, *options]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): checksum.of_file(path) for path in folder.rglob("*") if path.is_file()
    }


def test_reviewed_images_are_in_train_and_the_test_set_is_unchanged(
    base: Path, reviewed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hashes(base)
    reviews = table(tmp_path, "case-0.png,PNEUMONIA,P1", "case-1.png,NORMAL,P2", "case-2.png,PNEUMONIA,")
    done = add(reviewed, base, tmp_path / "grown", "--reviews", reviews)
    assert done.exit_code == 0, done.output
    assert "1 NORMAL, 2 PNEUMONIA reviewed images in train" in done.output
    assert hashes(base) == before

    project = tmp_path / "project"
    shutil.copytree(ROOT / "data", project / "data")
    params = (ROOT / "params.yaml").read_text().replace("source: kermany", f"source: {tmp_path / 'grown'}", 1)
    (project / "params.yaml").write_text(params)
    monkeypatch.chdir(project)
    loaded = load(project / "params.yaml")
    for stage in (download, validate, split):
        stage.main(loaded)

    raw = hashes(project / "artifacts" / "raw")
    tests = {name: digest for name, digest in before.items() if name.startswith("test/")}
    assert tests
    assert {name: digest for name, digest in raw.items() if name.startswith("test/")} == tests
    splits = pd.read_parquet(project / "artifacts" / "splits.parquet").set_index("path")
    assert set(splits.index[splits["subset"] == "test"]) == set(tests)
    added = splits[splits.index.str.contains("reviewed-")]
    assert sorted(added["label"]) == ["NORMAL", "PNEUMONIA", "PNEUMONIA"]
    assert {"P1", "P2"} < set(added["patient"])
    # Patients and causes still come from the file names of the base.
    assert splits.loc[list(tests), "patient"].str.match(r"(bacteria|virus|normal)").all()
    assert {"bacteria", "virus", "normal"} <= set(splits["cause"])


def test_provenance_lists_the_added_images(base: Path, reviewed: Path, tmp_path: Path) -> None:
    add(reviewed, base, tmp_path / "grown", "--reviews", table(tmp_path, "case-0.png,PNEUMONIA,"))
    provenance = json.loads((tmp_path / "grown" / "reviews.json").read_text())
    (image,) = provenance["added"]
    content = (reviewed / "case-0.png").read_bytes()
    assert (image["file"], image["label"], image["origin"]) == ("case-0.png", "PNEUMONIA", "reviews.csv")
    assert image["sha256"] == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "grown" / image["added_as"]).read_bytes() == content
    assert provenance["base"]["sha256"] == checksum.of_folder(base)


def test_image_of_the_test_set_is_refused_even_in_another_format(base: Path, reviewed: Path, tmp_path: Path) -> None:
    official = next((base / "test" / "NORMAL").iterdir())
    Image.open(official).save(reviewed / "again.png")
    done = add(reviewed, base, tmp_path / "grown", "--reviews", table(tmp_path, "again.png,NORMAL,"))
    assert done.exit_code == 1
    assert f"has the pixels of test/NORMAL/{official.name}" in done.output
    assert not (tmp_path / "grown").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["case-0.png,PNEUMONIA,", "case-1.png,SICK,"], "line 3: label 'SICK' is not"),
        (["case-9.png,PNEUMONIA,"], "case-9.png does not exist"),
        (["case-0.png,PNEUMONIA,", "case-0.png,NORMAL,"], "line 3: repeats case-0.png of line 2"),
        (["broken.png,NORMAL,"], "broken.png: expected a JPEG, PNG or DICOM image"),
        (["case-0.png,NORMAL,", "copy.png,NORMAL,"], "copy.png has the pixels of"),
        (["case-0.png,NORMAL,{patient}"], "case-0.png: patient {patient}"),
        ([], "expected at least one reviewed image"),
    ],
)
def test_any_error_is_reported_and_nothing_is_created(
    base: Path, reviewed: Path, tmp_path: Path, rows: list[str], message: str
) -> None:
    (reviewed / "broken.png").write_bytes(b"no image")
    shutil.copyfile(reviewed / "case-0.png", reviewed / "copy.png")
    tested = phantom_patient(next((base / "test" / "PNEUMONIA").iterdir()).name)
    filled = [row.format(patient=tested) for row in rows]
    done = add(reviewed, base, tmp_path / "grown", "--reviews", table(tmp_path, *filled))
    assert done.exit_code == 1
    assert message.format(patient=tested) in done.output
    assert [path.name for path in tmp_path.iterdir() if "grown" in path.name] == []


def phantom_patient(name: str) -> str:
    patient = naming.parse(name, "PNEUMONIA").patient
    assert patient
    return patient


def test_patients_of_the_base_are_kept(base: Path, reviewed: Path, tmp_path: Path) -> None:
    names = sorted(path.relative_to(base).as_posix() for path in base.glob("*/*/*"))
    (base / "patients.csv").write_text(
        "file,patient\n" + "".join(f"{name},{number}\n" for number, name in enumerate(names))
    )
    add(reviewed, base, tmp_path / "grown", "--reviews", table(tmp_path, "case-0.png,PNEUMONIA,"))
    with (tmp_path / "grown" / "patients.csv").open() as lines:
        listed = {row["file"]: row["patient"] for row in csv.DictReader(lines)}
    assert {name: listed[name] for name in names} == {name: str(number) for number, name in enumerate(names)}
    assert len(listed) == len(names) + 1


def test_existing_folder_is_not_changed(base: Path, reviewed: Path, tmp_path: Path) -> None:
    before = hashes(base)
    done = add(reviewed, base, base, "--reviews", table(tmp_path, "case-0.png,PNEUMONIA,"))
    assert (done.exit_code, "exists already" in done.output) == (1, True)
    assert hashes(base) == before


def test_killed_command_leaves_no_dataset_and_the_next_one_removes_its_files(
    base: Path, reviewed: Path, tmp_path: Path
) -> None:
    slow = (
        "import shutil, sys, time; from pathlib import Path\n"
        "from pneumonia.monitoring import reviewed_dataset as r\n"
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


def test_kept_images_of_the_web_application_become_reviews(base: Path, tmp_path: Path) -> None:
    """From upload and review to the dataset, without a table."""
    model = bright.write_bundle(tmp_path / "models" / "bright", slope=0.02, data=PHANTOMS).folder
    settings = AppSettings(bundle=model, state=tmp_path / "state", keep_images=tmp_path / "kept-by-service")
    official = next((base / "test" / "NORMAL").iterdir()).read_bytes()
    sent = {"one.png": live.radiograph(77, size=150), "two.png": live.radiograph(78, size=150), "leak.jpeg": official}
    with TestClient(create_app(settings), base_url="http://127.0.0.1:8000") as client:
        answers = client.post("/api/v1/predictions", files=[("files", file) for file in sent.items()]).json()
        first, second, leak = (answer["id"] for answer in answers["predictions"])
        client.post(f"/api/v1/predictions/{first}/feedback", json={"verdict": "PNEUMONIA"})
        client.post(f"/api/v1/predictions/{second}/feedback", json={"verdict": "UNSURE"})
    url = default_url(tmp_path / "state")
    done = add(tmp_path / "kept-by-service", base, tmp_path / "grown", "--log", url)
    assert done.exit_code == 0, done.output
    (image,) = json.loads((tmp_path / "grown" / "reviews.json").read_text())["added"]
    assert (image["file"], image["label"]) == (f"{first}.png", "PNEUMONIA")

    (tmp_path / "labels.csv").write_text(f"id,label\n{leak},NORMAL\n")
    CliRunner().invoke(main, ["feedback", "import", str(tmp_path / "labels.csv"), "--log", url])
    refused = add(tmp_path / "kept-by-service", base, tmp_path / "leaky", "--log", url)
    assert (refused.exit_code, "has the pixels of test/NORMAL" in refused.output) == (1, True)
