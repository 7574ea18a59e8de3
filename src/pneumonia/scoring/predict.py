"""``pneumonia predict``: answers for a few files at once, for people and for scripts.

Everything heavy is imported inside the command.
"""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID, uuid4

import click

from pneumonia.terminal import refusals_in_one_line

if TYPE_CHECKING:
    from pneumonia.inference.files import Examined
    from pneumonia.models.bundle import Card

Row = dict[str, Any]
"""What is said of one file, by `COLUMNS`."""

COLUMNS = ("id", "file", "decision", "probability", "indeterminate", "reason")
MANY_IMAGES = 100
MOST_NAMES = 10


@click.command()
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
@click.option(
    "--log", "log_url", envvar="PNEUMONIA_LOG", help="SQLAlchemy URL of the log; by default .pneumonia/log.db."
)
@click.option("--no-log", is_flag=True, help="Leave no trace in the log of predictions.")
def predict(
    paths: tuple[Path, ...], bundle: Path | None, layout: str, output: TextIO, log_url: str | None, no_log: bool
) -> None:
    """Answer for images (JPEG, PNG or DICOM): files, or folders with all that is in them.

    Without --bundle the champion of the MLflow registry answers, or the release where there is no champion. Which
    model it was is said on stderr. An image that is no upright frontal radiograph is refused, an unreadable one is
    named, and neither spoils the others; the exit status is 1 where one could not be read. Each prediction goes
    into the log that `pneumonia monitor` reads, without pixels and names.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from pneumonia import serving
    from pneumonia.inference import files
    from pneumonia.inference.runtime import Runtime
    from pneumonia.monitoring.record import Answering
    from pneumonia.scoring.logged import open_log

    images, skipped = files.find(paths)
    if skipped:
        click.echo(f"skipped {len(skipped)} file(s) without the name of an image: {_names(skipped)}", err=True)
    if not images:
        raise click.ClickException(f"found no image ({', '.join(files.SUFFIXES)}) in {_names(paths)}")
    with refusals_in_one_line():
        choice = serving.choose(Path(), bundle)
        runtime = Runtime.load(choice.folder)
        card = runtime.bundle.card
        model = _model_facts(card, choice.origin)
        click.echo("model " + ", ".join(f"{key} {value}" for key, value in model.items()), err=True)
        answering = Answering.of(card, choice.version)
        with open_log(answering, None if no_log else log_url or "", "cli") as note:

            def rows() -> Iterator[Row]:
                for batch in files.examine(runtime, map(str, images), lambda name: Path(name).read_bytes()):
                    ids = [uuid4() for _ in batch]
                    note(batch, ids)
                    yield from map(_row, batch, ids)

            with _progress(rows(), len(images), output) as shown:
                failed = _WRITERS[layout](model, shown, output)
    if failed:
        raise click.ClickException(f"{failed} of {len(images)} image(s) cannot be read; their rows say why")


def _row(said: "Examined", number: UUID) -> Row:
    row: Row = dict.fromkeys(COLUMNS) | {"id": str(number), "file": said.name, "decision": said.decision}
    if said.answer is None:
        return row | {"reason": said.refusal.reason if said.refusal else ""}
    return row | {
        "probability": round(said.answer.probability, 6),
        "indeterminate": said.answer.indeterminate,
        "reason": "",
    }


def _unreadable(row: Row) -> bool:
    return bool(row["decision"] == "UNREADABLE")


def _write_table(model: Row, rows: Iterable[Row], output: TextIO) -> int:
    def line(decision: str, probability: str, file: str) -> None:
        click.echo(f"{decision:13}  {probability:>11}  {file}", output)

    failed = 0
    line("DECISION", "PROBABILITY", "FILE")
    for row in rows:
        failed += _unreadable(row)
        if row["reason"]:
            line(row["decision"], "", f"{row['file']}: {row['reason']}")
        else:
            line(row["decision"], f"{row['probability']:.4f}", row["file"])
    return failed


def _write_csv(model: Row, rows: Iterable[Row], output: TextIO) -> int:
    writer = csv.DictWriter(output, COLUMNS, lineterminator="\n")
    writer.writeheader()
    failed = 0
    for row in rows:
        failed += _unreadable(row)
        writer.writerow(row)
    return failed


def _write_json(model: Row, rows: Iterable[Row], output: TextIO) -> int:
    answers = list(rows)
    click.echo(json.dumps({"model": model, "answers": answers}, indent=2), output)
    return sum(map(_unreadable, answers))


_WRITERS = {"table": _write_table, "csv": _write_csv, "json": _write_json}
"""Each writes the rows as they come, as far as the format allows, and returns how many are unreadable."""


def _model_facts(card: "Card", origin: str) -> Row:
    return {
        "name": card.name,
        "origin": origin,
        "data": f"{card.data.source} {card.data.release}".strip(),
        "threshold": round(card.threshold, 6),
        "commit": (card.git_commit or "unknown")[:10],
    }


@contextmanager
def _progress(rows: Iterator[Row], count: int, output: TextIO) -> Iterator[Iterable[Row]]:
    """Show a bar on stderr in a long run, where someone looks at it and does not see the answers themselves."""
    if count < MANY_IMAGES or output.isatty() or not sys.stderr.isatty():
        yield rows
        return
    with click.progressbar(rows, length=count, label="Answering", file=sys.stderr) as shown:
        yield shown


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths[:MOST_NAMES])) + (", ..." if len(paths) > MOST_NAMES else "")
