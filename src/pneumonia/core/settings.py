"""Read settings files (params.yaml, operations.yaml) as frozen, validated models.

Each package defines the model of its own section.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from pneumonia.core.errors import ConfigError

Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A section of a settings file: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


SectionT = TypeVar("SectionT", bound=Section)


def read(path: Path, model: type[SectionT]) -> SectionT:
    """Return a whole settings file as an instance of ``model``.

    Raises:
        ConfigError: the file is missing or is not YAML, or a key is unknown, missing or has an invalid value. The
            message names every fault with its location.
    """
    return _validate(path, model, _content(path), "")


def read_section(path: Path, section: str, model: type[SectionT]) -> SectionT:
    """Return one top-level section of a settings file; other sections are ignored.

    Raises:
        ConfigError: as for `read`, or the file has no such section.
    """
    content = _content(path)
    if not isinstance(content, dict) or section not in content:
        raise ConfigError(f"{path} has no section {section!r}. Add it, or restore the file with git.")
    return _validate(path, model, content[section], section)


def _content(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing. Run from the project's root, or restore it with git.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error


def _validate(path: Path, model: type[SectionT], content: Any, section: str) -> SectionT:
    try:
        return model.model_validate(content)
    except pydantic.ValidationError as error:
        faults = "\n".join(_describe_fault(fault, section) for fault in error.errors())
        raise ConfigError(f"{path} has {error.error_count()} fault(s):\n{faults}") from error


def _describe_fault(fault: Any, section: str) -> str:
    location = [part for part in (section, *map(str, fault["loc"])) if part]
    if location[:2] == ["train", "models"] and len(location) > 4:
        del location[3]  # pydantic adds the kind of model here; it is not a key of the file
    path = ".".join(location) or "the whole file"
    if fault["type"] == "extra_forbidden":
        return f"  {path}: unknown key. Check its spelling, or remove it."
    if fault["type"] == "missing":
        return f"  {path}: this key is missing. Add it."
    return f"  {path}: {fault['msg']}, but got {fault['input']!r}."


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Flatten nested settings, as MLflow expects parameters: keys joined by dots, lists and None as JSON.

    Examples:
        >>> flatten({"seed": 1, "augment": {"flip": True, "crop": 0.4}, "filters": [8, 16]})
        {'seed': 1, 'augment.flip': True, 'augment.crop': 0.4, 'filters': '[8, 16]'}
    """
    flat: dict[str, str | int | float | bool] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, str | int | float | bool) else json.dumps(value)
    return flat
