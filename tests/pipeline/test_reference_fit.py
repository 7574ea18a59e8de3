"""What a training leaves beside its network, for answers to be compared with."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline import reference
from pneumonia import config
from pneumonia.data import phantom
from pneumonia.images.store import ImageStore
from pneumonia.inference.explain import Explainer
from pneumonia.inference.reference import Reference
from pneumonia.labels import CLASS_NAMES
from pneumonia.models import architectures
from tests import readme

SIZE = 64
PARAMS = config.load(readme.ROOT / "params.yaml")
BOOTSTRAP = config.BootstrapParams(resamples=200, seed=1)


@pytest.fixture(scope="module")
def store() -> ImageStore:
    """Phantoms: 120 to learn from, 60 for validation, 30 that nothing has seen."""
    params = PARAMS.data.phantom.model_copy(update={"patients": 400, "size": 96})
    plan = phantom.plan(params)
    cases = [plan[each] for each in np.random.default_rng(0).permutation(len(plan))[:210]]
    drawn = [np.asarray(Image.fromarray(case.draw(params).pixels).resize((SIZE, SIZE))) for case in cases]
    index = pd.DataFrame({"path": [case.path for case in cases], "label": [case.label for case in cases]})
    index["subset"] = np.repeat(["train", "validation", "test"], [120, 60, 30])
    return ImageStore(np.stack(drawn), index, "phantom", "7", "0" * 64)


@pytest.fixture(scope="module")
def network() -> architectures.keras.Model:
    architectures.keras.utils.set_random_seed(0)
    return architectures.cnn(
        config.CnnParams(kind="cnn", filters=[4, 8], epochs=1, batch_size=8, learning_rate=0.1), SIZE
    )


@pytest.fixture(scope="module")
def fitted(store: ImageStore, network: architectures.keras.Model) -> Reference:
    rows = store.rows("validation")
    targets = store.index["label"].iloc[rows].map(CLASS_NAMES.index).to_numpy()
    return reference.fit(network, store, np.linspace(0, 1, 60), targets, np.arange(60), PARAMS)


def test_normal_evidence_is_the_mean_map_of_normal_validation_images(
    fitted: Reference, store: ImageStore, network: architectures.keras.Model
) -> None:
    normal = ((store.index["subset"] == "validation") & (store.index["label"] == "NORMAL")).to_numpy()

    expected = Explainer(network).evidence(store.images[normal]).mean(axis=0)

    np.testing.assert_allclose(fitted.normal_evidence, expected, atol=1e-5)
    assert fitted.evidence_scale > 0


def test_a_network_of_phantoms_takes_phantoms_for_its_own_kind(
    fitted: Reference, store: ImageStore, network: architectures.keras.Model
) -> None:
    pool = architectures.keras.Model(network.input, network.get_layer("pool").output)

    def accepted(images: NDArray[np.uint8]) -> float:
        pooled = pool.predict(images[..., None], verbose=0)
        return float((fitted.familiarity.shares(images, pooled)[0] >= fitted.familiarity.minimum).mean())

    unseen = store.images[store.rows("test")]
    assert accepted(unseen) > 0.85
    assert accepted(255 - unseen) < 0.1


def test_bins_hold_enough_images_and_their_shares() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.beta(0.3, 0.3, 600)
    targets = (rng.uniform(size=600) < probabilities).astype(int)

    edges, shares, counts = reference.reliability(probabilities, targets, np.arange(600), BOOTSTRAP)

    assert (edges[0], edges[-1]) == (0, 1)
    assert (np.diff(edges) > 0).all()
    assert counts.min() >= reference.SMALLEST_BIN
    assert counts.sum() == 600
    first = probabilities < edges[1]
    assert shares[0, 0] == pytest.approx(targets[first].mean())
    assert (shares[:, 1] <= shares[:, 0]).all()
    assert (shares[:, 0] <= shares[:, 2]).all()


def test_few_images_are_one_bin() -> None:
    edges, _, counts = reference.reliability(np.linspace(0, 1, 9), np.arange(9) % 2, np.arange(9), BOOTSTRAP)

    assert edges.tolist() == [0, 1]
    assert counts.tolist() == [9]
