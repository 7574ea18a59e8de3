"""The network in release/ (`make release`): trained on the images of `dvc repro`, for longer than a stage may.

``train`` writes the bundle, ``judge`` all that is said of it: release/reports/ and MODEL_CARD.md, ``profile`` what
`pneumonia monitor` compares predictions with: release/monitoring.parquet. A training that is
killed goes on where it was.
"""

import functools
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import audit, conclude, evaluate, monitor, stage
from pipeline import facts as header
from pneumonia import config, tracking
from pneumonia.data import definition
from pneumonia.errors import ConfigError
from pneumonia.evaluation import judgement, model_card, shortcuts_report
from pneumonia.images import store as images
from pneumonia.models import bundle as bundles
from pneumonia.models import fit, soup
from pneumonia.monitoring import profile as profiles

NAME = "release"
IMAGES = Path("artifacts/images")
CHECKPOINTS = Path("artifacts/checkpoints")
RELEASE = Path("release")
REPORTS = RELEASE / "reports"
CARD = Path("MODEL_CARD.md")
DATASET = Path("data/kermany.yaml")
REGISTERED = Path("reports/registered.json")
DATA_AUDIT = Path("reports/shortcuts.json")


def main(params: config.Params, commands: list[str]) -> None:
    """Run the commands in turn."""
    known: dict[str, Callable[[config.Params], None]] = {"train": train, "judge": judge, "profile": profile}
    if unknown := set(commands) - set(known):
        raise ConfigError(f"expected {' or '.join(known)}, got {', '.join(sorted(unknown))}.")
    for command in commands:
        known[command](params)


def train(params: config.Params) -> None:
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
        train, validation = conclude.labelled(data, "train"), conclude.labelled(data, "validation")
        networks = [_network(params.release.recipe, train, validation, seed, run) for seed in params.release.seeds]
        model = soup.average(networks)
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


def judge(params: config.Params) -> None:
    """Judge and audit the bundle as the stages do theirs, compare it with the challenger, and write the model card."""
    data, bundle = images.read(IMAGES), bundles.read(RELEASE)
    facts = header.of(data)
    challenger = bundles.read(evaluate.BUNDLES / json.loads(REGISTERED.read_text())["model"])
    seen = {
        found.card.name: evaluate.answers(found.folder, data, facts, params.evaluate.batch_size)
        for found in (bundle, challenger)
    }
    cards = {found.card.name: found.card for found in (bundle, challenger)}
    cuts = evaluate.size_cuts(data, facts)
    judged = judgement.judge(bundle.card, seen[NAME], cuts, params.evaluate)
    comparison = judgement.compare(cards, seen, challenger.card.name, params.evaluate.bootstrap)
    test = data.rows("test")
    audited = audit.audit_model(RELEASE, data.images[test], data.index.iloc[test], facts, params)
    shortcuts = shortcuts_report.assemble(json.loads(DATA_AUDIT.read_text())["data"], {NAME: audited}, params.audit)
    stage.write_json(REPORTS / "judgement.json", judged)
    stage.write_json(REPORTS / "comparison.json", comparison)
    stage.write_json(REPORTS / "shortcuts.json", shortcuts)
    evaluate.predictions(bundle.card, seen[NAME], data).to_csv(REPORTS / "predictions.csv", index=False)
    published = definition.load(DATASET) if data.source == "kermany" else None
    page = model_card.render(bundle.card, judged, shortcuts, comparison, published=published, command="make release")
    CARD.write_text(page, encoding="utf-8")
    print(evaluate.headlines({NAME: judged}))
    print(f"shortcut audit: {audited['verdict']}")


def profile(params: config.Params) -> None:
    """Note what the bundle says of validation images."""
    monitor.of_validation(RELEASE, images.read(IMAGES).index).to_parquet(RELEASE / profiles.FILE)


def _network(
    recipe: config.FinetuneParams,
    train: fit.LabelledImages,
    validation: fit.LabelledImages,
    seed: int,
    run: tracking.Run,
) -> Any:
    model, _ = fit.fit_network(
        recipe,
        train,
        validation,
        seed=seed,
        checkpoint=_checkpoint(seed),
        on_epoch=lambda epoch, values: run.log_metrics({f"seed_{seed}/{k}": v for k, v in values.items()}, epoch),
    )
    return model


def _checkpoint(seed: int) -> Path:
    return CHECKPOINTS / f"{NAME}-{seed}"


if __name__ == "__main__":
    stage.run(functools.partial(main, commands=sys.argv[1:] or ["train", "judge", "profile"]))
