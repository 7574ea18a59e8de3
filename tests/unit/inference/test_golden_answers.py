"""Golden images: a bundle gives the answers that its card pins, and the check detects other answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pneumonia.bundle import bundle as bundles
from pneumonia.bundle import golden
from pneumonia.inference import golden_answers
from tests.support import bright

DATA = bundles.DataLineage("phantom", "", "0" * 64, {})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> bundles.Bundle:
    return bright.write_bundle(tmp_path_factory.mktemp("golden") / "bright", slope=0.01, data=DATA)


def test_images_cover_every_format_and_have_different_answers(bundle: bundles.Bundle) -> None:
    assert {Path(name).suffix for name in golden.images()} == {".jpeg", ".png", ".dcm"}
    assert len(set(bundle.card.golden.values())) == len(golden.images())


def test_bundle_gives_the_pinned_answers_in_a_fresh_process(bundle: bundles.Bundle) -> None:
    command = [sys.executable, "-m", "pneumonia.inference.golden_answers", str(bundle.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert golden.largest_difference(bundle.card.golden, json.loads(done.stdout)) < 1e-6


def test_release_gives_the_pinned_answers() -> None:
    release = bundles.read(Path(__file__).parents[3] / "release")
    assert golden.largest_difference(release.card.golden, golden_answers.answers(release.folder)) < 1e-4


def test_other_weights_are_detected(bundle: bundles.Bundle, tmp_path: Path) -> None:
    other = bright.write_bundle(tmp_path / "other", slope=0.012, data=DATA)
    assert golden.largest_difference(bundle.card.golden, golden_answers.answers(other.folder)) > 0.01


@pytest.mark.parametrize("answered", [{}, {"a": 0.5}, {"a": 0.5, "b": float("nan")}, {"a": 0.5, "c": 0.5}])
def test_answers_that_cannot_be_compared_differ_by_1(answered: dict[str, float]) -> None:
    assert golden.largest_difference({"a": 0.5, "b": 0.5}, answered) == 1.0
    assert golden.largest_difference({}, {}) == 1.0


def test_folder_without_a_bundle_is_reported_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pneumonia.inference.golden_answers", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is not a bundle" in done.stderr
    assert "Traceback" not in done.stderr
