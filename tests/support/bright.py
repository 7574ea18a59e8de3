"""A bundle small enough for tests: its network sees only the brightness of an image, and every image is familiar.

Its graph is made of a few ONNX operations, without Keras or TensorFlow. Its model.keras is no network: serving never
opens that file.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pneumonia.bundle import bundle as bundles
from pneumonia.bundle import golden
from pneumonia.bundle import reference as references
from pneumonia.bundle.calibration import Calibration
from pneumonia.bundle.familiarity import THUMBNAIL_SIZE, Familiarity
from pneumonia.inference.network import Network

SIZE = 32
CELL = 8
"""Side of a cell of the feature map, in pixels."""


def write_bundle(
    folder: Path, *, slope: float, bias: float = -1.0, minimum_familiarity: float = 0.0, **card: Any
) -> bundles.Bundle:
    """Write the bundle of a network whose logit is the mean grey level times ``slope``, plus ``bias``.

    Every image is as familiar as every other; with a ``minimum_familiarity`` above 1 all are refused.
    """
    with tempfile.TemporaryDirectory() as scratch:
        model_file, graph_file, reference_file = (Path(scratch, name) for name in ("m.keras", "m.onnx", "m.npz"))
        model_file.write_text(f"brightness times {slope} plus {bias}")
        graph_file.write_bytes(graph(slope, bias).SerializeToString(deterministic=True))
        references.write(reference(minimum_familiarity), reference_file)
        calibration = card.get("calibration", Calibration())
        logits = Network(graph_file, threads=1).logits(golden.pixels(SIZE))
        fields = {
            "name": "bright",
            "kind": "cnn",
            "image_size": SIZE,
            "calibration": calibration,
            "threshold": 0.5,
            "band": bundles.Band(0.5, 0.5),
            "validation": {},
            "golden": golden.by_name(calibration.probabilities(logits)),
            "parameters": {"slope": slope},
        }
        return bundles.write(folder, model_file, graph_file, reference_file, **fields | card)


def graph(slope: float, bias: float) -> onnx.ModelProto:
    """Return the network with the input and the outputs of `bundle.export`: mean grey levels of cells, one weight."""
    cells = SIZE // CELL
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["channels_first"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["channels_first"], ["pooled"], kernel_shape=[CELL] * 2, strides=[CELL] * 2),
        helper.make_node("Transpose", ["pooled"], ["cells"], perm=[0, 2, 3, 1]),
        helper.make_node("ReduceMean", ["cells"], ["features"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["features", "slope"], ["scaled_mean"]),
        helper.make_node("Add", ["scaled_mean", "bias"], ["logit"]),
        helper.make_node("Mul", ["cells", "slope"], ["scaled_cells"]),
        helper.make_node("Add", ["scaled_cells", "bias"], ["evidence"]),
    ]
    shapes: dict[str, list[str | int]] = {
        "pixels": ["N", SIZE, SIZE, 1],
        "logit": ["N", 1],
        "evidence": ["N", cells, cells, 1],
        "features": ["N", 1],
    }
    pixels, *outputs = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()
    )
    weights = [
        numpy_helper.from_array(np.array([value], np.float32), name)
        for name, value in (("slope", slope), ("bias", bias))
    ]
    return helper.make_model(
        helper.make_graph(nodes, "bright", [pixels], outputs, weights),
        opset_imports=[helper.make_opsetid("", 15)],
        ir_version=8,
    )


def reference(minimum_familiarity: float) -> references.Reference:
    """Return reference statistics under which all images are equally familiar."""
    features = THUMBNAIL_SIZE * THUMBNAIL_SIZE + 1
    equal = np.full(1, -1.0, np.float32)
    familiarity = Familiarity(
        pooled_mean=np.zeros(1, np.float32),
        axes=np.ones((1, 1), np.float32),
        mean=np.zeros(features, np.float32),
        whitening=np.zeros((features, features), np.float32),
        weights=np.zeros(2 * features, np.float32),
        bias=0.0,
        distance_scores=equal,
        in_distribution_scores=equal,
        smaller_shares=equal,
        minimum=minimum_familiarity,
    )
    return references.Reference(
        normal_evidence=np.zeros((SIZE, SIZE), np.float32),
        evidence_scale=1.0,
        familiarity=familiarity,
        bin_edges=np.array([0.0, 0.5, 1.0]),
        bin_shares=np.array([[0.1, 0.05, 0.2], [0.9, 0.8, 0.95]]),
        bin_images=np.array([60, 40]),
    )
