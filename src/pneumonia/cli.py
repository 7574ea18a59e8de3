"""``pneumonia``: the command for people.

Everything heavy is imported inside the commands, so that ``pneumonia --help`` answers at once.
"""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from pneumonia.app.command import access, serve
from pneumonia.monitoring.command import monitor
from pneumonia.registry import commands
from pneumonia.terminal import refusals_in_one_line

if TYPE_CHECKING:
    from pneumonia.inference.files import FileAnswer
    from pneumonia.models.bundle import Card


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pneumonia")
def main() -> None:
    """From a folder of chest radiographs to a pneumonia model. Research software, not a medical device."""


@main.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--bundle",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of a trained model, such as artifacts/models/mobilenetv2; by default the champion or the release.",
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How the answers are written.",
)
@click.option("--output", type=click.File("w", encoding="utf-8"), default="-", help="File for them instead of stdout.")
def predict(paths: tuple[Path, ...], bundle: Path | None, layout: str, output: TextIO) -> None:
    """Answer for images (JPEG, PNG or DICOM): files, or folders with all that is in them.

    Without --bundle the champion of the MLflow registry answers, or the release where there is no champion. Which
    model it was is said on stderr. An unreadable image is named and does not spoil the others; the exit status is
    then 1.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from pneumonia import serving
    from pneumonia.inference import files
    from pneumonia.inference.predictor import Predictor

    images, skipped = files.find(paths)
    if skipped:
        click.echo(f"skipped {len(skipped)} file(s) without the name of an image: {_names(skipped)}", err=True)
    if not images:
        raise click.ClickException(f"found no image ({', '.join(files.SUFFIXES)}) in {_names(paths)}")
    with refusals_in_one_line():
        choice = serving.choose(Path(), bundle)
        predictor = Predictor.load(choice.folder)
        model = _model_facts(predictor.bundle.card, choice.origin)
        click.echo("model " + ", ".join(f"{key} {value}" for key, value in model.items()), err=True)
        with _progress(files.answer(predictor, images), len(images), output) as answers:
            failed = _WRITERS[layout](model, map(_row, answers), output)
    if failed:
        raise click.ClickException(f"{failed} of {len(images)} image(s) cannot be read; their rows say why")


Row = dict[str, Any]
"""What is said of one file, by `COLUMNS`."""

COLUMNS = ("file", "decision", "probability", "indeterminate", "error")
MANY_IMAGES = 100
MOST_NAMES = 10


def _row(said: "FileAnswer") -> Row:
    row: Row = dict.fromkeys(COLUMNS) | {"file": str(said.file), "error": said.error}
    if said.answer is None:
        return row | {"decision": "UNREADABLE"}
    decision = "INDETERMINATE" if said.answer.indeterminate else said.answer.label
    probability = round(said.answer.probability, 6)
    return row | {"decision": decision, "probability": probability, "indeterminate": said.answer.indeterminate}


def _write_table(model: Row, rows: Iterable[Row], output: TextIO) -> int:
    def line(decision: str, probability: str, file: str) -> None:
        click.echo(f"{decision:13}  {probability:>11}  {file}", output)

    failed = 0
    line("DECISION", "PROBABILITY", "FILE")
    for row in rows:
        if row["error"]:
            failed += 1
            line(row["decision"], "", f"{row['file']}: {row['error']}")
        else:
            line(row["decision"], f"{row['probability']:.4f}", row["file"])
    return failed


def _write_csv(model: Row, rows: Iterable[Row], output: TextIO) -> int:
    writer = csv.DictWriter(output, COLUMNS, lineterminator="\n")
    writer.writeheader()
    failed = 0
    for row in rows:
        failed += bool(row["error"])
        writer.writerow(row)
    return failed


def _write_json(model: Row, rows: Iterable[Row], output: TextIO) -> int:
    answers = list(rows)
    click.echo(json.dumps({"model": model, "answers": answers}, indent=2), output)
    return sum(bool(row["error"]) for row in answers)


_WRITERS = {"table": _write_table, "csv": _write_csv, "json": _write_json}
"""Each writes the rows as they come, as far as the format allows, and returns how many are errors."""


def _model_facts(card: "Card", origin: str) -> Row:
    return {
        "name": card.name,
        "origin": origin,
        "data": f"{card.data.source} {card.data.release}".strip(),
        "threshold": round(card.threshold, 6),
        "commit": (card.git_commit or "unknown")[:10],
    }


@contextmanager
def _progress(answers: "Iterable[FileAnswer]", count: int, output: TextIO) -> Iterator["Iterable[FileAnswer]"]:
    """Show a bar on stderr in a long run, where someone looks at it and does not see the answers themselves."""
    if count < MANY_IMAGES or output.isatty() or not sys.stderr.isatty():
        yield answers
        return
    with click.progressbar(answers, length=count, label="Answering", file=sys.stderr) as shown:
        yield shown


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths[:MOST_NAMES])) + (", ..." if len(paths) > MOST_NAMES else "")


@main.command()
@click.option(
    "--root",
    default=".",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Project folder whose mlruns/ is shown.",
)
@click.option("--port", default=5000, show_default=True, help="Port on localhost.")
@click.option("--browser/--no-browser", default=True, help="Open the page.")
def ui(root: Path, port: int, browser: bool) -> None:
    """Open the MLflow UI on the runs of this project."""
    from pneumonia import tracking

    with refusals_in_one_line():
        tracking.serve_ui(root, port=port, open_browser=browser)


for command in (
    serve,
    access,
    monitor,
    commands.promote,
    commands.rollback,
    commands.versions,
    commands.show,
    commands.history,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
