from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.kubeflow.settings import KubeflowParams
from pneumonia.core import settings
from pneumonia.core.errors import ConfigError

OPERATIONS = Path(__file__).parents[3] / "operations.yaml"


@pytest.fixture
def content() -> dict[str, Any]:
    """The content of the shipped operations.yaml, for tests to change."""
    return yaml.safe_load(OPERATIONS.read_text(encoding="utf-8"))


def read(content: dict[str, Any], folder: Path) -> KubeflowParams:
    path = folder / "operations.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return settings.read_section(path, "kubeflow", KubeflowParams)


def test_a_section_is_read_without_the_others(content: dict[str, Any], tmp_path: Path) -> None:
    assert read({"kubeflow": content["kubeflow"], "other": 1}, tmp_path) == read(content, tmp_path)


def test_a_missing_section_is_named(content: dict[str, Any], tmp_path: Path) -> None:
    del content["kubeflow"]
    with pytest.raises(ConfigError, match=r"operations\.yaml has no section 'kubeflow'"):
        read(content, tmp_path)


@pytest.mark.parametrize(
    ("keys", "value", "fault"),
    [
        (("pods", "default", "cpu"), "many", r"  kubeflow\.pods\.default\.cpu: .*match pattern"),
        (("pods", "train", "memory"), "16 GB", r"  kubeflow\.pods\.train\.memory: .*match pattern"),
        (("pods",), {}, r"  kubeflow\.pods: .*pods must have a default"),
        (("volume",), {"path": "data", "claim": "shared"}, r"  kubeflow\.volume\.path: .*match pattern"),
        (("unknown",), 1, r"  kubeflow\.unknown: unknown key"),
    ],
)
def test_a_fault_is_named_with_its_section(
    content: dict[str, Any], tmp_path: Path, keys: tuple[str, ...], value: object, fault: str
) -> None:
    section = content["kubeflow"]
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    with pytest.raises(ConfigError, match=fault):
        read(content, tmp_path)
