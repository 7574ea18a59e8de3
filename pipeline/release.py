"""The network in release/ (`make release`): trained on the images of `dvc repro`, for longer than a stage may take.

``train`` fits the networks and averages them. ``calibrate`` writes the bundle from that network or, where there is
none, from the weights that release/ already has. ``evaluate`` writes release/reports/ and MODEL_CARD.md, ``profile``
the reference profile for `pneumonia monitor`. An interrupted training resumes.
"""

import functools
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from pipeline import live_curves, stage
from pipeline.params import Params
from pipeline.stages import audit, calibrate, evaluate, profile
from pipeline.stages.train import labelled
from pneumonia.arrays import store
from pneumonia.audit.audit_report import DataAudit
from pneumonia.bundle import bundle as bundles
from pneumonia.core import files, paths, settings
from pneumonia.core.errors import ConfigError
from pneumonia.data import definition
from pneumonia.evaluation import comparison
from pneumonia.evaluation.evaluate import evaluate as evaluate_model
from pneumonia.evaluation.evaluate import headlines
from pneumonia.evaluation.prediction_table import predictions_table, read_predictions
from pneumonia.inference.runtime import Runtime
from pneumonia.monitoring import profile as profiles
from pneumonia.registry.registration_report import Registration
from pneumonia.reports import model_card
from pneumonia.training import network_file, soup, training
from pneumonia.training.settings import ReleaseParams

NAME = "release"
NETWORK = paths.NETWORKS / NAME / "model.keras"
REPORTS = paths.RELEASE / "reports"
PROVENANCE = paths.RELEASE / "provenance.json"
CARD = Path("MODEL_CARD.md")


def main(params: Params, commands: list[str]) -> None:
    """Run the commands in turn."""
    known: dict[str, Callable[[Params, ReleaseParams], None]] = {
        "train": train,
        "calibrate": write_bundle,
        "evaluate": write_reports,
        "profile": write_profile,
    }
    if unknown := set(commands) - set(known):
        raise ConfigError(f"expected {', '.join(known)}, got {', '.join(sorted(unknown))}.")
    release = settings.read_section(paths.OPERATIONS, "release", ReleaseParams)
    for command in commands:
        known[command](params, release)


def train(params: Params, release: ReleaseParams) -> None:
    """Train the networks of all seeds, and write the network with the mean of their weights."""
    data = store.read(paths.IMAGES)
    parameters = _parameters(release)
    run_file = paths.CHECKPOINTS / f"{NAME}.run_id"
    with live_curves.follow(NAME, release.recipe.kind, data, parameters, run_file) as curves:
        networks = [
            training.train(
                release.recipe,
                labelled(data, "train"),
                labelled(data, "validation"),
                seed=seed,
                checkpoint=paths.CHECKPOINTS / f"{NAME}-{seed}",
                on_epoch=functools.partial(_log_seed, curves, seed),
            )[0]
            for seed in release.seeds
        ]
        curves.finish(network_file.save(soup.average(networks), NETWORK, float16=True))
    files.write_json(
        PROVENANCE,
        {"git_commit": live_curves.git_commit(), "trained": datetime.now(UTC).strftime("%Y-%m-%d")},
    )


def write_bundle(params: Params, release: ReleaseParams) -> None:
    """Calibrate the network and write the bundle."""
    network = NETWORK if NETWORK.is_file() else paths.RELEASE / bundles.MODEL_FILE
    calibrate.calibrate(paths.RELEASE, NAME, release.recipe.kind, network, _parameters(release), params)


def write_reports(params: Params, _: ReleaseParams) -> None:
    """Evaluate and audit the bundle as the stages do, compare it with the challenger, and write the model card."""
    data, metadata = store.read(paths.IMAGES), pd.read_parquet(paths.HEADER_METADATA)
    runtime = Runtime.load(paths.RELEASE)
    card = runtime.bundle.card
    subsets = evaluate.score(runtime, data, metadata, params.evaluate.batch_size)
    report = evaluate_model(card, subsets, evaluate.size_cuts(data, metadata), params.evaluate)
    predictions = predictions_table(card, subsets)
    challenger = files.read_json(paths.REGISTRATION, Registration).model
    compared = comparison.compare(
        {NAME: predictions, challenger: read_predictions(paths.PREDICTIONS / f"{challenger}.csv")},
        challenger,
        params.evaluate.bootstrap,
    )
    audited = audit.audit(runtime, data, metadata, params)
    files.write_json(REPORTS / "evaluation.json", report)
    files.write_json(REPORTS / "comparison.json", compared)
    files.write_json(REPORTS / "audit.json", audited)
    files.write_csv(REPORTS / "predictions.csv", predictions)
    page = model_card.render(
        card,
        report,
        files.read_json(paths.DATA_AUDIT, DataAudit),
        audited,
        compared,
        published=definition.load(paths.DATASET_DEFINITION) if card.data.source == "kermany" else None,
        command="make release",
    )
    files.write_text(CARD, page)
    print(headlines({NAME: report}))
    print(f"Shortcut audit: {audited.verdict}")


def write_profile(_: Params, __: ReleaseParams) -> None:
    """Build the reference profile of the bundle."""
    profiles.write(profile.build(Runtime.load(paths.RELEASE)), paths.RELEASE / profiles.FILE)


def _parameters(release: ReleaseParams) -> dict[str, str | int | float | bool]:
    return settings.flatten({"seeds": release.seeds} | release.recipe.model_dump())


def _log_seed(curves: live_curves.LiveCurves, seed: int, epoch: int, metrics: dict[str, float]) -> None:
    curves.log(epoch, {f"seed_{seed}/{name}": value for name, value in metrics.items()})


if __name__ == "__main__":
    stage.run(functools.partial(main, commands=sys.argv[1:] or ["train", "calibrate", "evaluate", "profile"]))
