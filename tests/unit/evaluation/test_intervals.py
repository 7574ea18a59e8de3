import time

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk

from pneumonia.core.estimate import Estimate
from pneumonia.evaluation import intervals
from pneumonia.evaluation.intervals import Share, binary_figures, estimate
from pneumonia.evaluation.metrics import binary_metrics
from pneumonia.evaluation.settings import BootstrapParams

BOOTSTRAP = BootstrapParams(resamples=2000, seed=1)


def drawn(seed: int, count: int = 120) -> tuple[NDArray[np.int_], NDArray[np.float64], NDArray[np.int_]]:
    """Targets, probabilities with ties, and groups of about three images."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    probabilities = np.clip(0.3 * targets + rng.uniform(0.05, 0.65, count), 0, 1).round(2)
    return targets, probabilities, rng.integers(0, count // 3, count)


@pytest.mark.parametrize("seed", range(3))
def test_values_are_those_of_the_metrics(seed: int) -> None:
    targets, probabilities, groups = drawn(seed)

    figures = binary_figures(targets, probabilities, 0.4, groups, BOOTSTRAP)

    values = {name: figure.value for name, figure in figures.items()}
    assert values == pytest.approx(binary_metrics(targets, probabilities, 0.4))


@pytest.mark.parametrize("seed", range(3))
def test_a_weighted_resample_has_the_figures_of_the_repeated_images(seed: int) -> None:
    """Compared with scikit-learn on images repeated as often as they were drawn."""
    targets, probabilities, groups = drawn(seed)
    (weights,) = intervals.resampled(groups, BootstrapParams(resamples=100, seed=seed))

    aucs = intervals.roc_auc(targets, probabilities)(weights)
    precisions = intervals.average_precision(targets, probabilities)(weights)

    for row, auc, precision in zip(weights[:20].astype(int), aucs, precisions, strict=False):
        t, p = np.repeat(targets, row), np.repeat(probabilities, row)
        assert auc == pytest.approx(sk.roc_auc_score(t, p))
        assert precision == pytest.approx(sk.average_precision_score(t, p))


def test_each_resample_draws_all_images_of_as_many_patients_as_there_are() -> None:
    groups = np.array([7, 7, 7, 2, 2, 5])

    weights = np.concatenate(list(intervals.resampled(groups, BOOTSTRAP)))

    assert weights.shape == (2000, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 4]).all()
    assert (weights[:, [0, 3, 5]].sum(axis=1) == 3).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(6), abs=0.06)


def test_intervals_are_those_of_a_plain_bootstrap() -> None:
    """An independent implementation: a loop that draws patients, and AUC as the share of ordered pairs."""
    targets, probabilities, groups = drawn(5)
    rng = np.random.default_rng(3)
    patients = np.unique(groups)
    samples = []
    for _ in range(1000):
        rows = np.concatenate([np.flatnonzero(groups == g) for g in rng.choice(patients, len(patients))])
        t, p = targets[rows], probabilities[rows]
        pairs = p[t == 1][:, None] - p[t == 0]
        samples.append([(pairs > 0).mean() + (pairs == 0).mean() / 2, ((p >= 0.4) == t).mean(), ((p - t) ** 2).mean()])
    low, high = np.quantile(samples, [0.025, 0.975], axis=0)

    figures = binary_figures(targets, probabilities, 0.4, groups, BOOTSTRAP)

    result = [figures[name] for name in ("roc_auc", "accuracy", "brier")]
    assert [figure.low for figure in result] == pytest.approx(low.tolist(), abs=0.015)
    assert [figure.high for figure in result] == pytest.approx(high.tolist(), abs=0.015)


def test_images_of_one_patient_do_not_narrow_the_interval() -> None:
    """The interval with ten copies of every image is as wide as with one."""
    rng = np.random.default_rng(0)
    hits = rng.random(100) < 0.8
    once = {"share": Share(hits, np.ones(100, bool))}
    often = {"share": Share(np.repeat(hits, 10), np.ones(1000, bool))}

    assert (
        estimate(once, np.arange(100), BOOTSTRAP)["share"]
        == estimate(often, np.repeat(np.arange(100), 10), BOOTSTRAP)["share"]
    )


def test_intervals_have_their_nominal_coverage() -> None:
    """250 simulated studies of 120 patients; 95% of the intervals should hold the true AUC, 0.7602."""
    true_auc = stats.norm.cdf(1 / np.sqrt(2))
    rng = np.random.default_rng(1)
    covered = []
    for study in range(250):
        targets = np.repeat([0, 1], 60)
        scores = rng.normal(targets, 1.0)
        result = estimate(
            {"auc": intervals.roc_auc(targets, scores)}, np.arange(120), BootstrapParams(resamples=400, seed=study)
        )["auc"]
        covered.append(result.low is not None and result.high is not None and result.low <= true_auc <= result.high)
    assert 0.91 <= np.mean(covered) <= 0.98


def test_a_perfect_share_has_the_exact_interval_of_its_patients() -> None:
    """20 patients of two images each, all detected: Clopper and Pearson's lower limit for 20 of 20 is 0.8316."""
    everyone = np.ones(40, bool)
    groups = np.repeat(np.arange(20), 2)

    result = estimate({"hits": Share(everyone, everyone), "misses": Share(~everyone, everyone)}, groups, BOOTSTRAP)

    exact = stats.binomtest(20, 20).proportion_ci(0.95, method="exact")
    assert result["hits"] == Estimate(1.0, pytest.approx(exact.low), 1.0)
    assert result["misses"] == Estimate(0.0, 0.0, pytest.approx(1 - exact.low))


def test_undefined_statistics_have_no_value_or_no_interval() -> None:
    """Without NORMAL images there is no AUC; with a single NORMAL patient, too many resamples have none."""
    rng = np.random.default_rng(0)
    one_class = binary_figures(np.ones(30, int), rng.random(30), 0.5, np.arange(30), BOOTSTRAP)
    targets = np.array([0] + [1] * 29)

    one_normal = binary_figures(targets, rng.random(30), 0.5, np.arange(30), BOOTSTRAP)

    assert not {"roc_auc", "specificity", "balanced_accuracy"} & set(one_class)
    assert one_class["sensitivity"].low is not None
    assert one_normal["roc_auc"].low is None
    assert one_normal["sensitivity"].low is not None


def test_results_depend_on_the_seed_and_not_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, probabilities, groups = drawn(2)
    first = binary_figures(targets, probabilities, 0.4, groups, BOOTSTRAP)
    monkeypatch.setattr(intervals, "WEIGHTS_AT_ONCE", 7 * len(groups))

    in_blocks = binary_figures(targets, probabilities, 0.4, groups, BOOTSTRAP)

    assert {name: f.rounded() for name, f in in_blocks.items()} == {name: f.rounded() for name, f in first.items()}
    other = binary_figures(targets, probabilities, 0.4, groups, BootstrapParams(resamples=2000, seed=2))
    assert other["roc_auc"] != first["roc_auc"]


def test_a_test_set_of_600_images_takes_about_a_second() -> None:
    targets, probabilities, groups = drawn(1, 624)
    start = time.process_time()

    binary_figures(targets, probabilities, 0.4, groups, BOOTSTRAP)

    assert time.process_time() - start < 3
