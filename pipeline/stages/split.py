"""Stage *split*: patient-grouped subsets and folds, and two figures of them."""

import pandas as pd

from pipeline import stage
from pipeline.params import Params
from pneumonia.core import files, paths
from pneumonia.data import split, split_figures


def main(params: Params) -> None:
    """Write the splits, their summary and their figures."""
    splits = split.split(pd.read_parquet(paths.MANIFEST), params.split)
    splits.to_parquet(paths.SPLITS, index=False)
    summary = split.summary(splits)
    files.write_json(paths.SPLIT_REPORT, summary)
    paths.FIGURES.mkdir(parents=True, exist_ok=True)
    figures = {
        "class_distribution": split_figures.class_distribution(splits),
        "split_ratio": split_figures.split_ratio(splits),
    }
    for name, figure in figures.items():
        # Without matplotlib's version in the file, the same split gives the same bytes.
        figure.savefig(paths.FIGURES / f"{name}.png", dpi=120, metadata={"Software": None})
    for subset, groups in summary.groups.items():
        print(f"{subset}: {splits['subset'].eq(subset).sum():,} images of {groups:,} patient groups")
    print(f"Test is {summary.test_origin}.")


if __name__ == "__main__":
    stage.run(main)
