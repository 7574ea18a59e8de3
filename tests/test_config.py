from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml

from pneumonia import config
from pneumonia.errors import ConfigError

PARAMS = Path(__file__).parents[1] / "params.yaml"


@pytest.fixture
def content() -> dict[str, Any]:
    """The shipped params.yaml, to be spoilt."""
    return yaml.safe_load(PARAMS.read_text(encoding="utf-8"))


def load(content: Any, folder: Path) -> config.Params:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return config.load(path)


def place(content: dict[str, Any], dotted: str) -> tuple[dict[str, Any], str]:
    *sections, key = dotted.split(".")
    for section in sections:
        content = content[section]
    return content, key


def test_the_shipped_params_are_valid() -> None:
    params = config.load(PARAMS)

    assert {model.kind for model in params.train.models.values()} == {"probe", "cnn", "finetune"}
    assert params.validation.minimum_pixels > 0
    assert params.register_.name


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
        ("train.operating_point.minimum_sensitivity", 1.0, "less than 1"),
        ("train.calibration", [], "at least 1 item"),
        ("evaluate.prevalences", [], "at least 1 item"),
        ("train.models.cnn.learning_rate", "2e-3", "valid number"),
        ("train.models.cnn.learning_rate", 0.0, "greater than 0"),
        ("train.models.cnn.filters", [], "at least 1 item"),
        ("train.models", {}, "at least 1 item"),
        ("validate.maximum_quarantined", 1.5, "less than or equal to 1"),
        ("kubeflow.pods.default.cpu", "many", "match pattern"),
        ("kubeflow.pods.train.memory", "16 GB", "match pattern"),
        ("kubeflow.pods", {}, "pods must have a default"),
        ("kubeflow.volume", {"path": "data", "claim": "shared"}, "match pattern"),
        ("data.phantom.drift", -0.1, "greater than or equal to 0"),
        ("register.metric", "auroc", "'roc_auc'"),
    ],
)
def test_a_fault_is_named_with_its_place(
    content: dict[str, Any], tmp_path: Path, dotted: str, value: object, reason: str
) -> None:
    section, key = place(content, dotted)
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
    section, key = place(content, dotted)
    del section[key]

    with pytest.raises(ConfigError, match=rf"  {dotted}: this key is missing"):
        load(content, tmp_path)


def test_an_unknown_kind_of_model_lists_the_known_ones(content: dict[str, Any], tmp_path: Path) -> None:
    content["train"]["models"]["cnn"]["kind"] = "transformer"

    with pytest.raises(ConfigError, match=r"train\.models\.cnn: .*'transformer'.*'probe', 'cnn', 'finetune'"):
        load(content, tmp_path)


def test_a_model_name_that_is_no_folder_name_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    content["train"]["models"]["../outside"] = content["train"]["models"]["cnn"]

    with pytest.raises(ConfigError, match=r"train\.models\.\.\./outside"):
        load(content, tmp_path)


def test_the_validation_fold_must_exist(content: dict[str, Any], tmp_path: Path) -> None:
    content["split"] |= {"folds": 5, "validation_fold": 5}

    with pytest.raises(ConfigError, match=r"split: .*validation_fold must be below folds \(5\), not 5"):
        load(content, tmp_path)


def test_the_band_keeps_no_less_sensitivity_than_the_threshold(content: dict[str, Any], tmp_path: Path) -> None:
    content["train"]["operating_point"]["band"]["sensitivity"] = 0.9

    with pytest.raises(
        ConfigError, match=r"train\.operating_point: .*no less than minimum_sensitivity \(0\.95\), not 0\.9"
    ):
        load(content, tmp_path)


def test_all_faults_are_told_at_once(content: dict[str, Any], tmp_path: Path) -> None:
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
        config.load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("text", [b"data: [", b"data: {a: 1}}", b"a: b: c", b"data: \xff\xfe", b"data: \x00"])
def test_a_file_that_is_not_yaml_is_named(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text)

    with pytest.raises(ConfigError, match=r"params\.yaml is not valid YAML"):
        config.load(path)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "- a\n- list\n", "words"])
def test_a_file_without_sections_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match="the whole file: Input should be a valid dictionary"):
        config.load(path)


@pytest.mark.parametrize(
    ("dotted", "key"), [("prepare", "size"), ("train", "seed"), ("train.models.cnn.augment", "flip")]
)
def test_values_are_frozen(dotted: str, key: str) -> None:
    section: Any = config.load(PARAMS)
    for part in dotted.split("."):
        section = section[part] if isinstance(section, dict) else getattr(section, part)

    with pytest.raises(pydantic.ValidationError, match="frozen"):
        setattr(section, key, getattr(section, key))


def test_random_weights_under_frozen_batch_statistics_are_refused(content: dict[str, Any], tmp_path: Path) -> None:
    content["train"]["models"]["mobilenetv2"]["weights"] = "random"
    with pytest.raises(ConfigError, match=r"train\.models\.mobilenetv2.*set train_batch_norm: true"):
        load(content, tmp_path)
    content["train"]["models"]["mobilenetv2"]["train_batch_norm"] = True
    assert load(content, tmp_path).train.models["mobilenetv2"].weights == "random"


def test_an_infinite_learning_rate_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    content["train"]["models"]["cnn"]["learning_rate"] = float("inf")
    with pytest.raises(ConfigError, match=r"train\.models\.cnn\.learning_rate: Input should be a finite number"):
        load(content, tmp_path)
