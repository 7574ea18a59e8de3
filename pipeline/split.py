"""Stage *split*: patient-grouped subsets and folds, and the two pictures of them."""

from pathlib import Path

import pandas as pd

from pipeline import stage
from pneumonia import config
from pneumonia.data import split, split_figures

MANIFEST = Path("artifacts/manifest.parquet")
SPLITS = Path("artifacts/splits.parquet")
REPORT = Path("reports/split.json")
FIGURES = Path("reports/figures")


def main(params: config.Params) -> None:
    """Write the splits, their summary and their pictures."""
    splits = split.split(pd.read_parquet(MANIFEST), params.split)
    splits.to_parquet(SPLITS, index=False)
    summary = split.summary(splits)
    stage.write_json(REPORT, summary)
    FIGURES.mkdir(parents=True, exist_ok=True)
    figures = {
        "class_distribution": split_figures.class_distribution(splits),
        "split_ratio": split_figures.split_ratio(splits),
    }
    for name, figure in figures.items():
        # Without matplotlib's version in it, the same split gives the same bytes.
        figure.savefig(FIGURES / f"{name}.png", dpi=120, metadata={"Software": None})
    for subset, groups in summary["groups"].items():
        print(f"{subset}: {splits['subset'].eq(subset).sum():,} images of {groups:,} patient groups")
    print(f"Test is {summary['test_origin']}.")


if __name__ == "__main__":
    stage.run(main)
