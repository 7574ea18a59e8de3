import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pneumonia.config import CnnParams
from pneumonia.errors import BundleError, ImageError
from pneumonia.images.decode import decode
from pneumonia.inference.predictor import Answer, Predictor, logits
from pneumonia.models import architectures, bundle
from pneumonia.models.calibration import Calibration

SIZE = 32


def write_bundle(
    folder: Path,
    threshold: float,
    band: tuple[float, float] | None = None,
    calibration: Calibration = Calibration(),  # noqa: B008
) -> Path:
    """A bundle with an untrained network that answers every image differently."""
    keras.utils.set_random_seed(0)
    params = CnnParams(kind="cnn", filters=[4, 8], epochs=1, batch_size=4, learning_rate=0.1)
    model = architectures.cnn(params, SIZE)
    file = folder / "network.keras"
    folder.mkdir(parents=True, exist_ok=True)
    model.save(file)
    lineage = bundle.DataLineage("phantom", "7", "ab" * 32, {"train": {"NORMAL": 1, "PNEUMONIA": 1}})
    card: dict[str, Any] = {
        "name": "cnn",
        "kind": "cnn",
        "image_size": SIZE,
        "calibration": calibration,
        "threshold": threshold,
        "band": bundle.Band(*(band or (threshold, threshold))),
        "validation": {},
        "golden": {},
        "data": lineage,
        "parameters": {},
        "git_commit": None,
        "mlflow_run_id": "0",
    }
    return bundle.write(folder / "bundle", file, file, **card).folder  # answers need no reference: any file will do


def radiograph(seed: int, form: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 60 + 40 * seed, (50, 70), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=form)
    return file.getvalue()


IMAGES = [radiograph(seed, form) for seed, form in enumerate(["PNG", "JPEG", "PNG", "JPEG", "PNG"])]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A predictor with its operating point at 0.5."""
    return Predictor.load(write_bundle(tmp_path_factory.mktemp("predictor"), threshold=0.5))


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    """The images, decoded."""
    return np.stack([decode(image, SIZE) for image in IMAGES])


def test_bytes_and_pixels_have_the_same_probability_in_order(predictor: Predictor, pixels: NDArray[np.uint8]) -> None:
    answers = [answer.probability for answer in predictor.predict(IMAGES)]

    assert len(set(answers)) == len(IMAGES)
    np.testing.assert_array_equal(answers, predictor.probabilities(pixels))


def test_an_answer_does_not_depend_on_its_company(predictor: Predictor, pixels: NDArray[np.uint8]) -> None:
    together = predictor.probabilities(pixels)

    np.testing.assert_allclose(predictor.probabilities(pixels, batch_size=2), together, rtol=1e-5)
    assert predictor.predict(IMAGES[3:4])[0].probability == pytest.approx(together[3], rel=1e-5)


def test_answers_are_plain_values(predictor: Predictor) -> None:
    (answer,) = predictor.predict(IMAGES[:1])

    assert type(answer.probability) is float
    assert 0 < answer.probability < 1
    assert answer.label in ("NORMAL", "PNEUMONIA")


def test_the_label_turns_at_the_operating_point(predictor: Predictor) -> None:
    below = float(np.nextafter(0.5, 0))

    assert predictor.answer(0.5) == Answer(0.5, "PNEUMONIA", indeterminate=False)
    assert predictor.answer(below) == Answer(below, "NORMAL", indeterminate=False)


def test_the_operating_point_is_the_bundles(predictor: Predictor, tmp_path: Path) -> None:
    scores = [answer.probability for answer in predictor.predict(IMAGES)]
    at_the_third = Predictor.load(write_bundle(tmp_path, threshold=scores[2]))

    answers = at_the_third.predict(IMAGES)

    assert [answer.label == "PNEUMONIA" for answer in answers] == [score >= scores[2] for score in scores]
    assert {answer.label for answer in answers} == {"NORMAL", "PNEUMONIA"}


def test_no_images_give_no_answers(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


@pytest.mark.parametrize("content", [b"", b"no image", IMAGES[1][:300]], ids=["empty", "text", "cut"])
def test_a_broken_image_is_refused(predictor: Predictor, content: bytes) -> None:
    with pytest.raises(ImageError):
        predictor.predict([IMAGES[0], content])


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        Predictor.load(tmp_path)


class Certain:
    """A network that answers given logits."""

    def __init__(self, logits: list[float]) -> None:
        self._logits = np.array(logits, np.float32)[:, None]

    def predict(self, pixels: NDArray[np.uint8], batch_size: int, verbose: int) -> NDArray[np.float32]:
        return self._logits


def test_very_certain_answers_keep_their_order() -> None:
    answered = logits(Certain([-2000, -40, -30, 0, 20, 25, 2000]), np.zeros((7, 8, 8), np.uint8), batch_size=8)
    answers = Calibration().probabilities(answered)

    assert (np.diff(answers) > 0).all()
    assert answers[0] == 0
    assert answers[3] == 0.5
    assert answers[-1] == 1


def test_answers_are_calibrated_and_doubtful_within_the_band(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    raw = Predictor.load(write_bundle(tmp_path / "raw", threshold=0.5)).logits(pixels)
    calibration = Calibration("platt", temperature=0.5, intercept=1.0)
    expected = 1 / (1 + np.exp(-(2 * raw + 1)))
    low, middle, high = np.sort(expected)[1:4] - 1e-6  # just below: batches may differ in the last digits
    predictor = Predictor.load(write_bundle(tmp_path / "calibrated", middle, (low, high), calibration))

    answers = predictor.predict(IMAGES)

    np.testing.assert_allclose([answer.probability for answer in answers], expected, rtol=1e-6)
    by_probability = sorted(answers, key=lambda answer: answer.probability)
    assert [answer.indeterminate for answer in by_probability] == [False, True, True, False, False]
    assert {answer.label for answer in answers if answer.indeterminate} == {"NORMAL", "PNEUMONIA"}
