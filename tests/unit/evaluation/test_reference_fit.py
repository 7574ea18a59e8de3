"""Reference statistics fitted to development images."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pneumonia.bundle.reference import Reference
from pneumonia.core.labels import target
from pneumonia.data import phantom
from pneumonia.evaluation import reference_fit
from pneumonia.evaluation.reference_fit import Scored
from pneumonia.evaluation.settings import BootstrapParams
from pneumonia.inference.network import Network
from tests.support import networks
from tests.unit.bundle.test_familiarity import PARAMS as PHANTOMS

SIZE = 64
BOOTSTRAP = BootstrapParams(resamples=200, seed=1)
Images = tuple[NDArray[np.uint8], NDArray[np.int_]]


@pytest.fixture(scope="module")
def images() -> Images:
    """Phantoms with their targets: 120 for training, 60 for validation, 30 unseen."""
    params = PHANTOMS.model_copy(update={"patients": 400, "size": 96})
    plan = phantom.plan(params)
    cases = [plan[each] for each in np.random.default_rng(0).permutation(len(plan))[:210]]
    drawn = [np.asarray(Image.fromarray(case.draw(params).pixels).resize((SIZE, SIZE))) for case in cases]
    return np.stack(drawn), np.array([target(case.label) for case in cases])


@pytest.fixture(scope="module")
def network() -> Network:
    return networks.in_onnx(networks.small(SIZE))


@pytest.fixture(scope="module")
def fitted(images: Images, network: Network) -> Reference:
    pixels, targets = images
    scored = Scored(np.linspace(0, 1, 60), targets[120:180], np.arange(60))
    return reference_fit.fit(
        network, pixels[:120], pixels[120:180], targets[120:180], scored, seed=1, bootstrap=BOOTSTRAP
    )


def test_normal_evidence_is_the_mean_map_of_normal_validation_images(
    fitted: Reference, images: Images, network: Network
) -> None:
    pixels, targets = images

    expected = network.evidence(pixels[120:180][targets[120:180] == 0]).mean(axis=0)

    np.testing.assert_allclose(fitted.normal_evidence, expected, atol=1e-5)
    assert fitted.evidence_scale > 0


def test_network_of_phantoms_finds_phantoms_familiar_and_inverted_ones_not(
    fitted: Reference, images: Images, network: Network
) -> None:
    def accepted(pixels: NDArray[np.uint8]) -> float:
        shares = fitted.familiarity.shares(pixels, network.features(pixels))[0]
        return float((shares >= fitted.familiarity.minimum).mean())

    unseen = images[0][180:]
    assert accepted(unseen) > 0.85
    assert accepted(255 - unseen) < 0.1


def test_bins_have_enough_images_and_their_observed_shares() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.beta(0.3, 0.3, 600)
    targets = (rng.uniform(size=600) < probabilities).astype(int)

    edges, shares, counts = reference_fit.reliability(Scored(probabilities, targets, np.arange(600)), BOOTSTRAP)

    assert (edges[0], edges[-1]) == (0, 1)
    assert (np.diff(edges) > 0).all()
    assert counts.min() >= reference_fit.SMALLEST_BIN
    assert counts.sum() == 600
    first = probabilities < edges[1]
    assert shares[0, 0] == pytest.approx(targets[first].mean())
    assert (shares[:, 1] <= shares[:, 0]).all()
    assert (shares[:, 0] <= shares[:, 2]).all()


def test_few_images_make_one_bin() -> None:
    edges, _, counts = reference_fit.reliability(
        Scored(np.linspace(0, 1, 9), np.arange(9) % 2, np.arange(9)), BOOTSTRAP
    )

    assert edges.tolist() == [0, 1]
    assert counts.tolist() == [9]
