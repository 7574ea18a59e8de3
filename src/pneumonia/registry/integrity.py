"""Whether a version's bundle is whole and answers as it did when it was trained."""

import json
import subprocess
import sys
from pathlib import Path

from pneumonia.errors import BundleError
from pneumonia.evaluation.gate import FAIL, PASS, SKIPPED, Criterion
from pneumonia.inference import golden
from pneumonia.models import bundle as bundles


def check(folder: Path, bundle_sha256: str, tolerance: float) -> list[Criterion]:
    """Hold a bundle against its hash, and its answers in a fresh process against the pinned ones.

    Args:
        folder: of the bundle, as the registry gives it.
        bundle_sha256: of the model, as the version's tag has it.
        tolerance: how far a probability may be off.
    """
    whole, agree = "whole bundle", "golden images, answered by a fresh process"
    limit = f"off by at most {tolerance:g}"
    try:
        bundle = bundles.read(folder)
    except BundleError as error:
        broken = Criterion(whole, FAIL, str(error), "readable", always=True)
        return [broken, Criterion(agree, SKIPPED, "the bundle cannot be read", limit, always=True)]
    same = bundle.card.model_sha256 == bundle_sha256
    found = Criterion(
        whole, PASS if same else FAIL, bundle.card.model_sha256[:12], f"hash {bundle_sha256[:12]}", always=True
    )
    command = [sys.executable, "-m", golden.__name__, str(folder)]
    answered = subprocess.run(command, capture_output=True, text=True, check=False)
    if answered.returncode:
        last = (answered.stderr.strip().splitlines() or ["no message"])[-1]
        return [found, Criterion(agree, FAIL, f"no answer: {last}", limit, always=True)]
    off = golden.largest_difference(bundle.card.golden, json.loads(answered.stdout))
    over = off - tolerance
    return [
        found,
        Criterion(
            agree,
            FAIL if over > 0 else PASS,
            f"off by {off:.2g}",
            limit,
            shortfall=over if over > 0 else None,
            always=True,
        ),
    ]
