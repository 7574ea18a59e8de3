"""The bundle: the folder with everything that is needed to predict with a model.

=================  ==================================================================================================
``model.keras``    Keras network: float32 pixels (N, size, size, 1) of 0 to 255 to logits (N, 1)
``model.onnx``     the same network for ONNX Runtime, with evidence maps and pooled features (`bundle.export`)
``reference.npz``  statistics of development images: familiarity, NORMAL evidence, reliability (`bundle.reference`)
``bundle.json``    the `Card`: calibration, operating point, indeterminate band, data lineage, hashes of the files
=================  ==================================================================================================

Everything after training reads bundles and nothing else of a model. The same inputs give the same bytes.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic.dataclasses
from numpy.typing import NDArray
from pydantic import ConfigDict

from pneumonia.bundle.calibration import Calibration
from pneumonia.core import files
from pneumonia.core.errors import BundleError
from pneumonia.core.labels import CLASS_NAMES
from pneumonia.core.model import FrozenModel

FORMAT_VERSION = 5
Parameters = dict[str, str | int | float | bool]
MODEL_FILE = "model.keras"
GRAPH_FILE = "model.onnx"
REFERENCE_FILE = "reference.npz"
CARD_FILE = "bundle.json"


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DataLineage:
    """The images that a model was developed on.

    Attributes:
        source: kermany, phantom, or the path of a folder or zip file.
        release: of the source; empty where it has none.
        data_hash: of the contents, labels and subsets of all images.
        counts: images per subset and class name.
    """

    source: str
    release: str
    data_hash: str
    counts: dict[str, dict[str, int]]


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Band:
    """The indeterminate band: probabilities from ``low`` to below ``high``; empty where both are equal."""

    low: float
    high: float

    def holds(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which probabilities, 0 to 1, of shape (N,) lie in the band."""
        return np.asarray((self.low <= probabilities) & (probabilities < self.high))


class Card(FrozenModel):
    """Contents of bundle.json.

    Attributes:
        name: the model's name in params.yaml.
        kind: probe, cnn or finetune.
        image_size: side of the square input, in pixels.
        calibration: maps the network's logits to probabilities.
        threshold: operating point; a calibrated probability at or above it is labelled PNEUMONIA.
        band: calibrated probabilities that leave an answer indeterminate; it contains the threshold, or ends there.
        validation: metrics on the validation images at that threshold, by name.
        golden: calibrated probabilities of the golden images, by file name; every later answer is checked against
            them.
        data: lineage of the training images.
        parameters: settings of training and calibration, flattened.
        model_sha256: hash of model.keras.
        graph_sha256: hash of model.onnx.
        reference_sha256: hash of reference.npz.
        class_names: names of the targets 0 and 1.
        format_version: of the bundle.
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
    model_sha256: str
    graph_sha256: str
    reference_sha256: str
    class_names: tuple[str, ...] = CLASS_NAMES
    format_version: int = FORMAT_VERSION

    @property
    def sha256(self) -> str:
        """Identity of the bundle: hash of bundle.json, which holds the hashes of the other files.

        Another calibration of the same weights is another bundle.
        """
        return hashlib.sha256(files.json_bytes(self, sort_keys=True)).hexdigest()


@dataclass(frozen=True)
class Bundle:
    """A bundle's folder and its card."""

    folder: Path
    card: Card

    @property
    def model_file(self) -> Path:
        """Path of the Keras network."""
        return self.folder / MODEL_FILE

    @property
    def graph_file(self) -> Path:
        """Path of the ONNX graph."""
        return self.folder / GRAPH_FILE

    @property
    def reference_file(self) -> Path:
        """Path of the reference statistics; `bundle.reference.read` reads them."""
        return self.folder / REFERENCE_FILE


def write(folder: Path, model_file: Path, graph_file: Path, reference_file: Path, **card: Any) -> Bundle:
    """Write a bundle; its card is written last, so that a folder with a card is complete.

    Args:
        folder: to write to; files of the same names are replaced, and files that are in place already are kept.
        model_file: the Keras network (`training.network_file.save`).
        graph_file: the same network in ONNX (`bundle.export.export`).
        reference_file: its reference statistics (`bundle.reference.write`).
        card: the fields of `Card` except the hashes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for source, name, field in (
        (model_file, MODEL_FILE, "model_sha256"),
        (graph_file, GRAPH_FILE, "graph_sha256"),
        (reference_file, REFERENCE_FILE, "reference_sha256"),
    ):
        if source.resolve() != (folder / name).resolve():
            shutil.copyfile(source, folder / name)
        hashes[field] = files.sha256(folder / name)
    content = Card(**hashes, **card)
    files.write_json(folder / CARD_FILE, content, sort_keys=True)
    return Bundle(folder, content)


def read(folder: Path) -> Bundle:
    """Open a bundle and check that it is complete.

    Raises:
        BundleError: a file is missing, the card is broken or of another format, or one of the other files is not the
            one whose hash the card has.
    """
    try:
        content = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            f"{folder} is not a bundle: it has no {CARD_FILE}. Run `dvc repro` to make it, or name another folder."
        ) from None
    except ValueError as error:  # not JSON, or not even text
        raise BundleError(
            f"{folder / CARD_FILE} is not valid JSON ({error}). Run `dvc repro -f calibrate` again."
        ) from None
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{folder} has bundle format {version}, expected {FORMAT_VERSION}. "
            "Run `dvc repro -f calibrate` with this version of the package."
        )
    try:
        card = Card.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise BundleError(
            f"{folder / CARD_FILE} does not have the fields of bundle format {FORMAT_VERSION} "
            f"({error.error_count()} faults; first: {'.'.join(map(str, first['loc']))}: {first['msg']}). "
            "Run `dvc repro -f calibrate` again."
        ) from error
    if card.class_names != CLASS_NAMES:
        raise BundleError(f"{folder} has the classes {list(card.class_names)}, expected {list(CLASS_NAMES)}.")
    for name, sha256 in (
        (MODEL_FILE, card.model_sha256),
        (GRAPH_FILE, card.graph_sha256),
        (REFERENCE_FILE, card.reference_sha256),
    ):
        if not (folder / name).is_file() or files.sha256(folder / name) != sha256:
            raise BundleError(
                f"{folder / name} is missing or is not the file that {CARD_FILE} names (SHA-256 {sha256}). "
                "Run `dvc checkout`, or `dvc repro -f calibrate` to make it again."
            )
    return Bundle(folder, card)
