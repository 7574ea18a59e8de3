"""Measure time and memory of `pneumonia score` for two sizes of an archive, and the effect of a kill.

    python -m benchmarks.scoring --images 10000

Writes the section "Scoring an archive" of benchmarks/RESULTS.md. The archive holds JPEG files of `BASES` phantoms,
each with random exposure and JPEG quality, which is faster than drawing them all. Every `BROKEN_EVERY`-th file is
truncated, every `BLANK_EVERY`-th image is blank. Times are those of the whole command.
"""

import argparse
import csv
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from PIL import Image

from benchmarks import results
from pneumonia.data import phantom

TITLE = "Scoring an archive"
TIMES = 10
"""Size of the larger archive, as a multiple of the smaller one."""
BASES = 200
SIZE = 256
"""Mean height of an image, pixels."""
BROKEN_EVERY, BLANK_EVERY = 500, 700
IN_A_FOLDER = 1000
SECONDS_BETWEEN_LOOKS = 0.5
MIB = 2**20


@dataclass(frozen=True)
class Run:
    """Result for one archive: number of images, seconds of the command, peak memory of all its processes in bytes."""

    images: int
    seconds: float
    peak_bytes: int

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


@dataclass(frozen=True)
class Interruption:
    """Effect of a kill: complete shards at that time, and differences from an uninterrupted run."""

    kept: int
    shards: int
    scored_again: int
    lost: int
    duplicates: int
    otherwise: int


def main() -> None:
    """Create the archives, score them, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images",
        type=int,
        default=10_000,
        help="in the smaller archive; the larger one has 10 times as many",
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--bundle", type=Path, help="folder of the bundle; by default the champion or the release")
    asked = parser.parse_args()
    model = ["--bundle", str(asked.bundle)] if asked.bundle else []
    options = ["--workers", str(asked.workers), "--shard-size", str(max(asked.images // 20, 1)), "--no-log", *model]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, large = folder / "small", folder / "large"
        load = os.getloadavg()[0]
        make_archive(small, asked.images)
        _score(small, folder / "warm-up", options)  # fills the caches of the machine
        runs = [measure(small, folder / "small-scores", options)]
        interruption = interrupt(small, folder, options)
        make_archive(large, asked.images * TIMES)
        runs.append(measure(large, folder / "large-scores", options))
        failures = [check_failures(folder / f"{archive.name}-scores", archive) for archive in (small, large)]
    shown = asked.bundle.name if asked.bundle else "the default model"
    print(results.write(TITLE, table(runs, interruption, failures, asked.workers, shown, load)))


def make_archive(folder: Path, images: int) -> None:
    """Write an archive of phantoms that depends on ``images`` only."""
    rng = np.random.default_rng(0)
    causes = itertools.cycle(("normal", "bacteria", "virus"))
    bases = [phantom.draw(rng, next(causes), size=SIZE, difficulty=0.5).pixels for _ in range(min(BASES, images))]
    levels = np.arange(256)
    for number in range(images):
        file = folder / f"{number // IN_A_FOLDER:04d}" / f"{number:07d}.jpeg"
        file.parent.mkdir(parents=True, exist_ok=True)
        exposure = np.clip(levels * rng.uniform(0.9, 1.1) + rng.uniform(-10, 10), 0, 255).astype(np.uint8)
        image = exposure[bases[number % len(bases)]]
        if number % BLANK_EVERY == 1:
            image = np.full_like(image, 90)
        Image.fromarray(image).save(file, quality=int(rng.integers(70, 96)))
        if number % BROKEN_EVERY == 0:
            file.write_bytes(file.read_bytes()[:100])


def measure(archive: Path, out: Path, options: list[str]) -> Run:
    """Score an archive; measure time and peak memory (sum of the private memory of all processes)."""
    started, peak = time.perf_counter(), 0
    process = _start(archive, out, options)
    while process.poll() is None:
        peak = max(peak, sum(map(_private_bytes, _tree(process.pid))))
        time.sleep(SECONDS_BETWEEN_LOOKS)
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"scoring {archive} ended with status {process.returncode}")
    return Run(sum(1 for _ in archive.rglob("*.jpeg")), seconds, peak)


def interrupt(archive: Path, folder: Path, options: list[str]) -> Interruption:
    """Kill a run (SIGKILL to all processes) after a third of its shards, resume it, and compare the results."""
    expected = pd.read_parquet(folder / "small-scores/scores.parquet")
    shards = len(_shards(folder / "small-scores"))
    out = folder / "killed-scores"
    process = _start(archive, out, options)
    while len(_shards(out)) < shards / 3:
        if process.poll() is not None:
            sys.exit("the run ended before it could be killed. Use more --images.")
        time.sleep(0.01)
    for one in _tree(process.pid):
        one.send_signal(signal.SIGKILL)
    process.wait()
    before = _shards(out)
    _score(archive, out, options)
    after = _shards(out)
    resumed = pd.read_parquet(out / "scores.parquet")
    facts = ["decision", "probability", "refusal"]
    answers = expected.set_index("file")[facts]
    again = resumed.drop_duplicates("file").set_index("file")[facts].reindex(answers.index)
    same = ((answers == again) | (answers.isna() & again.isna())).all(axis=1)
    return Interruption(
        kept=len(before),
        shards=shards,
        scored_again=sum(after[shard] != moment for shard, moment in before.items()),
        lost=len(set(expected["file"]) - set(resumed["file"])),
        duplicates=int(resumed["file"].duplicated().sum()),
        otherwise=int((~same).sum()),
    )


def check_failures(out: Path, archive: Path) -> str:
    """Compare failures.csv with the broken and blank files; return the counts as text."""
    with (out / "failures.csv").open(encoding="utf-8", newline="") as file:
        decisions = {row["file"]: row["decision"] for row in csv.DictReader(file)}
    numbers = {file.relative_to(archive).as_posix(): int(file.stem) for file in archive.rglob("*.jpeg")}
    broken = {name for name, number in numbers.items() if number % BROKEN_EVERY == 0}
    blank = {name for name, number in numbers.items() if number % BLANK_EVERY == 1} - broken
    counts = (
        sum(decisions.get(name) == "UNREADABLE" for name in broken),
        sum(decisions.get(name) == "REFUSED" for name in blank),
    )
    return f"{counts[0]} of {len(broken)} broken files reported, {counts[1]} of {len(blank)} blank images refused"


def table(runs: list[Run], cut: Interruption, failures: list[str], workers: int, model: str, load: float) -> str:
    """Return the section of RESULTS.md."""
    small, large = runs
    rows = "\n".join(
        f"| {run.images:,} | {run.seconds:.0f} | {run.rate:.1f} | {run.peak_bytes / MIB:.0f} | {named} |"
        for run, named in zip(runs, failures, strict=True)
    )
    return f"""
