"""Stage *monitor*: the reference profile of every bundle, from validation images, for `pneumonia monitor`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import runs, stage
from pneumonia import config, tracking
from pneumonia.images import store as images
from pneumonia.inference.runtime import Runtime
from pneumonia.models import bundle as bundles
from pneumonia.monitoring import profile
from pneumonia.monitoring.change import CATEGORIES, ORDERED, PATIENT

RAW = Path("artifacts/raw")
IMAGES = Path("artifacts/images")
BUNDLES = Path("artifacts/models")
PROFILES = Path("artifacts/monitor")
REPORT = Path("reports/monitor.json")


def main(params: config.Params) -> None:
    """Write the profiles, log each in the run of its bundle, and sum them up."""
    index = images.read(IMAGES).index
    store = tracking.open_store(Path())
    PROFILES.mkdir(parents=True, exist_ok=True)
    report = {}
    for name in params.train.models:
        table = of_validation(BUNDLES / name, index)
        file = PROFILES / f"{name}.parquet"
        table.to_parquet(file)
        run = tracking.Run(store, runs.ensure(store, bundles.read(BUNDLES / name)))
        run.log_files([file], profile.FOLDER_OF_RUN)
        report[name] = summary(table)
    stage.write_json(REPORT, report)


def of_validation(folder: Path, index: pd.DataFrame) -> pd.DataFrame:
    """Return the profile of a bundle on the validation images of an image store."""
    rows = index[index["subset"] == "validation"]
    files = [RAW / path for path in rows["path"]]
    return profile.build(Runtime.load(folder), files, rows["group"], rows["label"])


def summary(table: pd.DataFrame) -> Mapping[str, Any]:
    """Say how many images and patients there are, the shares of categories and the quartiles of figures."""
    quartiles = table[list(ORDERED)].quantile([0.25, 0.5, 0.75]).round(3)
    return {
        "bundle_sha256": table["bundle_sha256"].iloc[0],
        "images": len(table),
        "patients": int(table[PATIENT].nunique()),
        "shares": {
            column: {str(value): round(float(share), 4) for value, share in table[column].value_counts(True).items()}
            for column in CATEGORIES
        },
        "quartiles": {column: [None if pd.isna(q) else q for q in quartiles[column]] for column in ORDERED},
    }


if __name__ == "__main__":
    stage.run(main)
