from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml

from pipeline import params
from pipeline.params import Params
from pneumonia.core.errors import ConfigError

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def content() -> dict[str, Any]:
    """The content of the shipped params.yaml, for tests to change."""
    return yaml.safe_load(PARAMS.read_text(encoding="utf-8"))


def load(content: Any, folder: Path) -> Params:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return params.load(path)


def locate(content: dict[str, Any], dotted: str) -> tuple[dict[str, Any], str]:
    *sections, key = dotted.split(".")
    for section in sections:
        content = content[section]
    return content, key


def test_the_shipped_params_are_valid() -> None:
    shipped = params.load(PARAMS)

    assert {model.kind for model in shipped.train.models.values()} == {"probe", "cnn", "finetune"}
    assert shipped.validation.minimum_pixels > 0
    assert shipped.register_.name


@pytest.mark.parametrize(
    ("dotted", "value", "reason"),
    [
        ("prepare.colour", True, "unknown key"),
        ("spelt_wrong", {}, "unknown key"),
        ("train.models.cnn.weights", "imagenet", "unknown key"),
        ("train.models.cnn.augment", {"flipp": True}, "unknown key"),
        ("prepare.size", "224", "valid integer"),
        ("prepare.size", 224.0, "valid integer"),
        ("prepare.size", 16, "greater than or equal to 32"),
        ("train.seed", True, "valid integer"),
        ("calibrate.operating_point.minimum_sensitivity", 1.0, "less than 1"),
        ("calibrate.methods", [], "at least 1 item"),
        ("evaluate.prevalences", [], "at least 1 item"),
        ("train.models.cnn.learning_rate", "2e-3", "valid number"),
        ("train.models.cnn.learning_rate", 0.0, "greater than 0"),
        ("train.models.cnn.filters", [], "at least 1 item"),
        ("train.models", {}, "at least 1 item"),
        ("validate.maximum_quarantined", 1.5, "less than or equal to 1"),
        ("data.phantom.drift", -0.1, "greater than or equal to 0"),
        ("register.metric", "auroc", "'roc_auc'"),
    ],
)
def test_a_fault_is_named_with_its_location(
    content: dict[str, Any], tmp_path: Path, dotted: str, value: object, reason: str
) -> None:
    section, key = locate(content, dotted)
    section[key] = value

    with pytest.raises(ConfigError) as caught:
        load(content, tmp_path)

    message = str(caught.value)
    fault = message.split("\n", 1)[1]
    deepest = f"{dotted}.{next(iter(value))}" if isinstance(value, dict) and value else dotted
    assert str(tmp_path / "params.yaml") in message
    assert fault.startswith(f"  {deepest}: ")
    assert reason in fault


@pytest.mark.parametrize("dotted", ["split", "train.seed", "train.models.probe.backbone", "data.phantom.seed"])
def test_a_missing_key_is_named(content: dict[str, Any], tmp_path: Path, dotted: str) -> None:
    section, key = locate(content, dotted)
    del section[key]

    with pytest.raises(ConfigError, match=rf"  {dotted}: this key is missing"):
        load(content, tmp_path)


def test_an_unknown_kind_of_model_lists_the_known_ones(content: dict[str, Any], tmp_path: Path) -> None:
    content["train"]["models"]["cnn"]["kind"] = "transformer"

    with pytest.raises(ConfigError, match=r"train\.models\.cnn: .*'transformer'.*'probe', 'cnn', 'finetune'"):
        load(content, tmp_path)


def test_a_model_name_that_is_not_a_folder_name_is_rejected(content: dict[str, Any], tmp_path: Path) -> None:
    content["train"]["models"]["../outside"] = content["train"]["models"]["cnn"]

    with pytest.raises(ConfigError, match=r"train\.models\.\.\./outside"):
        load(content, tmp_path)


def test_the_validation_fold_must_exist(content: dict[str, Any], tmp_path: Path) -> None:
    content["split"] |= {"folds": 5, "validation_fold": 5}

    with pytest.raises(ConfigError, match=r"split: .*validation_fold must be below folds \(5\), not 5"):
        load(content, tmp_path)


def test_the_sensitivity_of_the_band_is_at_least_that_of_the_threshold(
    content: dict[str, Any], tmp_path: Path
) -> None:
    content["calibrate"]["operating_point"]["band"]["sensitivity"] = 0.9

    with pytest.raises(
        ConfigError, match=r"calibrate\.operating_point: .*no less than minimum_sensitivity \(0\.95\), not 0\.9"
    ):
        load(content, tmp_path)


def test_all_faults_are_reported_at_once(content: dict[str, Any], tmp_path: Path) -> None:
    content["prepare"]["size"] = "large"
    del content["split"]["seed"]
    content["evaluate"]["batchsize"] = 3

    with pytest.raises(ConfigError) as caught:
        load(content, tmp_path)

    message = str(caught.value)
    assert "3 fault(s)" in message
    assert all(fault in message for fault in ("prepare.size:", "split.seed:", "evaluate.batchsize:"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml is missing"):
        params.load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("text", [b"data: [", b"data: {a: 1}}", b"a: b: c", b"data: \xff\xfe", b"data: \x00"])
def test_a_file_that_is_not_yaml_is_named(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text)

    with pytest.raises(ConfigError, match=r"params\.yaml is not valid YAML"):
        params.load(path)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "- a\n- list\n", "words"])
def test_a_file_without_sections_is_rejected(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match="the whole file: Input should be a valid dictionary"):
        params.load(path)


@pytest.mark.parametrize(
    ("dotted", "key"), [("prepare", "size"), ("train", "seed"), ("train.models.cnn.augment", "flip")]
)
def test_values_are_frozen(dotted: str, key: str) -> None:
    section: Any = params.load(PARAMS)
    for part in dotted.split("."):
        section = section[part] if isinstance(section, dict) else getattr(section, part)

    with pytest.raises(pydantic.ValidationError, match="frozen"):
        setattr(section, key, getattr(section, key))


def test_random_weights_with_frozen_batch_statistics_are_rejected(content: dict[str, Any], tmp_path: Path) -> None:
    content["train"]["models"]["mobilenetv2"]["weights"] = "random"
    with pytest.raises(ConfigError, match=r"train\.models\.mobilenetv2.*set train_batch_norm: true"):
        load(content, tmp_path)
    content["train"]["models"]["mobilenetv2"]["train_batch_norm"] = True
    assert load(content, tmp_path).train.models["mobilenetv2"].weights == "random"


def test_an_infinite_learning_rate_is_rejected(content: dict[str, Any], tmp_path: Path) -> None:
    content["train"]["models"]["cnn"]["learning_rate"] = float("inf")
    with pytest.raises(ConfigError, match=r"train\.models\.cnn\.learning_rate: Input should be a finite number"):
        load(content, tmp_path)
