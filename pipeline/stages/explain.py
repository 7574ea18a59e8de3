"""Stage *explain*: draw one model's evidence for chosen test images; on phantoms, play the pointing game.

Evidence is measured against the mean map of NORMAL validation images: a network that calls pneumonia because it finds
no clear lung has no place that supports pneumonia by itself.
"""

import shutil

import numpy as np
import pandas as pd

from pipeline import stage
from pipeline.params import Params
from pneumonia.arrays import store
from pneumonia.arrays.store import ImageStore
from pneumonia.core import files, paths
from pneumonia.core.labels import POSITIVE
from pneumonia.evaluation import cases, figures, pointing
from pneumonia.evaluation.explanation_report import ExplainedCase, ExplanationReport, PointingGame
from pneumonia.evaluation.phantom_masks import PhantomMasks
from pneumonia.inference import evidence, overlay
from pneumonia.inference.runtime import Runtime


def main(params: Params, name: str) -> None:
    """Write one figure per case, and the report."""
    data = store.read(paths.IMAGES)
    masks = PhantomMasks(params.data.phantom, data.images.shape[1]) if data.source == "phantom" else None
    runtime = Runtime.load(paths.BUNDLES / name)
    predictions = pd.read_csv(paths.PREDICTIONS / f"{name}.csv")
    chosen = cases.choose(predictions, runtime.bundle.card.threshold, params.explain.cases)
    shown = _draw(name, chosen, data, runtime, masks)
    game = _play(data, runtime, masks, params) if masks else None
    files.write_json(
        paths.EXPLANATION_REPORTS / f"{name}.json",
        ExplanationReport(model=name, rules=cases.RULES, pointing_game=game, cases=shown),
    )
    print(f"{name}: {len(shown)} figures in {paths.EXPLANATIONS / name}; {_describe(game)}")


def _draw(
    name: str, chosen: pd.DataFrame, data: ImageStore, runtime: Runtime, masks: PhantomMasks | None
) -> list[ExplainedCase]:
    """Draw the cases on one colour scale, which ends at the 99th percentile of their evidence."""
    folder = paths.EXPLANATIONS / name
    shutil.rmtree(folder, ignore_errors=True)
    pixels = data.images[pd.Index(data.index["path"]).get_indexer(chosen["path"])]
    maps = runtime.evidence(pixels)
    scale = max(float(np.quantile(maps, 0.99)), evidence.SMALLEST_SCALE)
    shown = []
    numbers = chosen.groupby("rule").cumcount() + 1
    for position, (number, row) in enumerate(zip(numbers, chosen.to_dict("records"), strict=True)):
        case = ExplainedCase.model_validate(row | {"picture": f"{row['rule']}_{number}.png"})
        figure = overlay.draw(
            pixels[position],
            maps[position],
            scale=scale,
            title=f"{name}, {case.rule.replace('_', ' ')}: {case.label}, probability {case.probability:.3f}",
            lesion=masks.lesion(case.path) if masks else None,
        )
        figures.save(figure, folder / case.picture)
        shown.append(case)
    return shown


def _play(data: ImageStore, runtime: Runtime, masks: PhantomMasks, params: Params) -> PointingGame:
    """Play the pointing game on the test images of PNEUMONIA."""
    index = data.index
    rows = np.flatnonzero((index["subset"] == "test") & (index["label"] == POSITIVE))
    lesions, lungs = masks.masks(index["path"].iloc[rows])
    hits = pointing.hits(runtime.evidence(data.images[rows], params.evaluate.batch_size), lesions)
    groups, causes = (index[column].iloc[rows].to_numpy() for column in ("group", "cause"))
    return PointingGame(
        tolerance=pointing.TOLERANCE,
        hits=pointing.summarise(hits, groups, causes, params.evaluate.bootstrap),
        chance=pointing.chance(lesions, lungs),
    )


def _describe(game: PointingGame | None) -> str:
    if game is None:
        return "no pointing game, because the lesions of this source are not known"
    hits, chance = game.hits["all"].share.value, game.chance.lungs
    return f"{hits:.2f} of the maps point into the lesion ({chance:.2f} by chance within the lungs)"


if __name__ == "__main__":
    stage.run_for_model(main)
