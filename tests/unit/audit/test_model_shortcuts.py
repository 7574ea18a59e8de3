from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from pneumonia.audit import covariate_statistics, model_shortcuts
from pneumonia.audit.audit_report import MatchedAudit, ModelAudit, Outcome
from pneumonia.evaluation.settings import BootstrapParams
from tests.support.audit_params import AUDIT

BOOTSTRAP = BootstrapParams(resamples=400, seed=1)
PATIENTS = 300
SIZE = 64


def cases(seed: int, **changes: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Index and metadata of two images per patient; PNEUMONIA images are narrower, as in the Kermany set."""
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
    columns = {"width": width, "height": 1000, "aspect": width / 1000, "megapixels": width / 1000, "mode": "L"}
    metadata = pd.DataFrame(
        columns | {"bytes": 1, "bytes_per_megapixel": 1000 / width, "jpeg_quality": 75.0} | changes,
        index=index["path"],
    )
    return index, metadata


def audit_scores(index: pd.DataFrame, metadata: pd.DataFrame, logits: np.ndarray) -> ModelAudit:
    return model_shortcuts.audit_scores(index, metadata, logits, expit(logits), AUDIT, BOOTSTRAP)


def test_auc_of_matched_pairs_is_that_of_a_loop_over_the_pairs() -> None:
    rng = np.random.default_rng(0)
    targets, scores = rng.integers(0, 2, 40), rng.integers(0, 10, 40).astype(float)
    matched = rng.random((targets.sum(), 40 - targets.sum())) < 0.3
    weights = rng.integers(0, 3, (2, 40)).astype(float)

    result = covariate_statistics.matched_auc(targets, scores, matched)(weights)

    for row, answer in zip(weights, result, strict=True):
        right = total = 0.0
        for i, positive in enumerate(np.flatnonzero(targets == 1)):
            for j, negative in enumerate(np.flatnonzero(targets == 0)):
                times = matched[i, j] * row[positive] * row[negative]
                right += times * (scores[positive] > scores[negative])
                right += times * (scores[positive] == scores[negative]) / 2
                total += times
        assert answer == pytest.approx(right / total)


def test_auc_of_matched_pairs_is_the_roc_auc_where_all_pairs_match() -> None:
    rng = np.random.default_rng(1)
    targets, scores = rng.integers(0, 2, 50), rng.normal(size=50)
    matched = np.ones((targets.sum(), 50 - targets.sum()), bool)
    (result,) = covariate_statistics.matched_auc(targets, scores, matched)(np.ones((1, 50)))
    assert result == pytest.approx(roc_auc_score(targets, scores))


def test_rank_correlation_is_spearmans_of_the_resampled_images() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 6, 60).astype(float), rng.normal(size=60)
    among = rng.random(60) < 0.7
    times = rng.integers(0, 4, (3, 60))

    result = covariate_statistics.rank_correlation(first, second, among)(times.astype(float))

    for row, answer in zip(times, result, strict=True):
        drawn = np.repeat(np.flatnonzero(among), row[among])
        assert answer == pytest.approx(spearmanr(first[drawn], second[drawn]).statistic)


def test_scores_that_depend_on_width_fail_although_their_auc_is_high() -> None:
    index, metadata = cases(3)
    logits = -20 * np.log(metadata["width"].to_numpy() / 1250) + np.random.default_rng(103).normal(size=len(index))

    result = audit_scores(index, metadata, logits)

    assert result.auc.value > 0.75
    assert result.verdict == Outcome.FAIL
    assert result.matched["width"].outcome == result.matched["aspect"].outcome == Outcome.FAIL
    assert result.matched["width"].auc is not None
    assert result.matched["width"].auc.value == pytest.approx(0.5, abs=0.1)
    for label in ("NORMAL", "PNEUMONIA"):
        entry = result.correlations[label]["width"]
        assert entry.outcome == Outcome.FAIL
        assert entry.correlation is not None
        assert entry.correlation.value < -0.8


def test_scores_that_depend_on_the_lesion_pass_on_the_same_data() -> None:
    index, metadata = cases(4)
    ill = index["label"].eq("PNEUMONIA").to_numpy()
    logits = np.where(ill, 2.0, -2.0) + 1.2 * np.random.default_rng(104).normal(size=len(index))

    result = audit_scores(index, metadata, logits)

    assert result.verdict == Outcome.PASS
    width = result.matched["width"]
    assert width.property_auc is not None
    assert width.property_auc.value == pytest.approx(0.5, abs=0.05)
    assert width.auc is not None
    assert width.auc.low is not None
    assert width.auc.low > AUDIT.minimum_matched_auc


def test_without_matched_pairs_the_audit_is_inconclusive() -> None:
    index, metadata = cases(5)
    ill = index["label"].eq("PNEUMONIA").to_numpy()
    metadata = metadata.assign(jpeg_quality=np.where(ill, 75.0, np.nan))  # the NORMAL images are no JPEGs
    logits = np.where(ill, 3.0, -3.0) + np.random.default_rng(105).normal(size=len(index))

    result = audit_scores(index, metadata, logits)

    assert result.matched["jpeg_quality"] == MatchedAudit(
        pairs=0, patients={"NORMAL": 0, "PNEUMONIA": 0}, outcome=Outcome.INCONCLUSIVE
    )
    assert result.verdict == Outcome.INCONCLUSIVE


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
    """The lesion and the grain, which JPEG and resizing remove."""
    grain = np.abs(np.diff(images.astype(float), axis=2)).mean(axis=(1, 2))
    return by_lesion(images) / 4 + 4 - grain


@pytest.mark.parametrize(("logits", "verdict"), [(by_lesion, Outcome.PASS), (by_grain, Outcome.FAIL)])
def test_perturbations_separate_a_model_of_lesions_from_one_of_grain(
    logits: Callable[[np.ndarray], np.ndarray], verdict: Outcome
) -> None:
    index, metadata = cases(7)

    result = model_shortcuts.audit(
        lambda images: (logits(images), expit(logits(images))), lesions(index), index, metadata, 0.5, AUDIT, BOOTSTRAP
    )

    mild = {name: entry.outcome for name, entry in result.perturbations.items() if entry.outcome}
    assert set(mild) == {"jpeg_50", "half_size", "blur", "sharpen"}
    assert (Outcome.FAIL in mild.values()) == (verdict == Outcome.FAIL)
    flipped = result.perturbations["half_size"].flipped.value
    assert flipped < 0.02 if verdict == Outcome.PASS else flipped > 0.2
