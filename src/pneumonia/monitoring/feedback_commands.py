"""``pneumonia feedback`` and ``pneumonia dataset``: what comes back after a prediction, and what is made of it.

Everything heavy is imported inside the commands.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from pneumonia.terminal import refusals_in_one_line

if TYPE_CHECKING:
    from pneumonia.monitoring.log import Log, LoggedModel
    from pneumonia.monitoring.retrain import Drift, Reference

File = click.Path(exists=True, dir_okay=False, path_type=Path)
Folder = click.Path(exists=True, file_okay=False, path_type=Path)
log_option = click.option(
    "--log", "url", envvar="PNEUMONIA_LOG", help="SQLAlchemy URL of the log; by default .pneumonia/log.db."
)
WORSE = 2
"""Exit status where a model has surely become worse."""


@contextmanager
def _opened(url: str | None) -> Iterator["Log"]:
    from pneumonia.monitoring.log import Log, default_url

    with refusals_in_one_line():
        log = Log(url or default_url())
        try:
            yield log
        finally:
            log.close()


@click.group()
def feedback() -> None:
    """Bring in labels that come later, and see what they say of the model."""


@feedback.command("import")
@click.argument("file", type=File)
@log_option
def import_(file: Path, url: str | None) -> None:
    """Add the labels of a CSV file to the log: all of them, or none if anything is wrong with the file.

    Columns: id (of the prediction), label (NORMAL, PNEUMONIA or UNSURE) and, where known, source, time (ISO 8601) and
    blinded (yes or no). Importing a file twice changes nothing.
    """
    from pneumonia.monitoring import feedback as labels

    with _opened(url) as log:
        done = labels.import_file(log, file)
    click.echo(f"added {done.added} label(s); {done.known} were there already.")


@feedback.command()
@log_option
@click.option("--since", type=click.DateTime(), help="Only predictions from this time on (UTC).")
@click.option("--output", type=click.File("w", encoding="utf-8"), default="-", help="File for them instead of stdout.")
def disagreements(url: str | None, since: datetime | None, output: TextIO) -> None:
    """List, as CSV, predictions whose label is the other class, the most confident ones first."""
    from pneumonia.monitoring import feedback as labels
    from pneumonia.monitoring.log import Window

    with _opened(url) as log:
        found = labels.disagreements(log, Window(since=since and since.replace(tzinfo=UTC)))
    click.echo(found.to_csv(index=False, lineterminator="\n"), output, nl=False)


@feedback.command()
@log_option
@click.option("--bundle", type=Folder, help="Folder of the model in question; by default the champion or the release.")
@click.option(
    "--drift",
    "drift_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=".pneumonia/monitoring/report.json",
    show_default=True,
    help="Report of `pneumonia monitor`, for the first question.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=".pneumonia/feedback",
    show_default=True,
    help="Folder for retrain.html and retrain.json.",
)
def report(url: str | None, bundle: Path | None, drift_file: Path, out: Path) -> None:
    """Write a page that answers: retrain? Is the input different, is the model worse, is it enough evidence?

    The exit status is 2 where the model has surely become worse than the section `feedback` of params.yaml tolerates.
    """
    from pneumonia import config, serving
    from pneumonia.monitoring import periods, retrain, retrain_page

    with _opened(url) as log:
        params = config.load(serving.params_file(Path()) or serving.PARAMS)
        reference, sha256 = _reference(bundle)
        assessment = retrain.assess(
            periods.cases(log, sha256),
            _logged_model(log, sha256),
            reference,
            _drift(drift_file, sha256),
            params.feedback,
            params.evaluate.bootstrap,
            datetime.now(UTC),
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / "retrain.html").write_text(retrain_page.render(assessment), encoding="utf-8")
    (out / "retrain.json").write_text(json.dumps(assessment.to_json(), indent=2) + "\n", encoding="utf-8")
    click.echo(f"{assessment.advice}; {assessment.labelled} of {assessment.answered} answers are labelled: {out}")
    if assessment.worse:
        raise click.exceptions.Exit(WORSE)


def _reference(bundle: Path | None) -> tuple["Reference", str]:
    """Return how good a bundle was found to be, on the test set where that was judged, and the hash of its weights."""
    from pneumonia import serving
    from pneumonia.models import bundle as bundles
    from pneumonia.monitoring.retrain import Reference

    choice = serving.choose(Path(), bundle)
    card = bundles.read(choice.folder).card
    judged = serving.judgement(choice.folder, card, Path())
    if judged is None:
        images = sum(card.data.counts.get("validation", {}).values())
        return Reference(dict(card.validation), images, f"validation images of {card.name}"), card.model_sha256
    test = judged["subsets"]["test"]
    figures = {name: figure["value"] for name, figure in test["figures"].items()}
    return Reference(figures, sum(test["images"].values()), f"the test set of {card.name}"), card.model_sha256


def _logged_model(log: "Log", sha256: str) -> "LoggedModel":
    """Return what the log knows of a model, under whichever version it answered."""
    from pneumonia.errors import MonitoringError

    logged = log.models()
    found = [model for model in logged if model.bundle_sha256 == sha256]
    if not found:
        others = ", ".join(f"{model.model} {model.bundle_sha256[:12]}" for model in logged) or "no model at all"
        raise MonitoringError(
            f"the log holds no prediction of the model {sha256[:12]}; it holds those of {others}. Name the folder of "
            "one of these (--bundle), or another log (--log)."
        )
    first, last = min(model.first for model in found), max(model.last for model in found)
    return replace(found[0], first=first, last=last, predictions=sum(model.predictions for model in found))


def _drift(file: Path, sha256: str) -> "Drift | None":
    """Read what the drift report of a model says; None where there is no file."""
    from pneumonia.errors import MonitoringError
    from pneumonia.monitoring.retrain import Drift

    if not file.is_file():
        return None
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        drift = Drift(said["alert"], tuple(said["changed"]), said["images"], said["first"], said["last"])
        reported = said["bundle_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise MonitoringError(
            f"{file} is not a report of `pneumonia monitor` ({error}). Name the report.json that it writes (--drift)."
        ) from None
    if reported != sha256:
        raise MonitoringError(
            f"{file} is about the model {reported[:12]}, not {sha256[:12]}. Run `pneumonia monitor` for this one, or "
            "name its report (--drift)."
        )
    return drift


@click.group()
def dataset() -> None:
    """Make datasets for `data.source` in params.yaml."""


@dataset.command("add-reviewed")
@click.argument("images", type=Folder)
@click.option("--reviews", type=File, help="CSV with file, label and, where known, patient.")
@click.option("--log", "url", help="URL of the log that has labels of the images, named as --keep-images does.")
@click.option("--base", type=Folder, default="artifacts/raw", show_default=True, help="Dataset to add to.")
@click.option("--to", type=click.Path(path_type=Path), required=True, help="Folder to make; it must not be there yet.")
def add_reviewed(images: Path, reviews: Path | None, url: str | None, base: Path, to: Path) -> None:
    """Make a dataset of a base and of the reviewed images in the folder IMAGES, which come into train.

    The test set stays as it is: an image that the base holds, or one of a patient of the test set, is refused.
    """
    from pneumonia.monitoring import reviewed

    if (reviews is None) == (url is None):
        raise click.UsageError("Name either a table (--reviews FILE) or a log (--log URL).")
    with refusals_in_one_line():
        if reviews:
            found = reviewed.from_csv(reviews, images)
        else:
            with _opened(url) as log:
                found = reviewed.from_log(log, images)
        built = reviewed.build(base, found, to)
    added = ", ".join(f"{count} {label}" for label, count in built.added.items())
    kept = sum(sum(counts.values()) for counts in built.base.values())
    click.echo(f"{to}: {kept} images of {base}, and in train {added} that were reviewed.")
    click.echo(f"Set data.source to {to} in params.yaml, and run `dvc repro`.")
