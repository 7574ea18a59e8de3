"""The commands for people, as they are typed: `pneumonia promote`, `rollback`, `versions`, `show`, `history`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.registry.conftest import Registry

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def project(registry: Registry, tmp_path: Path) -> Path:
    """The project folder that holds the registry's store."""
    shutil.copy(PARAMS, tmp_path / "project/params.yaml")
    return tmp_path / "project"


def pneumonia(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pneumonia.cli", *arguments],
        cwd=project,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_version_is_tried_promoted_listed_shown_and_rolled_back(registry: Registry, project: Path) -> None:
    first = registry.register()
    second = registry.register(gain=5.0)
    tried = pneumonia(project, "promote", "--dry-run", "--version", str(first))
    assert (tried.returncode, registry.alias()) == (0, None)
    assert "Gate: passed" in tried.stdout
    assert "nothing was changed" in tried.stdout
    for number in (first, second):
        done = pneumonia(project, "promote", "--version", str(number), "--why", f"reason {number}")
        assert done.returncode == 0, done.stderr
    assert f"version {second} of pneumonia-classifier is the champion now; before, it was {first}." in done.stdout
    assert "specificity less the champion's" in done.stdout

    listed = pneumonia(project, "versions").stdout.splitlines()
    assert listed[0].split() == [
        "version", "aliases", "model", "roc_auc", "sensitivity", "specificity", "data", "audit", "gate"
    ]  # fmt: skip
    assert "challenger, champion" in listed[1]
    assert "hospital 5e5e5e5e5e5e  pass   passed" in listed[1]
    (latest, _) = json.loads(pneumonia(project, "versions", "--json").stdout)
    assert latest["figures"] == {"test/roc_auc": 0.9, "test/sensitivity": 0.95, "test/specificity": 0.8}

    shown = pneumonia(project, "show", str(first)).stdout
    assert "operating point" in shown
    assert "Gate: passed" in shown
    assert "reason 1" in shown
    assert f"{first} -> {second}" in shown

    back = pneumonia(project, "rollback", "--why", "second thoughts")
    assert back.stdout == f"version {first} is the champion again; version {second} was.\n"
    told = json.loads(pneumonia(project, "history", "--json").stdout)
    assert [(move["before"], move["after"], move["why"]) for move in told] == [
        (None, first, "reason 1"),
        (first, second, "reason 2"),
        (second, first, "second thoughts"),
    ]
    assert "second thoughts" in pneumonia(project, "history").stdout


def test_a_refusal_ends_with_status_1_and_the_reasons(registry: Registry, project: Path) -> None:
    registry.register(gain=0.3)
    done = pneumonia(project, "promote")
    assert done.returncode == 1
    assert "sensitivity: found" in done.stdout
    assert "short by" in done.stdout
    assert "the gate refuses version 1 of pneumonia-classifier; the champion stays." in done.stderr
    assert registry.alias() is None


def test_without_a_store_or_versions_it_says_what_to_do(registry: Registry, project: Path, tmp_path: Path) -> None:
    assert "no version of pneumonia-classifier is registered" in pneumonia(project, "versions").stdout
    assert "never had a champion" in pneumonia(project, "history").stdout
    shown = pneumonia(project, "show", "3")
    assert (shown.returncode, "has no version 3; it has none" in shown.stderr) == (1, True)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(PARAMS, tmp_path / "elsewhere/params.yaml")
    done = pneumonia(tmp_path / "elsewhere", "promote")
    assert done.returncode == 1
    assert "there is no MLflow store yet. Run `dvc repro`" in done.stderr
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["params.yaml"], "looking makes no store"
