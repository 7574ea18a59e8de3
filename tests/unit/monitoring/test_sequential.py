"""Sequential test: false alarm rate over any number of evaluations, and delay until a loss is detected."""

import numpy as np
import pytest

from pneumonia.monitoring import sequential

LIMIT = 0.9
ALPHA = 0.05
RUNS = 300


def alarms(share_before: float, share_after: float, change: int, cases: int, seed: int) -> list[int | None]:
    """Test many models after each label; their proportion of right decisions changes after ``change`` cases."""
    rng = np.random.default_rng(seed)
    probability = np.where(np.arange(cases) < change, share_before, share_after)
    runs = rng.random((RUNS, cases)) < probability
    return [sequential.check_proportion(right, LIMIT, ALPHA).alarm_after for right in runs]


def test_false_alarm_rate_at_the_limit_holds_over_thousands_of_evaluations() -> None:
    false = [alarm for alarm in alarms(LIMIT, LIMIT, 0, 3000, seed=1) if alarm is not None]
    assert len(false) / RUNS <= ALPHA


def test_repeated_fixed_sample_test_exceeds_the_false_alarm_rate() -> None:
    """The reason for a sequential test: the same models, tested each time at the full significance level."""
    from scipy.stats import binom

    rng = np.random.default_rng(1)
    evaluations = np.arange(20, 3001, 20)
    wrong = np.cumsum(rng.random((RUNS, 3000)) >= LIMIT, axis=1)[:, evaluations - 1]
    ever = (binom.sf(wrong - 1, evaluations, 1 - LIMIT) < ALPHA).any(axis=1)
    assert ever.mean() > 5 * ALPHA


@pytest.mark.parametrize(("share", "within"), [(0.6, 60), (0.75, 170)])
def test_loss_from_the_start_is_detected(share: float, within: int) -> None:
    delays = alarms(share, share, 0, 400, seed=2)
    assert np.median([alarm or 400 for alarm in delays]) <= within
    assert sum(alarm is not None for alarm in delays) >= 0.99 * RUNS


def test_loss_after_a_long_period_without_loss_is_detected() -> None:
    delays = alarms(0.96, 0.7, 1000, 1300, seed=3)
    late = [alarm for alarm in delays if alarm is None or alarm > 1000]
    assert len(late) >= (1 - ALPHA) * RUNS
    assert np.median([(alarm or 1300) - 1000 for alarm in late]) <= 130


def test_expected_e_value_at_the_limit_is_1() -> None:
    """Exact: the mean over all sequences of decisions, weighted by their probability."""
    cases = 10
    answers = (np.arange(2**cases)[:, None] >> np.arange(cases)) % 2 == 1
    probabilities = np.where(answers, LIMIT, 1 - LIMIT).prod(axis=1)
    values = np.array([sequential.e_process(right, LIMIT)[-1] for right in answers])
    assert probabilities @ values == pytest.approx(1, abs=1e-12)


def test_without_labels_the_e_value_is_1() -> None:
    test = sequential.check_proportion(np.array([], bool), LIMIT, ALPHA)
    assert (test.cases, test.proportion, test.e_value, test.alarm_after) == (0, None, 1.0, None)
