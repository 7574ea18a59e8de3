"""`make demo` on the shared project (the same function, smaller phantoms and networks), `make ui` and `make app`."""

import json
import re

import pytest

from pipeline import demo
from tests.support import make
from tests.support.project import MODELS, SMALL, Project

pytestmark = pytest.mark.slow


def test_a_second_demo_runs_nothing_again_and_ends_with_results_and_next_steps(
    copy: Project, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    demo.main(copy.folder, SMALL)
    output = capfd.readouterr().out
    assert re.findall(r"Running stage '(\w+)", output) == ["register"]
    for model in MODELS:
        auc = copy.json(f"reports/metrics/{model}.json")["test"]["roc_auc"]
        assert re.search(rf"{model} .*{auc:.3f}", output)
    assert "marked as a phantom model" in output
    assert "make repro" in output


def test_make_ui_serves_the_runs(finished: Project) -> None:
    port = make.free_port()
    with make.running("ui", f"STORE={finished.folder}", f"PORT={port}") as server:
        page = make.fetch(f"http://127.0.0.1:{port}/", server)
        found = make.fetch(
            f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow/experiments/get-by-name?experiment_name=pneumonia", server
        )
    assert "<title>MLflow</title>" in page
    assert json.loads(found)["experiment"]["name"] == "pneumonia"


def test_make_app_serves_the_page_with_the_release() -> None:
    port = make.free_port()
    with make.running("app", f"APP_PORT={port}") as server:
        page = make.fetch(f"http://127.0.0.1:{port}/", server)
        model = json.loads(make.fetch(f"http://127.0.0.1:{port}/api/v1/model", server))
    assert "not a medical device" in page
    assert (model["model"]["name"], model["model"]["origin"]) == ("release", "release")
