"""Stage *validate*: list every file with its header, check the list, quarantine unreadable files."""

import os

from pipeline import stage
from pipeline.params import Params
from pneumonia.core import files, paths
from pneumonia.core.errors import ValidationError
from pneumonia.data import expectations, manifest
from pneumonia.data.dataset_reports import SourceRecord, ValidationReport


def main(params: Params) -> None:
    """Write the manifest, the report and the Data Docs, and only then reject a dataset that failed."""
    expected_counts = files.read_json(paths.DOWNLOAD_REPORT, SourceRecord).counts
    listed = manifest.build(paths.RAW, workers=os.cpu_count() or 1)
    listed.to_parquet(paths.MANIFEST, index=False)
    report = expectations.validate(listed, params.validation, expected_counts, paths.DATA_DOCS)
    files.write_json(paths.VALIDATION_REPORT, report)
    print(_describe(report))
    if not report.success:
        raise ValidationError(
            f"The dataset failed its expectations; see {paths.VALIDATION_REPORT} and {paths.DATA_DOCS}/index.html.\n"
            f"{report.failures()}"
        )


def _describe(report: ValidationReport) -> str:
    counts = ", ".join(
        f"{split} {' + '.join(f'{count:,} {label}' for label, count in labels.items())}"
        for split, labels in report.counts.items()
    )
    passed = sum(result.success for result in report.results)
    return "\n".join(
        [
            f"Files: {counts}",
            f"Quarantined: {len(report.quarantined)}",
            *(f"  {file.path}: {file.reason}" for file in report.quarantined),
            f"Identical files: {sum(map(len, report.duplicates))} in {len(report.duplicates)} groups",
            f"Expectations: {passed} of {len(report.results)} met; Data Docs: {paths.DATA_DOCS}/index.html",
        ]
    )


if __name__ == "__main__":
    stage.run(main)
