"""Reference profiles: content, bytes, and where they are found."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumonia.bundle import bundle as bundles
from pneumonia.core.errors import MonitoringError
from pneumonia.inference.runtime import Runtime
from pneumonia.monitoring import profile
from pneumonia.monitoring.profile_lookup import find_profile
from pneumonia.registry.resolve import ResolvedBundle
from tests.support import bright, readme

DATA = bundles.DataLineage("phantom", "drawn", "5e" * 32, {})
IMAGES = 5


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    folder = tmp_path_factory.mktemp("models") / "bright"
    return Runtime.load(bright.write_bundle(folder, slope=0.02, data=DATA).folder, threads=1)


def draw_images(folder: Path) -> list[Path]:
    """Write striped images of rising brightness, and one file that is not an image."""
    folder.mkdir()
    files = [folder / f"{number}.jpeg" for number in range(IMAGES)]
    for number, file in enumerate(files):
        stripes = np.tile(np.repeat(np.array([0, 60], np.uint8), 8), (128, 8)) + np.uint8(30 * number)
        Image.fromarray(stripes).save(file, quality=90)
    files[-1].write_text("not an image")
    return files


def build(runtime: Runtime, folder: Path) -> pd.DataFrame:
    patients = ["anna", "bert", "anna", "carl", "dora"]
    labels = ["NORMAL", "NORMAL", "PNEUMONIA", "PNEUMONIA", "NORMAL"]
    return profile.build(runtime, draw_images(folder), patients, labels)


def test_profile_has_predictions_and_patient_numbers_but_no_names(runtime: Runtime, tmp_path: Path) -> None:
    table = build(runtime, tmp_path / "images")
    assert list(table.columns) == list(profile.COLUMNS)
    assert table["patient"].tolist() == [0, 1, 0, 2, 3]
    assert table["status"].tolist() == ["answered"] * 4 + ["unreadable"]
    assert table["probability"].iloc[:4].is_monotonic_increasing
    assert set(table["bundle_sha256"]) == {runtime.bundle.card.sha256}
    assert not table.astype(str).apply(lambda column: column.str.contains("anna|images|jpeg$")).to_numpy().any()


def test_same_model_and_images_give_the_same_bytes_in_another_folder(runtime: Runtime, tmp_path: Path) -> None:
    for name in ("first", "second"):
        table = build(runtime, tmp_path / name)
        profile.write(table, tmp_path / f"{name}.parquet")
        (tmp_path / f"{name}.json").write_text(profile.summarise(table).model_dump_json())
    assert (tmp_path / "first.parquet").read_bytes() == (tmp_path / "second.parquet").read_bytes()
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()
    pd.testing.assert_frame_equal(profile.read(tmp_path / "first.parquet"), table)


def test_summary_has_shares_and_quartiles(runtime: Runtime, tmp_path: Path) -> None:
    report = profile.summarise(build(runtime, tmp_path / "images"))
    assert (report.model, report.bundle_sha256) == ("bright", runtime.bundle.card.sha256)
    assert (report.images, report.patients) == (IMAGES, 4)
    assert report.shares["status"] == {"answered": 0.8, "unreadable": 0.2}
    assert report.shares["maker"] == {}
    assert report.quartiles["width"] == (128, 128, 128)
    assert report.quartiles["component_7"] == (None, None, None)
    assert profile.ProfileReport.model_validate_json(report.model_dump_json()) == report


def test_release_includes_the_profile_of_its_own_network_on_its_validation_images(tmp_path: Path) -> None:
    release = bundles.read(readme.ROOT / "release")
    file = find_profile(ResolvedBundle(release.folder, "release"), tmp_path, "any")
    assert file == release.folder / profile.FILE
    labels = profile.read(file)["label"].value_counts().to_dict()
    assert labels == release.card.data.counts["validation"]


def test_profile_of_other_weights_is_not_used(runtime: Runtime, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(runtime.bundle.folder, tmp_path / "bundle"))
    resolved = ResolvedBundle(folder, "a copy")
    table = build(runtime, tmp_path / "images")
    in_project = tmp_path / "artifacts/profiles/bright.parquet"
    profile.write(table.assign(bundle_sha256="ab" * 32), in_project)
    with pytest.raises(MonitoringError, match="found none of this bundle"):
        find_profile(resolved, tmp_path, "any")
    profile.write(table, in_project)
    assert find_profile(resolved, tmp_path, "any") == in_project
    profile.write(table, folder / profile.FILE)
    assert find_profile(resolved, tmp_path, "any") == folder / profile.FILE


def test_file_that_is_not_a_profile_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.parquet"
    pd.DataFrame({"status": ["answered"]}).to_parquet(file)
    with pytest.raises(MonitoringError, match="lacks the columns model"):
        profile.read(file)
    file.write_bytes(b"not Parquet")
    with pytest.raises(MonitoringError, match="dvc repro profile"):
        profile.read(file)
