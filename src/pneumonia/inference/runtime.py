"""The fast road from pixels to an answer: the network of a bundle in ONNX Runtime, without TensorFlow.

The graph is made once, by `inference.export` in another process, and kept under ``$XDG_CACHE_HOME/pneumonia``. It has
to answer the golden images as the bundle's card has them before it answers anything else.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from pneumonia import cache
from pneumonia.errors import BundleError
from pneumonia.images.decode import decode
from pneumonia.inference import explain, golden, reference
from pneumonia.inference.familiarity import Familiarity
from pneumonia.inference.intake import Refusal
from pneumonia.inference.predictor import answer
from pneumonia.models import bundle as bundles

# It reports to its makers unless this is set before it is imported; its own function in Python comes too late.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

TOLERANCE = 1e-3
"""Of the probability of a golden image."""
AT_ONCE = 32
"""Images that the network sees at once, to bound memory."""
UNUSUAL = 0.05
"""Share of validation images; less familiar than this, an answer carries a warning."""
UNUSUAL_WARNING = f"Less familiar than {1 - UNUSUAL:.0%} of the validation images: rely on this answer less."
MONITORED = 8
"""Components of the pooled features that are given out for monitoring."""
GRAPH_VERSION = 1
"""Part of the name of a kept graph: another version of `inference.export` must not meet the old one's."""

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
"""Environment of an export."""

Pixels = NDArray[np.uint8]
Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Reading:
    """What a bundle says of one image.

    Attributes:
        probability: of PNEUMONIA, calibrated, 0 to 1.
        label: the class at the operating point.
        indeterminate: whether the probability is too near to the operating point to rely on the label.
        familiarity: share of validation images, 0 to 1, that are less familiar.
        refusal: why this must not be shown as an answer, if so.
        warnings: what to tell with the answer.
        embedding: principal components of what the network made of the image (up to 8), for monitoring.
    """

    probability: float
    label: str
    indeterminate: bool
    familiarity: float
    refusal: Refusal | None
    warnings: tuple[str, ...]
    embedding: Array


