"""The promotion gate: check the evidence on a version against the policy (section ``promote`` of operations.yaml).

Every limit applies to the unfavourable end of a 95% interval, so the burden of proof is on the model: a small test set
does not pass. Compared with the champion, the criterion is non-inferiority on the same images (Piaggio et al., JAMA
2012, doi 10.1001/jama.2012.87802): the lower end of the paired difference must lie above the margin.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pneumonia.audit.audit_report import Outcome
from pneumonia.core.estimate import Estimate
from pneumonia.core.markdown import head, interval, row
from pneumonia.evaluation import paired
from pneumonia.evaluation.evaluation_report import SubsetReport
from pneumonia.registry.promotion_evidence import Evidence
from pneumonia.registry.settings import PromoteParams

PASS, FAIL, SKIPPED = "pass", "fail", "not applicable"
PASSED, WARNED, REFUSED = "passed", "passed with warnings", "refused"
PHANTOM = "phantom"
SUBSET = "test"


@dataclass(frozen=True)
class Criterion:
    """The result of one criterion.

    Attributes:
        name: of the criterion, for readers.
        outcome: `PASS`, `FAIL` or `SKIPPED`.
        found: the value of the version, for readers.
        limit: the expected value, for readers.
        shortfall: distance from the limit, in the unit of the figure; None where the value is not a number.
        always: whether the criterion applies in every mode of the gate.
    """

    name: str
    outcome: str
    found: str
    limit: str
    shortfall: float | None = None
    always: bool = False


@dataclass(frozen=True)
class Verdict:
    """The results of all criteria, and the mode that decides what a failure means."""

    mode: str
    criteria: tuple[Criterion, ...]
    notes: tuple[str, ...]

    @property
    def failed(self) -> tuple[Criterion, ...]:
        """The criteria that failed."""
        return tuple(criterion for criterion in self.criteria if criterion.outcome == FAIL)

    @property
    def outcome(self) -> str:
        """`PASSED`, `WARNED` (a criterion failed and the mode permits it) or `REFUSED`."""
        if not self.failed:
            return PASSED
        binding = self.failed if self.mode == "enforce" else [c for c in self.failed if c.always]
        return REFUSED if binding else WARNED

    def to_json(self) -> dict[str, object]:
        """Return outcome, mode, criteria and notes as plain JSON types."""
        return {
            "outcome": self.outcome,
            "mode": self.mode,
            "criteria": [dataclasses.asdict(criterion) for criterion in self.criteria],
            "notes": list(self.notes),
        }


def judge(
    candidate: Evidence,
    champion: Evidence | None,
    policy: PromoteParams,
    *,
    integrity: Sequence[Criterion] = (),
    phantoms_may_lead: bool = False,
) -> Verdict:
    """Return the verdict on a version.

    Args:
        candidate: evidence on the version that may become champion.
        champion: evidence on the current champion, None where there is none.
        policy: limits and mode.
        integrity: results of the checks of the bundle itself, by a caller that can open it.
        phantoms_may_lead: whether the registered model is reserved for phantoms, by its name.
    """
    criteria = [_radiographs(candidate, phantoms_may_lead), *integrity]
    if policy.mode != "off":
        test = candidate.evaluation.subsets[SUBSET]
        criteria += [
            _same_data(candidate, champion),
            _lower_end_at_least("sensitivity", test.figures.get("sensitivity"), policy.minimum_sensitivity),
            *_against_champion(candidate, champion, policy),
            _calibration(test, policy),
            *_slices(test, policy),
            _audit(candidate),
        ]
    return Verdict(policy.mode, tuple(criteria), tuple(_notes(candidate)))


def markdown(verdict: Verdict) -> str:
    """Return a verdict as Markdown: the outcome, the failed criteria with their shortfall, and all criteria."""
    lines = [f"**Gate: {verdict.outcome}** (mode `{verdict.mode}`)", ""]
    lines += [f"- {_describe_failure(criterion)}" for criterion in verdict.failed]
    lines += [f"- Note: {note}" for note in verdict.notes]
    lines += ["", *head("criterion", "found", "limit", "outcome")]
    lines += [row(c.name, c.found, c.limit, c.outcome) for c in verdict.criteria]
    return "\n".join(lines) + "\n"


def _describe_failure(criterion: Criterion) -> str:
    short = "" if criterion.shortfall is None else f", short by {criterion.shortfall:.3f}"
    return f"{criterion.name}: found {criterion.found}, expected {criterion.limit}{short}"


def _radiographs(candidate: Evidence, phantoms_may_lead: bool) -> Criterion:
    source = candidate.registration.source
    return Criterion(
        "trained on radiographs",
        PASS if phantoms_may_lead or source != PHANTOM else FAIL,
        f"source {source}",
        "any, for a registered model named after phantoms" if phantoms_may_lead else "not phantom",
        always=True,
    )


def _same_data(candidate: Evidence, champion: Evidence | None) -> Criterion:
    name = "same data definition as the champion"
    if champion is None:
        return Criterion(name, SKIPPED, "there is no champion", "equal data hashes")
    first, second = candidate.registration, champion.registration
    return Criterion(
        name,
        PASS if (first.source, first.data_hash) == (second.source, second.data_hash) else FAIL,
        f"{first.source} {first.data_hash[:12]}",
        f"{second.source} {second.data_hash[:12]}",
    )


def _against_champion(candidate: Evidence, champion: Evidence | None, policy: PromoteParams) -> Iterator[Criterion]:
    margins = {"specificity": policy.margins.specificity, "roc_auc": policy.margins.roc_auc}
    names = {figure: f"{figure.replace('roc_auc', 'ROC AUC')} less the champion's" for figure in margins}
    if champion is None:
        for figure, margin in margins.items():
            yield Criterion(names[figure], SKIPPED, "there is no champion", f"above {-margin:.3f}")
        return
    aligned = paired.align(candidate.predictions, champion.predictions, SUBSET)
    same = all(paired.covers(aligned, one.predictions, SUBSET) for one in (candidate, champion))
    differences = paired.differences(aligned, candidate.bootstrap) if same else {}
    for figure, margin in margins.items():
        if same:
            difference = differences.get(figure)
            yield _lower_end_at_least(names[figure], difference and difference.rounded(), -margin)
        else:
            value = f"evaluated on other test images ({len(aligned)} in common)"
            yield Criterion(names[figure], FAIL, value, "the same test images")


def _calibration(test: SubsetReport, policy: PromoteParams) -> Criterion:
    error = test.calibration.after.ece
    over = error - policy.maximum_calibration_error
    return Criterion(
        "expected calibration error",
        FAIL if over > 0 else PASS,
        f"{error:.3f}",
        f"at most {policy.maximum_calibration_error:.3f}",
        over if over > 0 else None,
    )


def _slices(test: SubsetReport, policy: PromoteParams) -> Iterator[Criterion]:
    large_enough: Mapping[str, Mapping[str, Estimate]] = {
        f"{kind}: {name}": report.figures
        for kind, by_name in test.slices.items()
        for name, report in by_name.items()
        if not report.warning
    }
    for figure, limit in policy.slices.model_dump().items():
        if large_enough:
            worst = min(large_enough, key=lambda name: _lower_end(large_enough[name].get(figure)))
            title = f"{figure} in the worst slice ({worst})"
            yield _lower_end_at_least(title, large_enough[worst].get(figure), limit)
        else:
            yield Criterion(f"{figure} in every slice", SKIPPED, "no slice has enough patients", f"{limit:.3f}")


def _lower_end(figure: Estimate | None) -> float:
    return -1.0 if figure is None or figure.low is None else figure.low


def _audit(candidate: Evidence) -> Criterion:
    verdict = candidate.model_audit.verdict
    outcome = PASS if verdict == Outcome.PASS else FAIL
    return Criterion("shortcut audit of the model", outcome, verdict.value, Outcome.PASS.value)


def _notes(candidate: Evidence) -> Iterator[str]:
    if candidate.data_audit.alarm:
        yield "the shortcut audit of the data raises the alarm: the classes can be separated without using the lungs"
    if candidate.registration.source == PHANTOM:
        yield "trained on phantoms: its figures do not apply to patients"


def _lower_end_at_least(name: str, figure: Estimate | None, limit: float) -> Criterion:
    expected = f"lower end at least {limit:.3f}"
    if figure is None or figure.low is None:
        value = "undefined" if figure is None else f"{figure.value:.3f}, interval undefined"
        return Criterion(name, FAIL, value, expected)
    short = limit - figure.low
    return Criterion(name, FAIL if short > 0 else PASS, interval(figure), expected, short if short > 0 else None)
