import io
import itertools
import re
from collections import Counter, defaultdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pneumonia.core.errors import ConfigError
from pneumonia.data import phantom
from pneumonia.data.phantom import Anatomy
from pneumonia.data.settings import PhantomParams

PNEUMONIA_NAME = re.compile(r"person(?P<patient>\d+)_(?P<cause>bacteria|virus)_(?P<image>\d+)\.jpeg")
NORMAL_NAME = re.compile(r"(NORMAL2-)?IM-(?P<patient>\d{4})-(?P<image>\d{4})\.jpeg")


def params_with(**changes: Any) -> PhantomParams:
    defaults = {
        "seed": 3,
        "patients": 20,
        "images_per_patient": 2,
        "size": 64,
        "test_fraction": 0.25,
        "pneumonia_fraction": 0.6,
        "difficulty": 0.5,
        "duplicates": 0,
        "leaked_patients": 0,
        "corrupt_files": 0,
        "shortcut": "none",
        "drift": 0.0,
    }
    return PhantomParams.model_validate(defaults | changes)


def written(folder: Path, **changes: Any) -> dict[str, bytes]:
    """Write a dataset and return its files by path."""
    phantom.write(params_with(**changes), folder)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.jpeg"))}


def patient(path: str) -> tuple[str, int]:
    """Return (cause, number) by the naming scheme of the Kermany release."""
    _, label, name = path.split("/")
    match = (NORMAL_NAME if label == "NORMAL" else PNEUMONIA_NAME).fullmatch(name)
    assert match, f"{path} is not a name of the release"
    return match.groupdict().get("cause", "normal"), int(match["patient"])


def shared_patients(files: dict[str, bytes]) -> set[tuple[str, int]]:
    train, test = ({patient(path) for path in files if path.startswith(split)} for split in ("train", "test"))
    return train & test


def lesion_masks(params: PhantomParams) -> dict[str, NDArray[np.bool_]]:
    """Return the lesion in each file, by its path in the dataset, drawn again."""
    return {case.path: case.draw(params).lesion for case in phantom.plan(params)}


def contrast(drawn: phantom.Phantom) -> float:
    """Return how much brighter the lesion is than the rest of the lungs."""
    pixels = drawn.pixels.astype(float)
    return float(pixels[drawn.lesion].mean() - pixels[drawn.lungs & ~drawn.lesion].mean())


