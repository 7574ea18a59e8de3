"""Every command of the README is run by a test or named as one that cannot be; its figures are the reports'."""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from pneumonia import config
from pneumonia.evaluation.intervals import Estimate
from tests import readme

RUN_HERE = {"make demo", "make ui", "make app"}
RUN_IN_TEST_DAG = ("dvc ", "pneumonia predict ")
RUN_IN_TEST_WORKFLOWS = ("make report ",)
SETTINGS = ("export ", "source ")
DOCS = sorted(str(page.relative_to(readme.ROOT)) for page in (readme.ROOT / "docs").glob("*.md"))


def test_every_command_is_run_by_a_test_or_named() -> None:
    in_the_guide = "".join(readme.blocks("console", readme.GUIDE)).splitlines()  # run in test_dag, too
    unknown = [
        line
        for line in readme.console_lines()
        if line not in RUN_HERE
        and line not in in_the_guide
        and line != "make test"
        and line not in readme.NEEDS_ANOTHER_MACHINE
        and not line.startswith((*RUN_IN_TEST_DAG, *RUN_IN_TEST_WORKFLOWS, *SETTINGS))
    ]
    assert unknown == []
    assert set(readme.NEEDS_ANOTHER_MACHINE) <= set(readme.console_lines())


def test_the_example_of_another_backbone_is_valid(tmp_path: Path) -> None:
    params = yaml.safe_load((readme.ROOT / "params.yaml").read_text())
    (example,) = readme.blocks("yaml")
    params["train"]["models"] |= yaml.safe_load(example)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    assert config.load(tmp_path / "params.yaml").train.models["efficientnetb0"].kind == "finetune"


def results(judgement: Path) -> list[list[str]]:
    """Rows of a table of results: model, subset and figures with their intervals."""
    judged = json.loads(judgement.read_text())
    columns = ("roc_auc", "accuracy", "sensitivity", "specificity")
    return [
        [judged["model"], subset, *(str(Estimate(**told["figures"][column])) for column in columns)]
        for subset, told in judged["subsets"].items()
    ]


def test_the_tables_of_results_are_those_of_the_reports() -> None:
    models = yaml.safe_load((readme.ROOT / "params.yaml").read_text())["train"]["models"]
    judgements = [readme.ROOT / f"reports/judgement/{model}.json" for model in models]
    expected = [row for file in [*judgements, readme.ROOT / "release/reports/judgement.json"] for row in results(file)]
    text = (readme.ROOT / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (validation|swapped|test) \| (.+) \|$", text, re.M)
    assert [[model, subset, *figures.split(" | ")] for model, subset, figures in rows] == expected


def test_local_links_lead_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "DATA_CARD.md", "MODEL_CARD.md", "CHANGELOG.md", *DOCS):
        for target in re.findall(r"\]\(([^)#:]+)\)", (readme.ROOT / page).read_text()):
            assert (readme.ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"


@pytest.fixture(scope="module")
def demo_output() -> str:
    return subprocess.run(
        ["make", "demo"], cwd=readme.ROOT, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ).stdout


def test_make_demo_ends_with_results_and_the_next_steps(demo_output: str) -> None:
    metrics = json.loads((readme.ROOT / "demo/reports/metrics.json").read_text())
    for model, subsets in metrics.items():
        assert re.search(rf"{model} .*{subsets['test']['roc_auc']:.3f}", demo_output)
    assert "marked as a phantom model" in demo_output
    assert "make repro" in demo_output
    assert metrics["cnn"]["test"]["roc_auc"] > 0.75, "the demo should show a model that has learnt something"


def test_a_second_demo_sets_up_and_runs_nothing(demo_output: str) -> None:
    again = subprocess.run(["make", "demo"], cwd=readme.ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout
    assert "Running stage" in demo_output or "up to date" in demo_output
    assert "Running stage" not in again
    assert "Setting up" not in again


def test_make_ui_serves_the_runs(demo_output: str) -> None:
    port = _free_port()
    with _running("ui", "STORE=demo", f"PORT={port}") as server:
        page = _fetch(f"http://127.0.0.1:{port}/", server)
        found = _fetch(
            f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow/experiments/get-by-name?experiment_name=pneumonia", server
        )
    assert "<title>MLflow</title>" in page
    assert json.loads(found)["experiment"]["name"] == "pneumonia"


def test_make_app_serves_the_page_with_the_release() -> None:
    port = _free_port()
    with _running("app", f"APP_PORT={port}") as server:
        page = _fetch(f"http://127.0.0.1:{port}/", server)
        model = json.loads(_fetch(f"http://127.0.0.1:{port}/api/v1/model", server))
    assert "not a medical device" in page
    assert (model["model"]["name"], model["model"]["origin"]) == ("release", "release")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(*target: str) -> "Iterator[subprocess.Popen[bytes]]":
    server = subprocess.Popen(
        ["make", *target],
        cwd=readme.ROOT,
        env=os.environ | {"BROWSER": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield server
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _fetch(url: str, server: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return str(answer.read().decode())
        except OSError:
            assert server.poll() is None, "the server has ended"
            assert time.monotonic() < deadline
            time.sleep(0.5)
