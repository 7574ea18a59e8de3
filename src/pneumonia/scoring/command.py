"""``pneumonia score``: large archives, in shards, on all cores.

Everything heavy is imported inside the command.
"""

import os
import sys
import time
from pathlib import Path

import click

from pneumonia.terminal import refusals_in_one_line

SHARD_SIZE = 1000


@click.command()
@click.argument("source", metavar="FOLDER")
@click.option("--out", required=True, help="Folder or s3:// URL for the result; the same one again goes on with it.")
@click.option("--workers", default=os.cpu_count() or 1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option("--shard-size", default=SHARD_SIZE, show_default=True, type=click.IntRange(1), help="Images in a shard.")
@click.option("--bundle", type=click.Path(file_okay=False, path_type=Path), help="As in `pneumonia predict`.")
@click.option("--log", envvar="PNEUMONIA_LOG", help="SQLAlchemy URL of the log; by default .pneumonia/log.db.")
@click.option("--no-log", is_flag=True, help="Leave no trace in the log of predictions.")
def score(
    source: str, out: str, workers: int, shard_size: int, bundle: Path | None, log: str | None, no_log: bool
) -> None:
    """Score all images of FOLDER, or of a bucket (s3://BUCKET/PREFIX).

    The champion answers, or the release. A run that was killed goes on when it is started again. What comes of it is
    in --out: scores.parquet, failures.csv (what was refused or could not be read, and why) and summary.json.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from pneumonia import serving
    from pneumonia.inference.runtime import Runtime
    from pneumonia.monitoring.record import Answering
    from pneumonia.scoring import plan as plans
    from pneumonia.scoring import shards
    from pneumonia.scoring import workers as processes
    from pneumonia.scoring.place import Place

    with refusals_in_one_line():
        choice = serving.choose(Path(), bundle)
        card = Runtime.load(choice.folder).bundle.card  # makes the graph once, before many ask for it
        plan = plans.make(Place(source), Place(out), Answering.of(card, choice.version), shard_size)
        click.echo(f"{plan.images:,} images in {len(plan.shards):,} shards by {card.name} ({choice.origin})", err=True)
        job = processes.Job(plan, out, choice.folder, None if no_log else log or "")
        started, scored = time.monotonic(), 0
        with click.progressbar(processes.run(job, workers), label="Shards", file=sys.stderr) as done:
            scored = sum(plan.length(shard) for shard in done)
        seconds = time.monotonic() - started
        summary = shards.merge(plan, Place(out))
    for decision, count in summary["decisions"].items():
        click.echo(f"{decision:13}  {count:>9,}")
    if scored:
        click.echo(
            f"{scored:,} images in {seconds:.0f} s, {scored / seconds:.1f} a second. The result: {out}", err=True
        )