@pytest.fixture(scope="module")
def unmodified(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return written(tmp_path_factory.mktemp("unmodified"))


def test_same_params_write_the_same_bytes(unmodified: dict[str, bytes], tmp_path: Path) -> None:
    assert written(tmp_path) == unmodified


def test_another_seed_draws_other_images(unmodified: dict[str, bytes], tmp_path: Path) -> None:
    other = written(tmp_path, seed=4)
    assert not set(other.values()) & set(unmodified.values())


def test_shares_are_as_configured_and_no_patient_is_in_both_splits(unmodified: dict[str, bytes]) -> None:
    patients = {split: {patient(path) for path in unmodified if path.startswith(split)} for split in ("train", "test")}
    everyone = patients["train"] | patients["test"]
    assert len(everyone) == 20
    assert sum(cause != "normal" for cause, _ in everyone) == 12
    assert len(patients["test"]) == 5
    assert {cause for cause, _ in patients["test"]} == {"normal", "bacteria", "virus"}
    assert not shared_patients(unmodified)
    assert set(Counter(map(patient, unmodified)).values()) == {1, 2}


def test_a_dataset_without_faults_has_readable_distinct_images(unmodified: dict[str, bytes]) -> None:
    assert len(set(unmodified.values())) == len(unmodified)
    for content in unmodified.values():
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            assert image.mode == "L"
            assert 1.08 <= image.width / image.height <= 1.63  # 1.1 to 1.6, and rounding
            assert 0.78 <= image.height / 64 <= 1.22


def test_duplicates_are_copies_under_another_patient_of_the_class_and_split(
    unmodified: dict[str, bytes], tmp_path: Path
) -> None:
    files = written(tmp_path, duplicates=4)
    assert unmodified.items() <= files.items()
    assert len(files) == len(unmodified) + 4
    groups = defaultdict(list)
    for path, content in files.items():
        groups[sha256(content).digest()].append(path)
    copies = [paths for paths in groups.values() if len(paths) > 1]
    assert len(copies) == 4
    for one, other in copies:
        assert patient(one) != patient(other)
        assert one.rsplit("/", 1)[0] == other.rsplit("/", 1)[0]
    assert not shared_patients(files)


def test_leaked_patients_have_different_images_in_train_and_test(unmodified: dict[str, bytes], tmp_path: Path) -> None:
    files = written(tmp_path, leaked_patients=3)
    assert unmodified.items() <= files.items()
    assert len(shared_patients(files)) == 3
    assert len(set(files.values())) == len(files) == len(unmodified) + 3


def test_corrupt_files_are_truncated_in_train_and_others_unchanged(
    unmodified: dict[str, bytes], tmp_path: Path
) -> None:
    files = written(tmp_path, corrupt_files=3)
    cut = [path for path in unmodified if files[path] != unmodified[path]]
    assert len(cut) == 3
    for path in cut:
        assert path.startswith("train/")
        assert files[path] == unmodified[path][: len(unmodified[path]) // 2]
        with Image.open(io.BytesIO(files[path])) as image, pytest.raises(OSError, match="truncated"):
            image.load()


def test_faults_are_independent(tmp_path: Path) -> None:
    files = written(tmp_path, duplicates=5, leaked_patients=4, corrupt_files=6)
    assert len(files) - len(set(files.values())) == 5
    readable = {path: content for path, content in files.items() if content.endswith(b"\xff\xd9")}
    assert len(files) - len(readable) == 6
    assert len(shared_patients(readable)) == 4


@pytest.mark.parametrize("fault", ["duplicates", "leaked_patients", "corrupt_files"])
def test_more_faults_than_images_are_rejected(fault: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.phantom\.{fault}: expected at most"):
        phantom.plan(params_with(**{fault: 500}))


def test_jpeg_quality_predicts_the_class_in_train_only(tmp_path: Path) -> None:
    def coarseness(content: bytes) -> int:
        with Image.open(io.BytesIO(content)) as image:
            return sum(image.quantization[0])  # type: ignore[attr-defined]

    files = written(tmp_path, shortcut="jpeg")
    by_label = {
        (split, label): {coarseness(content) for path, content in files.items() if path.startswith(f"{split}/{label}")}
        for split, label in itertools.product(("train", "test"), ("NORMAL", "PNEUMONIA"))
    }
    assert max(by_label["train", "NORMAL"]) < min(by_label["train", "PNEUMONIA"])
    assert by_label["test", "NORMAL"] == by_label["test", "PNEUMONIA"]
    assert len(by_label["test", "NORMAL"]) == 1


def opened(files: dict[str, bytes]) -> dict[str, list[Image.Image]]:
    by_label: dict[str, list[Image.Image]] = {"NORMAL": [], "PNEUMONIA": []}
    for path, content in files.items():
        by_label[path.split("/")[1]].append(Image.open(io.BytesIO(content)))
    return by_label


def test_size_predicts_the_class_in_train_and_test(tmp_path: Path) -> None:
    films = opened(written(tmp_path, shortcut="size", patients=60))
    aspects, heights = (
        {label: [figure(image) for image in images] for label, images in films.items()}
        for figure in (lambda image: image.width / image.height, lambda image: image.height)
    )
    assert max(aspects["NORMAL"]) < min(aspects["PNEUMONIA"]) + 0.05  # rounding to whole pixels
    assert np.mean(heights["PNEUMONIA"]) == pytest.approx(0.75 * np.mean(heights["NORMAL"]), rel=0.05)


def test_the_marker_is_at_the_edge_of_every_pneumonia_film_and_outside_of_the_lesion(tmp_path: Path) -> None:
    def tag(image: Image.Image) -> float:
        corner = image.crop((round(0.96 * image.width), round(0.07 * image.height), image.width, image.height // 8))
        return float(np.asarray(corner).mean())

    files = written(tmp_path, shortcut="marker")
    films = opened(files)
    assert min(tag(image) for image in films["PNEUMONIA"]) > 230
    assert np.mean([tag(image) for image in films["NORMAL"]]) < 100
    unmodified = lesion_masks(params_with())
    for path, lesion in lesion_masks(params_with(shortcut="marker")).items():
        np.testing.assert_array_equal(lesion, unmodified[path])


def test_the_border_is_black_on_every_pneumonia_film_and_on_no_other(tmp_path: Path) -> None:
    def margin(image: Image.Image) -> float:
        pixels = np.asarray(image).astype(float)
        return float(np.median([pixels[0].mean(), pixels[-1].mean()]))

    films = opened(written(tmp_path, shortcut="border", size=96))
    assert np.mean([margin(i) for i in films["PNEUMONIA"]]) + 20 < np.mean([margin(i) for i in films["NORMAL"]])


@pytest.mark.parametrize("shortcut", ["jpeg", "size", "marker", "border"])
def test_a_shortcut_keeps_names_and_patients(shortcut: str, unmodified: dict[str, bytes], tmp_path: Path) -> None:
    assert written(tmp_path, shortcut=shortcut).keys() == unmodified.keys()


def test_jpeg_quality_does_not_predict_the_class_by_default() -> None:
    cases = phantom.plan(params_with(patients=1000, images_per_patient=1))
    quality = [case.quality for case in cases]
    assert roc_auc_score([case.label == "PNEUMONIA" for case in cases], quality) == pytest.approx(0.5, abs=0.06)


def test_drift_changes_test_images_only(unmodified: dict[str, bytes], tmp_path: Path) -> None:
    files = written(tmp_path, drift=1.0)
    assert files.keys() == unmodified.keys()
    assert all((files[path] == unmodified[path]) == path.startswith("train/") for path in files)


def test_more_drift_is_brighter_and_more_blurred() -> None:
    def measure(drift: float) -> tuple[float, float]:
        drawn = [
            phantom.draw(np.random.default_rng(seed), "normal", size=128, difficulty=0.5, drift=drift).pixels
            for seed in range(8)
        ]
        sharpness = np.mean([np.abs(np.diff(pixels.astype(float), axis=1)).mean() / pixels.std() for pixels in drawn])
        return float(np.mean([pixels.mean() for pixels in drawn])), float(sharpness)

    brightness, sharpness = zip(*map(measure, (0.0, 0.5, 1.0)), strict=True)
    assert sorted(brightness) == list(brightness)
    assert sorted(sharpness, reverse=True) == list(sharpness)


def test_masks_match_the_files_and_only_pneumonia_has_a_lesion(tmp_path: Path) -> None:
    faults: dict[str, Any] = {"duplicates": 2, "leaked_patients": 2}
    masks = lesion_masks(params_with(**faults))
    files = written(tmp_path, **faults)
    assert masks.keys() == files.keys()
    for path, mask in masks.items():
        with Image.open(io.BytesIO(files[path])) as image:
            assert mask.shape == (image.height, image.width)
        assert mask.any() == ("/PNEUMONIA/" in path)


@pytest.mark.parametrize("cause", ["bacteria", "virus"])
def test_lesions_are_inside_the_lungs_and_brighter(cause: str) -> None:
    drawn = [phantom.draw(np.random.default_rng(seed), cause, size=128, difficulty=0.0) for seed in range(12)]
    assert all(not (one.lesion & ~one.lungs).any() for one in drawn)
    assert all(0.02 < one.lesion.sum() / one.lungs.sum() < 0.85 for one in drawn)
    assert np.mean([contrast(one) for one in drawn]) > 15


@pytest.mark.parametrize("cause", ["bacteria", "virus"])
def test_difficulty_reduces_the_contrast_of_the_lesion_only(cause: str) -> None:
    def drawn(difficulty: float) -> list[phantom.Phantom]:
        return [phantom.draw(np.random.default_rng(s), cause, size=128, difficulty=difficulty) for s in range(12)]

    easy, hard = drawn(0.0), drawn(1.0)
    assert np.mean([contrast(one) for one in easy]) > np.mean([contrast(one) for one in hard]) + 10
    for one, other in zip(easy, hard, strict=True):
        np.testing.assert_array_equal(one.lesion, other.lesion)


def test_radiographs_of_a_patient_share_the_anatomy_and_differ_in_pose() -> None:
    anatomy = Anatomy.sample(np.random.default_rng(0))
    first, second = (
        phantom.draw(np.random.default_rng(seed), "normal", size=64, difficulty=0.5, anatomy=anatomy)
        for seed in (1, 2)
    )
    assert first.pixels.shape != second.pixels.shape
    again = phantom.draw(np.random.default_rng(1), "normal", size=64, difficulty=0.5, anatomy=anatomy)
    np.testing.assert_array_equal(first.pixels, again.pixels)


def test_lungs_are_darker_than_the_middle_and_the_abdomen() -> None:
    for seed in range(8):
        drawn = phantom.draw(np.random.default_rng(seed), "normal", size=128, difficulty=0.5)
        rows, columns = np.nonzero(drawn.lungs)
        between = (slice(int(np.median(rows)), int(rows.max())), slice(int(np.median(columns)) - 5, None))
        spine = drawn.pixels[between][:, :10]
        assert drawn.pixels[drawn.lungs].mean() + 20 < spine[~drawn.lungs[between][:, :10]].mean()


def test_global_statistics_do_not_separate_the_classes() -> None:
    params = params_with(patients=300, images_per_patient=1, size=96)
    features, targets = [], []
    for case in phantom.plan(params):
        pixels = case.draw(params).pixels
        features.append([pixels.mean(), pixels.std(), *np.percentile(pixels, [5, 25, 50, 75, 95])])
        targets.append(case.label == "PNEUMONIA")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_predict(model, features, targets, cv=folds, method="predict_proba")[:, 1]
    assert roc_auc_score(targets, scores) < 0.75
