import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from pneumonia.config import BootstrapParams, EvaluateParams
from pneumonia.evaluation import figures, judgement
from pneumonia.evaluation.metrics import binary_metrics
from pneumonia.models.bundle import Band
from pneumonia.models.calibration import Calibration
from tests.cards import card

PARAMS = EvaluateParams(
    batch_size=1, bootstrap=BootstrapParams(resamples=300, seed=1), prevalences=[0.2], minimum_slice=20
)
CUTS = (1.0, 2.0)


def subset(seed: int, count: int = 240, gain: float = 3.0) -> judgement.Subset:
    """Images of a set in which all viral ones are small, with the logits of an overconfident model."""
    rng = np.random.default_rng(seed)
    cause = rng.choice(["normal", "bacteria", "virus"], count)
    label = np.where(cause == "normal", "NORMAL", "PNEUMONIA")
    index = pd.DataFrame(
        {"path": [f"{i}.png" for i in range(count)], "label": label, "cause": cause, "group": np.arange(count) // 2}
    )
    facts = pd.DataFrame(
        {"megapixels": np.where(cause == "virus", 0.5, 3.0), "mode": "L", "jpeg_quality": 75.0}, index=index["path"]
    )
    logits = rng.normal(np.where(label == "PNEUMONIA", gain, -gain), 4)
    return judgement.Subset.of(index, logits, facts.sample(frac=1, random_state=seed))


@pytest.fixture(scope="module")
def judged() -> dict[str, Any]:
    return judgement.judge(card(), {"validation": subset(1), "test": subset(2)}, CUTS, PARAMS)


def test_figures_are_those_of_calibrated_answers_at_the_operating_point(judged: dict[str, Any]) -> None:
    test = subset(2)
    probabilities = expit(test.logits / 2 + 0.5)

    found = judged["subsets"]["test"]["figures"]

    assert {name: figure["value"] for name, figure in found.items()} == pytest.approx(
        binary_metrics(test.targets, probabilities, 0.6), abs=1e-6
    )
    assert found["accuracy"]["low"] < found["accuracy"]["value"] < found["accuracy"]["high"]


def test_the_band_counts_who_is_answered_and_how_well(judged: dict[str, Any]) -> None:
    test = subset(2)
    probabilities = expit(test.logits / 2 + 0.5)
    answered = (probabilities < 0.4) | (probabilities >= 0.7)

    band = judged["subsets"]["test"]["band"]

    assert band["coverage"]["value"] == pytest.approx(answered.mean(), abs=1e-6)
    right = ((probabilities >= 0.6) == (test.targets == 1))[answered].mean()
    assert band["figures"]["accuracy"]["value"] == pytest.approx(right, abs=1e-6)


def test_reliability_accounts_for_every_image_before_and_after(judged: dict[str, Any]) -> None:
    test = subset(2)
    for moment, probabilities in (("before", expit(test.logits)), ("after", expit(test.logits / 2 + 0.5))):
        found = judged["subsets"]["test"]["calibration"][moment]
        rows = pd.json_normalize(found["reliability"])

        assert rows["images"].sum() == len(test.targets)
        assert (rows["images"] * rows["probability"]).sum() == pytest.approx(probabilities.sum(), abs=1e-3)
        assert (rows["images"] * rows["share.value"]).sum() == pytest.approx(test.targets.sum(), abs=1e-3)
        distance = (rows["images"] * (rows["probability"] - rows["share.value"]).abs()).sum() / rows["images"].sum()
        assert found["ece"] == pytest.approx(distance, abs=1e-5)


def test_slices_are_judged_by_themselves_and_thin_ones_carry_a_warning(judged: dict[str, Any]) -> None:
    test = subset(2)
    virus = test.where((test.targets == 0) | (test.causes == "virus"))

    found = judged["subsets"]["test"]["slices"]

    expected = binary_metrics(virus.targets, expit(virus.logits / 2 + 0.5), 0.6)
    assert found["cause"]["virus"]["figures"]["roc_auc"]["value"] == pytest.approx(expected["roc_auc"], abs=1e-6)
    assert found["cause"]["virus"]["warning"] is None
    small = found["size"]["small"]
    assert small["images"]["NORMAL"] == 0
    assert "0 of NORMAL" in small["warning"]
    assert "specificity" not in small["figures"]
    assert "sensitivity" in small["figures"]


def test_a_judgement_is_plain_json_and_the_same_every_time(judged: dict[str, Any]) -> None:
    again = judgement.judge(card(), {"validation": subset(1), "test": subset(2)}, CUTS, PARAMS)

    assert json.dumps(again, allow_nan=False) == json.dumps(judged, allow_nan=False)


def test_a_model_that_answers_nobody_is_judged_too() -> None:
    found = judgement.judge(card(band=Band(0.0, 1.1)), {"test": subset(1)}, CUTS, PARAMS)

    assert found["subsets"]["test"]["band"] == {
        "coverage": {"value": 0.0, "low": 0.0, "high": pytest.approx(1 - 0.025 ** (1 / 120), abs=1e-6)},
        "figures": {},
    }


def test_models_are_compared_with_the_reference_by_their_own_operating_points() -> None:
    models = {"good": {"test": subset(1)}, "poor": {"test": subset(1, gain=0.5)}}
    cards = {"good": card(name="good"), "poor": card(name="poor", threshold=0.5, calibration=Calibration())}

    found = judgement.compare(cards, models, "good", PARAMS.bootstrap)

    assert (found["reference"], set(found["models"])) == ("good", {"poor"})
    values = {
        name: binary_metrics(m["test"].targets, cards[name].calibration.probabilities(m["test"].logits), t)
        for (name, m), t in zip(models.items(), (0.6, 0.5), strict=True)
    }
    difference = found["models"]["poor"]["test"]["differences"]["sensitivity"]["value"]
    assert difference == pytest.approx(values["poor"]["sensitivity"] - values["good"]["sensitivity"], abs=1e-6)
    assert found["models"]["poor"]["test"]["delong"]["p"] < 0.001


def test_the_reliability_figure_draws_the_tables(judged: dict[str, Any], tmp_path: Path) -> None:
    picture = figures.reliability_figure({"cnn": judged})

    panel = picture.axes[1]
    assert panel.get_title() == "cnn, test"
    after = next(line for line in panel.lines if str(line.get_label()).startswith("after"))
    table = pd.json_normalize(judged["subsets"]["test"]["calibration"]["after"]["reliability"])
    np.testing.assert_allclose(after.get_xydata(), table[["probability", "share.value"]])
    figures.save(picture, tmp_path / "one.png")
    figures.save(figures.reliability_figure({"cnn": judged}), tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
