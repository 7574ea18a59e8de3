"""``pneumonia``: the group of all commands.

Heavy modules are imported inside the commands, so that ``pneumonia --help`` is fast.
"""

from pathlib import Path

import click

from pneumonia.cli import registry as commands
from pneumonia.cli.feedback import dataset, feedback
from pneumonia.cli.monitor import monitor
from pneumonia.cli.predict import predict
from pneumonia.cli.score import score
from pneumonia.cli.serve import access, serve
from pneumonia.cli.terminal import Commands, exit_on_error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pneumonia")
def main() -> None:
    """Predict, serve, promote and monitor pneumonia models of chest radiographs.

    Research software, not a medical device.
    """


@main.command()
@click.option(
    "--root",
    default=".",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Project folder with mlruns/.",
)
@click.option("--port", default=5000, show_default=True, help="Port on localhost.")
@click.option("--browser/--no-browser", default=True, help="Open a browser.")
def ui(root: Path, port: int, browser: bool) -> None:
    """Start the MLflow UI with the runs of this project."""
    from pneumonia.registry import ui as mlflow_ui

    with exit_on_error():
        mlflow_ui.serve_ui(root, port=port, open_browser=browser)


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
