from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from pneumonia.bundle.bundle import Band
from pneumonia.core import files
from pneumonia.core.estimate import Estimate
from pneumonia.evaluation import figures
from pneumonia.evaluation.evaluate import ScoredImages, evaluate, headlines, measure
from pneumonia.evaluation.evaluation_report import EvaluationReport, MetricsReport
from pneumonia.evaluation.metrics import binary_metrics
from pneumonia.evaluation.settings import BootstrapParams, EvaluateParams
from tests.support.cards import card

PARAMS = EvaluateParams(
    batch_size=1, bootstrap=BootstrapParams(resamples=300, seed=1), prevalences=[0.2], minimum_slice=20
)
CUTS = (1.0, 2.0)


def scored(seed: int, count: int = 240, gain: float = 3.0) -> ScoredImages:
    """Images, all viral ones small, with the logits of an overconfident model."""
    rng = np.random.default_rng(seed)
    cause = rng.choice(["normal", "bacteria", "virus"], count)
    label = np.where(cause == "normal", "NORMAL", "PNEUMONIA")
    index = pd.DataFrame(
        {"path": [f"{i}.png" for i in range(count)], "label": label, "cause": cause, "group": np.arange(count) // 2}
    )
    metadata = pd.DataFrame(
        {"megapixels": np.where(cause == "virus", 0.5, 3.0), "mode": "L", "jpeg_quality": 75.0}, index=index["path"]
    )
    logits = rng.normal(np.where(label == "PNEUMONIA", gain, -gain), 4)
    return ScoredImages.of(index, logits, metadata.sample(frac=1, random_state=seed))


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return evaluate(card(), {"validation": scored(1), "test": scored(2)}, CUTS, PARAMS)


def test_figures_are_those_of_calibrated_probabilities_at_the_operating_point(report: EvaluationReport) -> None:
    test = scored(2)
    probabilities = expit(test.logits / 2 + 0.5)

    result = report.subsets["test"].figures

    assert {name: figure.value for name, figure in result.items()} == pytest.approx(
        binary_metrics(test.targets, probabilities, 0.6), abs=1e-6
    )
    accuracy = result["accuracy"]
    assert accuracy.low is not None
    assert accuracy.high is not None
    assert accuracy.low < accuracy.value < accuracy.high


def test_metrics_report_has_the_same_values_unrounded() -> None:
    test = scored(2)

    result = measure(card(), {"test": test})

    assert isinstance(result, MetricsReport)
    assert result["test"] == binary_metrics(test.targets, expit(test.logits / 2 + 0.5), 0.6)


def test_the_band_has_a_coverage_and_figures_outside_of_it(report: EvaluationReport) -> None:
    test = scored(2)
    probabilities = expit(test.logits / 2 + 0.5)
    outside = (probabilities < 0.4) | (probabilities >= 0.7)

    band = report.subsets["test"].band

    assert band.coverage.value == pytest.approx(outside.mean(), abs=1e-6)
    correct = ((probabilities >= 0.6) == (test.targets == 1))[outside].mean()
    assert band.figures["accuracy"].value == pytest.approx(correct, abs=1e-6)


def test_reliability_includes_every_image_before_and_after_calibration(report: EvaluationReport) -> None:
    test, effect = scored(2), report.subsets["test"].calibration
    for quality, probabilities in (
        (effect.before, expit(test.logits)),
        (effect.after, expit(test.logits / 2 + 0.5)),
    ):
        images = np.array([one.images for one in quality.reliability])
        means = np.array([one.probability for one in quality.reliability])
        shares = np.array([one.share.value for one in quality.reliability])

        assert images.sum() == len(test.targets)
        assert (images * means).sum() == pytest.approx(probabilities.sum(), abs=1e-3)
        assert (images * shares).sum() == pytest.approx(test.targets.sum(), abs=1e-3)
        assert quality.ece == pytest.approx((images * np.abs(means - shares)).sum() / images.sum(), abs=1e-5)
        assert all(one.lower <= one.probability <= one.upper for one in quality.reliability)


def test_slices_are_evaluated_separately_and_small_ones_have_a_warning(report: EvaluationReport) -> None:
    test = scored(2)
    virus = test.where((test.targets == 0) | (test.causes == "virus"))

    result = report.subsets["test"].slices

    expected = binary_metrics(virus.targets, expit(virus.logits / 2 + 0.5), 0.6)
    assert result["cause"]["virus"].figures["roc_auc"].value == pytest.approx(expected["roc_auc"], abs=1e-6)
    assert result["cause"]["virus"].warning is None
    small = result["size"]["small"]
    assert small.images["NORMAL"] == 0
    assert small.warning is not None
    assert "0 of NORMAL" in small.warning
    assert "specificity" not in small.figures
    assert "sensitivity" in small.figures


def test_a_report_is_the_same_every_time_and_survives_a_file(report: EvaluationReport, tmp_path: Path) -> None:
    again = evaluate(card(), {"validation": scored(1), "test": scored(2)}, CUTS, PARAMS)
    for name, one in (("first", report), ("second", again)):
        files.write_json(tmp_path / name, one)

    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert "NaN" not in (tmp_path / "first").read_text()
    assert files.read_json(tmp_path / "first", EvaluationReport) == report


def test_a_model_without_a_decision_outside_the_band_is_evaluated() -> None:
    result = evaluate(card(band=Band(0.0, 1.1)), {"test": scored(1)}, CUTS, PARAMS)

    band = result.subsets["test"].band
    assert band.coverage == Estimate(0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 120), abs=1e-6))
    assert band.figures == {}


def test_headlines_have_a_row_per_model_and_subset(report: EvaluationReport) -> None:
    lines = headlines({"cnn": report}).splitlines()

    assert len(lines) == 3
    assert str(report.subsets["test"].figures["roc_auc"]) in lines[2]


def test_the_reliability_figure_draws_the_bins(report: EvaluationReport, tmp_path: Path) -> None:
    picture = figures.reliability_figure({"cnn": report.subsets})

    panel = picture.axes[1]
    assert panel.get_title() == "cnn, test"
    after = next(line for line in panel.lines if str(line.get_label()).startswith("after"))
    bins = report.subsets["test"].calibration.after.reliability
    np.testing.assert_allclose(after.get_xydata(), [(one.probability, one.share.value) for one in bins])
    figures.save(picture, tmp_path / "one.png")
    figures.save(figures.reliability_figure({"cnn": report.subsets}), tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
