"""Stage *download*: bring the images of ``data.source`` into artifacts/raw."""

import os
from pathlib import Path

from pipeline import stage
from pipeline.params import Params
from pneumonia.core import files, paths
from pneumonia.data import sources
from pneumonia.data.dataset_reports import SourceRecord


def main(params: Params) -> None:
    """Write the dataset folder and the record of its origin."""
    mirror = os.environ.get("PNEUMONIA_MIRROR")
    record = sources.fetch(
        params.data,
        paths.DATASET_DEFINITION,
        paths.RAW,
        paths.DOWNLOADS,
        Path(mirror).expanduser() if mirror else None,
    )
    files.write_json(paths.DOWNLOAD_REPORT, record, sort_keys=True)
    print(_describe(record, _origin(params.data.source, mirror)))


def _origin(source: str, mirror: str | None) -> str:
    if source == "kermany":
        return f"from {mirror or 'the official server'}"
    return "drawn here" if source == "phantom" else f"from {source}"


def _describe(record: SourceRecord, origin: str) -> str:
    name = record.source if record.release is None else f"{record.source} {record.release}"
    counts = ", ".join(f"{split} {sum(by_label.values()):,}" for split, by_label in record.counts.items())
    lines = [f"{name}: {record.files:,} images ({counts}), {origin}"]
    if record.missing or record.ignored:
        lines.append(f"{len(record.missing)} images are not in this release; {record.ignored} other files ignored")
    return "\n".join(lines)


if __name__ == "__main__":
    stage.run(main)
