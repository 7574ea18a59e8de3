"""Score one shard, and merge all shards."""

import csv
import io
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pneumonia.core.errors import ScoringError
from pneumonia.inference import image_files
from pneumonia.inference.image_files import Examined
from pneumonia.inference.runtime import Runtime
from pneumonia.scoring.place import Place
from pneumonia.scoring.plan import ScoringPlan
from pneumonia.scoring.prediction_logging import LogPredictions

SCORES, FAILURES, SUMMARY = "scores.parquet", "failures.csv", "summary.json"
COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("file", pa.string()),
        ("decision", pa.string()),
        ("probability", pa.float64()),
        ("familiarity", pa.float64()),
        ("refusal", pa.string()),
        ("reason", pa.string()),
    ]
)
"""Schema of `SCORES`. A file without an answer has no probability, but code and reason of the refusal."""


class ScoringSummary(ScoringPlan):
    """Summary of a finished scoring: its plan, and counts.

    Attributes:
        shards: number of shards.
        decisions: number of images by decision.
    """

    shards: int
    decisions: dict[str, int]


def file_of(shard: int) -> str:
    """Return the file name of a shard's result."""
    return f"shards/{shard:06d}.parquet"


def pending(plan: ScoringPlan, out: Place) -> list[int]:
    """Return the numbers of the shards without a result."""
    return [shard for shard in plan.shard_numbers if not out.has(file_of(shard))]


def score(plan: ScoringPlan, shard: int, out: Place, runtime: Runtime, log_predictions: LogPredictions) -> None:
    """Score a shard, unless it has a result already.

    The result is written atomically. An interrupted shard is scored again from its start; predictions keep their
    identifiers, so that the log has each of them once.

    Args:
        plan: the plan.
        shard: number of the shard.
        out: folder or bucket for the result.
        runtime: the model.
        log_predictions: called with each batch.

    Raises:
        ScoringError: the runtime is not the model of the plan.
    """
    if runtime.bundle.card.sha256 != plan.bundle_sha256:
        raise ScoringError(
            f"expected the bundle {plan.bundle_sha256[:10]} of the plan in {out.url}, but {runtime.bundle.folder} "
            f"has {runtime.bundle.card.sha256[:10]}. Use the bundle of the plan."
        )
    if out.has(file_of(shard)):
        return
    source = Place(plan.source)
    rows: list[dict[str, Any]] = []
    for batch in image_files.examine(runtime, plan.names(out, shard), source.read):
        ids = [plan.id_of(result.name) for result in batch]
        log_predictions(batch, ids)
        rows += [_row(result, str(identifier)) for result, identifier in zip(batch, ids, strict=True)]
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, COLUMNS), content)
    out.write(file_of(shard), content.getvalue())


def merge(plan: ScoringPlan, out: Place) -> ScoringSummary:
    """Merge all shards into `SCORES`, list files without an answer in `FAILURES`, and return what `SUMMARY` gets.

    One shard is in memory at a time.

    Raises:
        ScoringError: a shard is missing, or has another number of images than planned.
    """
    decisions: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        scores, failures = Path(scratch, SCORES), Path(scratch, FAILURES)
        with pq.ParquetWriter(scores, COLUMNS) as writer, failures.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, COLUMNS.names, lineterminator="\n")
            table.writeheader()
            for shard in _shards(plan, out):
                writer.write_table(shard)
                rows = shard.to_pylist()
                decisions.update(row["decision"] for row in rows)
                table.writerows(row for row in rows if row["refusal"])
        out.put(scores, SCORES)
        out.put(failures, FAILURES)
    counts = {decision: decisions[decision] for decision in sorted(decisions)}
    summary = ScoringSummary(**dict(plan), shards=len(plan.shard_numbers), decisions=counts)
    out.write(SUMMARY, (summary.model_dump_json(indent=2) + "\n").encode())
    return summary


def _shards(plan: ScoringPlan, out: Place) -> Iterator[pa.Table]:
    if missing := pending(plan, out):
        raise ScoringError(
            f"{len(missing)} of {len(plan.shard_numbers)} shards are missing in {out.url} (first: {missing[0]}). "
            "Run the same command again; finished shards are kept."
        )
    for shard in plan.shard_numbers:
        table = pq.read_table(io.BytesIO(out.read(file_of(shard))))
        if len(table) != plan.length(shard):
            raise ScoringError(
                f"{out.url}/{file_of(shard)} has {len(table)} images, expected {plan.length(shard)}. Delete it and "
                "run the same command again."
            )
        yield table


def _row(result: Examined, identifier: str) -> dict[str, Any]:
    answer, reading, refusal = result.answer, result.reading, result.refusal
    return {
        "id": identifier,
        "file": result.name,
        "decision": result.decision,
        "probability": answer.probability if answer else None,
        "familiarity": reading.familiarity if reading else None,
        "refusal": refusal.code if refusal else None,
        "reason": refusal.reason if refusal else None,
    }
