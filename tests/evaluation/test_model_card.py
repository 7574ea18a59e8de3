import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pneumonia.config import BootstrapParams, EvaluateParams
from pneumonia.data import definition
from pneumonia.errors import BundleError
from pneumonia.evaluation import judgement, model_card, shortcuts_data, shortcuts_model, shortcuts_report
from pneumonia.models.bundle import DataLineage
from tests.cards import card
from tests.evaluation.audit_params import AUDIT

ROOT = Path(__file__).parents[2]
BOOTSTRAP = BootstrapParams(resamples=100, seed=1)
PARAMS = EvaluateParams(batch_size=1, bootstrap=BOOTSTRAP, prevalences=[0.05, 0.5], minimum_slice=20)
COUNT = 160
CARD = card(
    image_size=16,
    data=DataLineage("kermany", "mendeley-v2", "abc", {"train": {"NORMAL": 1341, "PNEUMONIA": 3875}}),
    parameters={"filters": "[16, 32]", "augment.gamma": 0.2, "operating_point.minimum_sensitivity": 0.95},
    git_commit="c0ffee",
    model_sha256="feed",
)


def images(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Index, facts and logits of files whose width gives the class away, and of a model that reads nothing else."""
    rng = np.random.default_rng(seed)
    cause = rng.choice(["normal", "bacteria", "virus"], COUNT)
    label = np.where(cause == "normal", "NORMAL", "PNEUMONIA")
    path = [f"{i}.png" for i in range(COUNT)]
    index = pd.DataFrame({"path": path, "label": label, "cause": cause, "group": np.arange(COUNT) // 2})
    index = index.assign(fold=index["group"] % 3, subset=np.where(index["group"] < 50, "train", "test"))
    width = np.round(rng.normal(np.where(label == "NORMAL", 1500, 1000), 250)).clip(300)
    made = {"width": width, "height": 1000.0, "megapixels": width / 1000, "aspect": width / 1000, "mode": "L"}
    facts = pd.DataFrame(made | {"jpeg_quality": 75.0, "bytes": 1e5, "bytes_per_megapixel": 1e8 / width}, index=path)
    return index, facts, (1250 - width) / 100 + rng.normal(0, 0.2, COUNT)


@pytest.fixture(scope="module")
def judged() -> dict[str, Any]:
    subsets = {}
    for seed, name in enumerate(("validation", "swapped", "test")):
        index, facts, logits = images(seed)
        subsets[name] = judgement.Subset.of(index, logits, facts)
    return judgement.judge(CARD, subsets, (1.0, 1.4), PARAMS)


@pytest.fixture(scope="module")
def shortcuts() -> dict[str, Any]:
    index, facts, logits = images(3)
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16), np.uint8)
    told = shortcuts_data.audit(pixels, index, facts, AUDIT, BOOTSTRAP)

    def score(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return logits, CARD.calibration.probabilities(logits)

    model = shortcuts_model.audit(score, pixels, index, facts, CARD.threshold, AUDIT, BOOTSTRAP)
    return shortcuts_report.assemble(told, {"cnn": model}, AUDIT)


@pytest.fixture(scope="module")
def comparison() -> dict[str, Any]:
    index, facts, logits = images(2)
    other = np.random.default_rng(1).normal(logits, 3)
    answers = {
        name: {"test": judgement.Subset.of(index, scores, facts)}
        for name, scores in {"cnn": logits, "b": other}.items()
    }
    cards = {"cnn": CARD, "b": dataclasses.replace(CARD, name="b")}
    return {"chosen_by": "roc_auc on swapped"} | judgement.compare(cards, answers, "cnn", BOOTSTRAP)


@pytest.fixture(scope="module")
def page(judged: dict[str, Any], shortcuts: dict[str, Any], comparison: dict[str, Any]) -> str:
    known = definition.load(ROOT / "data/kermany.yaml")
    return model_card.render(CARD, judged, shortcuts, comparison, published=known)


def numbers(record: Any) -> list[float]:
    if isinstance(record, dict):
        return [number for value in record.values() for number in numbers(value)]
    if isinstance(record, list):
        return [number for value in record for number in numbers(value)]
    return [record] if isinstance(record, int | float) else []


def table(page: str, title: str) -> dict[str, list[str]]:
    """The first table after some words: its cells by the first of each line."""
    block = re.search(r"((?:^\|.*\|\n)+)", page[page.index(title) :], re.MULTILINE)
    assert block
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in block[1].splitlines()]
    return {first.strip(): rest for first, *rest in rows}


def written(figure: dict[str, float]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def test_every_decimal_stands_in_a_record(
    page: str, judged: dict[str, Any], shortcuts: dict[str, Any], comparison: dict[str, Any]
) -> None:
    records = numbers([judged, shortcuts, comparison, dataclasses.asdict(CARD)])
    known = {f"{number:.{digits}f}" for number in records for digits in (1, 2, 3)}
    known |= {f"{100 * number:.1f}" for number in records}
    known |= {f"{1 - shortcuts['data']['limit']:.2f}"}  # the limit's mirror
    known |= {f"{figure['delong']['p']:.2g}" for figure in comparison["models"]["b"].values()}
    prose = re.sub(r"doi \S+", "", page).replace("Apache-2.0", "")
    assert set(re.findall(r"-?\d+\.\d+(?:e-\d+)?", prose)) - known - {f"-{AUDIT.maximum_auc_loss:.2f}"} == set()


def test_figures_stand_under_their_subset(page: str, judged: dict[str, Any]) -> None:
    subsets = judged["subsets"]
    found = table(page, "## Figures")
    assert found[""] == ["validation", "swapped", "test"]
    assert found["ROC AUC"] == [written(subsets[name]["figures"]["roc_auc"]) for name in found[""]]
    assert found["answered"] == [written(subsets[name]["band"]["coverage"]) for name in found[""]]
    assert found["accuracy, answered"] == [written(subsets[name]["band"]["figures"]["accuracy"]) for name in found[""]]
    values = subsets["test"]["predictive_values"]["0.05"]
    assert table(page, "### What an answer")["5%"] == [written(values["ppv"]), written(values["npv"])]
    errors = subsets["swapped"]["calibration"]["after"]
    assert table(page, "### Calibration")["swapped, after"] == [
        f"{errors[name]:.3f}" for name in ("loss", "brier", "ece")
    ]


def test_slices_carry_their_warning(page: str, judged: dict[str, Any]) -> None:
    sizes = judged["subsets"]["test"]["slices"]["size"]
    warned = {name: found["warning"] for name, found in sizes.items() if found["warning"]}
    assert warned
    rows = table(page, "### Slices")
    assert {name: rows[f"size: {name}"][-1] for name in warned} == warned


def test_failed_criteria_are_said_with_figure_and_limit(page: str, shortcuts: dict[str, Any]) -> None:
    model = shortcuts["models"]["cnn"]
    assert "**The model: fail.**" in page
    assert "**The data: ALARM.**" in page
    failed = page[page.index("It fails ") :].split("\n")[0]
    assert "AUC among images alike in image width" in failed
    assert "JPEG of quality 50" not in failed
    alike, outcome = model["matched"]["width"], "**fail**"
    criteria = table(page, "The unfavourable end")
    assert criteria["AUC among images alike in image width"] == [written(alike["auc"]), "at least 0.85", outcome]
    width = model["follows"]["NORMAL"]["width"]["correlation"]
    assert criteria["correlation of score and image width within NORMAL"] == [written(width), "within ±0.50", outcome]
    asked = [entry for entry in shortcuts_entries(model) if "outcome" in entry]
    assert len(criteria) == len(asked) + 2  # and the head


def shortcuts_entries(model: dict[str, Any]) -> list[dict[str, Any]]:
    follows = [entry for facts in model["follows"].values() for entry in facts.values()]
    return [*model["matched"].values(), *follows, *model["perturbations"].values()]


def test_a_phantom_model_is_marked_before_any_figure(judged: dict[str, Any], shortcuts: dict[str, Any]) -> None:
    phantom = dataclasses.replace(CARD, data=dataclasses.replace(CARD.data, source="phantom"))
    page = model_card.render(phantom, judged, shortcuts)
    assert page.split("\n")[2].startswith("> **A phantom model: it says nothing about patients.**")
    assert "Guangzhou" not in page
    assert "children" not in page.replace("the size of the child", "")


def test_a_radiograph_model_is_no_phantom_and_no_device(page: str) -> None:
    assert "hantom" not in page
    assert "not a medical device" in page
    assert "CC BY 4.0" in page
    assert "| train | 1,341 | 3,875 |" in page


def test_comparison_and_audit_of_the_model_may_be_missing(
    judged: dict[str, Any], shortcuts: dict[str, Any], comparison: dict[str, Any]
) -> None:
    strange = {"reference": "b", "models": {"c": comparison["models"]["b"]}}
    for given in (None, strange):
        page = model_card.render(CARD, judged, shortcuts | {"models": {}}, given, command="make release")
        assert "Compared with" not in page
        assert "`cnn` was not audited" in page
        assert "\nmake release\n" in page


def test_a_model_that_is_not_the_reference_is_told_against_it_alone(
    judged: dict[str, Any], shortcuts: dict[str, Any], comparison: dict[str, Any]
) -> None:
    compared = comparison["models"]["b"]
    page = model_card.render(CARD, judged, shortcuts, {"reference": "b", "models": {"cnn": compared, "c": compared}})
    rows = table(page, "## Compared")
    assert "Reference: `b`." in page
    assert rows["`cnn`"][1] == written(compared["test"]["differences"]["roc_auc"])
    assert "`c`" not in rows


def test_nothing_is_left_unfilled(page: str) -> None:
    assert re.findall(r"[{}]|None|nan|TODO|TBD|\bTrue\b", page) == []


def test_a_judgement_of_another_training_is_refused(judged: dict[str, Any], shortcuts: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="dvc repro evaluate"):
        model_card.render(dataclasses.replace(CARD, threshold=0.61), judged, shortcuts)


def test_the_licence_is_that_of_the_project() -> None:
    assert f'license = "{model_card.LICENCE}"' in (ROOT / "pyproject.toml").read_text()


def test_records_survive_json(page: str, judged: dict[str, Any], shortcuts: dict[str, Any]) -> None:
    again = model_card.render(CARD, json.loads(json.dumps(judged)), json.loads(json.dumps(shortcuts)))
    assert again.split("## Training data")[0] == page.split("## Training data")[0]
