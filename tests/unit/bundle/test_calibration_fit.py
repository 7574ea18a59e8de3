import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn import metrics as sk

from pneumonia.bundle import calibration_fit
from pneumonia.bundle.calibration import Calibration
from pneumonia.bundle.settings import CalibrationMethod
from pneumonia.evaluation.calibration_error import calibration_error

METHODS: tuple[CalibrationMethod, ...] = ("none", "temperature", "platt", "isotonic")


def drawn(
    temperature: float, intercept: float, count: int = 1000, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Logits of a network whose true log-odds are logit / temperature + intercept."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, count)
    return logits, (rng.random(count) < expit(logits / temperature + intercept)).astype(int)


def chosen(logits: NDArray[np.float64], targets: NDArray[np.int_]) -> Calibration:
    return calibration_fit.choose(logits, targets, np.arange(len(targets)) // 10, METHODS, seed=1)[0]


@pytest.mark.parametrize(("temperature", "intercept"), [(2.5, 0.0), (0.4, 0.0), (2.0, -1.5)])
def test_fit_recovers_a_known_distortion(temperature: float, intercept: float) -> None:
    logits, targets = drawn(temperature, intercept, 10_000)

    fitted = calibration_fit.fit("platt" if intercept else "temperature", logits, targets)

    assert fitted.temperature == pytest.approx(temperature, rel=0.1)
    assert fitted.intercept == pytest.approx(intercept, abs=0.12)


def test_platt_is_the_maximum_of_the_likelihood_of_soft_targets() -> None:
    """Against a direct minimum of the loss, as a function of slope and intercept."""
    logits, targets = drawn(1.7, 0.6, 300)
    soft = np.where(targets == 1, (targets.sum() + 1) / (targets.sum() + 2), 1 / ((1 - targets).sum() + 2))

    def loss(x: NDArray[np.float64]) -> np.float64:
        likelihood = soft * np.log(expit(x[0] * logits + x[1])) + (1 - soft) * np.log(expit(-x[0] * logits - x[1]))
        return -np.mean(likelihood)

    slope, intercept = minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}).x

    fitted = calibration_fit.fit("platt", logits, targets)

    assert (1 / fitted.temperature, fitted.intercept) == pytest.approx((slope, intercept), rel=1e-3)


def test_choose_generalises_to_other_patients() -> None:
    overconfident, shifted, sound = drawn(3.0, 0.0), drawn(1.5, 2.0), drawn(1.0, 0.0, 200)

    assert chosen(*overconfident).method in {"temperature", "platt"}
    assert chosen(*shifted).method == "platt"
    assert chosen(*sound).method != "isotonic"  # too few images for so many knots


def test_isotonic_is_chosen_where_no_straight_line_fits() -> None:
    rng = np.random.default_rng(0)
    logits = rng.uniform(-4, 4, 1000)
    truth = np.where(logits < 1, 0.1, 0.9)

    assert chosen(logits, (rng.random(1000) < truth).astype(int)).method == "isotonic"


def test_folds_are_split_between_patients() -> None:
    """Each patient has 20 images and a class of its own at random: only a method that sees the patient could gain."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 20)
    targets = rng.integers(0, 2, 40)[patients]
    logits = np.linspace(-1, 1, 40)[patients] + rng.normal(0, 1e-3, 800)

    fitted, losses = calibration_fit.choose(logits, targets, patients, ["isotonic"], seed=1)

    assert sk.log_loss(targets, fitted.probabilities(logits)) < losses["isotonic"]
    assert losses["isotonic"] > 0.69


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("separable", [False, True])
def test_order_and_auc_are_preserved_and_probabilities_stay_inside_0_and_1(
    method: CalibrationMethod, separable: bool
) -> None:
    logits, targets = drawn(1.3, 0.5, 300)
    targets = (logits > 0.4).astype(int) if separable else targets
    fitted = calibration_fit.fit(method, logits, targets)

    beyond = np.concatenate([logits, [-8.9, 8.9]])
    probabilities = fitted.probabilities(np.sort(beyond))

    assert (np.diff(probabilities) > 0).all()
    assert 0 < probabilities[0] < probabilities[-1] < 1
    assert sk.roc_auc_score(targets, fitted.probabilities(logits)) == sk.roc_auc_score(targets, logits)


def test_isotonic_returns_the_identity_for_scores_that_do_not_rank_the_classes() -> None:
    logits = np.linspace(-3, 3, 50)

    assert calibration_fit.fit("isotonic", logits, (logits < 0).astype(int)) == Calibration()


def test_isotonic_knots_are_the_means_of_the_steps() -> None:
    """By hand: soft targets 0.25 and 0.75; pooling makes steps {-2}, {-1, 1}, {2}."""
    fitted = calibration_fit.fit("isotonic", np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0, 1, 0, 1]))

    x, y = np.array(fitted.knots).T
    assert x.tolist() == [-2, 0, 2]
    assert expit(y) == pytest.approx([0.25, 0.5, 0.75])
    slope = np.log(3) / 2
    assert fitted.logits(np.array([-3.0, -1.0, 5.0])) == pytest.approx([-3 * slope, -slope, 5 * slope])


def test_too_few_patients_take_the_first_candidate() -> None:
    fitted, losses = calibration_fit.choose(
        np.array([-1.0, 1.0, 2.0]), np.array([0, 1, 1]), np.array([0, 1, 2]), METHODS, 1
    )

    assert (fitted, losses) == (Calibration(), {})


def test_calibration_reduces_the_calibration_error() -> None:
    logits, targets = drawn(3.0, 1.0)

    before = calibration_error(targets, expit(logits))
    after = calibration_error(targets, chosen(logits, targets).probabilities(logits))

    assert before > 0.1
    assert after < 0.04
