"""The gate: may a version become champion? Its evidence is held against the policy in params.yaml (``promote``).

Every limit is read at the unfavourable end of a 95% interval, so that the burden of proof lies with the model: little
evidence does not pass. Against the champion the question is one of non-inferiority on the same images (Piaggio et al.,
JAMA 2012, doi 10.1001/jama.2012.87802): the lower end of the paired difference must lie above the margin.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pneumonia.config import BootstrapParams, PromoteParams
from pneumonia.errors import EvidenceError
from pneumonia.evaluation import paired
from pneumonia.evaluation.markdown import head, interval, row
from pneumonia.evaluation.shortcuts_model import PASS as AUDIT_PASSED

PASS, FAIL, SKIPPED = "pass", "fail", "not applicable"
PASSED, WARNED, REFUSED = "passed", "passed with warnings", "refused"
PHANTOM = "phantom"
SUBSET = "test"


@dataclass(frozen=True)
class Evidence:
    """What is known of one version, laid out as *evaluate*, *audit* and *register* lay it out in reports/.

    Attributes:
        model: its name in params.yaml.
        source: where its images come from (kermany, phantom, or a path).
        data_hash: of the images and their labels.
        judgement: reports/judgement/<model>.json.
        audit: reports/shortcuts.json.
        predictions: reports/predictions/<model>.csv.
    """

    model: str
    source: str
    data_hash: str
    judgement: Mapping[str, Any]
    audit: Mapping[str, Any]
    predictions: pd.DataFrame

    @classmethod
    def read(cls, reports: Path) -> "Evidence":
        """Read the evidence for the registered model from a folder like reports/.

        Raises:
            EvidenceError: a file is missing or says nothing of the model.
        """
        registered = _read(reports / "registered.json")
        model = registered["model"]
        audit = _read(reports / "shortcuts.json")
        if model not in audit["models"]:
            raise EvidenceError(f"{reports / 'shortcuts.json'} does not judge {model}. Run `dvc repro`.")
        try:
            predictions = pd.read_csv(reports / f"predictions/{model}.csv")
        except FileNotFoundError as error:
            raise EvidenceError(f"{error.filename} is missing. Run `dvc repro` to make it.") from None
        return cls(
            model=model,
            source=registered["source"],
            data_hash=registered["data_hash"],
            judgement=_read(reports / f"judgement/{model}.json"),
            audit=audit,
            predictions=predictions,
        )

    @property
    def bootstrap(self) -> BootstrapParams:
        """The resamples that its intervals come from."""
        told = self.judgement["bootstrap"]
        return BootstrapParams(resamples=told["resamples"], seed=told["seed"])


def files(model: str) -> tuple[str, ...]:
    """Return the files that `Evidence.read` reads, relative to reports/."""
    return ("registered.json", "shortcuts.json", f"judgement/{model}.json", f"predictions/{model}.csv")


@dataclass(frozen=True)
class Criterion:
    """One thing that is asked of a version.

    Attributes:
        name: what is asked, in words.
        outcome: `PASS`, `FAIL` or `SKIPPED`.
        found: what was found, in words.
        limit: what was expected, in words.
        shortfall: by how much it failed, in the unit of the figure; None where that is no number.
        always: whether no mode of the gate lets a version pass without it.
    """

    name: str
    outcome: str
    found: str
    limit: str
    shortfall: float | None = None
    always: bool = False


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a version."""

    mode: str
    criteria: tuple[Criterion, ...]
    notes: tuple[str, ...]

    @property
    def failed(self) -> tuple[Criterion, ...]:
        """The criteria that were not met."""
        return tuple(criterion for criterion in self.criteria if criterion.outcome == FAIL)

    @property
    def outcome(self) -> str:
        """`PASSED`, `WARNED` (not all is met, and the mode lets it pass) or `REFUSED`."""
        if not self.failed:
            return PASSED
        binding = self.failed if self.mode == "enforce" else [c for c in self.failed if c.always]
        return REFUSED if binding else WARNED

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON types."""
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
    """Hold the evidence for a version against the policy.

    Args:
        candidate: the version that may become champion.
        champion: the present one, None where there is none.
        policy: limits and mode.
        integrity: what was found of the bundle itself, by who could open it.
        phantoms_may_lead: whether the registered model is one for phantoms by name.
    """
    criteria = [_radiographs(candidate, phantoms_may_lead), *integrity]
    if policy.mode != "off":
        criteria += [
            _same_data(candidate, champion),
            _sensitivity(candidate, policy),
            *_against_champion(candidate, champion, policy),
            _calibration(candidate, policy),
            *_slices(candidate, policy),
            _audit(candidate),
        ]
    return Verdict(policy.mode, tuple(criteria), tuple(_notes(candidate)))


def markdown(verdict: Verdict) -> str:
    """Write a verdict for readers: the outcome, what failed and by how much, and the table of all criteria."""
    lines = [f"**Gate: {verdict.outcome}** (mode `{verdict.mode}`)", ""]
    for criterion in verdict.failed:
        lines.append(f"- {_failure(criterion)}")
    lines += [f"- Note: {note}" for note in verdict.notes]
    lines += ["", *head("criterion", "found", "limit", "outcome")]
    lines += [row(c.name, c.found, c.limit, c.outcome) for c in verdict.criteria]
    return "\n".join(lines) + "\n"


def _failure(criterion: Criterion) -> str:
    short = "" if criterion.shortfall is None else f", short by {criterion.shortfall:.3f}"
    return f"{criterion.name}: found {criterion.found}, expected {criterion.limit}{short}"


def _radiographs(candidate: Evidence, phantoms_may_lead: bool) -> Criterion:
    is_phantom = candidate.source == PHANTOM
    return Criterion(
        "trained on radiographs",
        PASS if phantoms_may_lead or not is_phantom else FAIL,
        f"source {candidate.source}",
        "any, for a registered model whose name says phantom" if phantoms_may_lead else "not phantom",
        always=True,
    )


def _same_data(candidate: Evidence, champion: Evidence | None) -> Criterion:
    name = "same data definition as the champion"
    if champion is None:
        return Criterion(name, SKIPPED, "there is no champion", "equal data hashes")
    same = (candidate.source, candidate.data_hash) == (champion.source, champion.data_hash)
    return Criterion(
        name,
        PASS if same else FAIL,
        f"{candidate.source} {candidate.data_hash[:12]}",
        f"{champion.source} {champion.data_hash[:12]}",
    )


def _sensitivity(candidate: Evidence, policy: PromoteParams) -> Criterion:
    figure = candidate.judgement["subsets"][SUBSET]["figures"].get("sensitivity")
    return _at_least("sensitivity", figure, policy.minimum_sensitivity)


def _against_champion(candidate: Evidence, champion: Evidence | None, policy: PromoteParams) -> Iterator[Criterion]:
    limits = {"specificity": policy.margins.specificity, "roc_auc": policy.margins.roc_auc}
    names = {figure: f"{figure.replace('roc_auc', 'ROC AUC')} less the champion's" for figure in limits}
    if champion is None:
        for figure, margin in limits.items():
            yield Criterion(names[figure], SKIPPED, "there is no champion", f"above {-margin:.3f}")
        return
    aligned = paired.align(candidate.predictions, champion.predictions, SUBSET)
    same = all(paired.covers(aligned, one.predictions, SUBSET) for one in (candidate, champion))
    found = paired.differences(aligned, candidate.bootstrap) if same else {}
    for figure, margin in limits.items():
        if same:
            difference = found[figure].to_json() if figure in found else None
            yield _at_least(names[figure], difference, -margin)
        else:
            told = f"judged on other test images ({len(aligned)} in common)"
            yield Criterion(names[figure], FAIL, told, "the same test images")


def _calibration(candidate: Evidence, policy: PromoteParams) -> Criterion:
    error = candidate.judgement["subsets"][SUBSET]["calibration"]["after"]["ece"]
    over = error - policy.maximum_calibration_error
    return Criterion(
        "expected calibration error",
        FAIL if over > 0 else PASS,
        f"{error:.3f}",
        f"at most {policy.maximum_calibration_error:.3f}",
        over if over > 0 else None,
    )


def _slices(candidate: Evidence, policy: PromoteParams) -> Iterator[Criterion]:
    judged = [
        (f"{kind}: {name}", found["figures"])
        for kind, by_name in candidate.judgement["subsets"][SUBSET]["slices"].items()
        for name, found in by_name.items()
        if not found["warning"]
    ]
    for figure, limit in policy.slices.model_dump().items():
        if judged:
            slice_, found = min(((name, figures.get(figure)) for name, figures in judged), key=_lower_end)
            yield _at_least(f"{figure} in the worst slice ({slice_})", found, limit)
        else:
            yield Criterion(f"{figure} in every slice", SKIPPED, "no slice has enough patients", f"{limit:.3f}")


def _lower_end(named: tuple[str, Mapping[str, Any] | None]) -> float:
    figure = named[1]
    return -1.0 if figure is None or figure["low"] is None else float(figure["low"])


def _audit(candidate: Evidence) -> Criterion:
    found = candidate.audit["models"][candidate.model]["verdict"]
    return Criterion("shortcut audit of the model", PASS if found == AUDIT_PASSED else FAIL, found, AUDIT_PASSED)


def _notes(candidate: Evidence) -> Iterator[str]:
    if candidate.audit["data"]["alarm"]:
        yield "the shortcut audit raises the alarm on the data: the classes can be told apart without seeing a lung"
    if candidate.source == PHANTOM:
        yield "trained on phantoms: it says nothing about patients"


def _at_least(name: str, figure: Mapping[str, Any] | None, limit: float) -> Criterion:
    """Ask that the lower end of a figure's interval is no lower than the limit."""
    expected = f"lower end at least {limit:.3f}"
    if figure is None or figure["low"] is None:
        told = "undefined" if figure is None else f"{figure['value']:.3f}, interval undefined"
        return Criterion(name, FAIL, told, expected)
    short = limit - figure["low"]
    return Criterion(name, FAIL if short > 0 else PASS, interval(figure), expected, short if short > 0 else None)


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EvidenceError(f"{path} is missing. Run `dvc repro` to make it.") from None
    return content
