"""Missing optional dependencies: the error names the extra, and pyproject.toml has that extra."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import click
import pytest

from pneumonia.cli.terminal import exit_on_error
from pneumonia.core.extras import EXTRAS, MissingExtraError, report_missing_extras

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RENAMED = {"kfp_server_api": "kfp", "tensorflow": "tensorflow"}
"""Distribution that brings a module, where the two names differ."""


def distributions(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=;~! ]", requirement)[0].lower().replace("-", "_") for requirement in requirements}


def test_a_missing_module_names_its_extra_and_the_command() -> None:
    with (
        pytest.raises(MissingExtraError, match=r'pip install "pneumonia\[registry\]"') as caught,
        report_missing_extras(),
    ):
        raise ModuleNotFoundError("No module named 'mlflow.tracking'", name="mlflow.tracking")

    assert (caught.value.module, caught.value.extra) == ("mlflow", "registry")


def test_a_missing_module_of_no_extra_stays_an_import_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), report_missing_extras():
        raise ModuleNotFoundError("No module named 'no_such_module'", name="no_such_module")


def test_commands_exit_with_the_message() -> None:
    with pytest.raises(click.ClickException, match=r"pneumonia\[monitor\]"), exit_on_error():
        raise ModuleNotFoundError("No module named 'evidently'", name="evidently")


@pytest.mark.parametrize("module", EXTRAS)
def test_the_extra_installs_the_module_and_the_base_does_not(module: str) -> None:
    distribution = RENAMED.get(module, module)

    assert distribution in distributions(PROJECT["optional-dependencies"][EXTRAS[module]])
    assert distribution not in distributions(PROJECT["dependencies"])


def test_every_distribution_of_the_table_is_installed_here() -> None:
    for module in EXTRAS.keys() - {"tensorflow"}:
        importlib.metadata.distribution(module.replace("_", "-"))
