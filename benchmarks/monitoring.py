"""Measure time and memory of a drift report of a million predictions while another process logs; write RESULTS.md.

    python -m benchmarks.monitoring

No network is run, because only log and report are measured: one tenth of the predictions is random, the others are
copies. On a shared machine, CPU time is more reliable than wall time. The reference profile is that of the released
network (release/profile.parquet).
"""

import json
import multiprocessing
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from benchmarks import results
from pneumonia.monitoring import drift, profile
from pneumonia.monitoring.detection import LOGGED
from pneumonia.monitoring.log import Log
from pneumonia.monitoring.record import PredictionRecord

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
AT_ONCE = 10_000
COPIES = 9
BATCH = 8
"""Predictions that the other process logs per transaction, like a request with several images."""
REFERENCE = Path("release") / profile.FILE
SEED = 1
START = datetime(2026, 1, 1, tzinfo=UTC)


class Source:
    """Random records: rows of a profile with noise, one per second."""

    def __init__(self, known: pd.DataFrame, seed: int) -> None:
        """Draw from the rows of a profile."""
        self._known, self._rng, self._seconds = known, np.random.default_rng(seed), 0

    def draw(self, count: int) -> list[PredictionRecord]:
        """Return ``count`` random records."""
        rows = self._known.iloc[self._rng.integers(0, len(self._known), count)].astype(object)
        values = rows.where(rows.notna(), None)[["model", "bundle_sha256", *LOGGED]].to_dict("records")
        noise = self._rng.normal(1, 1e-3, count)
        return [self._record(row, factor) for row, factor in zip(values, noise, strict=True)]

    def _record(self, row: dict[Any, Any], factor: float) -> PredictionRecord:
        self._seconds += 1
        whole = {name: None if row[name] is None else int(row[name]) for name in ("width", "height", "jpeg_quality")}
        return PredictionRecord(
            **row | whole | {"brightness": row["brightness"] and row["brightness"] * factor},
            id=uuid.UUID(bytes=self._rng.bytes(16)),
            time=START + timedelta(seconds=self._seconds),
            source="batch",
            version=None,
            threshold=0.5,
            latency_ms=20.0,
        )


def main() -> None:
    """Fill a log, run the report on all of it, and write time and memory."""
    with tempfile.TemporaryDirectory() as scratch:
        url = f"sqlite:///{scratch}/log.db"
        source, log = Source(profile.read(REFERENCE), SEED), Log(url)
        for _ in range(0, ROWS // (COPIES + 1), AT_ONCE):
            log.add(source.draw(AT_ONCE))
        log.close()
        copy(f"{scratch}/log.db")
        size = Path(scratch, "log.db").stat().st_size
        print(f"{ROWS} predictions logged, {size / 2**20:.0f} MiB", flush=True)
        stop, outcomes = multiprocessing.Event(), multiprocessing.SimpleQueue()
        writer = multiprocessing.Process(target=write, args=(url, stop, outcomes))
        writer.start()
        seconds, busy, peak, drift_report = report(url, Path(scratch))
        stop.set()
        written = outcomes.get()
        writer.join()
    text = (
        f"`python -m benchmarks.monitoring`: {ROWS:,} predictions in SQLite ({size / 2**20:.0f} MiB), "
        f"`pneumonia monitor` on all of them, {os.cpu_count()} cores shared with other work.\n\n"
        "| wall time | CPU time | peak memory | predictions in the test | logged meanwhile | failed |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        f"| {seconds:.0f} s | {busy:.0f} s | {peak / 2**20:.0f} MiB | {drift_report['images']:,} | "
        f"{written['rows'] / written['seconds']:.0f} per second, slowest transaction of {BATCH}: "
        f"{written['slowest']:.2f} s | "
        f"{written['failed']} |\n\n"
        "Most of the time is spent on reading the log and on the plots of Evidently, which show "
        f"{drift.PLOTTED:,} predictions drawn at random."
    )
    print(results.write("Monitoring", text))


def copy(file: str) -> None:
    """Multiply the predictions of a log, with new ids and later times."""
    with sqlite3.connect(file) as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(predictions)")]
        (rows,) = connection.execute("SELECT count(*) FROM predictions").fetchone()
        for number in range(1, COPIES + 1):
            later = f"strftime('%Y-%m-%d %H:%M:%S', time, '+{number * rows} seconds') || '.000000'"
            taken = {"id": "lower(hex(randomblob(16)))", "time": later}
            columns = ", ".join(taken.get(name, name) for name in names)
            connection.execute(f"INSERT INTO predictions SELECT {columns} FROM predictions ORDER BY time LIMIT {rows}")
    connection.close()


def report(url: str, folder: Path) -> tuple[float, float, int, dict[str, Any]]:
    """Run `pneumonia monitor`; return wall time, CPU time (seconds), peak memory (bytes) and the report."""
    options = ["--log", url, "--reference", str(REFERENCE), "--window", str(ROWS), "--out", str(folder / "out")]
    # An empty store, because logging the report to MLflow is not measured.
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/none.db"}
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = subprocess.Popen([sys.executable, "-m", "pneumonia.cli", "monitor", *options], env=environment)
    peak, process = 0, psutil.Process(command.pid)
    while command.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    if command.wait() == 1:
        raise SystemExit("the report failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, busy, peak, json.loads((folder / "out" / "report.json").read_text())


def write(url: str, stop: Any, outcomes: Any) -> None:
    """Log predictions until ``stop`` is set, then report rows, failures, slowest transaction and duration."""
    known = profile.read(REFERENCE)
    source, log = Source(known, SEED + 1), Log(url)
    ready = [source.draw(BATCH) for _ in range(200)]
    rows = failed = 0
    slowest, start = 0.0, time.perf_counter()
    while not stop.is_set():
        batch = [PredictionRecord(**vars(each) | {"id": uuid.uuid4()}) for each in ready[rows // BATCH % len(ready)]]
        before = time.perf_counter()
        try:
            log.add(batch)
        except Exception as error:  # counted as a failure
            print(f"not logged: {error}", flush=True)
            failed += 1
        slowest = max(slowest, time.perf_counter() - before)
        rows += BATCH
        time.sleep(0.05)
    outcomes.put({"rows": rows, "failed": failed, "slowest": slowest, "seconds": time.perf_counter() - start})
    log.close()


if __name__ == "__main__":
    main()
