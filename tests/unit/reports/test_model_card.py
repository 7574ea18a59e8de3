import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pneumonia.audit import data_shortcuts, model_shortcuts
from pneumonia.audit.audit_report import DataAudit, ModelAudit
from pneumonia.bundle.bundle import DataLineage
from pneumonia.core.errors import BundleError
from pneumonia.core.estimate import Estimate
from pneumonia.data import definition
from pneumonia.evaluation import comparison
from pneumonia.evaluation.comparison_report import ComparisonReport, Selection
from pneumonia.evaluation.evaluate import ScoredImages, evaluate
from pneumonia.evaluation.evaluation_report import EvaluationReport
from pneumonia.evaluation.prediction_table import predictions_table
from pneumonia.evaluation.settings import BootstrapParams, EvaluateParams
from pneumonia.reports import model_card, model_card_text
from tests.support.audit_params import AUDIT
from tests.support.cards import card

ROOT = Path(__file__).parents[3]
BOOTSTRAP = BootstrapParams(resamples=100, seed=1)
PARAMS = EvaluateParams(batch_size=1, bootstrap=BOOTSTRAP, prevalences=[0.05, 0.5], minimum_slice=20)
COUNT = 160
CARD = card(
    image_size=16,
    data=DataLineage("kermany", "mendeley-v2", "abc", {"train": {"NORMAL": 1341, "PNEUMONIA": 3875}}),
    parameters={"filters": "[16, 32]", "augment.gamma": 0.2, "operating_point.minimum_sensitivity": 0.95},
    model_sha256="feed",
)


