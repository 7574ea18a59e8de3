"""Sequential test for a loss of performance: valid after every label, however often it is evaluated.

A fixed-sample test that is repeated each week at p < 0.05 sooner or later raises an alarm over a model that has not
changed. This test is an e-process: as long as the model is right at least as often as required, its expected value
never grows, so that the probability that it ever reaches 1 / alpha, over all evaluations, is at most alpha (Ville's
inequality: Ville, Etude critique de la notion de collectif, 1939; Ramdas et al., Game-theoretic statistics and safe
anytime-valid inference, Statistical Science 38, 2023).

The e-process is a mixture of likelihood ratios of lower proportions against the lowest tolerated one (Waudby-Smith and
Ramdas, Estimating means of bounded random variables by betting, JRSS B 86, 2024). Neither the lower proportion nor the
time of the change is known, so that the mixture runs over many proportions and many starting times, as in the
e-detectors of Shin, Ramdas and Rinaldo (NEJSDS 2, 2024). Its weights add up to 1 here, which bounds the probability of
any false alarm; an e-detector bounds their frequency.

Independence is not assumed: only that each decision, given all earlier ones, is right with at least the tolerated
probability.
"""

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.model import FrozenModel

PROPORTIONS = 20
"""Number of lower proportions in the mixture, evenly spaced between 0 and the tolerated one."""
STRIDE = 20
"""Cases between two starting times. Fewer would give each a smaller weight, more would delay detection."""


class SequentialTest(FrozenModel):
    """Result of the sequential test of one metric.

    Attributes:
        limit: lowest tolerated proportion of right decisions, 0 to 1.
        cases: number of labels.
        proportion: observed proportion of right decisions; None without labels.
        e_value: e-value after the last label.
        maximum: largest e-value so far, at least 1.
        alarm_level: e-value that raises an alarm, 1 / alpha.
        alarm_after: number of labels after which the alarm level was first reached; None if it never was.
    """

    limit: float
    cases: int
    proportion: float | None
    e_value: float
    maximum: float
    alarm_level: float
    alarm_after: int | None


def check_proportion(right: NDArray[np.bool_], limit: float, alpha: float) -> SequentialTest:
    """Test whether a model is right less often than tolerated.

    Args:
        right: whether each decision was right, shape (N,), in the order in which the labels arrived.
        limit: lowest tolerated proportion of right decisions, between 0 and 1, both excluded.
        alpha: accepted probability of a false alarm over all evaluations.

    Examples:
        >>> check_proportion(np.array([True] * 30), limit=0.9, alpha=0.05).alarm_after is None
        True
        >>> check_proportion(np.array([False] * 30), limit=0.9, alpha=0.05).alarm_after
        3
    """
    values = e_process(right, limit)
    reached = np.flatnonzero(values >= 1 / alpha)
    return SequentialTest(
        limit=limit,
        cases=len(right),
        proportion=float(right.mean()) if len(right) else None,
        e_value=float(values[-1]) if len(right) else 1.0,
        maximum=float(values.max(initial=1.0)),
        alarm_level=1 / alpha,
        alarm_after=int(reached[0]) + 1 if len(reached) else None,
    )


def e_process(right: NDArray[np.bool_], limit: float) -> NDArray[np.float64]:
    """Return the e-value after each decision, shape (N,).

    For each lower proportion s, a component is multiplied by s / limit for a right decision and by
    (1 - s) / (1 - limit) for a wrong one. A component with weight 1 / (b (b + 1)) starts at starting time b = 1, 2,
    ...; the weight that has not started yet, 1 / (b + 1), is constant.

    Args:
        right: whether each decision was right, shape (N,).
        limit: lowest tolerated proportion of right decisions, between 0 and 1, both excluded.
    """
    proportions = limit * np.arange(1, PROPORTIONS + 1) / (PROPORTIONS + 1)
    factors = ((1 - proportions) / (1 - limit), proportions / limit)
    components = np.zeros(PROPORTIONS)
    values = np.empty(len(right))
    for case, is_right in enumerate(right):
        start, since_start = divmod(case, STRIDE)
        if not since_start:
            components = components + 1 / ((start + 1) * (start + 2))
        components = components * factors[int(is_right)]
        values[case] = components.mean() + 1 / (start + 2)
    return values
