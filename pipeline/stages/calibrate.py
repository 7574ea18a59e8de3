"""Stage *calibrate*: make a bundle of a trained network: calibration, operating point, reference statistics, graph."""

from pathlib import Path

import pandas as pd

from pipeline import stage
from pipeline.params import Params
from pneumonia.arrays import store
from pneumonia.bundle.bundle import Bundle, DataLineage, Parameters
from pneumonia.bundle.calibration_report import CalibrationReport
from pneumonia.core import files, paths, settings
from pneumonia.evaluation import aspect_swapped, bundle_build


def main(params: Params, name: str) -> None:
    """Write the bundle of a model, and what was chosen for it."""
    recipe = params.train.models[name]
    parameters = settings.flatten({"seed": params.train.seed} | recipe.model_dump())
    network = paths.NETWORKS / name / "model.keras"
    bundle, losses = calibrate(paths.BUNDLES / name, name, recipe.kind, network, parameters, params)
    card = bundle.card
    report = CalibrationReport(
        model=name,
        losses=losses,
        calibration=card.calibration,
        threshold=card.threshold,
        band=card.band,
        validation=card.validation,
    )
    files.write_json(paths.CALIBRATION_REPORTS / f"{name}.json", report)
    print(f"{name}: calibration {card.calibration.method}; cross-validated log loss: {_list(losses)}")
    print(f"On validation: {_list({k: card.validation[k] for k in ('roc_auc', 'sensitivity', 'specificity')})}")


def calibrate(
    folder: Path,
    name: str,
    kind: str,
    network: Path,
    parameters: Parameters,
    params: Params,
) -> tuple[Bundle, dict[str, float]]:
    """Calibrate a network on the validation images of the project and write its bundle.

    Args:
        folder: of the bundle.
        name: of the model.
        kind: of its recipe.
        network: the trained network.
        parameters: flat settings of its training, for the bundle's card.
        params: params.yaml.

    Returns:
        The bundle, and the cross-validated log loss of each candidate calibration.
    """
    data, metadata = store.read(paths.IMAGES), pd.read_parquet(paths.HEADER_METADATA)
    validation = data.rows("validation")
    return bundle_build.build(
        folder,
        network,
        bundle_build.DevelopmentImages(
            train=data.images[data.rows("train")],
            validation=data.images[validation],
            swapped=aspect_swapped.validation(data, metadata),
            targets=data.targets("validation"),
            groups=data.index["group"].to_numpy()[validation],
        ),
        name=name,
        kind=kind,
        data=DataLineage(data.source, data.release, data.data_hash, data.counts()),
        parameters=parameters
        | {"image_size": params.prepare.size}
        | settings.flatten(params.split.model_dump(), "split.")
        | settings.flatten(params.calibrate.model_dump(), "calibrate."),
        calibrate=params.calibrate,
        bootstrap=params.evaluate.bootstrap,
        batch_size=params.evaluate.batch_size,
    )


def _list(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items())


if __name__ == "__main__":
    stage.run_for_model(main)
