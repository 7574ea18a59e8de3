"""Stages in dvc.yaml name the code that can change their results, and nothing that imports more than that."""

from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

from pipeline import demo

DAG = yaml.safe_load((demo.PROJECT / "dvc.yaml").read_text())["stages"]
CANNOT_CHANGE_RESULTS = {"pipeline", "pipeline.stage", "pipeline.params", "pipeline.live_curves"}
"""Entry point, reading of parameters (which DVC tracks by value) and live curves; see also pneumonia.core."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("pneumonia", "pipeline")


def imported_by(stage: str, graph: grimp.ImportGraph) -> set[str]:
    """Return all project modules that a stage imports, directly or not, also inside functions."""
    found: set[str] = set()
    waiting = [f"pipeline.stages.{stage}"]
    while waiting:
        module = waiting.pop()
        if module in found or module in CANNOT_CHANGE_RESULTS or module.startswith("pneumonia.core"):
            continue
        found.add(module)
        waiting += graph.find_modules_directly_imported_by(module)
    return found


def path_of(module: str) -> str:
    base = "" if module.startswith("pipeline") else "src/"
    return base + module.replace(".", "/")


def code_of(stage: dict[str, Any]) -> list[str]:
    return [dep for dep in stage["deps"] if dep.startswith(("src/", "pipeline/"))]


@pytest.mark.parametrize("stage", DAG)
def test_a_stage_depends_on_all_code_that_it_imports(stage: str, graph: grimp.ImportGraph) -> None:
    declared = [dep.removesuffix(".py") for dep in code_of(DAG[stage])]
    undeclared = {
        module
        for module in imported_by(stage, graph)
        if not any(path_of(module) == dep or path_of(module).startswith(f"{dep}/") for dep in declared)
    }
    assert undeclared == set() or DAG[stage].get("always_changed"), "a stage that runs each time needs no list"


@pytest.mark.parametrize("stage", DAG)
def test_a_stage_depends_on_no_package_that_it_does_not_import(stage: str, graph: grimp.ImportGraph) -> None:
    imported = {path_of(module) for module in imported_by(stage, graph)}
    unused = {
        dep
        for dep in code_of(DAG[stage])
        if not any(path == dep.removesuffix(".py") or path.startswith(f"{dep}/") for path in imported)
    }
    assert unused == set()


@pytest.mark.parametrize("stage", DAG)
def test_code_dependencies_are_the_stage_module_and_packages(stage: str) -> None:
    code = code_of(DAG[stage])
    assert f"pipeline/stages/{stage}.py" in code
    packages = [Path(dep) for dep in code if dep != f"pipeline/stages/{stage}.py"]
    assert all((demo.PROJECT / package).is_dir() for package in packages)


def test_training_depends_on_two_packages() -> None:
    assert code_of(DAG["train"]) == ["pipeline/stages/train.py", "src/pneumonia/arrays", "src/pneumonia/training"]


def test_every_stage_has_a_module_of_its_name_and_the_definition_is_short() -> None:
    modules = {file.stem for file in (demo.PROJECT / "pipeline/stages").glob("*.py")} - {"__init__"}
    assert modules == set(DAG)
    assert len((demo.PROJECT / "dvc.yaml").read_text().splitlines()) < 220
