"""``pneumonia feedback`` and ``pneumonia dataset``: delayed labels, and training datasets from reviewed images.

Heavy modules are imported inside the commands, so that ``--help`` is fast.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from pneumonia.cli.terminal import exit_on_error

if TYPE_CHECKING:
    from pneumonia.monitoring.log import Log

File = click.Path(exists=True, dir_okay=False, path_type=Path)
Folder = click.Path(exists=True, file_okay=False, path_type=Path)
log_option = click.option(
    "--log",
    "url",
    envvar="PNEUMONIA_LOG",
    help="SQLAlchemy URL of the prediction log. Default: SQLite in .pneumonia/log.db.",
)
DETERIORATED = 2
"""Exit status if the performance of a model has deteriorated."""


@contextmanager
def _open_log(url: str | None) -> Iterator["Log"]:
    from pneumonia.monitoring.log import Log, default_url

    with exit_on_error(), Log(url or default_url()) as log:
        yield log


@click.group()
def feedback() -> None:
    """Import delayed labels, and evaluate the model on them."""


@feedback.command("import")
@click.argument("file", type=File)
@log_option
def import_(file: Path, url: str | None) -> None:
    """Add the labels of a CSV file to the log: all of them, or none if the file has any error.

    Columns: id (of the prediction), label (NORMAL, PNEUMONIA or UNSURE), and optionally source, time (ISO 8601) and
    blinded (yes or no). Importing a file twice changes nothing.
    """
    from pneumonia.monitoring.delayed_labels import import_labels

    with _open_log(url) as log:
        result = import_labels(log, file)
    click.echo(f"added {result.added} label(s); {result.existing} were in the log already.")


@feedback.command()
@log_option
@click.option("--since", type=click.DateTime(), help="Earliest time of a prediction (UTC).")
@click.option("--output", type=click.File("w", encoding="utf-8"), default="-", help="Output file. Default: stdout.")
def disagreements(url: str | None, since: datetime | None, output: TextIO) -> None:
    """List, as CSV, predictions whose label is the other class, the most confident decisions first."""
    from pneumonia.monitoring import delayed_labels
    from pneumonia.monitoring.log import Window

    with _open_log(url) as log:
        table = delayed_labels.disagreements(log, Window(since=since and since.replace(tzinfo=UTC)))
    click.echo(table.to_csv(index=False, lineterminator="\n"), output, nl=False)


@feedback.command()
@log_option
@click.option("--bundle", type=Folder, help="Folder of the model. Default: the champion, else the release.")
@click.option(
    "--drift",
    "drift_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=".pneumonia/monitoring/report.json",
    show_default=True,
    help="Drift report of `pneumonia monitor`.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=".pneumonia/feedback",
    show_default=True,
    help="Folder for retrain.html and retrain.json.",
)
def report(url: str | None, bundle: Path | None, drift_file: Path, out: Path) -> None:
    """Recommend whether to retrain: has the input changed, has performance deteriorated, is the evidence sufficient?

    The exit status is 2 if performance has deteriorated by more than the section `feedback` of operations.yaml
    tolerates.
    """
    from pneumonia.bundle import bundle as bundles
    from pneumonia.core import files, paths, settings
    from pneumonia.evaluation.settings import EvaluateParams
    from pneumonia.monitoring import drift_report, periods, retrain, retrain_page
    from pneumonia.monitoring.baseline import find_baseline
    from pneumonia.monitoring.settings import FeedbackParams
    from pneumonia.registry import resolve

    with _open_log(url) as log:
        params = settings.read_section(resolve.settings_file(Path(), paths.OPERATIONS), "feedback", FeedbackParams)
        evaluate = settings.read_section(resolve.settings_file(Path(), paths.PARAMS), "evaluate", EvaluateParams)
        resolved = resolve.resolve_bundle(Path(), bundle)
        card = bundles.read(resolved.folder).card
        drift = drift_report.read(drift_file) if drift_file.is_file() else None
        assessment = retrain.assess(
            periods.answered_predictions(log, card.sha256),
            retrain.logged_model(log, card.sha256),
            find_baseline(resolved.folder, card, Path()),
            retrain.summarise_drift(drift, card.sha256) if drift else None,
            params,
            evaluate.bootstrap,
            datetime.now(UTC),
        )
    files.write_text(out / "retrain.html", retrain_page.render(assessment, params))
    files.write_json(out / "retrain.json", assessment)
    click.echo(f"{assessment.action}; {assessment.labelled} of {assessment.answered} predictions are labelled: {out}")
    if assessment.deteriorated:
        raise click.exceptions.Exit(DETERIORATED)


@click.group()
def dataset() -> None:
    """Build datasets for `data.source` in params.yaml."""


@dataset.command("add-reviewed")
@click.argument("images", type=Folder)
@click.option("--reviews", type=File, help="CSV file with the columns file, label and optionally patient.")
@click.option("--log", "url", help="SQLAlchemy URL of the prediction log with labels of images that were kept.")
@click.option("--base", type=Folder, default="artifacts/raw", show_default=True, help="Base dataset.")
@click.option("--to", type=click.Path(path_type=Path), required=True, help="Folder to create; it must not exist.")
def add_reviewed(images: Path, reviews: Path | None, url: str | None, base: Path, to: Path) -> None:
    """Build a dataset from a base and the reviewed images in the folder IMAGES, which are added to the training split.

    The test set does not change: an image that is in the base already, or a patient of the test set, is refused.
    """
    from pneumonia.monitoring import reviewed_dataset

    if (reviews is None) == (url is None):
        raise click.UsageError("Expected either a table (--reviews FILE) or a log (--log URL).")
    with exit_on_error():
        if reviews:
            reviewed = reviewed_dataset.from_csv(reviews, images)
        else:
            with _open_log(url) as log:
                reviewed = reviewed_dataset.from_log(log, images)
        result = reviewed_dataset.build(base, reviewed, to)
    added = ", ".join(f"{count} {label}" for label, count in result.added.items())
    copied = sum(sum(counts.values()) for counts in result.base.values())
    click.echo(f"{to}: {copied} images of {base}, and {added} reviewed images in train.")
    click.echo(f"Set data.source to {to} in params.yaml, and run `dvc repro`.")
