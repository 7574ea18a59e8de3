"""Stage *audit_data*: measure which shortcuts the dataset offers to any model."""

import pandas as pd

from pipeline import stage
from pipeline.params import Params
from pneumonia.arrays import store
from pneumonia.audit import data_shortcuts
from pneumonia.core import files, paths


def main(params: Params) -> None:
    """Write the audit of the data."""
    data = store.read(paths.IMAGES)
    metadata = pd.read_parquet(paths.HEADER_METADATA).loc[data.index["path"]]
    report = data_shortcuts.audit(data.images, data.index, metadata, params.audit, params.evaluate.bootstrap)
    files.write_json(paths.DATA_AUDIT, report)
    print(f"Data: {'ALARM, the classes can be separated without the lungs' if report.alarm else 'no alarm'}")


if __name__ == "__main__":
    stage.run(main)
