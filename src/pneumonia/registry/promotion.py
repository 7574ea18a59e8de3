"""The champion: promoted through the gate, rolled back at once, and every move in the history."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pneumonia.config import PromoteParams
from pneumonia.errors import PromotionError
from pneumonia.evaluation import gate
from pneumonia.registry import description, integrity, versions
from pneumonia.registry.history import PROMOTED, ROLLED_BACK, History, Move
from pneumonia.registry.versions import CHALLENGER, CHAMPION, Version
from pneumonia.tracking import BUNDLE_SHA256, Store, explain_refusals

VERDICT = "gate"
"""Tag of a version with the gate's verdict, and folder of its run with all that was said."""


@dataclass(frozen=True)
class Promotion:
    """What came of it: the version, what the gate said, and the move, None where the alias stays."""

    version: Version
    verdict: gate.Verdict
    move: Move | None


def promote(
    store: Store, name: str, policy: PromoteParams, *, number: int | None, why: str, dry_run: bool
) -> Promotion:
    """Ask the gate for a version and, if it passes, make it the champion.

    Args:
        store: the MLflow store.
        name: of the registered model.
        policy: the gate's.
        number: of the version; by default the challenger.
        why: in the words of who asks, for the history.
        dry_run: ask the gate, and change nothing.

    Raises:
        PromotionError: there is no such version, it is champion already, or somebody else moved the alias meanwhile.
        EvidenceError: the version, or the champion, was registered without its evidence.
        TrackingError: the store refuses.
    """
    history = None if dry_run else History.start(store, name)
    seen = history.settle() if history else []
    held = versions.aliases(store, name)
    number = number or held.get(CHALLENGER)
    if number is None:
        raise PromotionError(f"{name} has no challenger. Run `dvc repro register`, or name a version with --version.")
    champion = held.get(CHAMPION)
    if number == champion:
        raise PromotionError(f"version {number} of {name} is the champion already.")
    version = versions.get(store, name, number)
    verdict = _judge(store, version, champion, policy)
    if history is None:
        return Promotion(version, verdict, None)
    move = None
    if verdict.outcome != gate.REFUSED:
        move = history.move(seen, PROMOTED, champion, number, verdict=verdict.outcome, why=why)
    _record(store, version, verdict, move)
    return Promotion(version, verdict, move)


def rollback(store: Store, name: str, *, why: str) -> Move:
    """Make the previous champion champion again, at once: it was judged when it became champion.

    Raises:
        PromotionError: there is none whose version still exists, or somebody else moved the alias meanwhile.
        TrackingError: the store refuses.
    """
    history = History.start(store, name)
    seen = history.settle()
    current = versions.aliases(store, name).get(CHAMPION)
    existing = {version.number for version in versions.every(store, name)}
    earlier = [number for number in line(seen) if number != current and number in existing]
    if not earlier:
        raise PromotionError(
            f"{name} has no earlier champion to go back to"
            + (f": version {current} was the first, or the others were deleted." if current else ".")
            + " `pneumonia history` shows all moves."
        )
    move = history.move(seen, ROLLED_BACK, current, earlier[-1], verdict="not asked", why=why)
    for number in (current, earlier[-1]):
        if number in existing:
            version = versions.get(store, name, number)
            _describe(store, version, description.with_news(version.description, _sentence(move)))
    return move


def line(moves: Sequence[Move]) -> list[int]:
    """Return the champions that led to the present one, the first one first; who was rolled back is left out."""
    led: list[int] = []
    for move in moves:
        if move.kind == ROLLED_BACK and move.after in led:
            del led[len(led) - led[::-1].index(move.after) :]
        elif move.after is not None:
            led.append(move.after)
    return led


def _judge(store: Store, version: Version, champion: int | None, policy: PromoteParams) -> gate.Verdict:
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
def _record(store: Store, version: Version, verdict: gate.Verdict, move: Move | None) -> None:
    """Write the verdict to the version: a tag, files of its run, and its description."""
    page = gate.markdown(verdict)
    store.client.set_model_version_tag(version.name, str(version.number), VERDICT, verdict.outcome)
    store.client.log_text(version.run_id, page, f"{VERDICT}/version_{version.number}.md")
    record = json.dumps(verdict.to_json(), indent=2) + "\n"
    store.client.log_text(version.run_id, record, f"{VERDICT}/version_{version.number}.json")
    told = f"{_sentence(move)}\n\n{page}" if move else page
    _describe(store, version, description.with_promotion(version.description, told))


@explain_refusals()
def _describe(store: Store, version: Version, text: str) -> None:
    store.client.update_model_version(version.name, str(version.number), text)


def _sentence(move: Move) -> str:
    because = f": {move.why}" if move.why else ""
    return f"Version {move.after} {move.kind} by {move.who} on {move.when}, after version {move.before}{because}."
