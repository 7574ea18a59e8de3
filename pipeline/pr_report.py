"""Compare the working tree with the merge base with another commit: `make report BASE=origin/main`.

The report is made from files in git: dvc.lock, params.yaml and reports/. It needs no DVC remote, artifacts or network.
"""

import argparse
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from pipeline import lock_state, stage
from pipeline.params import Params
from pneumonia.core import paths, settings
from pneumonia.core.errors import EvidenceError
from pneumonia.evaluation import figures
from pneumonia.registry import gate
from pneumonia.registry.promotion_evidence import Evidence
from pneumonia.registry.settings import PromoteParams
from pneumonia.reports import changes_plots, changes_report
from pneumonia.reports.changes import compare
from pneumonia.reports.project_state import State
from pneumonia.reports.report_context import ReportContext

COMPARED = ("data.dvc", "params.yaml", "operations.yaml", "reports")
REPORT = "report.md"


def main(params: Params, base: str, output: Path) -> None:
    """Write report.md and pictures into the folder ``output``, and print the summary."""
    commit = merge_base(base)
    change = State.read(Path())
    candidate = Evidence.read(paths.REPORTS)
    with tempfile.TemporaryDirectory() as scratch:
        extract(commit, Path(scratch))
        before, champion, notes = _base(Path(scratch))
    changes = compare(before, change)
    policy = settings.read_section(paths.OPERATIONS, "promote", PromoteParams)
    verdict = gate.judge(candidate, champion, policy, phantoms_may_lead=gate.PHANTOM in params.register_.name)
    lock = lock_state.read()
    context = ReportContext(
        base=f"`{commit[:10]}`, the merge base with `{base}`", change=_head(), data=change.data, notes=notes
    )
    old = None if before.challenger is None else (before, before.challenger)
    new = (change, changes.challenger.change)
    short = changes_report.summary(changes, verdict, lock, context)
    sections = changes_report.details(changes, verdict, lock, changes_plots.charts(old, new))
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    (output / REPORT).write_text(changes_report.fitted(short, sections), encoding="utf-8")
    for name, picture in changes_plots.pictures(old, new).items():
        figures.save(picture, output / f"{name}.png")
    print(f"{short}\nFull report with pictures: {output / REPORT}")


def merge_base(base: str) -> str:
    """Return the merge base of ``base`` and HEAD.

    Raises:
        EvidenceError: the folder is not in git, git does not know ``base``, or the histories are unrelated.
    """
    if _git("rev-parse", "--is-inside-work-tree") is None:
        raise EvidenceError("the report compares commits, but this folder is not in git. Run it in a clone.")
    shallow = _git("rev-parse", "--is-shallow-repository") == "true"
    deeper = " This clone is shallow: run `git fetch --unshallow` first." if shallow else ""
    if _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}") is None:
        raise EvidenceError(
            f"git has no commit {base!r} to compare with. Fetch it (`git fetch origin`), or name another: "
            f"`make report BASE=main`.{deeper}"
        )
    commit = _git("merge-base", base, "HEAD")
    if commit is None:
        raise EvidenceError(f"{base} and HEAD have no commit in common.{deeper or ' Name another BASE.'}")
    return commit


def extract(commit: str, folder: Path) -> None:
    """Write the compared files of a commit into a folder, without changing the working tree."""
    existing = _git("ls-tree", "--name-only", commit, "--", *COMPARED)
    if existing:
        archive = subprocess.Popen(["git", "archive", commit, "--", *existing.split("\n")], stdout=subprocess.PIPE)
        with archive, tarfile.open(fileobj=archive.stdout, mode="r|") as files:
            files.extractall(folder, filter="data")


def _base(folder: Path) -> tuple[State, Evidence | None, list[str]]:
    """Return the base's state, the evidence on its challenger, and notes on missing parts.

    Reports that another version of the project wrote cannot be compared; they are left out with a note.
    """
    try:
        before = State.read(folder)
    except EvidenceError as error:
        note = (
            "The base's reports have another layout, so its models cannot be compared with those of the change: "
            f"{_relative(error, folder)}"
        )
        return State.read_without_models(folder), None, [note]
    if before.challenger is None:
        return before, None, ["The base has no reports: there is nothing to compare with."]
    try:
        return before, Evidence.read(folder / paths.REPORTS), []
    except EvidenceError as error:
        note = f"The gate has no champion to compare with, because the base lacks evidence: {_relative(error, folder)}"
        return before, None, [note]


def _relative(error: EvidenceError, folder: Path) -> str:
    return str(error).replace(f"{folder}/", "")


def _head() -> str:
    commit = _git("rev-parse", "--short=10", "HEAD")
    dirty = " with uncommitted changes" if _git("status", "--porcelain") else ""
    return f"`{commit}`{dirty}"


def _git(*arguments: str) -> str | None:
    """Return the output of git, None where it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m pipeline.pr_report")
    parser.add_argument("base", help="branch, tag or commit to compare with")
    parser.add_argument("--output", type=Path, default=Path("pr_report"), help="folder of the report")
    arguments = parser.parse_args()
    stage.run(lambda params: main(params, arguments.base, arguments.output))
