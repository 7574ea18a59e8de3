from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from pneumonia.config import BootstrapParams
from pneumonia.evaluation import shortcuts_model
from tests.evaluation.audit_params import AUDIT

BOOTSTRAP = BootstrapParams(resamples=400, seed=1)
PATIENTS = 300
SIZE = 64


def cases(seed: int, **changes: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Index and facts of two images per patient; PNEUMONIA images are narrower, as in the Kermany set."""
    rng = np.random.default_rng(seed)
    ill = np.repeat(np.arange(PATIENTS) % 2 == 1, 2)
    width = np.round(np.exp(rng.normal(np.where(ill, 7.0, 7.25), 0.2)))
    index = pd.DataFrame(
        {
            "path": [f"test/{number}.jpeg" for number in range(2 * PATIENTS)],
            "label": np.where(ill, "PNEUMONIA", "NORMAL"),
            "group": np.repeat(np.arange(PATIENTS), 2),
        }
    )
    told = {"width": width, "height": 1000, "aspect": width / 1000, "megapixels": width / 1000, "mode": "L"}
    facts = pd.DataFrame(
        told | {"bytes": 1, "bytes_per_megapixel": 1000 / width, "jpeg_quality": 75.0} | changes, index=index["path"]
    )
    return index, facts


def judge_scores(index: pd.DataFrame, facts: pd.DataFrame, logits: np.ndarray) -> dict[str, Any]:
    return shortcuts_model.judge_scores(index, facts, logits, expit(logits), AUDIT, BOOTSTRAP)


def outcomes(facts: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {fact: entry["outcome"] for fact, entry in facts.items() if "outcome" in entry}


def test_auc_of_matched_pairs_is_that_of_a_loop_over_the_pairs() -> None:
    rng = np.random.default_rng(0)
    targets, scores = rng.integers(0, 2, 40), rng.integers(0, 10, 40).astype(float)
    alike = rng.random((targets.sum(), 40 - targets.sum())) < 0.3
    weights = rng.integers(0, 3, (2, 40)).astype(float)

    found = shortcuts_model.matched_auc(targets, scores, alike)(weights)

    for row, answer in zip(weights, found, strict=True):
        right = total = 0.0
        for i, positive in enumerate(np.flatnonzero(targets == 1)):
            for j, negative in enumerate(np.flatnonzero(targets == 0)):
                times = alike[i, j] * row[positive] * row[negative]
                right += times * (scores[positive] > scores[negative])
                right += times * (scores[positive] == scores[negative]) / 2
                total += times
        assert answer == pytest.approx(right / total)


def test_auc_of_matched_pairs_is_the_roc_auc_where_all_are_alike() -> None:
    rng = np.random.default_rng(1)
    targets, scores = rng.integers(0, 2, 50), rng.normal(size=50)
    alike = np.ones((targets.sum(), 50 - targets.sum()), bool)
    (found,) = shortcuts_model.matched_auc(targets, scores, alike)(np.ones((1, 50)))
    assert found == pytest.approx(roc_auc_score(targets, scores))


def test_rank_correlation_is_spearmans_of_the_resampled_images() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 6, 60).astype(float), rng.normal(size=60)
    among = rng.random(60) < 0.7
    times = rng.integers(0, 4, (3, 60))

    found = shortcuts_model.rank_correlation(first, second, among)(times.astype(float))

    for row, answer in zip(times, found, strict=True):
        drawn = np.repeat(np.flatnonzero(among), row[among])
        assert answer == pytest.approx(spearmanr(first[drawn], second[drawn]).statistic)


def test_score_that_follows_width_fails_although_its_auc_is_high() -> None:
    index, facts = cases(3)
    logits = -20 * np.log(facts["width"].to_numpy() / 1250) + np.random.default_rng(103).normal(size=len(index))

    found = judge_scores(index, facts, logits)

    assert found["auc"]["value"] > 0.75
    assert found["verdict"] == "fail"
    assert found["matched"]["width"]["outcome"] == found["matched"]["aspect"]["outcome"] == "fail"
    assert found["matched"]["width"]["auc"]["value"] == pytest.approx(0.5, abs=0.1)
    for label in ("NORMAL", "PNEUMONIA"):
        assert found["follows"][label]["width"]["outcome"] == "fail"
        assert found["follows"][label]["width"]["correlation"]["value"] < -0.8


def test_score_that_follows_the_lesion_passes_on_the_same_data() -> None:
    index, facts = cases(4)
    ill = index["label"].eq("PNEUMONIA").to_numpy()
    logits = np.where(ill, 2.0, -2.0) + 1.2 * np.random.default_rng(104).normal(size=len(index))

    found = judge_scores(index, facts, logits)

    assert found["verdict"] == "pass"
    assert found["matched"]["width"]["fact_auc"]["value"] == pytest.approx(0.5, abs=0.05)
    assert found["matched"]["width"]["auc"]["low"] > AUDIT.minimum_matched_auc


def test_where_no_pair_is_alike_nothing_is_claimed() -> None:
    index, facts = cases(5)
    ill = index["label"].eq("PNEUMONIA").to_numpy()
    facts = facts.assign(jpeg_quality=np.where(ill, 75.0, np.nan))  # the NORMAL images are no JPEGs
    logits = np.where(ill, 3.0, -3.0) + np.random.default_rng(105).normal(size=len(index))

    found = judge_scores(index, facts, logits)

    assert found["matched"]["jpeg_quality"] == {
        "pairs": 0,
        "patients": {"NORMAL": 0, "PNEUMONIA": 0},
        "outcome": "cannot tell",
    }
    assert found["verdict"] == "cannot tell"


def lesions(index: pd.DataFrame) -> np.ndarray:
    """Grainy images with a bright disc in the middle of those with PNEUMONIA."""
    rng = np.random.default_rng(6)
    down, across = np.indices((SIZE, SIZE)) - SIZE / 2
    disc = down**2 + across**2 < (SIZE / 4) ** 2
    ill = index["label"].eq("PNEUMONIA").to_numpy()
    brightness = rng.uniform(15, 70, len(index)) * ill
    grain = rng.uniform(2, 25, len(index))[:, None, None] * rng.normal(size=(len(index), SIZE, SIZE))
    return np.clip(100 + brightness[:, None, None] * disc + grain, 0, 255).astype(np.uint8)


def by_lesion(images: np.ndarray) -> np.ndarray:
    middle = images[:, 24:40, 24:40].mean(axis=(1, 2))
    return (middle - images[:, :12].mean(axis=(1, 2)) - 8) / 2


def by_grain(images: np.ndarray) -> np.ndarray:
    """The lesion, and how grainy the picture is: what JPEG and resizing take away."""
    grain = np.abs(np.diff(images.astype(float), axis=2)).mean(axis=(1, 2))
    return by_lesion(images) / 4 + 4 - grain


@pytest.mark.parametrize(("logits", "verdict"), [(by_lesion, "pass"), (by_grain, "fail")])
def test_storing_an_image_anew_tells_a_judge_of_lesions_from_one_of_grain(
    logits: Callable[[np.ndarray], np.ndarray], verdict: str
) -> None:
    index, facts = cases(7)

    found = shortcuts_model.audit(
        lambda images: (logits(images), expit(logits(images))), lesions(index), index, facts, 0.5, AUDIT, BOOTSTRAP
    )

    mild = outcomes(found["perturbations"])
    assert set(mild) == {"jpeg_50", "half_size", "blur", "sharpen"}
    assert ("fail" in mild.values()) == (verdict == "fail")
    flipped = found["perturbations"]["half_size"]["flipped"]["value"]
    assert flipped < 0.02 if verdict == "pass" else flipped > 0.2
