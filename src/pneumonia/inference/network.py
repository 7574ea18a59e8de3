"""The network of a bundle in ONNX Runtime: from decoded pixels to logits, evidence maps and pooled features."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.errors import BundleError
from pneumonia.inference.evidence import average_over_shifts, enlarge

# ONNX Runtime sends telemetry unless this is set before the import; its own switch takes effect too late.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

BATCH_SIZE = 32
"""Images per call of the network; bounds memory."""

Pixels = NDArray[np.uint8]
Array = NDArray[np.float32]


class Network:
    """One ONNX graph as `bundle.export` writes it; thread-safe."""

    def __init__(self, graph: Path, threads: int = 0) -> None:
        """Open a graph.

        Args:
            graph: path of model.onnx.
            threads: threads per call; 0 for one per core.

        Raises:
            BundleError: the file is not a graph that ONNX Runtime can run.
        """
        options: Any = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises types of its own, derived from Exception alone
            raise BundleError(
                f"{graph} cannot be opened by ONNX Runtime ({error}). Run `dvc checkout`, or `dvc repro -f calibrate`."
            ) from error
        self._input = self._session.get_inputs()[0].name

    def outputs(self, pixels: Pixels) -> tuple[NDArray[np.float64], Array, Array]:
        """Run the network once on all of the given images.

        Args:
            pixels: decoded images, shape (N, size, size); N is at least 1.

        Returns:
            Logits (N,); evidence per cell (N, cells, cells), in logits; pooled features (N, channels).
        """
        logits, evidence, features = self._session.run(None, {self._input: pixels[..., None].astype(np.float32)})
        return logits[:, 0].astype(np.float64), evidence[..., 0], features

    def logits(self, pixels: Pixels, batch_size: int = BATCH_SIZE) -> NDArray[np.float64]:
        """Return uncalibrated logits (N,) of decoded images (N, size, size)."""
        return np.concatenate([np.empty(0), *(self.outputs(batch)[0] for batch in batches(pixels, batch_size))])

    def features(self, pixels: Pixels, batch_size: int = BATCH_SIZE) -> Array:
        """Return pooled features (N, channels) of decoded images (N, size, size); N is at least 1."""
        return np.concatenate([self.outputs(batch)[2] for batch in batches(pixels, batch_size)])

    def evidence(self, pixels: Pixels, *, shifted: bool = True, batch_size: int = BATCH_SIZE) -> Array:
        """Return evidence for pneumonia (above 0) or against it (below 0) at every pixel, in logits.

        Args:
            pixels: decoded images, shape (N, size, size); N is at least 1.
            shifted: average over nine shifts of the image, for finer maps, at nine times the computation. Without it
                the mean of a map is the network's logit, exactly where the side of the feature map divides ``size``;
                with it, approximately.
            batch_size: images per call of the network.

        Returns:
            Maps, shape (N, size, size); see `inference.evidence`.
        """

        def maps(images: Pixels) -> Array:
            cells = [self.outputs(batch)[1] for batch in batches(images, batch_size)]
            return enlarge(np.concatenate(cells), images.shape[1])

        if not shifted:
            return maps(pixels)
        side = self.outputs(pixels[:1])[1].shape[1]
        return average_over_shifts(maps, pixels, side)


def batches(pixels: Pixels, batch_size: int) -> list[Pixels]:
    """Return images (N, ...) in parts of at most ``batch_size``."""
    return [pixels[start : start + batch_size] for start in range(0, len(pixels), batch_size)]
