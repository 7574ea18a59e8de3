"""Which bundle answers when none is named: the registry's champion, else the release that comes with the project."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumonia import config, store_address
from pneumonia.errors import BundleError
from pneumonia.models.bundle import CARD_FILE, Card

RELEASE = Path("release")
PARAMS = Path("params.yaml")
CODE = Path(__file__).parents[2]
"""The project that this package is installed from, where it is installed editable."""


@dataclass(frozen=True)
class Choice:
    """A bundle's folder, where it comes from in words, and the champion's version, None of any other bundle."""

    folder: Path
    origin: str
    version: int | None = None


def choose(project: Path, bundle: Path | None = None) -> Choice:
    """Choose the bundle that answers for the project in a folder; ``bundle`` where one is named.

    The registry is that of `store_address.tracking_uri`; looking makes no store. The release is ``release/`` of
    ``project``, or of the project that the package is installed from.

    Raises:
        BundleError: there is neither a champion nor a release.
        TrackingError: the store cannot be reached.
    """
    if bundle:
        return Choice(bundle, str(bundle))
    choice = _champion(project) or _release(project)
    if choice is None:
        raise BundleError(
            "there is no model to answer with: no version in the registry has the alias champion, and there is no "
            f"bundle in {RELEASE}/. Name a trained model (--bundle artifacts/models/mobilenetv2; `make repro` trains "
            "it), or make a version the champion (`pneumonia promote`)."
        )
    return choice


def judgement(folder: Path, card: Card, project: Path) -> dict[str, Any] | None:
    """Return the judgement of a bundle, as `evaluation.judgement` wrote it beside the bundle or in a project.

    Args:
        folder: of the bundle.
        card: of the bundle; a judgement at another operating point is none of it.
        project: where the bundle may have been evaluated.

    Returns:
        None where there is none.
    """
    for file in (folder / "reports" / "judgement.json", project / "reports" / "judgement" / f"{card.name}.json"):
        if file.is_file():
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            if abs(found["operating_point"]["threshold"] - card.threshold) < 1e-6:
                return found
    return None


def params_file(project: Path) -> Path | None:
    """Return the params.yaml of a project, or of the one that the package is installed from."""
    return _first_file(project / PARAMS, CODE / PARAMS)


def _champion(project: Path) -> Choice | None:
    params = params_file(project)
    if params is None or not store_address.exists(store_address.tracking_uri(project)):
        return None
    from pneumonia import tracking
    from pneumonia.registry import versions  # here, because MLflow takes seconds

    store = tracking.find_store(project)
    found = versions.champion(store, config.load(params).register_.name) if store else None
    if found is None:
        return None
    return Choice(found.bundle, f"version {found.version} of {found.name} (champion)", found.version)


def _release(project: Path) -> Choice | None:
    card = _first_file(project / RELEASE / CARD_FILE, CODE / RELEASE / CARD_FILE)
    return Choice(card.parent, "release") if card else None


def _first_file(*files: Path) -> Path | None:
    return next((file for file in files if file.is_file()), None)
