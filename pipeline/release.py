"""The network in release/ (`make release`): trained on what `dvc repro prepare` leaves, for longer than a stage may.

A run that is killed goes on where it was.
"""

import shutil
from pathlib import Path
from typing import Any

from pipeline import conclude, stage
from pneumonia import config, tracking
from pneumonia.images import store as images
from pneumonia.models import fit, soup

NAME = "release"
IMAGES = Path("artifacts/images")
CHECKPOINTS = Path("artifacts/checkpoints")
RELEASE = Path("release")


def main(params: config.Params) -> None:
    """Train the networks of all seeds, average them, and write the bundle."""
    data = images.read(IMAGES)
    description = tracking.RunDescription(
        NAME,
        params.release.recipe.kind,
        conclude.lineage(data),
        conclude.parameters(params, params.release.seeds, params.release.recipe),
        conclude.git_commit(),
    )
    with tracking.start_run(tracking.open_store(Path()), description) as run:
        model = soup.average([_network(params.release.recipe, data, seed, run) for seed in params.release.seeds])
        bundle, _ = conclude.conclude(
            RELEASE,
            model,
            data,
            params,
            compact=True,
            name=NAME,
            kind=params.release.recipe.kind,
            parameters=dict(description.parameters),
            git_commit=description.git_commit,
            mlflow_run_id=run.run_id,
        )
        run.log_bundle(bundle)
    for seed in params.release.seeds:
        shutil.rmtree(_checkpoint(seed))


def _network(recipe: config.FinetuneParams, data: images.ImageStore, seed: int, run: tracking.Run) -> Any:
    model, _ = fit.fit_network(
        recipe,
        conclude.labelled(data, "train"),
        conclude.labelled(data, "validation"),
        seed=seed,
        checkpoint=_checkpoint(seed),
        on_epoch=lambda epoch, values: run.log_metrics({f"seed_{seed}/{k}": v for k, v in values.items()}, epoch),
    )
    return model


def _checkpoint(seed: int) -> Path:
    return CHECKPOINTS / f"{NAME}-{seed}"


if __name__ == "__main__":
    stage.run(main)
