"""Integrity of a version's bundle: its hash, and its answers for the golden images in a new process."""

import json
import subprocess
import sys
from pathlib import Path

from pneumonia.bundle import bundle as bundles
from pneumonia.bundle import golden
from pneumonia.core.errors import BundleError
from pneumonia.inference import golden_answers
from pneumonia.registry.gate import FAIL, PASS, SKIPPED, Criterion

HASH = "bundle hash"
GOLDEN_IMAGES = "golden images, answered by a new process"


def check(folder: Path, bundle_sha256: str, tolerance: float) -> list[Criterion]:
    """Return the gate's criteria for a bundle: it is the registered one, and reproduces its golden answers.

    Args:
        folder: of the bundle, as `versions.bundle` returns it.
        bundle_sha256: identity of the bundle, from the version's tag.
        tolerance: largest accepted difference of a probability, 0 to 1.
    """
    try:
        bundle = bundles.read(folder)
    except BundleError as error:
        unreadable = Criterion(HASH, FAIL, str(error), "a readable bundle", always=True)
        return [unreadable, _golden_images(SKIPPED, "the bundle cannot be read", tolerance)]
    matches = bundle.card.sha256 == bundle_sha256
    identity = Criterion(
        HASH, PASS if matches else FAIL, bundle.card.sha256[:12], f"hash {bundle_sha256[:12]}", always=True
    )
    command = [sys.executable, "-m", golden_answers.__name__, str(folder)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        last_line = (process.stderr.strip().splitlines() or ["no message"])[-1]
        return [identity, _golden_images(FAIL, f"no answer: {last_line}", tolerance)]
    difference = golden.largest_difference(bundle.card.golden, json.loads(process.stdout))
    excess = difference - tolerance
    return [
        identity,
        _golden_images(
            FAIL if excess > 0 else PASS, f"off by {difference:.2g}", tolerance, excess if excess > 0 else None
        ),
    ]


def _golden_images(outcome: str, observed: str, tolerance: float, shortfall: float | None = None) -> Criterion:
    return Criterion(GOLDEN_IMAGES, outcome, observed, f"off by at most {tolerance:g}", shortfall, always=True)
