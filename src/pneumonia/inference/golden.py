"""Golden images: phantoms in the formats that people send, and what a bundle has to answer for their bytes.

Training pins the answers in the bundle's card. Whatever answers with that bundle later, wherever it runs, must give
the same. The files lie beside this module and are never drawn again: only their bytes count.

    python -m pneumonia.inference.golden BUNDLE

prints as JSON what a bundle answers in a process that has nothing else loaded.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pneumonia.errors import PneumoniaError
from pneumonia.images.decode import decode
from pneumonia.inference.predictor import Predictor, logits
from pneumonia.models.calibration import Calibration

FOLDER = Path(__file__).parent / "golden_images"


def images() -> dict[str, bytes]:
    """Return the encoded golden images by file name."""
    return {file.name: file.read_bytes() for file in sorted(FOLDER.iterdir())}


def pin(model: Any, image_size: int, calibration: Calibration) -> dict[str, float]:
    """Return the calibrated probability (0 to 1) that a Keras model of logits gives each golden image, by name."""
    encoded = images()
    pixels = np.stack([decode(content, image_size) for content in encoded.values()])
    probabilities = calibration.probabilities(logits(model, pixels, len(encoded)))
    return {name: round(float(p), 6) for name, p in zip(encoded, probabilities, strict=True)}


def answers(folder: Path) -> dict[str, float]:
    """Return what the bundle in a folder answers for each golden image, by name.

    Raises:
        BundleError: the folder is no whole bundle.
    """
    encoded = images()
    answered = Predictor.load(folder).predict(list(encoded.values()))
    return {name: answer.probability for name, answer in zip(encoded, answered, strict=True)}


def largest_difference(pinned: Mapping[str, float], answered: Mapping[str, float]) -> float:
    """Return by how much an answer is off at most; 1 where the images differ or an answer is no probability."""
    if pinned.keys() != answered.keys() or not pinned or not all(0 <= p <= 1 for p in answered.values()):
        return 1.0
    return max(abs(pinned[name] - answered[name]) for name in pinned)


if __name__ == "__main__":
    try:
        print(json.dumps(answers(Path(sys.argv[1]))))
    except PneumoniaError as error:
        sys.exit(f"error: {error}")