def images(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Index, metadata and logits of files whose width gives the class away, and of a model that reads nothing else."""
    rng = np.random.default_rng(seed)
    cause = rng.choice(["normal", "bacteria", "virus"], COUNT)
    label = np.where(cause == "normal", "NORMAL", "PNEUMONIA")
    path = [f"{i}.png" for i in range(COUNT)]
    index = pd.DataFrame({"path": path, "label": label, "cause": cause, "group": np.arange(COUNT) // 2})
    index = index.assign(fold=index["group"] % 3, subset=np.where(index["group"] < 50, "train", "test"))
    width = np.round(rng.normal(np.where(label == "NORMAL", 1500, 1000), 250)).clip(300)
    made = {"width": width, "height": 1000.0, "megapixels": width / 1000, "aspect": width / 1000, "mode": "L"}
    metadata = pd.DataFrame(
        made | {"jpeg_quality": 75.0, "bytes": 1e5, "bytes_per_megapixel": 1e8 / width}, index=path
    )
    return index, metadata, (1250 - width) / 100 + rng.normal(0, 0.2, COUNT)


@pytest.fixture(scope="module")
def evaluation() -> EvaluationReport:
    subsets = {}
    for seed, name in enumerate(("validation", "aspect_swapped", "test")):
        index, metadata, logits = images(seed)
        subsets[name] = ScoredImages.of(index, logits, metadata)
    return evaluate(CARD, subsets, (1.0, 1.4), PARAMS)


@pytest.fixture(scope="module")
def data_audit() -> DataAudit:
    index, metadata, _ = images(3)
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16), np.uint8)
    return data_shortcuts.audit(pixels, index, metadata, AUDIT, BOOTSTRAP)


@pytest.fixture(scope="module")
def model_audit() -> ModelAudit:
    index, metadata, logits = images(3)
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16), np.uint8)

    def score(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return logits, CARD.calibration.probabilities(logits)

    return model_shortcuts.audit(score, pixels, index, metadata, CARD.threshold, AUDIT, BOOTSTRAP)


@pytest.fixture(scope="module")
def compared() -> ComparisonReport:
    index, metadata, logits = images(2)
    other = np.random.default_rng(1).normal(logits, 3)
    tables = {
        name: predictions_table(CARD, {"test": ScoredImages.of(index, scores, metadata)})
        for name, scores in {"cnn": logits, "b": other}.items()
    }
    return comparison.compare(tables, "cnn", BOOTSTRAP, Selection(metric="roc_auc", subset="aspect_swapped"))


@pytest.fixture(scope="module")
def page(
    evaluation: EvaluationReport, data_audit: DataAudit, model_audit: ModelAudit, compared: ComparisonReport
) -> str:
    published = definition.load(ROOT / "data/kermany.yaml")
    return model_card.render(CARD, evaluation, data_audit, model_audit, compared, published=published)


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


def written(figure: Estimate | None) -> str:
    assert figure is not None
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def test_every_decimal_is_in_a_report(
    page: str,
    evaluation: EvaluationReport,
    data_audit: DataAudit,
    model_audit: ModelAudit,
    compared: ComparisonReport,
) -> None:
    reports = [one.model_dump(mode="json") for one in (CARD, evaluation, data_audit, model_audit, compared)]
    known = {f"{number:.{digits}f}" for number in numbers(reports) for digits in (1, 2, 3)}
    known |= {f"{100 * number:.1f}" for number in numbers(reports)}
    known |= {f"{1 - data_audit.limit:.2f}"}  # the complement of the limit
    known |= {f"{pair.delong.p:.2g}" for pair in compared.models["b"].values()}
    prose = re.sub(r"doi \S+", "", page).replace("Apache-2.0", "")
    assert set(re.findall(r"-?\d+\.\d+(?:e-\d+)?", prose)) - known - {f"-{AUDIT.maximum_auc_loss:.2f}"} == set()


def test_metrics_are_in_the_column_of_their_subset(page: str, evaluation: EvaluationReport) -> None:
    subsets = evaluation.subsets
    found = table(page, "## Metrics")
    assert found[""] == ["validation", "aspect_swapped", "test"]
    assert found["ROC AUC"] == [written(subsets[name].figures["roc_auc"]) for name in found[""]]
    assert found["share outside the band"] == [written(subsets[name].band.coverage) for name in found[""]]
    outside = [written(subsets[name].band.figures["accuracy"]) for name in found[""]]
    assert found["accuracy, outside the band"] == outside
    values = subsets["test"].predictive_values["0.05"]
    assert table(page, "### Predictive values")["5%"] == [written(values["ppv"]), written(values["npv"])]
    quality = subsets["aspect_swapped"].calibration.after
    assert table(page, "### Calibration")["aspect_swapped, after"] == [
        f"{figure:.3f}" for figure in (quality.loss, quality.brier, quality.ece)
    ]


def test_slices_have_their_warning(page: str, evaluation: EvaluationReport) -> None:
    sizes = evaluation.subsets["test"].slices["size"]
    warned = {name: found.warning for name, found in sizes.items() if found.warning}
    assert warned
    rows = table(page, "### Slices")
    assert {name: rows[f"size: {name}"][-1] for name in warned} == warned


def test_failed_criteria_have_value_and_limit(page: str, model_audit: ModelAudit) -> None:
    assert "**The model: fail.**" in page
    assert "**The data: ALARM.**" in page
    failed = page[page.index("It fails ") :].split("\n")[0]
    assert "AUC among images matched by image width" in failed
    assert "JPEG of quality 50" not in failed
    outcome = "**fail**"
    criteria = table(page, "The unfavourable end")
    auc = written(model_audit.matched["width"].auc)
    assert criteria["AUC among images matched by image width"] == [auc, "at least 0.85", outcome]
    width = written(model_audit.correlations["NORMAL"]["width"].correlation)
    assert criteria["correlation of score and image width within NORMAL"] == [width, "within ±0.50", outcome]
    outcomes = [
        *(entry.outcome for entry in model_audit.matched.values()),
        *(entry.outcome for by_name in model_audit.correlations.values() for entry in by_name.values()),
        *(entry.outcome for entry in model_audit.perturbations.values()),
    ]
    assert len(criteria) == sum(one is not None for one in outcomes) + 2  # and the header


def test_a_phantom_model_is_marked_before_any_figure(
    evaluation: EvaluationReport, data_audit: DataAudit, model_audit: ModelAudit
) -> None:
    phantom = CARD.model_copy(update={"data": replaced_source(CARD.data, "phantom")})
    of_phantom = evaluation.model_copy(update={"bundle_sha256": phantom.sha256})
    page = model_card.render(phantom, of_phantom, data_audit, model_audit)
    assert page.split("\n")[2].startswith("> **A phantom model: its figures do not apply to patients.**")
    assert "Guangzhou" not in page
    assert "children" not in page.replace("the size of the child", "")


def replaced_source(data: DataLineage, source: str) -> DataLineage:
    return DataLineage(source, data.release, data.data_hash, data.counts)


def test_a_radiograph_model_is_no_phantom_and_no_device(page: str) -> None:
    assert "hantom" not in page
    assert "not a medical device" in page
    assert "CC BY 4.0" in page
    assert "| train | 1,341 | 3,875 |" in page


def test_comparison_and_audit_of_the_model_may_be_missing(
    evaluation: EvaluationReport, data_audit: DataAudit, compared: ComparisonReport
) -> None:
    others = ComparisonReport(reference="b", selected_by=None, models={"c": compared.models["b"]})
    for given in (None, others):
        page = model_card.render(CARD, evaluation, data_audit, None, given, command="make release")
        assert "Comparison with" not in page
        assert "`cnn` was not audited" in page
        assert "\nmake release\n" in page


def test_a_model_that_is_not_the_reference_is_compared_with_it_only(
    evaluation: EvaluationReport, data_audit: DataAudit, compared: ComparisonReport
) -> None:
    pairs = compared.models["b"]
    given = ComparisonReport(reference="b", selected_by=None, models={"cnn": pairs, "c": pairs})
    page = model_card.render(CARD, evaluation, data_audit, None, given)
    rows = table(page, "## Comparison")
    assert "Reference: `b`." in page
    assert rows["`cnn`"][1] == written(pairs["test"].differences["roc_auc"])
    assert "`c`" not in rows


def test_the_rule_that_selected_the_reference_is_given(page: str) -> None:
    assert "Reference: `cnn`, which has the highest roc_auc on aspect_swapped." in page


def test_nothing_is_left_unfilled(page: str) -> None:
    assert re.findall(r"[{}]|None|nan|TODO|TBD|\bTrue\b", page) == []


def test_an_evaluation_of_another_bundle_is_refused(evaluation: EvaluationReport, data_audit: DataAudit) -> None:
    other = CARD.model_copy(update={"model_sha256": "beef"})
    with pytest.raises(BundleError, match=f"of cnn {other.sha256[:8]}.*, got .* {CARD.sha256[:8]}.*evaluate"):
        model_card.render(other, evaluation, data_audit)


def test_the_licence_is_that_of_the_project() -> None:
    assert f'license = "{model_card_text.LICENCE}"' in (ROOT / "pyproject.toml").read_text()