Command: `python -m benchmarks.scoring --images {small.images}`, {workers} workers on {os.cpu_count()} CPU cores, load
average {load:.1f} before; compare the ratios. Model: {model}. Images: varied phantoms, {SIZE} pixels high, JPEG.

| images | seconds | images per second | peak memory of all processes, MB | failures |
| --- | --- | --- | --- | --- |
{rows}

{large.images / small.images:.0f} times as many images take {large.seconds / small.seconds:.1f} times as long
and {large.peak_bytes / small.peak_bytes:.2f} times the memory.

Killed (SIGKILL to all processes) when {cut.kept} of {cut.shards} shards were complete, and restarted:
{cut.scored_again} complete shards scored again,
{cut.lost} images lost, {cut.duplicates} duplicated, {cut.otherwise} with another result than in an uninterrupted run.
"""


def _start(archive: Path, out: Path, options: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pneumonia.cli", "score", str(archive), "--out", str(out), *options]
    return subprocess.Popen(command)


def _score(archive: Path, out: Path, options: list[str]) -> None:
    if _start(archive, out, options).wait():
        sys.exit(f"scoring {archive} failed")


def _shards(out: Path) -> dict[str, int]:
    """Return the modification time of each complete shard, in nanoseconds."""
    return {file.name: file.stat().st_mtime_ns for file in (out / "shards").glob("*.parquet")}


def _tree(process: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(process)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _private_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


if __name__ == "__main__":
    main()
