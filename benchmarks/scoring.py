"""How `pneumonia score` behaves as an archive grows ten times, and when it is killed in the middle.

    python -m benchmarks.scoring --images 10000

Writes the scoring part of benchmarks/RESULTS.md. The archive is phantoms, as JPEG: `BASES` of them are drawn, and
every image is one of these with an exposure and a JPEG quality of its own, so that little time goes into drawing.
Every `BROKEN_EVERY`-th file is cut short, every `BLANK_EVERY`-th is blank. Times are of the whole command.
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
"""How much larger the larger archive is."""
BASES = 200
SIZE = 256
"""Mean height of an image in pixels."""
BROKEN_EVERY, BLANK_EVERY = 500, 700
IN_A_FOLDER = 1000
SECONDS_BETWEEN_LOOKS = 0.5
MIB = 2**20


@dataclass(frozen=True)
class Run:
    """Of one archive: how many images, the seconds of the command, and the largest memory of all its processes."""

    images: int
    seconds: float
    peak_bytes: int

    @property
    def rate(self) -> float:
        """Images in a second."""
        return self.images / self.seconds


@dataclass(frozen=True)
class Interruption:
    """What a kill in the middle cost: shards done by then, and what differs from the run that was left alone."""

    kept: int
    shards: int
    scored_again: int
    lost: int
    duplicates: int
    otherwise: int


def main() -> None:
    """Make the archives, score them, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000, help="in the smaller archive; the larger has 10 times")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--bundle", type=Path, help="folder of the model; the champion or the release by default")
    asked = parser.parse_args()
    model = ["--bundle", str(asked.bundle)] if asked.bundle else []
    options = ["--workers", str(asked.workers), "--shard-size", str(max(asked.images // 20, 1)), "--no-log", *model]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, large = folder / "small", folder / "large"
        load = os.getloadavg()[0]
        make_archive(small, asked.images)
        _score(small, folder / "warm-up", options)  # the first run on a machine makes the network's graph
        runs = [measure(small, folder / "small-scores", options)]
        interruption = interrupt(small, folder, options)
        make_archive(large, asked.images * TIMES)
        runs.append(measure(large, folder / "large-scores", options))
        failures = [check_failures(folder / f"{archive.name}-scores", archive) for archive in (small, large)]
    shown = asked.bundle.name if asked.bundle else "the model that answers by default"
    print(results.write(TITLE, table(runs, interruption, failures, asked.workers, shown, load)))


def make_archive(folder: Path, images: int) -> None:
    """Write an archive of phantoms, the same for the same number."""
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
    """Score an archive and watch the memory (private to each process, added up)."""
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
    """Kill a run and all its processes (SIGKILL) when a third of its shards are done, go on, and compare."""
    expected = pd.read_parquet(folder / "small-scores/scores.parquet")
    shards = len(_shards(folder / "small-scores"))
    out = folder / "killed-scores"
    process = _start(archive, out, options)
    while len(_shards(out)) < shards / 3:
        if process.poll() is not None:
            sys.exit("the run ended before it could be killed; give it more --images")
        time.sleep(0.01)
    for one in _tree(process.pid):
        one.send_signal(signal.SIGKILL)
    process.wait()
    before = _shards(out)
    _score(archive, out, options)
    after = _shards(out)
    found = pd.read_parquet(out / "scores.parquet")
    facts = ["decision", "probability", "refusal"]
    answers = expected.set_index("file")[facts]
    again = found.drop_duplicates("file").set_index("file")[facts].reindex(answers.index)
    same = ((answers == again) | (answers.isna() & again.isna())).all(axis=1)
    return Interruption(
        kept=len(before),
        shards=shards,
        scored_again=sum(after[shard] != moment for shard, moment in before.items()),
        lost=len(set(expected["file"]) - set(found["file"])),
        duplicates=int(found["file"].duplicated().sum()),
        otherwise=int((~same).sum()),
    )


def check_failures(out: Path, archive: Path) -> str:
    """Compare the list of failures with the files that were broken or blanked; return it in words."""
    with (out / "failures.csv").open(encoding="utf-8", newline="") as file:
        told = {row["file"]: row["decision"] for row in csv.DictReader(file)}
    numbers = {file.relative_to(archive).as_posix(): int(file.stem) for file in archive.rglob("*.jpeg")}
    broken = {name for name, number in numbers.items() if number % BROKEN_EVERY == 0}
    blank = {name for name, number in numbers.items() if number % BLANK_EVERY == 1} - broken
    found = sum(told.get(name) == "UNREADABLE" for name in broken), sum(told.get(name) == "REFUSED" for name in blank)
    return f"{found[0]} of {len(broken)} broken files named, {found[1]} of {len(blank)} blank ones refused"


def table(runs: list[Run], cut: Interruption, failures: list[str], workers: int, model: str, load: float) -> str:
    """Return the section."""
    small, large = runs
    rows = "\n".join(
        f"| {run.images:,} | {run.seconds:.0f} | {run.rate:.1f} | {run.peak_bytes / MIB:.0f} | {named} |"
        for run, named in zip(runs, failures, strict=True)
    )
    return f"""
Command: `python -m benchmarks.scoring --images {small.images}`, {workers} workers on {os.cpu_count()} CPU cores, load
average {load:.1f} before; read the ratios. Model: {model}. Images: varied phantoms, {SIZE} pixels high, JPEG.

| images | seconds | images per second | memory of all processes at most, MB | failures |
| --- | --- | --- | --- | --- |
{rows}

With {large.images / small.images:.0f} times as many images it takes {large.seconds / small.seconds:.1f} times as long
and {large.peak_bytes / small.peak_bytes:.2f} times the memory.

Killed (SIGKILL to all processes) when {cut.kept} of {cut.shards} shards were done, and started again:
{cut.scored_again} finished shards scored again, {cut.lost} images lost, {cut.duplicates} twice,
{cut.otherwise} with another answer than in a run that was left alone.
"""


def _start(archive: Path, out: Path, options: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pneumonia.cli", "score", str(archive), "--out", str(out), *options]
    return subprocess.Popen(command)


def _score(archive: Path, out: Path, options: list[str]) -> None:
    if _start(archive, out, options).wait():
        sys.exit(f"scoring {archive} failed")


def _shards(out: Path) -> dict[str, int]:
    """Return the shards that are done, and when each was written."""
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
