"""Report what the working tree changes against the merge base with another commit: `make report BASE=origin/main`.

All of it is read from git: dvc.lock, params.yaml and reports/. No DVC remote, artifacts or network are needed.
"""

import argparse
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from pipeline import lock_state, stage
from pneumonia import config
from pneumonia.errors import EvidenceError
from pneumonia.evaluation import changes_plots, figures, gate
from pneumonia.evaluation import changes_report as text
from pneumonia.evaluation.changes import State, compare

COMPARED = ("data.dvc", "params.yaml", "reports")
REPORT = "report.md"


def main(params: config.Params, base: str, output: Path) -> None:
    """Write report.md and pictures into the folder ``output``, and print the short part."""
    commit = merge_base(base)
    change = State.read(Path())
    candidate = gate.Evidence.read(Path("reports"))
    with tempfile.TemporaryDirectory() as scratch:
        extract(commit, Path(scratch))
        before, champion, notes = _base(Path(scratch))
    found = compare(before, change)
    verdict = gate.judge(candidate, champion, params.promote, phantoms_may_lead=gate.PHANTOM in params.register_.name)
    lock = lock_state.read()
    setting = text.Setting(
        base=f"`{commit[:10]}`, the merge base with `{base}`", change=_head(), data=change.data, notes=notes
    )
    old = None if before.challenger is None else (before, before.challenger)
    new = (change, found.challenger.change)
    short = text.summary(found, verdict, lock, setting)
    parts = text.details(found, verdict, lock, changes_plots.charts(old, new))
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    (output / REPORT).write_text(text.fitted(short, parts), encoding="utf-8")
    for name, picture in changes_plots.pictures(old, new).items():
        figures.save(picture, output / f"{name}.png")
    print(f"{short}\nAll of it, with pictures: {output / REPORT}")


def merge_base(base: str) -> str:
    """Return the commit at which HEAD left ``base``.

    Raises:
        EvidenceError: git does not know it, or the two have no history in common.
    """
    if _git("rev-parse", "--is-inside-work-tree") is None:
        raise EvidenceError("the report compares commits, and this folder is not in git. Run it in a clone.")
    shallow = _git("rev-parse", "--is-shallow-repository") == "true"
    deeper = " This clone is shallow: run `git fetch --unshallow` first." if shallow else ""
    if _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}") is None:
        raise EvidenceError(
            f"git knows no commit {base!r} to compare with. Fetch it (`git fetch origin`), or name another: "
            f"`make report BASE=main`.{deeper}"
        )
    commit = _git("merge-base", base, "HEAD")
    if commit is None:
        raise EvidenceError(f"{base} and HEAD have no commit in common.{deeper or ' Name another BASE.'}")
    return commit


def extract(commit: str, folder: Path) -> None:
    """Write what is compared, as it was at a commit, into a folder; the working tree is left alone."""
    there = _git("ls-tree", "--name-only", commit, "--", *COMPARED)
    if there:
        archive = subprocess.Popen(["git", "archive", commit, "--", *there.split("\n")], stdout=subprocess.PIPE)
        with archive, tarfile.open(fileobj=archive.stdout, mode="r|") as files:
            files.extractall(folder, filter="data")


def _base(folder: Path) -> tuple[State, gate.Evidence | None, list[str]]:
    """Return the base's state, the evidence for its challenger, and notes on what of them cannot be had.

    Reports that an older version of the project has written may lack what is compared; the report does without.
    """
    notes = []
    try:
        before = State.read(folder)
    except EvidenceError as error:
        notes.append(f"The base's reports are of another layout, and are left out: {_relative(error, folder)}")
        shutil.rmtree(folder / "reports")
        before = State.read(folder)
    if before.challenger is None:
        return before, None, notes or ["The base has no reports: there is nothing to compare with."]
    try:
        return before, gate.Evidence.read(folder / "reports"), notes
    except EvidenceError as error:
        told = f"The gate has no champion to compare with, for the base lacks evidence: {_relative(error, folder)}"
        return before, None, [told]


def _relative(error: EvidenceError, folder: Path) -> str:
    return str(error).replace(f"{folder}/", "")


def _head() -> str:
    commit = _git("rev-parse", "--short=10", "HEAD")
    dirty = " with uncommitted changes" if _git("status", "--porcelain") else ""
    return f"`{commit}`{dirty}"


def _git(*arguments: str) -> str | None:
    """Return what git answers, None where it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m pipeline.pr_report")
    parser.add_argument("base", help="branch, tag or commit to compare with")
    parser.add_argument("--output", type=Path, default=Path("pr_report"), help="folder of the report")
    arguments = parser.parse_args()
    stage.run(lambda params: main(params, arguments.base, arguments.output))
