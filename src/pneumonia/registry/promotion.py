"""Promotion through the gate, and rollback: the two ways to change the champion."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pneumonia.core.errors import PromotionError
from pneumonia.registry import description, gate, integrity, versions
from pneumonia.registry.history import PROMOTED, ROLLED_BACK, AliasChange, History
from pneumonia.registry.settings import PromoteParams
from pneumonia.registry.tracking import BUNDLE_SHA256, Store, explain_refusals
from pneumonia.registry.versions import CHALLENGER, CHAMPION, Version

VERDICT = "gate"
"""Tag of a version with the outcome of the gate, and folder of its run with the whole verdict."""


@dataclass(frozen=True)
class Promotion:
    """Result of a promotion.

    Attributes:
        version: that was to become champion.
        verdict: of the gate.
        change: of the alias; None if the champion stays.
    """

    version: Version
    verdict: gate.Verdict
    change: AliasChange | None


def promote(
    store: Store, name: str, policy: PromoteParams, *, number: int | None, reason: str, dry_run: bool
) -> Promotion:
    """Evaluate a version against the gate and, if it passes, make it the champion.

    Args:
        store: the MLflow store.
        name: of the registered model.
        policy: of the gate.
        number: of the version; by default that of the challenger.
        reason: for the history, at most `history.MAXIMUM_REASON_LENGTH` characters.
        dry_run: evaluate the gate and change nothing.

    Raises:
        PromotionError: there is no such version, it is the champion already, or another process changed the alias
            meanwhile.
        EvidenceError: the version or the champion was registered without the reports that the gate reads.
        TrackingError: the store refuses.
    """
    history = None if dry_run else History.start(store, name)
    basis = history.settle() if history else []
    current = versions.aliases(store, name)
    number = number or current.get(CHALLENGER)
    if number is None:
        raise PromotionError(
            f"{name} has no challenger. Run `dvc repro register`, or select a version with --version."
        )
    champion = current.get(CHAMPION)
    if number == champion:
        raise PromotionError(f"version {number} of {name} is the champion already. `pneumonia versions` lists all.")
    version = versions.get(store, name, number)
    verdict = _evaluate_gate(store, version, champion, policy)
    if history is None:
        return Promotion(version, verdict, None)
    change = None
    if verdict.outcome != gate.REFUSED:
        change = history.change(basis, PROMOTED, champion, number, verdict=verdict.outcome, reason=reason)
    _record(store, version, verdict, change)
    return Promotion(version, verdict, change)


def rollback(store: Store, name: str, *, reason: str) -> AliasChange:
    """Make the previous champion the champion again, without the gate: it was evaluated when it was promoted.

    Raises:
        PromotionError: there is no previous champion whose version still exists, or another process changed the
            alias meanwhile.
        TrackingError: the store refuses.
    """
    history = History.start(store, name)
    basis = history.settle()
    champion = versions.aliases(store, name).get(CHAMPION)
    existing = {version.number for version in versions.list_all(store, name)}
    earlier = [number for number in succession(basis) if number != champion and number in existing]
    if not earlier:
        raise PromotionError(
            f"{name} has no earlier champion to return to"
            + (f": version {champion} was the first, or the others were deleted." if champion else ".")
            + " `pneumonia history` shows all changes."
        )
    change = history.change(basis, ROLLED_BACK, champion, earlier[-1], verdict="not asked", reason=reason)
    for number in (champion, earlier[-1]):
        if number in existing:
            version = versions.get(store, name, number)
            _describe(store, version, description.prepend_promotion(version.description, _sentence(change)))
    return change


def succession(changes: Sequence[AliasChange]) -> list[int]:
    """Return the versions that led to the present champion, oldest first, without those that were rolled back."""
    champions: list[int] = []
    for change in changes:
        if change.kind == ROLLED_BACK and change.current in champions:
            del champions[len(champions) - champions[::-1].index(change.current) :]
        elif change.current is not None:
            champions.append(change.current)
    return champions


def _evaluate_gate(store: Store, version: Version, champion: int | None, policy: PromoteParams) -> gate.Verdict:
    return gate.judge(
        versions.evidence(store, version),
        versions.evidence(store, versions.get(store, version.name, champion)) if champion is not None else None,
        policy,
        integrity=integrity.check(
            versions.bundle(store, version), version.tags[BUNDLE_SHA256], policy.golden_tolerance
        ),
        phantoms_may_lead=gate.PHANTOM in version.name,
    )


@explain_refusals()
def _record(store: Store, version: Version, verdict: gate.Verdict, change: AliasChange | None) -> None:
    """Write the verdict to the version's tag, to files of its run, and to its description."""
    page = gate.markdown(verdict)
    store.client.set_model_version_tag(version.name, str(version.number), VERDICT, verdict.outcome)
    store.client.log_text(version.run_id, page, f"{VERDICT}/version_{version.number}.md")
    record = json.dumps(verdict.to_json(), indent=2) + "\n"
    store.client.log_text(version.run_id, record, f"{VERDICT}/version_{version.number}.json")
    text = f"{_sentence(change)}\n\n{page}" if change else page
    _describe(store, version, description.replace_promotion(version.description, text))


@explain_refusals()
def _describe(store: Store, version: Version, text: str) -> None:
    store.client.update_model_version(version.name, str(version.number), text)


def _sentence(change: AliasChange) -> str:
    reason = f": {change.reason}" if change.reason else ""
    return (
        f"Version {change.current} {change.kind} by {change.actor} on {change.time}, after version "
        f"{change.previous}{reason}."
    )
