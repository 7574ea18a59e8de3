"""``pneumonia``: the command for people.

Everything heavy is imported inside the commands, so that ``pneumonia --help`` answers at once.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from pneumonia.errors import PneumoniaError


@contextmanager
def _refusals_in_one_line() -> Iterator[None]:
    try:
        yield
    except PneumoniaError as error:
        raise click.ClickException(str(error)) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pneumonia")
def main() -> None:
    """From a folder of chest radiographs to a pneumonia model. Research software, not a medical device."""


@main.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--bundle",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of a trained model, such as artifacts/models/mobilenetv2.",
)
def predict(images: tuple[Path, ...], bundle: Path) -> None:
    """Answer for IMAGES (JPEG, PNG or DICOM) with the model of a bundle.

    An unreadable image is named and does not spoil the others; the exit status is then 1.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from pneumonia.errors import ImageError
    from pneumonia.inference.predictor import Predictor

    with _refusals_in_one_line():
        predictor = Predictor.load(bundle)
    card = predictor.bundle.card
    seen = f"{card.data.source} {card.data.release}".strip()
    click.echo(f"model {card.name}, trained on {seen}, threshold {card.threshold:.4f}")
    failed = False
    for path in images:
        try:
            (answer,) = predictor.predict([path.read_bytes()])
            click.echo(f"{answer.label:9}  {answer.probability:.4f}  {path}")
        except ImageError as error:
            failed = True
            click.echo(f"{'UNREADABLE':9}  {path}: {error}", err=True)
    sys.exit(int(failed))


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

    with _refusals_in_one_line():
        tracking.serve_ui(root, port=port, open_browser=browser)


if __name__ == "__main__":
    main()
