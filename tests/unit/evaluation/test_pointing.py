import numpy as np
import pytest
from numpy.typing import NDArray

from pneumonia.core.estimate import Estimate
from pneumonia.evaluation import pointing
from pneumonia.evaluation.settings import BootstrapParams

SIZE = 100
BOOTSTRAP = BootstrapParams(resamples=1000, seed=0)


def square(top: int, left: int, side: int) -> NDArray[np.bool_]:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def pointing_at(*places: tuple[int, int]) -> NDArray[np.float64]:
    result = np.zeros((SIZE, SIZE))
    for place in places:
        result[place] = 1.0
    return result


@pytest.mark.parametrize(
    ("place", "hit"),
    [((45, 45), True), ((40, 40), True), ((37, 45), True), ((36, 45), False), ((38, 38), True), ((37, 37), False)],
)
def test_hit_is_in_the_lesion_or_within_the_tolerance(place: tuple[int, int], hit: bool) -> None:
    """The lesion begins at 40; a Euclidean distance of 3% of 100 pixels is accepted."""
    (result,) = pointing.hits(pointing_at(place)[None], square(40, 40, 20)[None], tolerance=0.03)
    assert result == hit


def test_of_equal_maxima_the_mean_position_counts() -> None:
    lesion = square(50, 50, 10)[None]
    assert pointing.hits(pointing_at((54, 30), (54, 80))[None], lesion).tolist() == [True]
    assert pointing.hits(pointing_at((54, 0), (54, 20))[None], lesion).tolist() == [False]


def test_chance_is_the_hit_rate_of_random_points() -> None:
    rng = np.random.default_rng(0)
    lesions = np.stack([square(20, 20, 30), square(30, 60, 20), square(25, 35, 25)])
    lungs = np.stack([square(15, 10, 70)] * 3)
    chance = pointing.chance(lesions, lungs)

    tries = 300
    for name, low, high in (("image", (0, 0), (SIZE, SIZE)), ("lungs", (15, 10), (85, 80))):
        maps = np.stack([pointing_at(tuple(place)) for place in rng.integers(low, high, (3 * tries, 2))])
        hit = pointing.hits(maps, np.repeat(lesions, tries, axis=0))
        assert getattr(chance, name) == pytest.approx(hit.mean(), abs=0.06)
    assert chance.best_fixed_place == pytest.approx(2 / 3, abs=1e-6)


def test_hit_rates_of_all_images_and_of_each_cause() -> None:
    hit = np.array([True, True, False, True, False, False])
    groups = np.array([1, 1, 2, 3, 4, 5])
    causes = np.array(["bacteria"] * 3 + ["virus"] * 3)
    shares = pointing.summarise(hit, groups, causes, BOOTSTRAP)
    assert list(shares) == ["all", "bacteria", "virus"]
    assert [(s.images, s.patients) for s in shares.values()] == [(6, 5), (3, 2), (3, 3)]
    assert [s.share.value for s in shares.values()] == pytest.approx([1 / 2, 2 / 3, 1 / 3], abs=1e-6)
    low, high = shares["all"].share.low, shares["all"].share.high
    assert low is not None
    assert high is not None
    assert 0 <= low < 0.5 < high <= 1


def width(estimate: Estimate) -> float:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.high - estimate.low


def test_intervals_count_patients_not_images() -> None:
    """Ten identical results per patient give the same interval as one."""
    hit = np.random.default_rng(0).random(20) < 0.6
    causes = np.repeat("virus", 200)
    alone = pointing.summarise(hit, np.arange(20), causes[:20], BOOTSTRAP)["all"].share
    many = pointing.summarise(np.repeat(hit, 10), np.repeat(np.arange(20), 10), causes, BOOTSTRAP)["all"].share
    assert (many.low, many.high) == pytest.approx((alone.low, alone.high))
    apart = pointing.summarise(np.repeat(hit, 10), np.arange(200), causes, BOOTSTRAP)["all"].share
    assert width(apart) < 0.5 * width(many)
