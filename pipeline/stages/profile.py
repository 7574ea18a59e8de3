"""Stage *profile*: build one model's reference profile from validation images, for `pneumonia monitor`."""

import pandas as pd

from pipeline import stage
from pipeline.params import Params
from pneumonia.arrays import store
from pneumonia.core import files, paths
from pneumonia.inference.runtime import Runtime
from pneumonia.monitoring import profile


def main(_: Params, name: str) -> None:
    """Write the reference profile and its summary."""
    table = build(Runtime.load(paths.BUNDLES / name))
    file = paths.PROFILES / f"{name}.parquet"
    profile.write(table, file)
    report = profile.summarise(table)
    files.write_json(paths.PROFILE_REPORTS / f"{name}.json", report)
    print(f"{name}: reference profile of {report.images} validation images in {file}")


def build(runtime: Runtime) -> pd.DataFrame:
    """Return the reference profile of a model: its predictions for the validation files, decoded from disk."""
    index = store.read(paths.IMAGES).index
    rows = index[index["subset"] == "validation"]
    return profile.build(runtime, [paths.RAW / path for path in rows["path"]], rows["group"], rows["label"])


if __name__ == "__main__":
    stage.run_for_model(main)
