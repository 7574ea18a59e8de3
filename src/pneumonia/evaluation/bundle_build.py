"""Build a bundle from a trained network and the development images.

Calibration and operating point are chosen on each validation image twice: unchanged, and aspect-swapped, that is, in
the aspect ratio of the other class. Where the shape of the film gives the class away, the unchanged images alone would
make a network look more certain of lungs than it is.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumonia.bundle import bundle as bundles
from pneumonia.bundle import calibration_fit, export, golden, operating_point, reference
from pneumonia.bundle.settings import CalibrateParams
from pneumonia.core.errors import BundleError
from pneumonia.evaluation import metrics, reference_fit
from pneumonia.evaluation.settings import BootstrapParams
from pneumonia.inference.network import BATCH_SIZE, Network
from pneumonia.inference.runtime import TOLERANCE


@dataclass(frozen=True, eq=False)
class DevelopmentImages:
    """Images that calibration, operating point and reference statistics are fitted to.

    Attributes:
        train: training images, shape (T, size, size).
        validation: validation images, shape (V, size, size).
        swapped: the same validation images, aspect-swapped (`evaluation.aspect.swap`), shape (V, size, size).
        targets: of the validation images, 0 or 1, shape (V,).
        groups: patient of each validation image, shape (V,).
    """

    train: NDArray[np.uint8]
    validation: NDArray[np.uint8]
    swapped: NDArray[np.uint8]
    targets: NDArray[np.integer]
    groups: NDArray[np.integer]


def build(
    folder: Path,
    network_file: Path,
    images: DevelopmentImages,
    *,
    name: str,
    kind: str,
    data: bundles.DataLineage,
    parameters: bundles.Parameters,
    calibrate: CalibrateParams,
    bootstrap: BootstrapParams,
    batch_size: int = BATCH_SIZE,
) -> tuple[bundles.Bundle, dict[str, float]]:
    """Export a network to ONNX, calibrate it, fit its reference statistics and write its bundle.

    Everything is fitted to the answers of the ONNX graph, which is what will be served.

    Args:
        folder: of the bundle to write.
        network_file: the trained Keras network (`training.network_file.save`); with ``float16`` weights, everything
            is fitted to the rounded weights.
        images: development images.
        name: of the model in params.yaml.
        kind: probe, cnn or finetune.
        data: lineage of the images.
        parameters: settings for the card, flattened.
        calibrate: candidate methods, operating point policy and seed.
        bootstrap: of the intervals in the reference statistics.
        batch_size: images per call of the network.

    Returns:
        The bundle, and the cross-validated log loss (nats) of each calibration method.

    Raises:
        BundleError: the ONNX graph does not agree with the Keras network on the golden images.
    """
    with tempfile.TemporaryDirectory() as scratch:
        graph_file, reference_file = Path(scratch, bundles.GRAPH_FILE), Path(scratch, bundles.REFERENCE_FILE)
        keras_logits = _export(network_file, graph_file)
        network = Network(graph_file)
        logits = np.concatenate([network.logits(each, batch_size) for each in (images.validation, images.swapped)])
        targets, groups = np.tile(images.targets, 2), np.tile(images.groups, 2)
        calibration, losses = calibration_fit.choose(logits, targets, groups, calibrate.methods, calibrate.seed)
        probabilities = calibration.probabilities(logits)
        threshold = operating_point.choose(targets, probabilities, calibrate.operating_point.minimum_sensitivity)
        fitted = reference_fit.fit(
            network,
            images.train,
            images.validation,
            images.targets,
            reference_fit.Scored(probabilities, targets, groups),
            seed=calibrate.seed,
            bootstrap=bootstrap,
            batch_size=batch_size,
        )
        reference.write(fitted, reference_file)
        image_size = int(images.validation.shape[1])
        pinned = golden.by_name(calibration.probabilities(network.logits(golden.pixels(image_size))))
        _check(pinned, golden.by_name(calibration.probabilities(keras_logits)))
        bundle = bundles.write(
            folder,
            network_file,
            graph_file,
            reference_file,
            name=name,
            kind=kind,
            image_size=image_size,
            calibration=calibration,
            threshold=threshold,
            band=operating_point.choose_band(targets, probabilities, threshold, calibrate.operating_point.band),
            validation=metrics.binary_metrics(images.targets, probabilities[: len(images.targets)], threshold),
            golden=pinned,
            data=data,
            parameters=parameters,
        )
    return bundle, losses


def _export(network_file: Path, graph_file: Path) -> NDArray[np.float64]:
    """Write the ONNX graph of a network; return the logits (N,) that Keras gives for the golden images."""
    from pneumonia.training import network_file as network_files
    from pneumonia.training import predict

    model = network_files.load(network_file)
    export.export(model, graph_file)
    return predict.logits(model, golden.pixels(model.input.shape[1]))


def _check(onnx: dict[str, float], keras: dict[str, float]) -> None:
    difference = golden.largest_difference(keras, onnx)
    if not difference <= TOLERANCE:
        raise BundleError(
            f"the ONNX graph does not agree with the Keras network: the probability of a golden image differs by "
            f"{difference:.4f}, at most {TOLERANCE} is allowed. Train the network again, or install the versions of "
            "keras, tf2onnx and onnxruntime that pyproject.toml requires."
        )
