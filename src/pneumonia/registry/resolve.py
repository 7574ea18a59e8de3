"""Resolve the bundle to predict with: the registry's champion, otherwise the release that ships with the project."""

from dataclasses import dataclass
from pathlib import Path

from pneumonia.bundle.bundle import CARD_FILE, Card
from pneumonia.core import files, paths, settings
from pneumonia.core.errors import BundleError
from pneumonia.evaluation.evaluation_report import EvaluationReport
from pneumonia.registry import address as store_address
from pneumonia.registry.settings import RegisterParams

CODE = Path(__file__).parents[3]
"""Root of the project that this package is installed from, if it is an editable install."""

RELEASE_EVALUATION = Path("reports/evaluation.json")
"""Path of the evaluation report in the folder of a released bundle."""


@dataclass(frozen=True)
class ResolvedBundle:
    """A bundle to predict with.

    Attributes:
        folder: of the bundle.
        origin: where it comes from, for people: "version 3 of NAME (champion)", "release", or the given path.
        version: number of the champion's version; None for every other bundle.
    """

    folder: Path
    origin: str
    version: int | None = None


def resolve_bundle(project: Path, bundle: Path | None = None) -> ResolvedBundle:
    """Return the bundle to predict with in a project.

    The store is that of `address.tracking_uri`; it is not created if it does not exist. The release is ``release/`` of
    ``project``, or of the project that this package is installed from.

    Args:
        project: root of the project.
        bundle: folder of a bundle, which takes precedence; by default champion, then release.

    Raises:
        BundleError: there is neither a champion nor a release.
        TrackingError: the store cannot be reached.
    """
    if bundle:
        return ResolvedBundle(bundle, str(bundle))
    resolved = _champion(project) or _release(project)
    if resolved is None:
        raise BundleError(
            "there is no model to predict with: no version in the registry has the alias champion, and there is no "
            f"bundle in {paths.RELEASE}/. Give a trained model (--bundle artifacts/models/mobilenetv2; `make repro` "
            "trains it), or make a version the champion (`pneumonia promote`)."
        )
    return resolved


def evaluation_report(folder: Path, card: Card, project: Path) -> EvaluationReport | None:
    """Return the evaluation report of a bundle, from its folder or from a project; None where there is none.

    Args:
        folder: folder of the bundle, which may contain reports/evaluation.json.
        card: card of the bundle. Reports on other weights or another operating point are ignored.
        project: project whose reports/ may contain the evaluation of the bundle.

    Raises:
        EvidenceError: a report was written by another version of the project.
    """
    for file in (folder / RELEASE_EVALUATION, project / paths.EVALUATION_REPORTS / f"{card.name}.json"):
        if file.is_file():
            report = files.read_json(file, EvaluationReport)
            same_threshold = abs(report.operating_point.threshold - card.threshold) < 1e-6
            if same_threshold and report.bundle_sha256 == card.sha256:
                return report
    return None


def settings_file(project: Path, name: Path) -> Path:
    """Return a settings file of a project, or that of the project this package is installed from if it has none."""
    return _first_file(project / name, CODE / name) or name


def _champion(project: Path) -> ResolvedBundle | None:
    params = settings_file(project, paths.PARAMS)
    if not params.is_file() or not store_address.exists(store_address.tracking_uri(project)):
        return None
    from pneumonia.registry import tracking, versions  # imports MLflow, which takes seconds

    store = tracking.find_store(project)
    name = settings.read_section(params, "register", RegisterParams).name
    champion = versions.champion(store, name) if store else None
    if champion is None:
        return None
    return ResolvedBundle(champion.bundle, f"version {champion.version} of {name} (champion)", champion.version)


def _release(project: Path) -> ResolvedBundle | None:
    card = _first_file(project / paths.RELEASE / CARD_FILE, CODE / paths.RELEASE / CARD_FILE)
    return ResolvedBundle(card.parent, "release") if card else None


def _first_file(*candidates: Path) -> Path | None:
    return next((file for file in candidates if file.is_file()), None)
