"""``pneumonia score``: predictions for a large archive, in shards and on all CPU cores.

Everything heavy is imported inside the command, so that ``--help`` answers at once.
"""

import os
import sys
import time
from pathlib import Path

import click

from pneumonia.cli.terminal import exit_on_error, print_table
from pneumonia.scoring.settings import SHARD_SIZE


@click.command()
@click.argument("source", metavar="FOLDER")
@click.option("--out", required=True, help="Folder or s3:// URL for the result. An interrupted run resumes there.")
@click.option(
    "--workers", default=os.cpu_count() or 1, show_default=True, type=click.IntRange(1), help="Number of processes."
)
@click.option("--shard-size", default=SHARD_SIZE, show_default=True, type=click.IntRange(1), help="Images in a shard.")
@click.option(
    "--bundle",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of a trained model. Default: the champion, else the release.",
)
@click.option(
    "--log",
    envvar="PNEUMONIA_LOG",
    help="SQLAlchemy URL of the prediction log. Default: SQLite in .pneumonia/log.db.",
)
@click.option("--no-log", is_flag=True, help="Do not log the predictions.")
def score(
    source: str, out: str, workers: int, shard_size: int, bundle: Path | None, log: str | None, no_log: bool
) -> None:
    """Predict for all images of FOLDER, or of a bucket (s3://BUCKET/PREFIX).

    An interrupted run resumes when the same command is run again. The result in --out: scores.parquet, failures.csv
    (images that were refused or unreadable, with the reason) and summary.json.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from pneumonia.inference.runtime import Runtime
    from pneumonia.monitoring.record import ModelIdentity
    from pneumonia.registry import resolve
    from pneumonia.scoring import plan as plans
    from pneumonia.scoring import shard_workers as processes
    from pneumonia.scoring import shards
    from pneumonia.scoring.place import Place

    with exit_on_error():
        resolved = resolve.resolve_bundle(Path(), bundle)
        card = Runtime.load(resolved.folder).bundle.card  # exports the graph once, before all workers need it
        plan = plans.make(Place(source), Place(out), ModelIdentity.of(card, resolved.version), shard_size)
        shard_count = len(plan.shard_numbers)
        click.echo(
            f"{plan.images:,} images in {shard_count:,} shards, model {card.name} ({resolved.origin})", err=True
        )
        job = processes.ScoringJob(plan, out, resolved.folder, None if no_log else log or "")
        started, scored = time.monotonic(), 0
        with click.progressbar(processes.run(job, workers), label="Shards", file=sys.stderr) as finished:
            scored = sum(plan.length(shard) for shard in finished)
        seconds = time.monotonic() - started
        summary = shards.merge(plan, Place(out))
    counts = [(decision, f"{count:,}") for decision, count in summary.decisions.items()]
    print_table(("DECISION", "IMAGES"), counts, right=("IMAGES",))
    if scored:
        rate = scored / seconds
        click.echo(f"{scored:,} images in {seconds:.0f} s, {rate:.1f} images per second. Result: {out}", err=True)
