"""``pneumonia promote``, ``rollback``, ``versions``, ``show`` and ``history``: the registry for people.

Everything heavy is imported inside the commands. Each works on the store of the project in the current folder, or on
the server that MLFLOW_TRACKING_URI names.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pneumonia.terminal import refusals_in_one_line

if TYPE_CHECKING:
    from pneumonia.config import Params
    from pneumonia.registry.history import Move
    from pneumonia.registry.versions import Version
    from pneumonia.tracking import Store

FIGURES = ("test/roc_auc", "test/sensitivity", "test/specificity")


@contextmanager
def _project() -> Iterator[tuple["Store", "Params"]]:
    from pneumonia import config, tracking

    with refusals_in_one_line():
        params = config.load(Path("params.yaml"))
        store = tracking.find_store(Path())
        if store is None:
            raise click.ClickException("there is no MLflow store yet. Run `dvc repro`, or set MLFLOW_TRACKING_URI.")
        yield store, params


@click.command()
@click.option("--version", "number", type=int, help="Version to promote; by default the challenger.")
@click.option("--dry-run", is_flag=True, help="Ask the gate, and change nothing.")
@click.option("--why", default="", help="Reason, for the history.")
def promote(number: int | None, dry_run: bool, why: str) -> None:
    """Make a version the champion, if the gate lets it pass.

    The policy is the section `promote` of params.yaml. The verdict is printed and kept with the version. The exit
    status is 1 where the gate refuses.
    """
    from pneumonia.evaluation import gate
    from pneumonia.registry import promotion

    with _project() as (store, params):
        done = promotion.promote(store, params.register_.name, params.promote, number=number, why=why, dry_run=dry_run)
    click.echo(gate.markdown(done.verdict))
    name = f"version {done.version.number} of {done.version.name}"
    if done.move:
        click.echo(f"{name} is the champion now; before, it was {done.move.before or 'none'}.")
    elif done.verdict.outcome == gate.REFUSED:
        raise click.ClickException(f"the gate refuses {name}; the champion stays.")
    else:
        click.echo(f"{name} would become the champion (dry run, nothing was changed).")


@click.command()
@click.option("--why", default="", help="Reason, for the history.")
def rollback(why: str) -> None:
    """Go back to the previous champion, at once."""
    from pneumonia.registry import promotion

    with _project() as (store, params):
        move = promotion.rollback(store, params.register_.name, why=why)
    click.echo(f"version {move.after} is the champion again; version {move.before} was.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def versions(as_json: bool) -> None:
    """List all versions with aliases, figures, data and verdicts."""
    from pneumonia.registry import versions as registered

    with _project() as (store, params):
        found = registered.every(store, params.register_.name)
    if as_json:
        click.echo(json.dumps([_facts(version) for version in found], indent=2))
    elif found:
        _table([_row(version) for version in found])
    else:
        click.echo(f"no version of {params.register_.name} is registered. Run `dvc repro register`.")


@click.command()
@click.argument("number", type=int)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(number: int, as_json: bool) -> None:
    """Say all about one version: what it is, how it was judged, and when it was champion."""
    from pneumonia.registry import versions as registered
    from pneumonia.registry.history import History

    with _project() as (store, params):
        version = registered.get(store, params.register_.name, number)
        history = History.find(store, version.name)
        moves = [move for move in history.moves() if number in (move.before, move.after)] if history else []
    if as_json:
        told = _facts(version) | {"tags": dict(version.tags), "description": version.description}
        click.echo(json.dumps(told | {"moves": [_move_facts(move) for move in moves]}, indent=2))
        return
    click.echo(f"Version {number} of {version.name}, registered {version.created:%Y-%m-%d %H:%M} UTC")
    click.echo(f"Aliases: {', '.join(version.aliases) or 'none'}")
    click.echo(f"Run: {version.run_id}\nModel: {version.source}\n\n{version.description}\n")
    for key, value in sorted(version.tags.items()):
        click.echo(f"{key}: {value}")
    for move in moves:
        click.echo(_sentence(move))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def history(as_json: bool) -> None:
    """Show every move of the champion: who, when, from, to, the verdict and why. It outlives deleted versions."""
    from pneumonia.registry.history import History

    with _project() as (store, params):
        found = History.find(store, params.register_.name)
        moves = found.moves() if found else []
    if as_json:
        click.echo(json.dumps([_move_facts(move) for move in moves], indent=2))
    else:
        for line in map(_sentence, moves) if moves else [f"{params.register_.name} never had a champion."]:
            click.echo(line)


def _facts(version: "Version") -> dict[str, Any]:
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
    facts = _facts(version)
    return {
        "version": str(version.number),
        "aliases": ", ".join(version.aliases) or "-",
        "model": facts["model"] or "-",
        **{name.removeprefix("test/"): f"{value:.3f}" for name, value in facts["figures"].items()},
        "data": f"{facts['source']} {(facts['data_hash'] or '')[:12]}",
        "audit": facts["audit"] or "-",
        "gate": facts["gate"] or "not asked",
    }


def _table(rows: Sequence[dict[str, str]]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [dict(zip(columns, columns, strict=True)), *rows]
    widths = [max(len(line.get(column, "-")) for line in lines) for column in columns]
    for line in lines:
        cells = (line.get(column, "-").ljust(width) for column, width in zip(columns, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _move_facts(move: "Move") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(move)


def _sentence(move: "Move") -> str:
    because = f" Why: {move.why}" if move.why else ""
    unfinished = "" if move.done else " It was cut short; the next promote or rollback finishes it."
    return (
        f"{move.number}. {move.when}  {move.before or 'none'} -> {move.after or 'none'}  {move.kind} by {move.who}, "
        f"gate {move.verdict}.{because}{unfinished}"
    )
