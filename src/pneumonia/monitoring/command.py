"""``pneumonia monitor``: have the images that come in changed?

Everything heavy is imported inside the command.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from pneumonia.terminal import refusals_in_one_line

ALERT = 2
"""Exit status where something has changed."""
TIMES = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
Folder = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--log", "url", envvar="PNEUMONIA_LOG", help="SQLAlchemy URL; by default SQLite in .pneumonia/.")
@click.option("--window", type=click.IntRange(1), help="Look at so many predictions, the newest.")
@click.option("--since", type=TIMES, help="Look at predictions from then on (UTC).")
@click.option("--until", type=TIMES, help="Look at predictions before then (UTC).")
@click.option("--bundle", type=Folder, help="Look at this model, by default the champion or the release.")
@click.option(
    "--reference", type=click.Path(dir_okay=False, path_type=Path), help="Reference profile, which names its model."
)
@click.option("--out", type=Folder, default=".pneumonia/monitoring", show_default=True, help="Folder for the reports.")
@click.option(
    "--prometheus", type=click.Path(dir_okay=False, path_type=Path), help="File of gauges for node_exporter (.prom)."
)
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
    """Compare logged predictions with the images that the model was made with.

    Writes report.html, report.json and, from the third report on, trend.html, and logs them in MLflow where there is a
    store. Exit status: 0 where nothing has changed, 2 on an alert, 1 on an error.
    """
    import json

    from pneumonia import config, serving, tracking
    from pneumonia.monitoring import change, drift, located, log, profile, publication, report, trend

    with refusals_in_one_line():
        params = config.load(serving.params_file(Path()) or serving.PARAMS)
        file = reference or located.locate(serving.choose(Path(), bundle), Path(), params.register_.name)
        known = profile.read(file)
        if not (window or since or until):
            window = params.monitor.window
        chosen = log.Window(known["bundle_sha256"].iloc[0], _utc(since), _utc(until), window)
        opened = log.Log(url or log.default_url())
        try:
            seen = report.read_window(opened, chosen)
        finally:
            opened.close()
        comparison = change.compare(known, seen, params.monitor)
        found = report.assemble(comparison, known, seen)
        out.mkdir(parents=True, exist_ok=True)
        files = [out / "report.json", out / "report.html"]
        files[0].write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        drift.write(comparison, known, seen, files[1], report.in_words(found))
        lines = trend.note(found, out)
        if len(lines) >= trend.ENOUGH:
            files.append(out / trend.PAGE)
            trend.write(lines, files[-1])
        if prometheus:
            report.write_gauges(found, prometheus)
        store = tracking.find_store(Path())
        if store:
            publication.publish(store, params.register_.name, found, files)
    click.echo(report.in_words(found))
    click.echo(f"written: {', '.join(map(str, files))}", err=True)
    sys.exit(ALERT if found["alert"] else 0)


def _utc(moment: datetime | None) -> datetime | None:
    return moment and moment.replace(tzinfo=UTC)
