"""The bundle: one folder that holds all that is needed to answer with a model.

``model.keras`` maps float32 pixels (N, size, size, 1) of 0..255 to logits (N, 1); ``bundle.json`` says what they mean:
the calibration turns them into probabilities, and operating point and band turn these into answers. ``reference.npz``
holds what an answer is compared with: how familiar an image is, what a place is like in NORMAL images, and what a
probability meant on validation (`inference.reference`).
Training writes bundles; predictor, registry and application read them and nothing else.
"""

import dataclasses
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.errors import BundleError
from pneumonia.labels import CLASS_NAMES
from pneumonia.models.calibration import Calibration

FORMAT_VERSION = 4
Parameters = dict[str, str | int | float | bool]
MODEL_FILE = "model.keras"
REFERENCE_FILE = "reference.npz"
CARD_FILE = "bundle.json"


@dataclass(frozen=True)
class DataLineage:
    """Which images a model has seen: source, release, content hash and images per subset and class."""

    source: str
    release: str
    data_hash: str
    counts: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Band:
    """Probabilities from ``low`` to below ``high`` leave an answer indeterminate; none do where both are equal."""

    low: float
    high: float

    def holds(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which probabilities (N,) lie in the band."""
        return np.asarray((self.low <= probabilities) & (probabilities < self.high))


@dataclass(frozen=True)
class Card:
    """What bundle.json says.

    Attributes:
        name: the model's name in params.yaml.
        kind: how it was made (probe, cnn, finetune).
        image_size: side of the square input, in pixels.
        calibration: what makes probabilities of the network's logits.
        threshold: operating point; a calibrated probability at or above it is called PNEUMONIA.
        band: calibrated probabilities that are too doubtful to rely on; the threshold lies in it, or at its end.
        validation: metrics on validation at that threshold.
        golden: calibrated probabilities of the golden images, by file name; every later answer is held against them.
        data: lineage of the training images.
        parameters: everything that training was told, flat.
        git_commit: commit of the code, None outside of git.
        mlflow_run_id: the MLflow run that trained it.
        model_sha256: hash of model.keras.
        reference_sha256: hash of reference.npz.
    """

    name: str
    kind: str
    image_size: int
    calibration: Calibration
    threshold: float
    band: Band
    validation: dict[str, float]
    golden: dict[str, float]
    data: DataLineage
    parameters: Parameters
    git_commit: str | None
    mlflow_run_id: str
    model_sha256: str
    reference_sha256: str
    class_names: tuple[str, ...] = CLASS_NAMES
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class Bundle:
    """A bundle folder and its card."""

    folder: Path
    card: Card

    @property
    def model_file(self) -> Path:
        """The Keras model of the bundle."""
        return self.folder / MODEL_FILE

    @property
    def reference_file(self) -> Path:
        """What its answers are compared with; `inference.reference` reads it."""
        return self.folder / REFERENCE_FILE


def write(folder: Path, model_file: Path, reference_file: Path, **card: Any) -> Bundle:
    """Make a bundle of a saved Keras model and its reference; ``card`` gives the fields of `Card` except the hashes.

    The card is written last, so that a folder with a card is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model_file, folder / MODEL_FILE)
    shutil.copyfile(reference_file, folder / REFERENCE_FILE)
    model_sha256, reference_sha256 = _sha256(folder / MODEL_FILE), _sha256(folder / REFERENCE_FILE)
    content = Card(model_sha256=model_sha256, reference_sha256=reference_sha256, **card)
    (folder / CARD_FILE).write_text(json.dumps(dataclasses.asdict(content), indent=2, sort_keys=True) + "\n")
    return Bundle(folder, content)


def read(folder: Path) -> Bundle:
    """Open a bundle and check that it is whole.

    Raises:
        BundleError: a file is missing, the card is broken or of another format, or model.keras or reference.npz is
            not the file that the card names.
    """
    try:
        content = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            f"{folder} is not a bundle: it has no {CARD_FILE}. Run `dvc repro` to make it, or name another folder."
        ) from None
    except ValueError as error:  # not JSON, or not even text
        raise BundleError(
            f"{folder / CARD_FILE} is not valid JSON ({error}). Run `dvc repro -f train` again."
        ) from None
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{folder} has bundle format {version}, expected {FORMAT_VERSION}. "
            "Train the model again with this version of the package."
        )
    try:
        content["data"] = DataLineage(**content["data"])
        content["band"] = Band(**content["band"])
        content["calibration"] = _calibration(content["calibration"])
        content["class_names"] = tuple(content["class_names"])
        card = Card(**content)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"{folder / CARD_FILE} has not the fields of bundle format {FORMAT_VERSION} ({error}). "
            "Train the model again."
        ) from error
    if card.class_names != CLASS_NAMES:
        raise BundleError(f"{folder} answers {list(card.class_names)}, expected {list(CLASS_NAMES)}.")
    for file, sha256 in ((MODEL_FILE, card.model_sha256), (REFERENCE_FILE, card.reference_sha256)):
        if not (folder / file).is_file() or _sha256(folder / file) != sha256:
            raise BundleError(
                f"{folder / file} is missing or is not the file that {CARD_FILE} names. "
                "Run `dvc checkout` or train again."
            )
    return Bundle(folder, card)


def _calibration(fields: dict[str, Any]) -> Calibration:
    return Calibration(**fields | {"knots": tuple((x, y) for x, y in fields["knots"])})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
