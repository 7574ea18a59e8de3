"""Stage *validate*: list every file with its facts, and hold the list against the expectations."""

import json
import os
from pathlib import Path

from pipeline import stage
from pneumonia import config
from pneumonia.data import expectations, manifest
from pneumonia.errors import ValidationError

RAW = Path("artifacts/raw")
DOWNLOAD = Path("reports/download.json")
MANIFEST = Path("artifacts/manifest.parquet")
DOCS = Path("artifacts/data_docs")
REPORT = Path("reports/validation.json")


def main(params: config.Params) -> None:
    """Write the manifest, the report and the Data Docs, and only then refuse a dataset that failed."""
    expected_counts = json.loads(DOWNLOAD.read_text(encoding="utf-8"))["counts"]
    files = manifest.build(RAW, workers=os.cpu_count() or 1)
    files.to_parquet(MANIFEST, index=False)
    report = expectations.validate(files, params.validation, expected_counts, DOCS)
    stage.write_json(REPORT, report.to_json())
    print(_describe(report))
    if not report.success:
        raise ValidationError(
            f"The dataset failed its expectations; all of them are in {REPORT} and {DOCS}/index.html.\n"
            f"{report.failures()}"
        )


def _describe(report: expectations.Report) -> str:
    counts = ", ".join(
        f"{split} {' + '.join(f'{count:,} {label}' for label, count in labels.items())}"
        for split, labels in report.counts.items()
    )
    held = sum(result.success for result in report.results)
    return "\n".join(
        [
            f"Files: {counts}",
            f"Quarantined: {len(report.quarantined)}",
            *(f"  {file['path']}: {file['reason']}" for file in report.quarantined),
            f"Identical files: {sum(map(len, report.duplicates))} in {len(report.duplicates)} groups",
            f"Expectations: {held} of {len(report.results)} hold; Data Docs: {DOCS}/index.html",
        ]
    )


if __name__ == "__main__":
    stage.run(main)
