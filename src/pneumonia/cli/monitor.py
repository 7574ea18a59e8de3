"""``pneumonia monitor``: drift of the logged predictions.

Heavy modules are imported inside the command, so that ``--help`` is fast.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from pneumonia.cli.terminal import exit_on_error

ALERT = 2
"""Exit status of an alert."""
TIMES = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
Folder = click.Path(file_okay=False, path_type=Path)
File = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--log",
    "url",
    envvar="PNEUMONIA_LOG",
    help="SQLAlchemy URL of the prediction log. Default: SQLite in .pneumonia/log.db.",
)
@click.option("--window", type=click.IntRange(1), help="Largest number of predictions, the most recent ones.")
@click.option("--since", type=TIMES, help="Earliest time of a prediction (UTC).")
@click.option("--until", type=TIMES, help="Time before which a prediction was made (UTC).")
@click.option("--bundle", type=Folder, help="Folder of the model. Default: the champion, else the release.")
@click.option("--reference", type=File, help="Reference profile, which determines the model.")
@click.option("--out", type=Folder, default=".pneumonia/monitoring", show_default=True, help="Folder for the reports.")
@click.option("--prometheus", type=File, help="File of gauges for node_exporter's textfile collector (.prom).")
def monitor(
    url: str | None,
    window: int | None,
    since: datetime | None,
    until: datetime | None,
    bundle: Path | None,
    reference: Path | None,
    out: Path,
    prometheus: Path | None,
) -> None:
    """Compare logged predictions with the reference profile of their model.

    Writes report.html and report.json, trend.html from the third report on, and a run in the project's MLflow store if
    there is one. Exit status: 0 without drift, 2 on an alert, 1 on an error.
    """
    from pneumonia.core import paths, settings
    from pneumonia.monitoring import monitor as monitoring
    from pneumonia.monitoring.log import Log, Window, default_url
    from pneumonia.monitoring.profile_lookup import find_profile
    from pneumonia.monitoring.settings import MonitorParams
    from pneumonia.registry import resolve, tracking
    from pneumonia.registry.settings import RegisterParams

    with exit_on_error():
        params = settings.read_section(resolve.settings_file(Path(), paths.OPERATIONS), "monitor", MonitorParams)
        name = settings.read_section(resolve.settings_file(Path(), paths.PARAMS), "register", RegisterParams).name
        profile = reference or find_profile(resolve.resolve_bundle(Path(), bundle), Path(), name)
        with Log(url or default_url()) as log:
            result = monitoring.run(
                log,
                profile,
                Window(since=_utc(since), until=_utc(until), last=window),
                params,
                folder=out,
                gauges=prometheus,
                store=tracking.find_store(Path()),
                registered=name,
            )
    click.echo(result.report.summary())
    click.echo(f"written: {', '.join(map(str, result.files))}", err=True)
    sys.exit(ALERT if result.report.alert else 0)


def _utc(time: datetime | None) -> datetime | None:
    return time and time.replace(tzinfo=UTC)
