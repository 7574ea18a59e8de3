"""Has the model become worse? A test that may be looked at after every label, for as long as one likes.

A test that is repeated each week with the usual p < 0.05 sooner or later raises an alarm over a model that is as good
as ever. The evidence here is an e-process: while the model is right at least as often as it should be, it is never
expected to grow, so that the chance that it ever reaches 1 / alpha, over all looks together, is at most alpha (Ville's
inequality: Ville, Etude critique de la notion de collectif, 1939; Ramdas et al., Game-theoretic statistics and safe
anytime-valid inference, Statistical Science 38, 2023).

What grows is a bet on the likelihood ratio of some lower share against the lowest tolerated one (Waudby-Smith and
Ramdas, Estimating means of bounded random variables by betting, JRSS B 86, 2024). Nobody knows the lower share, nor
since when it holds: the stake is spread over many shares, and over many beginnings, as the e-detectors of Shin, Ramdas
and Rinaldo (NEJSDS 2, 2024) do; the stakes add up to 1 here, which bounds the chance of any false alarm, where an
e-detector bounds how often they come.

It asks for no independence: only that each answer, whatever came before, is right with at least the tolerated chance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHARES = 20
"""Lower shares that are bet on, evenly from 0 to the tolerated one."""
STRIDE = 20
"""Cases between two beginnings; fewer would spread the stake thinner, more would come later."""


@dataclass(frozen=True)
class Evidence:
    """What the labels say against a model being right often enough.

    Attributes:
        limit: the share of right answers that is still tolerated.
        cases: labels that were looked at.
        right: share of them that the model answered rightly; None where there are none.
        value: e-value now; how many times a stake against the model would have grown.
        highest: the highest that it ever was.
        needed: at which an alarm is raised, 1 / alpha.
        alarm_after: cases after which it first reached that; None if never.
    """

    limit: float
    cases: int
    right: float | None
    value: float
    highest: float
    needed: float
    alarm_after: int | None


def against(right: NDArray[np.bool_], limit: float, alpha: float) -> Evidence:
    """Weigh the answers (N,) bool, in the order in which their labels came, against the tolerated share ``limit``.

    Args:
        right: whether each answer was right.
        limit: above 0, below 1.
        alpha: chance of a false alarm that is accepted, over all looks.
    """
    values = e_process(right, limit)
    reached = np.flatnonzero(values >= 1 / alpha)
    return Evidence(
        limit=limit,
        cases=len(right),
        right=float(right.mean()) if len(right) else None,
        value=float(values[-1]) if len(right) else 1.0,
        highest=float(values.max(initial=1.0)),
        needed=1 / alpha,
        alarm_after=int(reached[0]) + 1 if len(reached) else None,
    )


def e_process(right: NDArray[np.bool_], limit: float) -> NDArray[np.float64]:
    """Return the e-value (N,) after each of the answers (N,) bool.

    For every lower share s a stake grows by s / limit with a right answer and by (1 - s) / (1 - limit) with a wrong
    one. A stake of 1 / (b (b + 1)) enters at beginning b = 1, 2, ...; what has not yet entered, 1 / (b + 1), is kept.
    """
    shares = limit * np.arange(1, SHARES + 1) / (SHARES + 1)
    growth = ((1 - shares) / (1 - limit), shares / limit)
    stakes = np.zeros(SHARES)
    values = np.empty(len(right))
    for case, is_right in enumerate(right):
        beginning, waiting = divmod(case, STRIDE)
        if not waiting:
            stakes = stakes + 1 / ((beginning + 1) * (beginning + 2))
        stakes = stakes * growth[int(is_right)]
        values[case] = stakes.mean() + 1 / (beginning + 2)
    return values
