"""Stage *download*: bring the images of ``data.source`` into artifacts/raw."""

import os
from pathlib import Path

from pipeline import stage
from pneumonia import config
from pneumonia.data import sources

DEFINITION = Path("data/kermany.yaml")
DOWNLOADS = Path("artifacts/downloads")
RAW = Path("artifacts/raw")
REPORT = Path("reports/download.json")


def main(params: config.Params) -> None:
    """Write the dataset folder and the record of where it comes from."""
    mirror = os.environ.get("PNEUMONIA_MIRROR")
    record = sources.fetch(params.data, DEFINITION, RAW, DOWNLOADS, Path(mirror).expanduser() if mirror else None)
    stage.write_json(REPORT, record.to_json(), sort_keys=True)
    print(_describe(record, _origin(params.data.source, mirror)))


def _origin(source: str, mirror: str | None) -> str:
    if source == "kermany":
        return f"from {mirror or 'the official server'}"
    return "drawn here" if source == "phantom" else f"from {source}"


def _describe(record: sources.SourceRecord, origin: str) -> str:
    name = record.source if record.release is None else f"{record.source} {record.release}"
    counts = ", ".join(f"{split} {sum(by_label.values()):,}" for split, by_label in record.counts.items())
    lines = [f"{name}: {record.files:,} images ({counts}), {origin}"]
    if record.missing or record.ignored:
        lines.append(f"{len(record.missing)} images are not in this release; {record.ignored} other files ignored")
    return "\n".join(lines)


if __name__ == "__main__":
    stage.run(main)
