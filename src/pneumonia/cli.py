"""``pneumonia``: the command for people.

Everything heavy is imported inside the commands, so that ``pneumonia --help`` answers at once.
"""

from pathlib import Path

import click

from pneumonia.app.command import access, serve
from pneumonia.monitoring.command import monitor
from pneumonia.monitoring.feedback_commands import dataset, feedback
from pneumonia.registry import commands
from pneumonia.scoring.command import score
from pneumonia.scoring.predict import predict
from pneumonia.terminal import refusals_in_one_line


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pneumonia")
def main() -> None:
    """From a folder of chest radiographs to a pneumonia model. Research software, not a medical device."""


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
    predict,
    score,
    monitor,
    commands.promote,
    commands.rollback,
    commands.versions,
    commands.show,
    commands.history,
    feedback,
    dataset,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
