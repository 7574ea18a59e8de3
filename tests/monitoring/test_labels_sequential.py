"""The sequential test: false alarms stay as rare as promised over any number of looks, and a real loss is found."""

import numpy as np
import pytest

from pneumonia.monitoring import sequential

LIMIT = 0.9
ALPHA = 0.05
RUNS = 300


def alarms(share_before: float, share_after: float, change: int, cases: int, seed: int) -> list[int | None]:
    """Look after every label of many models that are right with one chance, then with another; return the alarms."""
    rng = np.random.default_rng(seed)
    chance = np.where(np.arange(cases) < change, share_before, share_after)
    runs = rng.random((RUNS, cases)) < chance
    return [sequential.against(right, LIMIT, ALPHA).alarm_after for right in runs]


def test_a_model_at_the_very_limit_is_rarely_called_worse_over_thousands_of_looks() -> None:
    false = [alarm for alarm in alarms(LIMIT, LIMIT, 0, 3000, seed=1) if alarm is not None]
    assert len(false) / RUNS <= ALPHA


def test_a_fixed_test_at_every_look_would_cry_wolf() -> None:
    """Why the sequential test is needed: the same models, judged each time as if it were the only look."""
    from scipy.stats import binom

    rng = np.random.default_rng(1)
    looks = np.arange(20, 3001, 20)
    wrong = np.cumsum(rng.random((RUNS, 3000)) >= LIMIT, axis=1)[:, looks - 1]
    ever = (binom.sf(wrong - 1, looks, 1 - LIMIT) < ALPHA).any(axis=1)
    assert ever.mean() > 5 * ALPHA


@pytest.mark.parametrize(("share", "within"), [(0.6, 60), (0.75, 170)])
def test_a_model_that_is_worse_from_the_start_is_found(share: float, within: int) -> None:
    found = alarms(share, share, 0, 400, seed=2)
    assert np.median([alarm or 400 for alarm in found]) <= within
    assert sum(alarm is not None for alarm in found) >= 0.99 * RUNS


def test_a_model_that_was_good_for_long_is_found_once_it_is_worse() -> None:
    """Long good times must not be held in the model's favour."""
    found = alarms(0.96, 0.7, 1000, 1300, seed=3)
    late = [alarm for alarm in found if alarm is None or alarm > 1000]
    assert len(late) >= (1 - ALPHA) * RUNS
    assert np.median([(alarm or 1300) - 1000 for alarm in late]) <= 130


def test_the_evidence_is_not_expected_to_grow_while_the_model_holds() -> None:
    """Exactly: over all answers to a few images, weighted by their chance, the e-value is 1."""
    cases = 10
    answers = (np.arange(2**cases)[:, None] >> np.arange(cases)) % 2 == 1
    chances = np.where(answers, LIMIT, 1 - LIMIT).prod(axis=1)
    values = np.array([sequential.e_process(right, LIMIT)[-1] for right in answers])
    assert chances @ values == pytest.approx(1, abs=1e-12)


def test_without_labels_there_is_no_evidence() -> None:
    said = sequential.against(np.array([], bool), LIMIT, ALPHA)
    assert (said.cases, said.right, said.value, said.alarm_after) == (0, None, 1.0, None)
