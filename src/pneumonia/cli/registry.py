"""``pneumonia promote``, ``rollback``, ``versions``, ``show`` and ``history``: the model registry.

Heavy modules are imported inside the commands. Each works on the store of the project in the current folder, or on
the server that MLFLOW_TRACKING_URI names.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pneumonia.cli.terminal import exit_on_error, print_table

if TYPE_CHECKING:
    from pneumonia.registry.history import AliasChange
    from pneumonia.registry.tracking import Store
    from pneumonia.registry.versions import Version

FIGURES = ("test/roc_auc", "test/sensitivity", "test/specificity")


@contextmanager
def _project() -> Iterator[tuple["Store", str]]:
    from pneumonia.core import paths, settings
    from pneumonia.registry import tracking
    from pneumonia.registry.settings import RegisterParams

    with exit_on_error():
        register = settings.read_section(paths.PARAMS, "register", RegisterParams)
        store = tracking.find_store(Path())
        if store is None:
            raise click.ClickException("there is no MLflow store yet. Run `dvc repro`, or set MLFLOW_TRACKING_URI.")
        yield store, register.name


@click.command()
@click.option("--version", "number", type=int, help="Version to promote. Default: the challenger.")
@click.option("--dry-run", is_flag=True, help="Evaluate the gate without changing anything.")
@click.option("--why", default="", help="Reason, stored in the history.")
def promote(number: int | None, dry_run: bool, why: str) -> None:
    """Make a version the champion, if it passes the gate.

    The policy is the section `promote` of operations.yaml. The verdict is printed and kept with the version. The exit
    status is 1 where the gate refuses.
    """
    from pneumonia.core import paths, settings
    from pneumonia.registry import gate, promotion
    from pneumonia.registry.settings import PromoteParams

    with _project() as (store, name):
        policy = settings.read_section(paths.OPERATIONS, "promote", PromoteParams)
        done = promotion.promote(store, name, policy, number=number, reason=why, dry_run=dry_run)
    click.echo(gate.markdown(done.verdict))
    name = f"version {done.version.number} of {done.version.name}"
    if done.change:
        click.echo(f"{name} is now the champion; previous champion: {done.change.previous or 'none'}.")
    elif done.verdict.outcome == gate.REFUSED:
        raise click.ClickException(f"the gate refuses {name}; the champion is unchanged.")
    else:
        click.echo(f"{name} would become the champion (dry run, nothing was changed).")


@click.command()
@click.option("--why", default="", help="Reason, stored in the history.")
def rollback(why: str) -> None:
    """Restore the previous champion, without evaluating the gate."""
    from pneumonia.registry import promotion

    with _project() as (store, name):
        change = promotion.rollback(store, name, reason=why)
    click.echo(f"version {change.current} is the champion again; it replaced version {change.previous}.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def versions(as_json: bool) -> None:
    """List all versions with aliases, metrics, data and verdicts."""
    from pneumonia.registry import versions as registered

    with _project() as (store, name):
        listed = registered.list_all(store, name)
    if as_json:
        click.echo(json.dumps([_summary(version) for version in listed], indent=2))
    elif listed:
        _table([_row(version) for version in listed])
    else:
        click.echo(f"no version of {name} is registered. Run `dvc repro register`.")


@click.command()
@click.argument("number", type=int)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(number: int, as_json: bool) -> None:
    """Show one version: tags, description, and when it was champion."""
    from pneumonia.registry import versions as registered
    from pneumonia.registry.history import History

    with _project() as (store, name):
        version = registered.get(store, name, number)
        history = History.find(store, version.name)
        log = history.changes() if history else []
        changes = [change for change in log if number in (change.previous, change.current)]
    if as_json:
        summary = _summary(version) | {"tags": dict(version.tags), "description": version.description}
        click.echo(json.dumps(summary | {"changes": [asdict(change) for change in changes]}, indent=2))
        return
    click.echo(f"Version {number} of {version.name}, registered {version.created:%Y-%m-%d %H:%M} UTC")
    click.echo(f"Aliases: {', '.join(version.aliases) or 'none'}")
    click.echo(f"Run: {version.run_id}\nModel: {version.source}\n\n{version.description}\n")
    for key, value in sorted(version.tags.items()):
        click.echo(f"{key}: {value}")
    for change in changes:
        click.echo(_sentence(change))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def history(as_json: bool) -> None:
    """Show every change of the champion: time, versions, actor, verdict and reason. Deleted versions stay listed."""
    from pneumonia.registry.history import History

    with _project() as (store, name):
        log = History.find(store, name)
        changes = log.changes() if log else []
    if as_json:
        click.echo(json.dumps([asdict(change) for change in changes], indent=2))
    else:
        for line in map(_sentence, changes) if changes else [f"{name} has never had a champion."]:
            click.echo(line)


def _summary(version: "Version") -> dict[str, Any]:
    tags = version.tags
    return {
        "version": version.number,
        "aliases": list(version.aliases),
        "created": version.created.isoformat(),
        "model": tags.get("model"),
        "figures": {figure: float(tags[figure]) for figure in FIGURES if figure in tags},
        "source": tags.get("source"),
        "data_hash": tags.get("data_hash"),
        "audit": tags.get("audit"),
        "gate": tags.get("gate"),
        "run_id": version.run_id,
    }


def _row(version: "Version") -> dict[str, str]:
    summary = _summary(version)
    return {
        "version": str(version.number),
        "aliases": ", ".join(version.aliases) or "-",
        "model": summary["model"] or "-",
        **{name.removeprefix("test/"): f"{value:.3f}" for name, value in summary["figures"].items()},
        "data": f"{summary['source']} {(summary['data_hash'] or '')[:12]}",
        "audit": summary["audit"] or "-",
        "gate": summary["gate"] or "not evaluated",
    }


def _table(rows: Sequence[dict[str, str]]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    print_table(columns, ([row.get(column, "-") for column in columns] for row in rows))


def _sentence(change: "AliasChange") -> str:
    reason = f" Reason: {change.reason}" if change.reason else ""
    interrupted = "" if change.applied else " It was interrupted; the next promote or rollback completes it."
    return (
        f"{change.number}. {change.time}  {change.previous or 'none'} -> {change.current or 'none'}  {change.kind} by "
        f"{change.actor}, gate {change.verdict}.{reason}{interrupted}"
    )
