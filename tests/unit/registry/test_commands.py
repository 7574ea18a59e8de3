"""The commands of the registry as users type them: `pneumonia promote`, `rollback`, `versions`, `show`, `history`."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pneumonia.cli.main import main
from tests.unit.registry.conftest import ROOT, Registry

pytestmark = pytest.mark.usefixtures("integrity_assumed")


def pneumonia(folder: Path, *arguments: str) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return CliRunner().invoke(main, arguments)


def test_version_is_tried_promoted_listed_shown_and_rolled_back(registered: Registry) -> None:
    registry, project, first, second = registered, registered.project, 1, 3
    tried = pneumonia(project, "promote", "--dry-run", "--version", str(first))
    assert (tried.exit_code, registry.alias()) == (0, None), tried.output
    assert "Gate: passed" in tried.stdout
    assert "nothing was changed" in tried.stdout
    for number in (first, second):
        done = pneumonia(project, "promote", "--version", str(number), "--why", f"reason {number}")
        assert done.exit_code == 0, done.output
    assert f"version {second} of pneumonia-classifier is now the champion; previous champion: {first}." in done.stdout
    assert "specificity less the champion's" in done.stdout

    listed = pneumonia(project, "versions").stdout.splitlines()
    assert listed[0].split() == [
        "version", "aliases", "model", "roc_auc", "sensitivity", "specificity", "data", "audit", "gate"
    ]  # fmt: skip
    assert "challenger, champion" in listed[1]
    assert "hospital 5e5e5e5e5e5e  pass   passed" in listed[1]
    latest, *_ = json.loads(pneumonia(project, "versions", "--json").stdout)
    assert latest["figures"] == {"test/roc_auc": 0.9, "test/sensitivity": 0.95, "test/specificity": 0.8}

    shown = pneumonia(project, "show", str(first)).stdout
    assert "operating point" in shown
    assert "Gate: passed" in shown
    assert "reason 1" in shown
    assert f"{first} -> {second}" in shown

    back = pneumonia(project, "rollback", "--why", "second thoughts")
    assert back.stdout == f"version {first} is the champion again; it replaced version {second}.\n"
    changes = json.loads(pneumonia(project, "history", "--json").stdout)
    assert [(change["previous"], change["current"], change["reason"]) for change in changes] == [
        (None, first, "reason 1"),
        (first, second, "reason 3"),
        (second, first, "second thoughts"),
    ]
    assert "second thoughts" in pneumonia(project, "history").stdout


def test_refusal_exits_with_status_1_and_the_reasons(registry: Registry) -> None:
    registry.register(gain=0.3)
    done = pneumonia(registry.project, "promote")
    assert done.exit_code == 1
    assert "sensitivity: found" in done.stdout
    assert "short by" in done.stdout
    assert "the gate refuses version 1 of pneumonia-classifier; the champion is unchanged." in done.stderr
    assert registry.alias() is None


def test_without_store_or_versions_the_message_says_what_to_do(registry: Registry, tmp_path: Path) -> None:
    project = registry.project
    assert "no version of pneumonia-classifier is registered" in pneumonia(project, "versions").stdout
    assert "has never had a champion" in pneumonia(project, "history").stdout
    shown = pneumonia(project, "show", "3")
    assert (shown.exit_code, "has no version 3; its versions are: none" in shown.stderr) == (1, True)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(ROOT / "params.yaml", tmp_path / "elsewhere/params.yaml")
    done = pneumonia(tmp_path / "elsewhere", "promote")
    assert done.exit_code == 1
    assert "there is no MLflow store yet. Run `dvc repro`" in done.stderr
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["params.yaml"], "reading creates no store"
