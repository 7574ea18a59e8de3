"""Commands of the README run in a test or are listed as untested; its figures are those of the reports."""

import re
from pathlib import Path

import yaml

from pipeline.params import load
from pneumonia.core import paths
from pneumonia.core.files import read_json
from pneumonia.evaluation.evaluation_report import EvaluationReport
from tests.support import readme

RUN_HERE = {"make demo", "make ui", "make app"}
THIS_SUITE = {"make test", "make test-fast"}
RUN_IN_TEST_DAG = ("dvc ", "pneumonia predict ")
RUN_IN_TEST_WORKFLOWS = ("make report ",)
SETTINGS = ("export ", "source ")
DOCS = sorted(str(page.relative_to(readme.ROOT)) for page in (readme.ROOT / "docs").glob("*.md"))


def test_commands_run_in_a_test_or_are_listed() -> None:
    in_the_guide = "".join(readme.blocks("console", readme.GUIDE)).splitlines()  # run in test_dag, too
    unknown = [
        line
        for line in readme.console_lines()
        if line not in RUN_HERE
        and line not in in_the_guide
        and line not in THIS_SUITE
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
    assert load(tmp_path / "params.yaml").train.models["efficientnetb0"].kind == "finetune"


def results(report: Path) -> list[list[str]]:
    """Return the rows of the README's table: model, subset, and metrics with their intervals."""
    evaluation = read_json(report, EvaluationReport)
    columns = ("roc_auc", "accuracy", "sensitivity", "specificity")
    return [
        [evaluation.model, name, *(str(subset.figures[column]) for column in columns)]
        for name, subset in evaluation.subsets.items()
    ]


def test_table_of_results_agrees_with_the_reports() -> None:
    models = yaml.safe_load((readme.ROOT / "params.yaml").read_text())["train"]["models"]
    reports = [readme.ROOT / paths.EVALUATION_REPORTS / f"{model}.json" for model in models]
    expected = [row for file in [*reports, readme.ROOT / "release/reports/evaluation.json"] for row in results(file)]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\d.+) \|$", (readme.ROOT / "README.md").read_text(), re.M)
    assert [[model, subset, *figures.split(" | ")] for model, subset, figures in rows] == expected


def test_stages_in_the_docs_are_those_of_the_dag() -> None:
    stages = set(yaml.safe_load((readme.ROOT / "dvc.yaml").read_text())["stages"])
    (graph,) = readme.blocks("mermaid")
    table = re.findall(r"^\| (\w+)(?:@m)? \| .+ \| `", (readme.ROOT / "docs/architecture.md").read_text(), re.M)
    assert set(table) == stages
    assert {stage for stage in stages if not re.search(rf"\b{stage}\b", graph)} == set()


def test_packages_in_the_docs_are_those_of_the_library() -> None:
    packages = {file.parent.name for file in (readme.ROOT / "src/pneumonia").glob("*/__init__.py")}
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ", (readme.ROOT / "docs/architecture.md").read_text(), re.M)
    assert {name for row in rows for name in re.findall(r"\w+", row)} == packages


def test_the_readme_is_short() -> None:
    text = re.sub(r"^```.*?^```$", "", (readme.ROOT / "README.md").read_text(), flags=re.M | re.S)
    assert len([word for word in text.split() if re.search(r"\w", word)]) < 1100


def test_local_links_exist() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "DATA_CARD.md", "MODEL_CARD.md", "CHANGELOG.md", *DOCS):
        for target in re.findall(r"\]\(([^)#:]+)\)", (readme.ROOT / page).read_text()):
            assert (readme.ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"
