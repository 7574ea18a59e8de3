"""Score one shard, and put the shards together."""

import csv
import io
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pneumonia.errors import ScoringError
from pneumonia.inference import files
from pneumonia.inference.files import Examined
from pneumonia.inference.runtime import Runtime
from pneumonia.scoring.logged import Note
from pneumonia.scoring.place import Place
from pneumonia.scoring.plan import Plan

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
"""Of `SCORES`; a file without an answer has no probability, but a code and a reason of the refusal."""


def file_of(shard: int) -> str:
    """Return the name of a shard's result."""
    return f"shards/{shard:06d}.parquet"


def left(plan: Plan, out: Place) -> list[int]:
    """Return the numbers of the shards that are not done."""
    return [shard for shard in plan.shards if not out.has(file_of(shard))]


def score(plan: Plan, shard: int, out: Place, runtime: Runtime, note: Note) -> None:
    """Score a shard; one that is done stays as it is.

    The result appears when all of it is there. A shard that was cut short is scored again from its start; the log
    knows what it has already by the ids.

    Raises:
        ScoringError: the runtime is not the plan's model.
    """
    if runtime.bundle.card.model_sha256 != plan.bundle_sha256:
        raise ScoringError(
            f"{runtime.bundle.folder} holds weights {runtime.bundle.card.model_sha256[:10]}, but {out.url} "
            f"was planned for {plan.bundle_sha256[:10]}. Score with the model that the plan was made with."
        )
    if out.has(file_of(shard)):
        return
    source = Place(plan.source)
    rows: list[dict[str, Any]] = []
    for batch in files.examine(runtime, plan.names(out, shard), source.read):
        ids = [plan.id_of(each.name) for each in batch]
        note(batch, ids)
        rows += [_row(each, str(number)) for each, number in zip(batch, ids, strict=True)]
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, COLUMNS), content)
    out.write(file_of(shard), content.getvalue())


def merge(plan: Plan, out: Place) -> dict[str, Any]:
    """Put all shards into `SCORES`, what has no answer into `FAILURES`, and counts into `SUMMARY`, which it returns.

    One shard is held at a time.

    Raises:
        ScoringError: a shard is missing, or is not what the plan says.
    """
    decisions: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        scores, failures = Path(scratch, SCORES), Path(scratch, FAILURES)
        with pq.ParquetWriter(scores, COLUMNS) as writer, failures.open("w", encoding="utf-8", newline="") as listed:
            table = csv.DictWriter(listed, COLUMNS.names, lineterminator="\n")
            table.writeheader()
            for shard in _shards(plan, out):
                writer.write_table(shard)
                rows = shard.to_pylist()
                decisions.update(row["decision"] for row in rows)
                table.writerows(row for row in rows if row["refusal"])
        out.put(scores, SCORES)
        out.put(failures, FAILURES)
    counts = {decision: decisions[decision] for decision in sorted(decisions)}
    summary = asdict(plan) | {"shards": len(plan.shards), "decisions": counts}
    out.write(SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _shards(plan: Plan, out: Place) -> Iterator[pa.Table]:
    if missing := left(plan, out):
        raise ScoringError(
            f"{len(missing)} of {len(plan.shards)} shards are missing in {out.url} (the first is {missing[0]}). Run "
            "the same command again; what is done is kept."
        )
    for shard in plan.shards:
        table = pq.read_table(io.BytesIO(out.read(file_of(shard))))
        if len(table) != plan.length(shard):
            raise ScoringError(
                f"{out.url}/{file_of(shard)} has {len(table)} images, expected {plan.length(shard)}. Delete it and "
                "run the same command again."
            )
        yield table


def _row(said: Examined, number: str) -> dict[str, Any]:
    answer, reading, refusal = said.answer, said.reading, said.refusal
    return {
        "id": number,
        "file": said.name,
        "decision": said.decision,
        "probability": answer.probability if answer else None,
        "familiarity": reading.familiarity if reading else None,
        "refusal": refusal.code if refusal else None,
        "reason": refusal.reason if refusal else None,
    }
