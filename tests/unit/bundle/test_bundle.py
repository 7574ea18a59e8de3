import json
from pathlib import Path
from typing import Any

import pytest

from pneumonia.bundle import bundle
from pneumonia.bundle.calibration import Calibration
from pneumonia.core.errors import BundleError

LINEAGE = bundle.DataLineage("phantom", "7", "ab" * 32, {"train": {"NORMAL": 3, "PNEUMONIA": 5}})
CARD: dict[str, Any] = {
    "name": "cnn",
    "kind": "cnn",
    "image_size": 64,
    "calibration": Calibration("isotonic", knots=((-3.5, -2.0), (0.1 + 0.2, 0.5), (4.0, 2.0))),
    "threshold": 0.1 + 0.2,  # a number that rounding would change
    "band": bundle.Band(0.25, 1 / 3),
    "validation": {"roc_auc": 0.91},
    "golden": {"normal.jpeg": 0.2},
    "data": LINEAGE,
    "parameters": {"seed": 1, "weights": "imagenet", "flip": True, "learning_rate": 1e-3},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete bundle; the contents of its files do not matter here."""
    (tmp_path / "any.keras").write_bytes(b"a network")
    (tmp_path / "any.onnx").write_bytes(b"a graph")
    (tmp_path / "any.npz").write_bytes(b"a reference")
    return write(tmp_path / "bundles/cnn", tmp_path, CARD).folder


def write(folder: Path, parts: Path, card: dict[str, Any]) -> bundle.Bundle:
    return bundle.write(folder, parts / "any.keras", parts / "any.onnx", parts / "any.npz", **card)


def change(folder: Path, **values: Any) -> None:
    card = json.loads((folder / bundle.CARD_FILE).read_text())
    (folder / bundle.CARD_FILE).write_text(json.dumps(card | values))


def test_bundle_is_read_as_written(folder: Path) -> None:
    opened = bundle.read(folder)

    assert {key: getattr(opened.card, key) for key in CARD} == CARD
    assert opened.card.data == LINEAGE
    assert (opened.card.calibration, opened.card.band) == (CARD["calibration"], CARD["band"])
    assert opened.card.class_names == ("NORMAL", "PNEUMONIA")
    assert opened.model_file.read_bytes() == b"a network"
    assert opened.graph_file.read_bytes() == b"a graph"
    assert opened.reference_file.read_bytes() == b"a reference"


def test_write_returns_what_read_returns(folder: Path, tmp_path: Path) -> None:
    assert write(folder, tmp_path, CARD) == bundle.read(folder)


def test_equal_cards_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    again = write(tmp_path / "again", tmp_path, dict(reversed(CARD.items())))

    assert (again.folder / bundle.CARD_FILE).read_bytes() == (folder / bundle.CARD_FILE).read_bytes()


def test_bundle_is_rewritten_in_place(folder: Path) -> None:
    files = (folder / name for name in (bundle.MODEL_FILE, bundle.GRAPH_FILE, bundle.REFERENCE_FILE))

    written = bundle.write(folder, *files, **CARD | {"threshold": 0.4})

    assert bundle.read(folder) == written
    assert written.card.threshold == 0.4


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere is not a bundle: it has no bundle\.json"):
        bundle.read(tmp_path / "nowhere")


def test_file_in_place_of_the_folder(folder: Path) -> None:
    with pytest.raises(BundleError, match=r"model\.keras is not a bundle"):
        bundle.read(folder / bundle.MODEL_FILE)


def test_missing_card(folder: Path) -> None:
    (folder / bundle.CARD_FILE).unlink()

    with pytest.raises(BundleError, match=r"it has no bundle\.json"):
        bundle.read(folder)


@pytest.mark.parametrize("text", ['{"name": "cnn"', "", "[]", "null", '"cnn"'])
def test_card_that_is_not_a_json_object(folder: Path, text: str) -> None:
    (folder / bundle.CARD_FILE).write_text(text)

    with pytest.raises(BundleError, match=r"not valid JSON|bundle format None"):
        bundle.read(folder)


@pytest.mark.parametrize("version", [0, 4, 6, None])
def test_another_format_version(folder: Path, version: int | None) -> None:
    change(folder, format_version=version)

    with pytest.raises(BundleError, match=f"bundle format {version}, expected {bundle.FORMAT_VERSION}"):
        bundle.read(folder)


def test_other_classes(folder: Path) -> None:
    change(folder, class_names=["PNEUMONIA", "NORMAL"])

    with pytest.raises(BundleError, match=r"expected \['NORMAL', 'PNEUMONIA'\]"):
        bundle.read(folder)


@pytest.mark.parametrize(
    "field", ["threshold", "band", "calibration", "data", "model_sha256", "graph_sha256", "reference_sha256"]
)
def test_card_with_a_missing_field(folder: Path, field: str) -> None:
    card = json.loads((folder / bundle.CARD_FILE).read_text())
    del card[field]
    (folder / bundle.CARD_FILE).write_text(json.dumps(card))

    with pytest.raises(BundleError, match=field):
        bundle.read(folder)


def test_card_with_an_unknown_field(folder: Path) -> None:
    change(folder, colour="grey")

    with pytest.raises(BundleError, match="colour"):
        bundle.read(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("calibration", {"method": "magic", "temperature": 1.0, "intercept": 0.0, "knots": []}),
        ("calibration", {"method": "temperature", "temperature": -1.0, "intercept": 0.0, "knots": []}),
        ("calibration", {"method": "isotonic", "temperature": 1.0, "intercept": 0.0, "knots": [[0, 0], [1, 0]]}),
        ("calibration", {"method": "isotonic", "temperature": 1.0, "intercept": 0.0, "knots": [[0, 0, 0]]}),
        ("band", [0.2, 0.3]),
    ],
)
def test_invalid_calibration_or_band(folder: Path, field: str, value: Any) -> None:
    change(folder, **{field: value})

    with pytest.raises(BundleError, match=r"strictly increasing calibration|fields of bundle format"):
        bundle.read(folder)


@pytest.mark.parametrize("file", [bundle.MODEL_FILE, bundle.GRAPH_FILE, bundle.REFERENCE_FILE])
@pytest.mark.parametrize("content", [b"another one", b""])
def test_altered_file(folder: Path, file: str, content: bytes) -> None:
    (folder / file).write_bytes(content)

    with pytest.raises(BundleError, match=rf"{file} is missing or is not the file that bundle\.json names"):
        bundle.read(folder)


@pytest.mark.parametrize("file", [bundle.MODEL_FILE, bundle.GRAPH_FILE, bundle.REFERENCE_FILE])
def test_missing_file(folder: Path, file: str) -> None:
    (folder / file).unlink()

    with pytest.raises(BundleError, match=f"{file} is missing"):
        bundle.read(folder)
