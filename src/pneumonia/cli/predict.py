"""``pneumonia predict``: predictions for image files, as a table, CSV or JSON.

Heavy modules are imported inside the command, so that ``--help`` is fast.
"""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from pneumonia.cli.terminal import exit_on_error, print_table

if TYPE_CHECKING:
    from pneumonia.scoring.predictions import FilePrediction, ModelSummary

COLUMNS = ("id", "file", "decision", "probability", "indeterminate", "reason")
PROGRESS_FROM = 100
"""Smallest number of images with a progress bar."""
LISTED_NAMES = 10


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--bundle",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of a trained model, such as artifacts/models/mobilenetv2. Default: the champion, else the release.",
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="Output format.",
)
@click.option("--output", type=click.File("w", encoding="utf-8"), default="-", help="Output file. Default: stdout.")
@click.option(
    "--log",
    "log_url",
    envvar="PNEUMONIA_LOG",
    help="SQLAlchemy URL of the prediction log. Default: SQLite in .pneumonia/log.db.",
)
@click.option("--no-log", is_flag=True, help="Do not log the predictions.")
def predict(
    paths: tuple[Path, ...], bundle: Path | None, layout: str, output: TextIO, log_url: str | None, no_log: bool
) -> None:
    """Predict for images (JPEG, PNG or DICOM): files, or folders with all images in them.

    Without --bundle the champion of the MLflow registry is used, or the release if there is no champion; stderr names
    the model. An image that is not an upright frontal chest radiograph is refused, an unreadable file is listed, and
    the other images are not affected. The exit status is 1 if a file could not be read. Each prediction is added to
    the prediction log that `pneumonia monitor` reads, without pixels and file names.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from pneumonia.images.formats import EXPECTED_FILES
    from pneumonia.inference import image_files
    from pneumonia.inference.runtime import Runtime
    from pneumonia.registry import resolve
    from pneumonia.scoring.predictions import ModelSummary, predict_files

    images, skipped = image_files.find(paths)
    if skipped:
        click.echo(f"skipped {len(skipped)} file(s) that are not images: {_names(skipped)}", err=True)
    if not images:
        raise click.ClickException(f"found no image ({EXPECTED_FILES}) in {_names(paths)}")
    with exit_on_error():
        resolved = resolve.resolve_bundle(Path(), bundle)
        runtime = Runtime.load(resolved.folder)
        model = ModelSummary.of(runtime.bundle.card, resolved.origin)
        click.echo("model " + ", ".join(f"{key} {value}" for key, value in model), err=True)
        predictions = predict_files(runtime, resolved, images, None if no_log else log_url or "")
        with _progress(predictions, len(images), output) as shown:
            unreadable = _WRITERS[layout](model, shown, output)
    if unreadable:
        raise click.ClickException(f"{unreadable} of {len(images)} file(s) cannot be read; see their rows")


def _write_table(model: "ModelSummary", predictions: Iterable["FilePrediction"], output: TextIO) -> int:
    rows = list(predictions)
    print_table(
        ("DECISION", "PROBABILITY", "FILE"),
        (
            (
                row.decision,
                "" if row.probability is None else f"{row.probability:.4f}",
                f"{row.file}: {row.reason}" if row.reason else row.file,
            )
            for row in rows
        ),
        right=("PROBABILITY",),
        file=output,
    )
    return sum(row.is_unreadable for row in rows)


def _write_csv(model: "ModelSummary", predictions: Iterable["FilePrediction"], output: TextIO) -> int:
    writer = csv.DictWriter(output, COLUMNS, lineterminator="\n")
    writer.writeheader()
    unreadable = 0
    for row in predictions:
        unreadable += row.is_unreadable
        writer.writerow(dict(row))
    return unreadable


def _write_json(model: "ModelSummary", predictions: Iterable["FilePrediction"], output: TextIO) -> int:
    rows = list(predictions)
    document = {"model": model.model_dump(mode="json"), "answers": [row.model_dump(mode="json") for row in rows]}
    click.echo(json.dumps(document, indent=2), output)
    return sum(row.is_unreadable for row in rows)


_WRITERS = {"table": _write_table, "csv": _write_csv, "json": _write_json}
"""Each writes all predictions, and returns the number of unreadable files."""


@contextmanager
def _progress(
    predictions: Iterator["FilePrediction"], count: int, output: TextIO
) -> Iterator[Iterable["FilePrediction"]]:
    """Show a progress bar on stderr in a long run, unless stderr is not a terminal or CSV rows are on the terminal."""
    if count < PROGRESS_FROM or output.isatty() or not sys.stderr.isatty():
        yield predictions
        return
    with click.progressbar(predictions, length=count, label="Predicting", file=sys.stderr) as shown:
        yield shown


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths[:LISTED_NAMES])) + (", ..." if len(paths) > LISTED_NAMES else "")
