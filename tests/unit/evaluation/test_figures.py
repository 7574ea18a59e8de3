from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pneumonia.evaluation import figures
from pneumonia.evaluation.figures import Scores
from pneumonia.evaluation.metrics import binary_metrics

THRESHOLD = 0.45


def scores(seed: int, count: int = 1000) -> Scores:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    return Scores.at(targets, np.clip(rng.normal(0.35 + 0.3 * targets, 0.2), 0, 1), THRESHOLD)


def models() -> dict[str, dict[str, Scores]]:
    return {
        name: {"validation": scores(seed, 200), "test": scores(seed + 1, 200)}
        for name, seed in {"probe": 1, "cnn": 3}.items()
    }


def test_roc_table_is_thinned_and_keeps_both_ends() -> None:
    table = figures.roc_table(scores(0, 20_000))

    assert 100 < len(table) <= figures.MAXIMUM_CURVE_POINTS
    assert tuple(table.iloc[0]) == (0, 0)
    assert tuple(table.iloc[-1]) == (1, 1)
    assert table["false_positive_rate"].is_monotonic_increasing
    assert table["true_positive_rate"].is_monotonic_increasing


def test_pr_table_is_thinned_and_keeps_both_ends() -> None:
    answers = scores(0, 20_000)

    table = figures.pr_table(answers)

    assert 100 < len(table) <= figures.MAXIMUM_CURVE_POINTS
    assert table["recall"].iloc[0] == 1
    assert table["precision"].iloc[0] == pytest.approx(answers.targets.mean(), abs=1e-6)
    assert tuple(table.iloc[-1]) == (0, 1)


def test_thinning_does_not_change_the_area() -> None:
    answers = scores(0, 20_000)

    table = figures.roc_table(answers)

    area = np.trapezoid(table["true_positive_rate"], table["false_positive_rate"])
    exact = binary_metrics(answers.targets, answers.probabilities, THRESHOLD)["roc_auc"]
    assert area == pytest.approx(exact, abs=0.002)


def test_short_curves_are_not_thinned() -> None:
    table = figures.roc_table(Scores.at(np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.3, 0.4]), 0.5))

    assert table.to_numpy().tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]


def test_confusion_table_agrees_with_the_metrics() -> None:
    answers = scores(5)

    table = figures.confusion_table(answers)

    expected = binary_metrics(answers.targets, answers.probabilities, THRESHOLD)
    positive = table["actual"] == "PNEUMONIA"
    assert len(table) == 1000
    assert (table["predicted"][positive] == "PNEUMONIA").mean() == pytest.approx(expected["sensitivity"])
    assert (table["predicted"][~positive] == "NORMAL").mean() == pytest.approx(expected["specificity"])


def test_a_probability_at_the_threshold_counts_as_pneumonia() -> None:
    answers = Scores.at(np.array([0, 0]), np.array([0.3, np.nextafter(0.3, 0)]), 0.3)

    assert list(figures.confusion_table(answers)["predicted"]) == ["PNEUMONIA", "NORMAL"]


def test_the_roc_figure_marks_the_operating_points() -> None:
    compared = models()

    panel = figures.roc_figure(compared).axes[1]

    points = [line.get_xydata()[0] for line in panel.lines if line.get_marker() == "o"]
    assert panel.get_title() == "test"
    for point, answers in zip(points, (compared["probe"]["test"], compared["cnn"]["test"]), strict=True):
        expected = binary_metrics(answers.targets, answers.probabilities, THRESHOLD)
        assert tuple(point) == pytest.approx((1 - expected["specificity"], expected["sensitivity"]))


def test_the_confusion_figure_shows_the_counts() -> None:
    answers = Scores.at(np.array([0, 0, 0, 1, 1, 1, 1]), np.array([0.1, 0.2, 0.9, 0.1, 0.9, 0.9, 0.9]), 0.5)

    (panel,) = figures.confusion_figure({"cnn": {"test": answers}}).axes

    cells = {text.get_position(): text.get_text() for text in panel.texts}
    assert cells == {(0, 0): "2\n66.7%", (1, 0): "1\n33.3%", (0, 1): "1\n25.0%", (1, 1): "3\n75.0%"}
    assert panel.get_title() == "cnn, test"


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda: figures.roc_figure(models()), id="roc"),
        pytest.param(lambda: figures.pr_figure(models()), id="pr"),
        pytest.param(lambda: figures.confusion_figure(models()), id="confusion"),
    ],
)
def test_equal_numbers_give_equal_bytes(draw: "type[Figure]", tmp_path: Path) -> None:
    files = [tmp_path / "first.png", tmp_path / "new" / "second.png"]
    for file in files:
        figures.save(draw(), file)

    assert files[0].read_bytes() == files[1].read_bytes()
    with Image.open(files[0]) as picture:
        assert picture.width > 300
        assert "Software" not in picture.info
