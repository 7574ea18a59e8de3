"""Golden images: every way to an answer gives what the bundle's card pins, and the check sees when one does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pneumonia.inference import golden
from pneumonia.models import bundle as bundles
from tests import bright

DATA = bundles.DataLineage("phantom", "", "0" * 64, {})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> bundles.Bundle:
    return bright.write_bundle(tmp_path_factory.mktemp("golden") / "bright", slope=0.01, data=DATA)


def test_images_are_in_every_format_that_people_send_and_are_told_apart(bundle: bundles.Bundle) -> None:
    assert {Path(name).suffix for name in golden.images()} == {".jpeg", ".png", ".dcm"}
    assert len(set(bundle.card.golden.values())) == len(golden.images())


def test_a_bundle_answers_as_pinned_in_a_fresh_process(bundle: bundles.Bundle) -> None:
    command = [sys.executable, "-m", "pneumonia.inference.golden", str(bundle.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert golden.largest_difference(bundle.card.golden, json.loads(done.stdout)) < 1e-6


def test_the_release_answers_as_pinned() -> None:
    release = bundles.read(Path(__file__).parents[2] / "release")
    assert golden.largest_difference(release.card.golden, golden.answers(release.folder)) < 1e-4


def test_other_weights_are_seen(bundle: bundles.Bundle, tmp_path: Path) -> None:
    other = bright.write_bundle(tmp_path / "other", slope=0.012, data=DATA)
    assert golden.largest_difference(bundle.card.golden, golden.answers(other.folder)) > 0.01


@pytest.mark.parametrize("answered", [{}, {"a": 0.5}, {"a": 0.5, "b": float("nan")}, {"a": 0.5, "c": 0.5}])
def test_what_cannot_be_compared_counts_as_wholly_different(answered: dict[str, float]) -> None:
    assert golden.largest_difference({"a": 0.5, "b": 0.5}, answered) == 1.0
    assert golden.largest_difference({}, {}) == 1.0


def test_a_folder_that_is_no_bundle_is_refused_in_words(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pneumonia.inference.golden", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is not a bundle" in done.stderr
    assert "Traceback" not in done.stderr