class Runtime:
    """Answers for decoded pixels with the model of one bundle; any number of threads may ask at once.

    Attributes:
        bundle: what answers.
        reference: what its answers are compared with.
    """

    def __init__(self, bundle: bundles.Bundle, session: onnxruntime.InferenceSession) -> None:
        """Wrap a bundle and its graph; use `load` to open both from a folder."""
        self.bundle = bundle
        self.reference = reference.read(bundle)
        self._session = session

    @classmethod
    def load(cls, folder: Path, *, threads: int = 0) -> "Runtime":
        """Open a bundle; the first time on a machine this takes some 20 seconds, for the graph is made.

        Args:
            folder: of the bundle.
            threads: that work on one call; 0 for as many as there are cores.

        Raises:
            BundleError: the folder is no whole bundle, or its graph cannot be made, or answers otherwise.
        """
        bundle = bundles.read(folder)
        graph = _graph_file(bundle)
        with FileLock(graph.with_suffix(".lock")):
            if not graph.is_file():
                _export(bundle, graph)
        try:
            return cls._checked(bundle, graph, threads)
        except BundleError:  # a kept graph may be damaged; a new one is not
            with FileLock(graph.with_suffix(".lock")):
                _export(bundle, graph)
            return cls._checked(bundle, graph, threads)

    @property
    def evidence_scale(self) -> float:
        """Logits from which a heat map has its strongest colour, the same for all images."""
        return self.reference.evidence_scale

    def run(self, squares: Pixels) -> list[Reading]:
        """Answer for decoded images (N, size, size)."""
        parts = [self._read(squares[start : start + AT_ONCE]) for start in range(0, len(squares), AT_ONCE)]
        return [reading for part in parts for reading in part]

    def evidence(self, square: Pixels) -> Array:
        """Return how much more than NORMAL validation images each place of an image speaks for pneumonia.

        Args:
            square: (size, size).

        Returns:
            (size, size), in logits; the map of `inference.explain`, averaged over shifts of the image.
        """
        cells = self._answer(square[None])[1].shape[1]
        maps = explain.average_over_shifts(self._maps, square[None], cells)
        return np.asarray(maps[0] - self.reference.normal_evidence)

    def share_of_pneumonia(self, probability: float) -> reference.Share:
        """Say what a calibrated probability (0 to 1) meant on validation."""
        return self.reference.share_of_pneumonia(probability)

    @classmethod
    def _checked(cls, bundle: bundles.Bundle, graph: Path, threads: int) -> "Runtime":
        """Open a graph and hold its answers against those pinned in the bundle's card."""
        runtime = cls(bundle, _open(graph, threads))
        images = golden.images()
        pixels = np.stack([decode(content, bundle.card.image_size) for content in images.values()])
        answered = {name: read.probability for name, read in zip(images, runtime.run(pixels), strict=True)}
        difference = golden.largest_difference(bundle.card.golden, answered)
        if not difference <= TOLERANCE:
            raise BundleError(
                f"{bundle.folder} answers the golden images otherwise in ONNX Runtime than in Keras: the probability "
                f"is off by {difference:.4f}, allowed are {TOLERANCE}. Train the model again, or report this."
            )
        return runtime

    def _answer(self, squares: Pixels) -> tuple[Array, Array, Array]:
        """Return logits (n,), evidence of cells (n, cells, cells) and pooled features (n, channels)."""
        pixels = squares[..., None].astype(np.float32)
        logits, cells, pooled = self._session.run(None, {self._session.get_inputs()[0].name: pixels})
        return logits[:, 0], cells[..., 0], pooled

    def _maps(self, squares: Pixels) -> Array:
        return explain.enlarge(self._answer(squares)[1], squares.shape[1])

    def _read(self, squares: Pixels) -> list[Reading]:
        logits, _, pooled = self._answer(squares)
        known = self.reference.familiarity
        probabilities = self.bundle.card.calibration.probabilities(logits.astype(np.float64))
        shares = known.shares(squares, pooled)
        embeddings = known.components(pooled)[:, :MONITORED]
        return [self._reading(*each) for each in zip(probabilities, *shares, embeddings, strict=True)]

    def _reading(self, probability: float, familiarity: float, near: float, sound: float, embedding: Array) -> Reading:
        given = answer(self.bundle.card, probability)
        refusal = _refuse(self.reference.familiarity, familiarity, near, sound)
        unusual = refusal is None and familiarity < UNUSUAL
        return Reading(
            probability=given.probability,
            label=given.label,
            indeterminate=given.indeterminate,
            familiarity=float(familiarity),
            refusal=refusal,
            warnings=(UNUSUAL_WARNING,) if unusual else (),
            embedding=embedding,
        )


def _refuse(known: Familiarity, familiarity: float, near: float, sound: float) -> Refusal | None:
    if familiarity >= known.minimum:
        return None
    if sound <= near:
        return Refusal(
            "not_a_radiograph",
            "This does not look like an upright frontal radiograph of the chest with bone bright. Send one, neither "
            "turned nor inverted, and not a part of it.",
        )
    return Refusal(
        "unfamiliar",
        "This is unlike the images that the model has learnt from, so that its answer would mean nothing. Send a "
        "frontal chest radiograph of a child, without frame or margin.",
    )


def _graph_file(bundle: bundles.Bundle) -> Path:
    graphs = cache.folder() / "graphs"
    graphs.mkdir(parents=True, exist_ok=True)
    return graphs / f"{bundle.card.model_sha256}-{GRAPH_VERSION}.onnx"


def _export(bundle: bundles.Bundle, graph: Path) -> None:
    """Make the graph under another name first, so that a killed export leaves nothing that can be opened."""
    partial = graph.with_suffix(".partial")
    command = [sys.executable, "-m", "pneumonia.inference.export", str(bundle.model_file), str(partial)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | QUIET)
    if done.returncode:
        *_, reason = done.stderr.strip().splitlines() or ["no reason given"]
        raise BundleError(f"{bundle.model_file} cannot be made into an ONNX graph ({reason}). Train the model again.")
    partial.replace(graph)


def _open(graph: Path, threads: int) -> onnxruntime.InferenceSession:
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises types of its own, derived from Exception alone
        raise BundleError(f"{graph} cannot be opened ({error}). Delete it; it will be made again.") from error
